#include "history.h"

#include <fmt/format.h>

#include "base/check.h"

namespace coppice::simtest {
namespace {

constexpr const char* kPoolName = "tank";
constexpr u64 kStepsMax = 20'000'000;  // Of the scheduler in one life; more is a live lock.
constexpr u64 kPossibleMax = 6;        // Transactions in flight whose outcome a crash leaves open.

}  // namespace

struct History::Machine {
  explicit Machine(u64 seed) : scheduler(seed) {}
  sim::Scheduler scheduler;
  std::vector<std::unique_ptr<sim::Disk>> disks;
  std::vector<LaneView> lanes;
};

History::History(Plan plan, SubjectMaker& maker, Print print)
    : plan_(plan),
      maker_(maker),
      print_(std::move(print)),
      prng_(plan.seed),
      media_(plan.media_bytes, plan.seed + 1),
      world_(kPoolName) {
  media_.observer = [this](const sim::Op&) { ++disk_requests_; };
  if (plan_.faults == FaultClass::lying) world_.forget_nothing();
}

History::~History() = default;

void History::note(const std::string& line) {
  if (print_) print_(fmt::format("{:>6} {}", now_, line));
}

void History::wrong(std::string what) {
  note("WRONG: " + what);
  if (violation_.empty()) violation_ = fmt::format("life {}, event {}: {}", life_, now_, what);
}

bool History::tolerates(const Error& error) const {
  if (damaged_ || faulty_ || life_failed_) return true;
  return error.code == Errc::no_space;
}

Stamp History::floor() const { return watching_.empty() ? now_ : *watching_.begin(); }

std::string History::run() {
  note(plan_.describe());
  for (life_ = 0; life_ < plan_.lives && violation_.empty(); ++life_) {
    ++counts_.lives;
    const End end = live();
    if (!violation_.empty() || (damaged_ && end == End::crashed)) break;
    if (life_ + 1 < plan_.lives) damage();
  }
  return violation_;
}

// One life, up to its end or until the machine is stopped in the middle of it.
History::End History::live() {
  // A crash leaves the engine's coroutines where they stand; nothing of theirs is freed.
  (void)machine_.release();
  machine_ = std::make_unique<Machine>(prng_.next());
  sim::Scheduler& scheduler = machine_->scheduler;
  for (u64 lane = 0; lane <= plan_.lanes; ++lane) {
    sim::Executor& executor = scheduler.make_executor();
    machine_->disks.push_back(std::make_unique<sim::Disk>(media_, executor));
    machine_->lanes.push_back({&executor, machine_->disks.back().get()});
  }
  sync_lane_ = machine_->lanes.at(0).executor;
  crash_at_ = kForever;
  closed_ = faulty_ = life_failed_ = flushes_fail_ = false;
  media_.faults = {};

  auto* task = new Task<>(run_life(machine_->lanes));
  scheduler.start(*sync_lane_, *task);
  u64 linger = prng_.below(40);  // The crash comes so many steps after the request it was set to.
  while (!task->finished() && violation_.empty()) {
    if (disk_requests_ >= crash_at_ && linger-- == 0) break;
    if (!scheduler.step()) {
      wrong("deadlock: everybody waits");
    } else if (scheduler.steps() > kStepsMax) {
      wrong("live lock: no end after so many steps");
    }
  }
  counts_.requests = disk_requests_;
  if (!violation_.empty()) return End::crashed;
  if (task->finished() && closed_) {
    delete task;
    subject_.reset();
    possible_.clear();
    for (auto& [id, dataset] : world_.datasets) dataset.content.durable(now_, now_);
    possible_.push_back(world_);
    possible_.back().crash();
    note("closed");
    return End::closed;
  }
  crash();
  return End::crashed;
}

void History::crash() {
  ++counts_.crashes;
  // After a flush that failed, what the next process would read may not be what the disk has: no
  // engine could tell.
  const bool kill = prng_.below(100) < plan_.kill && !flushes_fail_;
  note(kill ? "KILL" : "POWER LOSS");
  if (kill) {
    media_.process_loss();
  } else {
    media_.power_loss();
  }
  maker_.crash();
  (void)subject_.release();
  for (auto& [id, opened] : open_) (void)opened.release();
  open_.clear();
  if (!possible_.empty()) {  // It had not even been looked at: everything is as open as it was.
    return;
  }
  const Stamp at = tick();
  while (admin_.size() > kPossibleMax) admin_.pop_back();
  for (u64 mask = 0; mask < u64{1} << admin_.size(); ++mask) {
    World world = world_;
    bool possible = true;
    for (size_t each = 0; each < admin_.size() && possible; ++each) {
      if ((mask >> each & 1) == 0) continue;
      for (const AdminOp& op : admin_[each].ops) {
        possible = possible && world.apply(op, admin_[each].asked, at).empty();
      }
    }
    if (!possible) continue;
    world.crash();
    possible_.push_back(std::move(world));
  }
  admin_.clear();
  watching_.clear();
  requests_running_ = 0;
}

// Flips bits of what a pool at rest keeps outside its label, of which every copy counts.
void History::damage() {
  if (plan_.faults != FaultClass::rotting || !closed_) return;
  static constexpr u64 kLabelBytes = 1_MiB;
  const u64 count = prng_.between(1, 4);
  std::vector<std::byte> block(kBlock);
  for (u64 tries = 0, done = 0; tries < 4000 && done < count; ++tries) {
    const u64 offset = round_down(prng_.between(kLabelBytes, plan_.media_bytes - kBlock), kBlock);
    media_.peek(offset, block);
    if (Content().matches(0, 0, block)) continue;
    media_.corrupt(offset + prng_.below(8) * 512, prng_.between(1, 512));
    note(fmt::format("bits flipped at {}", offset));
    damaged_ = true;
    ++done;
  }
}

Task<> History::run_life(std::vector<LaneView> lanes) {
  if (life_ == 0) {
    std::string name = kPoolName;
    const auto created = co_await maker_.create(lanes.at(0), std::move(name), plan_.seed);
    if (!created) {
      wrong("creating the pool: " + describe(created.error()));
      co_return {};
    }
  }
  const bool scripted = !plan_.script.empty();
  if (!scripted && (life_ + 1 < plan_.lives || prng_.chance(1, 2))) {
    const u64 patience = prng_.chance(1, 4) ? 30 : prng_.chance(1, 2) ? 150 : 600;
    crash_at_ = disk_requests_ + 1 + prng_.below(patience);
    if (prng_.below(100) < plan_.close) crash_at_ = kForever;
  }
  SubjectOptions options{.seed = prng_.next(),
                         .group_ns = plan_.group_ns,
                         .dirty_bytes_max = plan_.dirty_bytes_max,
                         .cache_bytes = plan_.cache_bytes,
                         .node_cache_bytes = plan_.node_cache_bytes};
  if (scripted && life_ == 1 && plan_.recovery_crash_at != kForever) {
    crash_at_ = disk_requests_ + plan_.recovery_crash_at;
  }
  const u64 requests_before = disk_requests_;
  auto opened = co_await maker_.open(lanes, options);
  if (life_ == 1) recovery_requests_ = disk_requests_ - requests_before;
  if (!opened) {
    note("open: " + describe(opened.error()));
    if (!damaged_) wrong("opening the pool: " + describe(opened.error()));
    co_return {};
  }
  subject_ = std::move(*opened);
  if (life_ == 0) {
    auto space = co_await subject_->space();
    if (space) fresh_user_blocks_ = space->user_blocks;
  }
  const auto recognised = co_await recognise();
  if (!recognised || !violation_.empty()) co_return {};
  if (scripted || prng_.chance(2, 3)) {
    auto checked = co_await check("after recovery");
    (void)checked;
  }
  if (plan_.faults == FaultClass::failing && prng_.chance(3, 4)) start_failing();
  if (plan_.faults == FaultClass::lying && prng_.chance(2, 3)) start_lying();
  rt::Scope scope;
  scope_ = &scope;
  Result<> done;
  if (scripted) {
    done = co_await play();
  } else {
    done = co_await work(plan_.steps);
  }
  done = co_await scope.join();
  scope_ = nullptr;
  media_.faults = {};
  auto ended = co_await end_life();
  (void)ended;
  co_return {};
}

void History::start_failing() {
  sim::Faults faults;
  if (prng_.chance(1, 2)) faults.read_error_one_in = static_cast<u32>(prng_.between(20, 400));
  if (prng_.chance(1, 2)) faults.write_error_one_in = static_cast<u32>(prng_.between(20, 400));
  if (prng_.chance(1, 4)) faults.flush_error_one_in = static_cast<u32>(prng_.between(10, 60));
  if (prng_.chance(1, 4)) faults.no_space_one_in = static_cast<u32>(prng_.between(20, 400));
  if (prng_.chance(1, 6)) faults.space_max_bytes = media_.used_bytes() + prng_.below(1_MiB);
  media_.faults = faults;
  flushes_fail_ = faults.flush_error_one_in != 0;
  faulty_ = true;
  note("the disk begins to fail");
}

void History::start_lying() {
  sim::Faults faults;
  faults.begin = 1_MiB;
  if (prng_.chance(1, 2)) faults.misdirected_one_in = static_cast<u32>(prng_.between(20, 400));
  if (prng_.chance(1, 2)) faults.stale_one_in = static_cast<u32>(prng_.between(20, 400));
  if (prng_.chance(1, 4)) faults.bit_rot_one_in = static_cast<u32>(prng_.between(20, 400));
  media_.faults = faults;
  damaged_ = true;
  note("the disk begins to lie");
}

// The workload is over: the last checks of a healthy pool, then closing it, or leaving it to a
// crash.
Task<> History::end_life() {
  if (!violation_.empty()) co_return {};
  const bool healthy = !faulty_ && !damaged_ && !life_failed_;
  if (healthy && prng_.chance(1, 2)) {
    auto checked = co_await check("after the workload");
    (void)checked;
  }
  const bool last = life_ + 1 == plan_.lives;
  if (healthy && last && plan_.destroy_all) {
    auto destroyed = co_await destroy_everything();
    (void)destroyed;
  }
  if (!violation_.empty() || (!last && prng_.below(100) >= plan_.close)) co_return {};
  auto released = co_await close_all();
  (void)released;
  const auto space = co_await subject_->space();
  const bool failed_before = !space || space->failed;
  const auto closed = co_await subject_->close();
  closed_ = closed.has_value() && !failed_before;  // A failed pool closes, but like a crash.
  if (!closed) {
    note("close: " + describe(closed.error()));
    if (healthy && !tolerates(closed.error())) wrong("closing: " + describe(closed.error()));
  }
  co_return {};
}

// Lets go of all volumes, and leaves the lanes the time to hear of it.
Task<> History::close_all() {
  open_.clear();
  co_await rt::sleep_for(*sync_lane_, 2'000'000);
  co_return {};
}

Task<> History::check(const char* when) {
  const auto found = co_await subject_->check();
  if (!found) {
    if (!tolerates(found.error()))
      wrong(fmt::format("check {}: {}", when, describe(found.error())));
    co_return {};
  }
  note(fmt::format("check {}: {} contradictions", when, found->size()));
  if (found->empty() || damaged_) co_return {};
  std::string text = fmt::format("check {}: {} contradictions", when, found->size());
  for (size_t each = 0; each < found->size() && each < 5; ++each) text += "; " + (*found)[each];
  wrong(std::move(text));
  co_return {};
}

// Everything goes, in an order that dependencies allow; then the pool must be as empty as a new
// one.
Task<> History::destroy_everything() {
  auto released = co_await close_all();
  (void)released;
  while (world_.datasets.size() > 1) {
    AdminOp op;
    op.verb = Verb::destroy;
    for (const auto& [id, snapshot] : world_.snapshots) {
      if (!snapshot.holds.empty()) {
        op.verb = Verb::release;
        op.names = {world_.snapshot_path(id)};
        op.other = *snapshot.holds.begin();
        break;
      }
      if (world_.clones(id).empty()) op.names = {world_.snapshot_path(id)};
    }
    if (op.verb == Verb::destroy) {
      for (const auto& [id, dataset] : world_.datasets) {
        if (id == world_.root() || !dataset.snapshots.empty() || !world_.children(id).empty())
          continue;
        op.names = {world_.path(id)};
      }
    }
    if (op.names.empty()) break;
    std::vector<AdminOp> ops{op};
    auto done = co_await administrate(std::move(ops), {});
    (void)done;
    if (!violation_.empty() || life_failed_) co_return {};
  }
  auto jobs = co_await subject_->wait_for_jobs();
  auto synced = co_await subject_->sync();
  auto space = co_await subject_->space();
  if (!jobs || !synced || !space) {
    wrong("waiting for the end of all destruction failed");
  } else if (space->user_blocks != fresh_user_blocks_) {
    wrong(fmt::format("everything is destroyed, yet {} blocks are in use; a new pool had {}",
                      space->user_blocks, fresh_user_blocks_));
  } else {
    auto checked = co_await check("after destroying everything");
    (void)checked;
  }
  co_return {};
}

}  // namespace coppice::simtest
