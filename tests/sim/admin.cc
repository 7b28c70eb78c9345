// The workload's administration: snapshots, clones, promotions, rollbacks, destruction and the
// rest.
#include <fmt/format.h>

#include <algorithm>

#include "history.h"

namespace coppice::simtest {
namespace {

constexpr size_t kGroupsMax = 4;
constexpr size_t kVolumesMax = 7;
constexpr size_t kAdminMax = 3;  // Transactions in flight.
constexpr u64 kHugeVolumeMax = u64{1} << 62;

// Verbs that need what they work on to be idle and closed.
bool needs_quiet(const AdminOp& op) {
  const bool snapshots_only = op.names.at(0).find('@') != std::string::npos;
  return op.verb == Verb::rollback || op.verb == Verb::resize ||
         (op.verb == Verb::destroy && !snapshots_only);
}
bool is_of_links(const AdminOp& op) {
  return op.verb == Verb::link || op.verb == Verb::relink || op.verb == Verb::unlink;
}
// Verbs whose order beside others would decide what they mean.
bool needs_alone(const AdminOp& op) {
  return needs_quiet(op) || op.verb == Verb::promote || op.verb == Verb::rename ||
         op.verb == Verb::destroy || op.verb == Verb::release || is_of_links(op);
}

}  // namespace

std::string History::fresh_name(const char* stem) { return fmt::format("{}{}", stem, ++names_); }

std::string History::pick_group() {
  std::vector<u64> groups;
  for (const auto& [id, dataset] : world_.datasets) {
    if (!dataset.volume) groups.push_back(id);
  }
  return world_.path(groups[prng_.below(groups.size())]);
}

u64 History::pick_size() {
  if (prng_.chance(1, 10)) return round_down(prng_.between(1_GiB, kHugeVolumeMax), kBlock);
  if (prng_.chance(1, 10)) return kBlock;
  return kBlock * prng_.between(1, plan_.volume_bytes_max / kBlock);
}

AdminOp History::pick_create(bool volume) {
  AdminOp op;
  op.verb = volume ? Verb::create_volume : Verb::create_group;
  op.names = {pick_group() + "/" + fresh_name(volume ? "v" : "g")};
  op.size = volume ? pick_size() : 0;
  return op;
}

AdminOp History::pick_snapshot() {
  AdminOp op;
  op.verb = Verb::snapshot;
  const std::string name = fresh_name("@s");
  if (prng_.chance(1, 5)) {
    op.names = {pick_group() + name};
    op.recursive = true;
  } else if (prng_.chance(1, 3)) {  // Many at one point in time.
    for (const auto& [id, dataset] : world_.datasets) {
      if (dataset.volume && prng_.chance(2, 3)) op.names.push_back(world_.path(id) + name);
    }
  }
  if (op.names.empty()) op.names = {world_.path(pick_volume()) + name};
  return op;
}

AdminOp History::pick_destroy() {
  AdminOp op;
  op.verb = Verb::destroy;
  const bool many = world_.snapshots.size() >= plan_.snapshots_max;
  if (!world_.snapshots.empty() && (many || prng_.chance(3, 4))) {
    const u64 first =
        std::next(world_.snapshots.begin(), static_cast<i64>(prng_.below(world_.snapshots.size())))
            ->first;
    op.names = {world_.snapshot_path(first)};
    op.defer = prng_.chance(1, 4);
    op.recursive = prng_.chance(1, 8);
    if (!op.recursive && prng_.chance(1, 3)) {  // A set of them.
      for (const auto& [id, snapshot] : world_.snapshots) {
        if (id != first && snapshot.dataset == world_.snapshots.at(first).dataset &&
            prng_.chance(1, 2)) {
          op.names.push_back(world_.snapshot_path(id));
        }
      }
    }
    return op;
  }
  std::vector<u64> ids;
  for (const auto& [id, dataset] : world_.datasets) {
    if (id != world_.root()) ids.push_back(id);
  }
  op.recursive = prng_.chance(2, 3);
  op.names = {world_.path(ids.empty() ? world_.root() : ids[prng_.below(ids.size())])};
  return op;
}

AdminOp History::pick_rename() {
  AdminOp op;
  op.verb = Verb::rename;
  if (!world_.snapshots.empty() && prng_.chance(1, 3)) {
    const u64 id = world_.snapshots.begin()->first;
    op.names = {world_.snapshot_path(id)};
    op.other = world_.path(world_.snapshots.at(id).dataset) + "@" + fresh_name("r");
    return op;
  }
  const u64 id = std::prev(world_.datasets.end())->first;
  op.names = {world_.path(id)};
  op.other = pick_group() + "/" + fresh_name("r");
  return op;
}

AdminOp History::pick_links() {
  AdminOp op;
  const u64 choice = prng_.below(5);
  op.verb = choice < 2 ? Verb::link : choice < 4 ? Verb::relink : Verb::unlink;
  op.names = {prng_.chance(1, 3) ? pick_group() : world_.path(pick_volume())};
  op.other = fmt::format("l{}", prng_.below(6));
  if (op.verb != Verb::unlink) op.value = prng_.chance(1, 2) ? "a" : "b";
  op.recursive = op.verb == Verb::relink && prng_.chance(1, 3);
  return op;
}

std::optional<AdminOp> History::pick_admin() {
  size_t groups = 0, volumes = 0;
  std::vector<u64> clones;
  for (const auto& [id, dataset] : world_.datasets) {
    (dataset.volume ? volumes : groups) += 1;
    if (dataset.origin != 0) clones.push_back(id);
  }
  if (volumes == 0) return pick_create(true);
  const bool lax = plan_.faults == FaultClass::lying;  // Names must then keep their meaning.
  const u64 snapshot = pick_snapshot_of_volume();
  AdminOp op;
  switch (prng_.below(20)) {
    case 0: return groups < kGroupsMax ? pick_create(false) : pick_destroy();
    case 1:
    case 2: return volumes < kVolumesMax ? pick_create(true) : pick_destroy();
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
      if (world_.snapshots.size() < plan_.snapshots_max) return pick_snapshot();
      return pick_destroy();
    case 8:
    case 9:
    case 10: return pick_destroy();
    case 11:
      if (lax || world_.datasets.size() < 2) return {};
      return pick_rename();
    case 12:
      if (!lax && prng_.chance(1, 2)) return pick_links();
      op.verb = prng_.chance(3, 4) ? Verb::set : Verb::inherit;
      op.names = {prng_.chance(1, 2) ? pick_group() : world_.path(pick_volume())};
      op.other = fmt::format("sim:p{}", prng_.below(3));
      if (op.verb == Verb::set)
        op.value.assign(prng_.chance(1, 8) ? prng_.between(1, 8000) : prng_.between(1, 30),
                        static_cast<char>('a' + prng_.below(26)));
      return op;
    case 13:
      if (lax) return {};
      op.verb = Verb::resize;
      op.names = {world_.path(pick_volume())};
      op.size = pick_size();
      return op;
    default: break;
  }
  if (snapshot == 0) return pick_snapshot();
  op.names = {world_.snapshot_path(snapshot)};
  switch (prng_.below(10)) {
    case 0:
      op.verb = prng_.chance(1, 2) ? Verb::hold : Verb::release;
      op.other = fmt::format("tag{}", prng_.below(2));
      return op;
    case 1:
      op.verb = Verb::bookmark;
      op.other = world_.path(world_.snapshots.at(snapshot).dataset) + "#" + fresh_name("b");
      return op;
    case 2:
    case 3:
    case 4:
      if (lax) return {};
      op.verb = Verb::rollback;
      op.recursive = prng_.chance(2, 3);
      return op;
    case 5:
    case 6:
      if (clones.empty()) break;
      op.verb = Verb::promote;
      op.names = {world_.path(clones[prng_.below(clones.size())])};
      return op;
    default: break;
  }
  if (volumes >= kVolumesMax) return pick_destroy();
  op.verb = Verb::clone;
  op.other = pick_group() + "/" + fresh_name("c");
  return op;
}

// Whose order of snapshots or children an operation has to do with.
std::set<u64> History::touched(const AdminOp& op) const {
  std::set<u64> result;
  const auto add = [&](std::string path) {
    path = path.substr(0, path.find_first_of("@#"));
    u64 id = world_.find_dataset(path);
    if (id == 0 && path.rfind('/') != path.npos)
      id = world_.find_dataset(path.substr(0, path.rfind('/')));
    if (id == 0) return;
    if (!op.recursive) result.insert(id);
    if (op.recursive) {
      for (const u64 each : world_.below(id)) result.insert(each);
    }
  };
  for (const std::string& name : op.names) add(name);
  if (op.verb == Verb::clone) add(op.other);
  return result;
}

Task<> History::quiesce() {
  auto joined = co_await scope_->join();
  (void)joined;
  co_await rt::sleep_for(*sync_lane_,
                         2'000'000);  // Until lanes have let go of snapshots looked into.
  co_return {};
}

Task<> History::start_admin() {
  std::vector<AdminOp> ops;
  std::set<u64> touches;
  bool quiet = false, alone = false;
  const u64 count = prng_.chance(1, 8) ? prng_.between(2, 4) : 1;
  bool snapshots = false;
  for (u64 each = 0; each < count; ++each) {
    std::optional<AdminOp> op = pick_admin();
    if (!op || op->names.empty()) continue;
    touches.merge(touched(*op));
    quiet = quiet || needs_quiet(*op);
    alone = alone || needs_alone(*op);
    snapshots = snapshots || op->verb == Verb::snapshot;
    ops.push_back(std::move(*op));
  }
  if (ops.empty()) co_return {};
  const bool meets =
      alone_ || std::ranges::any_of(admin_, [&](const InFlight& other) {
        return std::ranges::any_of(touches, [&](u64 id) { return other.touches.contains(id); });
      });
  if (quiet || alone || meets || admin_.size() >= kAdminMax) {
    auto calm = co_await quiesce();
    (void)calm;
  }
  if (life_failed_ || !violation_.empty()) co_return {};
  for (const AdminOp& op : ops) {
    if (op.verb != Verb::clone && op.verb != Verb::rollback) continue;
    const u64 snapshot = world_.find_snapshot(op.names.at(0));
    if (snapshot == 0 || world_.snapshots.at(snapshot).content.settled()) continue;
    auto why = co_await compare_snapshot(world_, snapshot);
    if (why && !why->empty()) wrong(*why);
    if (!world_.snapshots.at(snapshot).content.settled()) co_return {};
  }
  if (quiet) {
    auto closed = co_await close_all();
    (void)closed;
    auto done = co_await administrate(std::move(ops), std::move(touches));
    (void)done;
  } else {
    if (snapshots && !alone && prng_.chance(1, 2)) {
      auto started = co_await start_turns();
      (void)started;
    }
    alone_ = alone;
    scope_->spawn(administrate(std::move(ops), std::move(touches)));
  }
  co_return {};
}

Task<> History::administrate(std::vector<AdminOp> ops, std::set<u64> touches) {
  const u64 id = ++ids_;
  const Stamp asked = tick();
  std::string text;
  for (const AdminOp& op : ops) text += (text.empty() ? "" : "; ") + op.describe();
  note(fmt::format("admin {}: {}", id, text));
  admin_.push_back({id, ops, asked, std::move(touches), false});
  watching_.insert(asked);
  ++counts_.admin;
  std::vector<AdminOp> copy = ops;
  auto result = co_await subject_->admin(std::move(copy));
  const Stamp answered = tick();
  AdminAnswer answer = result ? *result : AdminAnswer{.unknown = true, .why = "no answer"};
  if (!answer.done && !answer.unknown) {
    const auto space = co_await subject_->space();
    answer.unknown =
        !space || space->failed;  // Its group may have got to the disk before the pool failed.
  }
  note(fmt::format("admin {} {}", id, answer.done ? "done" : "refused: " + answer.why));
  alone_ = false;
  const auto entry = std::ranges::find(admin_, id, &InFlight::id);
  if (answer.unknown) {  // It stays in the list: a crash may yet bring it to light.
    entry->unknown = true;
    life_failed_ = true;
    if (!faulty_ && !damaged_)
      wrong(fmt::format("'{}' failed in the engine: {}", text, answer.why));
    co_return {};
  }
  admin_.erase(entry);
  watching_.erase(watching_.find(asked));
  World trial = world_;
  std::string refused;
  for (const AdminOp& op : ops) {
    if (refused.empty()) refused = trial.apply(op, asked, answered);
  }
  if (answer.done) {
    if (!refused.empty())
      wrong(fmt::format("'{}' was done, yet should be refused: {}", text, refused));
    world_ = std::move(trial);
    for (auto& [dataset, each] : world_.datasets) {
      if (answer.committed) each.content.durable(asked, floor());
    }
    co_return {};
  }
  ++counts_.refused;
  // A full pool refuses much, but never to give space back.
  const bool gives_back =
      std::ranges::all_of(ops, [](const AdminOp& op) { return op.verb == Verb::destroy; });
  // What a snapshot sees is told by groups, so the engine does not shrink a volume in the one that
  // takes it.
  const bool shrinks = text.find("snapshot") != text.npos && text.find("resize") != text.npos;
  const bool excused = (answer.error == Errc::no_space && !gives_back) || shrinks;
  if (refused.empty() && !excused && !faulty_ && !damaged_) {
    wrong(fmt::format("'{}' was refused without a reason: {}", text, answer.why));
  }
  co_return {};
}

}  // namespace coppice::simtest
