#include "pool/engine.h"

#include <algorithm>

#include "pool/catalog_codec.h"
#include "pool/events.h"
#include "pool/volume.h"
#include "rt/abandon.h"

namespace coppice::pool {
namespace {
constexpr u64 kTickNs = 100'000'000;  // How exactly a group's age is watched.
constexpr u64 kGrantMin = 16;         // Blocks of one grant, or
constexpr u64 kGrantShare = 64;       // this part of what is free.
}  // namespace

// Given to whoever uses a device. It may die on the sync lane or the device's: the rest is posted.
class EngineHandle final : public Pool::Handle {
 public:
  EngineHandle(Engine& engine, IoLane& lane, Volume& volume, u64 user)
      : release_(new Release{{}, engine, lane, volume, user}) {}
  ~EngineHandle() override {
    if (rt::Abandon::active()) {
      delete release_;
      return;
    }
    release_->run = &Release::on_lane;
    release_->lane.executor().post(*release_);
  }
  blk::Device& device() override { return release_->volume; }

 private:
  struct Release : rt::Job {
    Engine& engine;
    IoLane& lane;
    Volume& volume;
    u64 user;
    Release(rt::Job job, Engine& e, IoLane& l, Volume& v, u64 u)
        : rt::Job(job), engine(e), lane(l), volume(v), user(u) {}
    static void on_lane(rt::Job& job) {
      auto& self = static_cast<Release&>(job);
      self.lane.let_go(self.volume);
      self.run = &Release::on_sync;
      self.engine.sync_executor().post(self);
    }
    static void on_sync(rt::Job& job) {
      std::unique_ptr<Release> self(&static_cast<Release&>(job));
      self->engine.released(self->user);
    }
  };
  Release* release_;  // Owns itself once posted.
};

Engine::Engine(std::vector<Lane> lanes, Options options, Uberblock uberblock)
    : lanes_in_(std::move(lanes)),
      options_(std::move(options)),
      uberblock_(std::move(uberblock)),
      disks_([this] {
        std::vector<std::unique_ptr<MeteredDisk>> disks;
        for (Lane& lane : lanes_in_) {
          const MeteredDisk::Place place{*lane.executor, uberblock_.guid,
                                         static_cast<u32>(disks.size())};
          disks.push_back(std::make_unique<MeteredDisk>(*lane.disk, shared_.device_bytes_read,
                                                        shared_.device_bytes_written, place));
          lane.disk = disks.back().get();
        }
        return disks;
      }()),
      nodes_(sync_executor(), *disks_[0], options_.node_cache_bytes, uberblock_.guid),
      sync_space_([this](u64 blocks) { return take_granted(blocks); }),
      admin_(sync_executor()) {
  shared_.cached_blocks_max = static_cast<i64>(std::max<u64>(1, options_.cache_bytes / kBlock));
  shared_.dirty_bytes_max = static_cast<i64>(options_.dirty_bytes_max);
  shared_.group_bytes_max = group_bytes_max(shared_.dirty_bytes_max);
  want_job_.engine = this;
  want_job_.run = [](rt::Job& job) {
    Engine& engine = *static_cast<WantJob&>(job).engine;
    engine.want_posted_ = false;
    engine.group_wanted_ = true;
    engine.wanted_.pulse();
  };
}

Engine::~Engine() { CHECK(stopping_ || rt::Abandon::active()); }

// --- Control

// What lies in grants is lost to the others: near the end, only small ones are made.
Task<std::vector<Run>> Engine::take_granted(u64 blocks) {
  const u64 share = std::max<u64>(kGrantMin, space_->free_blocks() / kGrantShare);
  auto taken = space_->take(std::min(blocks, share));
  if (trace::on(trace::Point::space_grant)) [[unlikely]] {
    u64 granted = 0;
    if (taken)
      for (const Run& run : *taken) granted += run.count;
    trace::fire(trace::Point::space_grant, {this, blocks, granted});
  }
  co_return std::move(taken);
}

Task<std::vector<Run>> Engine::grant(rt::Executor& home, u64 blocks) {
  return rt::call(home, sync_executor(), take_granted(blocks));
}

void Engine::want_group() {
  if (want_posted_.exchange(true)) return;
  sync_executor().post(want_job_);
}

Task<> Engine::wait_for_group(rt::Executor& home) {
  return rt::call(home, sync_executor(), sync());
}

Task<> Engine::sync() {
  const Txg group = open_;
  group_wanted_ = true;
  wanted_.pulse();
  Task<> waiting = wait_durable(group);
  co_return co_await std::move(waiting);
}

Task<> Engine::wait_durable(Txg group) {
  while (durable_ < group) {
    if (shared_.failed) co_return std::unexpected(failed_with_);
    co_await durable_event_.wait();
  }
  co_return {};
}

void Engine::fail_pool(const Error& error) {
  struct Failure : rt::Job {
    Engine* engine;
    Error error;
  };
  auto* failure = new Failure;
  failure->engine = this;
  failure->error = error;
  failure->run = [](rt::Job& job) {
    std::unique_ptr<Failure> self(&static_cast<Failure&>(job));
    self->engine->stop_taking_changes(std::move(self->error));
  };
  shared_.failed = true;
  sync_executor().post(*failure);
}

void Engine::stop_taking_changes(Error error) {
  shared_.failed = true;
  if (failure_.empty()) {
    failed_with_ = error;
    failure_ = describe(error);
    warn("pool '" + name() + "' takes no more changes: " + failure_ +
         "; what was flushed is safe: mend the device and open the pool again");
    if (trace::on(trace::Point::error)) [[unlikely]]
      fire_error({.time_ns = sync_executor().now_ns(),
                  .pool_guid = uberblock_.guid,
                  .kind = COPPICE_ERROR_POOL},
                 failed_with_);
  }
  durable_event_.pulse();
  thawed_.pulse();
  wanted_.pulse();
  jobs_event_.pulse();
  for (auto& lane : lanes_) {
    struct GiveUp : rt::Job {
      IoLane* lane;
    };
    auto* job = new GiveUp;
    job->lane = lane.get();
    job->run = [](rt::Job& base) {
      std::unique_ptr<GiveUp> self(&static_cast<GiveUp&>(base));
      self->lane->give_up();
    };
    lane->executor().post(*job);
  }
}

void Engine::warn(std::string line) {
  if (options_.warn) options_.warn(std::move(line));
}

// --- The group loop

Task<> Engine::run_groups() {
  while (!stopping_ && !shared_.failed) {
    if (!group_wanted_ || checking_) {
      co_await wanted_.wait();
      continue;
    }
    group_wanted_ = false;
    committing_ = true;
    Commit commit;
    Task<> committing = commit_group(commit);
    Result<> committed = co_await std::move(committing);
    committing_ = false;
    if (trace::on(trace::Point::txg_sync)) [[unlikely]]
      fire_synced(commit, committed);
    group_ended_.pulse();
    if (!committed) stop_taking_changes(std::move(committed).error());
  }
  co_return {};
}

// Waits for a moment at which the durable roots and the catalog say the same.
Task<> Engine::between_groups() {
  while (committing_) co_await group_ended_.wait();
  co_return {};
}

// Closes groups that have grown old, and keeps background work going.
Task<> Engine::run_ticker() {
  while (!stopping_ && !shared_.failed) {
    co_await rt::sleep_for(sync_executor(), kTickNs);
    const bool old = sync_executor().now_ns() - opened_ns_ >= options_.group_ns;
    if ((old && shared_.open_changed) || !catalog_->jobs().empty()) want_group();
  }
  co_return {};
}

Task<> Engine::close() {
  // Handles given back just now are still on their way here.
  for (auto& lane : lanes_) {
    co_await rt::Hop(lane->executor());
    co_await rt::Hop(sync_executor());
  }
  if (!users_.empty()) co_return fail(Errc::busy, "close the pool", "devices of it are in use");
  scrub_stop_ = true;
  Result<> result;
  if (shared_.failed) {
    result = std::unexpected(failed_with_);
  } else {
    Task<> syncing = sync();
    result = co_await std::move(syncing);
  }
  stopping_ = true;
  wanted_.pulse();
  thawed_.pulse();
  Task<> joining = background_.join();
  (void)co_await std::move(joining);
  for (auto& lane : lanes_) {
    Task<> stopping = rt::call(sync_executor(), lane->executor(), lane->stop());
    (void)co_await std::move(stopping);
  }
  Task<> draining = sync_space_.drain();
  (void)co_await std::move(draining);
  Task<> punching = punches_.join();
  (void)co_await std::move(punching);
  co_await rt::yield(sync_executor());  // Jobs posted before the lanes stopped have now run.
  co_return std::move(result);
}

// --- Administration

Task<Pool::Session> Engine::begin(rt::Mutex::Ticket* ticket) {
  Session session;
  session.turn = co_await admin_.lock(ticket);
  if (!session.turn) co_return fail(Errc::cancelled, "wait for the pool's administrative turn");
  while (frozen_ && !shared_.failed) co_await thawed_.wait();
  if (shared_.failed) co_return std::unexpected(failed_with_);
  session.transaction = catalog_->begin();
  co_return session;
}

Task<Txg> Engine::commit(Session session, HistoryRecord history) {
  CHECK(session.transaction != nullptr);
  Task<> preparing = before_shrinking(*session.transaction);
  co_await ok(std::move(preparing));
  while (frozen_ && !shared_.failed) co_await thawed_.wait();
  if (shared_.failed) co_return std::unexpected(failed_with_);
  co_await ok(none_taken_up(*session.transaction));
  const Txg group = open_;
  history.txg = group;
  TreeEvents events;
  if (TreeEvents::wanted()) [[unlikely]]
    events.note(*session.transaction, *catalog_);
  catalog_->accept(std::move(session.transaction));
  limits_changed_ = true;
  catalog_->add_history(std::move(history));
  session.turn.release();
  group_wanted_ = true;
  wanted_.pulse();
  Task<> waiting = wait_durable(group);
  co_await ok(std::move(waiting));
  events.fire(sync_executor().now_ns(), uberblock_.guid, group);
  co_return group;
}

Task<> Engine::record(HistoryRecord history) {
  while (frozen_ && !shared_.failed) co_await thawed_.wait();
  if (shared_.failed) co_return std::unexpected(failed_with_);
  history.txg = open_;
  catalog_->add_history(std::move(history));
  shared_.open_changed = true;
  co_return {};
}

// Whoever looked found the volumes that are to go, or to go back, unused. One may have been opened
// since.
Result<> Engine::none_taken_up(const Transaction& transaction) const {
  for (const TreeOp& op : transaction.tree_ops()) {
    DatasetId id{};
    if (const auto* drop = std::get_if<DropVolume>(&op)) id = drop->dataset;
    if (const auto* back = std::get_if<RollBack>(&op)) id = back->dataset;
    if (raw(id) != 0 && users_.contains(raw(id)))
      return fail(Errc::busy, "commit", "a volume it destroys or rolls back has been opened since");
  }
  return {};
}

// A snapshot and the shrinking of its volume never share a group: by birth and death, which are
// groups, nobody could tell whether the snapshot still sees what was cut off.
Task<> Engine::before_shrinking(const Transaction& transaction) {
  std::set<DatasetId> snapshotted;
  std::set<SnapshotId> fresh;
  for (const TreeOp& op : transaction.tree_ops()) {
    if (const auto* take = std::get_if<TakeSnapshot>(&op)) {
      snapshotted.insert(take->dataset);
      fresh.insert(take->snapshot);
    } else if (const auto* clone = std::get_if<MakeClone>(&op)) {
      if (fresh.contains(clone->origin)) snapshotted.insert(clone->dataset);
    }
    const auto* resize = std::get_if<ResizeVolume>(&op);
    if (resize == nullptr || resize->new_bytes >= resize->old_bytes) continue;
    if (snapshotted.contains(resize->dataset))
      co_return fail(Errc::unsupported, "shrink a volume",
                     "the same transaction takes a snapshot of it; shrink it in one of its own");
    const Dataset* dataset = catalog_->dataset(resize->dataset);
    if (dataset == nullptr) continue;
    const Snapshot* last = catalog_->snapshot(catalog_->last_snapshot(resize->dataset));
    const Snapshot* origin = catalog_->snapshot(dataset->origin);
    const bool waits = (last != nullptr && raw(last->createtxg) == 0) ||
                       (origin != nullptr && raw(origin->createtxg) == 0);
    if (!waits) continue;
    Task<> syncing = sync();
    co_await ok(std::move(syncing));
  }
  co_return {};
}

Task<std::vector<HistoryRecord>> Engine::history(u64 from_sequence, size_t count_max) {
  std::vector<HistoryRecord> records;
  Task<> syncing = sync();
  (void)co_await std::move(
      syncing);  // So that the newest is there; of a failed pool, what is durable.
  Cursor cursor(nodes_, uberblock_.catalog);
  const std::string first = history_key(from_sequence);
  Task<> seeking = cursor.seek(first);
  co_await ok(std::move(seeking));
  RecordAssembler assembler;
  const std::string end = history_end();
  while (!cursor.at_end() && cursor.key() < end && records.size() < count_max) {
    auto record = co_await ok(assembler.feed(cursor.key(), cursor.value()));
    if (record) {
      HistoryRecord decoded = co_await ok(decode_history(record->id, record->bytes));
      records.push_back(std::move(decoded));
    }
    Task<> stepping = cursor.next();
    co_await ok(std::move(stepping));
  }
  co_return records;
}

// --- Devices

IoLane& Engine::lane_of(DatasetId id) { return *lanes_[raw(id) % lanes_.size()]; }

VolumeUpdate Engine::update_for(DatasetId id) const {
  VolumeUpdate update{.volume = id, .root = {}, .size_bytes = 0, .quota_blocks = 1ll << 60};
  const Dataset* dataset = catalog_->dataset(id);
  const VolumeState* state = catalog_->volume_state(id);
  CHECK(state != nullptr);
  update.root = state->live.root;
  update.seen_upto = std::max(state->last_snapshot, state->origin_txg);
  // A transaction accepted since may have erased the dataset; until the next group drops the volume
  // it still has dirty data to be merged, into the newest map.
  if (dataset != nullptr) update.size_bytes = dataset->volsize_bytes;
  update.read_only = inherited_read_only(id);
  if (const auto limits = limits_.find(id); limits != limits_.end()) {
    update.quota_blocks = limits->second.quota_blocks;
    update.reserved_blocks = limits->second.reserved_blocks;
  }
  return update;
}

bool Engine::inherited_read_only(DatasetId id) const {
  for (const Dataset* dataset = catalog_->dataset(id); dataset != nullptr;
       dataset = catalog_->dataset(dataset->parent)) {
    const auto found = dataset->properties.find("readonly");
    if (found != dataset->properties.end()) return found->second == "on";
  }
  return false;
}

bool Engine::volume_state_missing(DatasetId id) const {
  return catalog_->volume_state(id) == nullptr;
}

Task<std::unique_ptr<Pool::Handle>> Engine::open_volume(DatasetId id) {
  while (frozen_ && !shared_.failed) co_await thawed_.wait();
  const Dataset* dataset = catalog_->dataset(id);
  if (dataset == nullptr || volume_state_missing(id))
    co_return fail(Errc::not_found, "open a volume", "there is no such volume");
  ++users_[raw(id)];
  IoLane& lane = lane_of(id);
  Task<Volume*> activating =
      rt::call(sync_executor(), lane.executor(), activate_on(lane, update_for(id), SnapshotId{}));
  Volume* volume = co_await ok(std::move(activating));
  if (trace::on(trace::Point::handle_open)) [[unlikely]]
    trace::fire(trace::Point::handle_open, {this, raw(id), false});
  co_return std::make_unique<EngineHandle>(*this, lane, *volume, raw(id));
}

Task<std::unique_ptr<Pool::Handle>> Engine::open_snapshot(SnapshotId id) {
  while (frozen_ && !shared_.failed) co_await thawed_.wait();
  const Snapshot* snapshot = catalog_->snapshot(id);
  if (snapshot == nullptr || raw(snapshot->createtxg) == 0)
    co_return fail(Errc::not_found, "open a snapshot", "there is no such snapshot");
  ++users_[raw(id)];
  snapshots_held_.insert(id);
  const VolumeUpdate update{.volume = DatasetId(raw(id)),
                            .root = snapshot->tree.root,
                            .size_bytes = snapshot->volsize_bytes,
                            .read_only = true};
  IoLane& lane = lane_of(snapshot->dataset);
  Task<Volume*> activating =
      rt::call(sync_executor(), lane.executor(), activate_on(lane, update, id));
  Volume* volume = co_await ok(std::move(activating));
  if (trace::on(trace::Point::handle_open)) [[unlikely]]
    trace::fire(trace::Point::handle_open, {this, raw(id), true});
  co_return std::make_unique<EngineHandle>(*this, lane, *volume, raw(id));
}

Task<Volume*> Engine::activate_on(IoLane& lane, VolumeUpdate update, SnapshotId snapshot) {
  Volume& volume =
      raw(snapshot) == 0 ? lane.activate(update) : lane.view_snapshot(snapshot, update);
  lane.hold(volume);
  co_return &volume;
}

void Engine::released(u64 user) {
  if (trace::on(trace::Point::handle_close)) [[unlikely]]
    trace::fire(trace::Point::handle_close, {this, user});
  const auto found = users_.find(user);
  CHECK(found != users_.end() && found->second > 0);
  if (--found->second > 0) return;
  users_.erase(found);
  snapshots_held_.erase(SnapshotId(user));
}

bool Engine::in_use(DatasetId id) const {
  if (users_.contains(raw(id))) return true;
  return std::ranges::any_of(snapshots_held_, [&](SnapshotId held) {
    const Snapshot* snapshot = catalog_->snapshot(held);
    return snapshot != nullptr && snapshot->dataset == id;
  });
}

bool Engine::in_use(SnapshotId id) const { return users_.contains(raw(id)); }

// --- The static doors

Task<> Pool::create(Lane sync, CreateOptions options) {
  const u64 blocks = sync.disk->size_bytes() / kBlock;
  if (options.name.empty() || options.name.size() > kPoolNameMax)
    co_return fail(Errc::invalid, "create a pool", "its name must have 1 to 255 characters");
  if (blocks * kBlock < kPoolBytesMin)
    co_return fail(Errc::invalid, "create a pool",
                   "the device is too small: a pool takes at least 16 MiB");
  Task<> making = make_pool(sync, std::move(options), blocks);
  co_return co_await std::move(making);
}

Task<std::string> Pool::probe(Lane sync) {
  Task<Uberblock> reading = read_uberblock(*sync.disk);
  Uberblock uberblock = co_await ok(std::move(reading));
  co_return std::move(uberblock.name);
}

Task<std::unique_ptr<Pool>> Pool::open(std::vector<Lane> lanes, Options options) {
  CHECK(!lanes.empty() && lanes.size() <= kLanesMax);
  Task<Uberblock> reading = read_uberblock(*lanes[0].disk);
  Uberblock uberblock = co_await ok(std::move(reading));
  if (!options.name.empty() && options.name != uberblock.name)
    co_return fail(Errc::invalid, "open the pool",
                   "it is named '" + uberblock.name + "', not '" + options.name + "'");
  const u64 have = lanes[0].disk->size_bytes() / kBlock;
  if (have < uberblock.device_blocks)
    co_return fail(Errc::corrupt, "open the pool",
                   "it is truncated: it had " + std::to_string(uberblock.device_blocks * kBlock) +
                       " bytes, and has " + std::to_string(have * kBlock) +
                       "; restore the whole file");
  auto engine =
      std::make_unique<Engine>(std::move(lanes), std::move(options), std::move(uberblock));
  Task<> loading = engine->load();
  Result<> loaded = co_await std::move(loading);
  if (!loaded) {
    Task<> closing = engine->abandon();
    (void)co_await std::move(closing);
    co_return std::unexpected(std::move(loaded).error());
  }
  co_return std::unique_ptr<Pool>(std::move(engine));
}

}  // namespace coppice::pool
