// What commits left to be done in the background: a bounded piece of it in every group.
//
// Theory. Each piece is part of a group: what it frees and how far it got become durable together.
// A job that ends is erased from the catalog in the same group.
#include <algorithm>

#include "pool/engine.h"
#include "pool/node.h"
#include "trace/point.h"

namespace coppice::pool {
namespace {
constexpr u64 kJobStepsMax = 100'000;  // Extents or entries looked at in one group.
constexpr size_t kTurnItems = 1024;
constexpr size_t kJobsPerGroup = 4096;
constexpr u64 kJobsNs = 20'000'000;  // After that no other is begun in the group.
constexpr size_t kJobsPerTurn = 64;  // Of the lane.

// Frees a tree from the left. Aborts with `cancelled` before the leaf at which it has done enough.
class TreeFreer final : public Walk {
 public:
  TreeFreer(NodeStore& nodes, Space& space, Txg txg, Txg keep_upto, u64 from)
      : nodes_(nodes), space_(space), txg_(txg), keep_upto_(keep_upto), next_(from) {}
  bool enter(const NodePtr& ptr) override { return ptr.birth > keep_upto_; }
  Task<> node(const NodePtr& ptr, const Node& node) override {
    if (ptr.level > 0) co_return {};
    if (steps_ >= kJobStepsMax) {
      next_ = map_lba(node.key(0));
      co_return fail(Errc::cancelled, "free a tree in one group");
    }
    for (size_t i = 0; i < node.count(); ++i) {
      const std::string key = node.key(i);
      const ExtentView extent = co_await ok(view_extent(key, node.value(i)));
      ++steps_;
      if (extent.birth > keep_upto_) free({extent.addr, extent.count});
    }
    co_await rt::yield(nodes_.executor());
    co_return {};
  }
  Result<> bad(const NodePtr& ptr, const Error& error) override {
    leaked_ += ptr.blocks;
    if (error.code == Errc::corrupt) return {};  // What hangs below is lost: it stays used.
    return std::unexpected(error);
  }
  Task<> leave(const NodePtr& ptr) override {
    free(ptr.run());
    co_return {};
  }
  u64 next() const { return next_; }
  u64 freed() const { return freed_; }
  u64 leaked() const { return leaked_; }

 private:
  void free(Run run) {
    space_.kill(txg_, run);
    freed_ += run.count;
  }
  NodeStore& nodes_;
  Space& space_;
  const Txg txg_, keep_upto_;
  u64 next_;
  u64 steps_ = 0, freed_ = 0, leaked_ = 0;
};

}  // namespace

// Many are small (a program may destroy thousands of volumes): those share a group.
Task<> Engine::run_jobs(Commit& commit) {
  const u64 begun = sync_executor().now_ns();
  for (size_t count = 0; count < kJobsPerGroup && !catalog_->jobs().empty(); ++count) {
    Task<bool> running = run_job(commit);
    const bool ended = co_await ok(std::move(running));
    want_group();  // There may be more, and what was freed is reusable one group later.
    if (!ended || sync_executor().now_ns() - begun >= kJobsNs) co_return {};
    // The next looks at the index: what this one took out of it must be gone.
    Task<> merging = merge_dead(commit);
    co_await ok(std::move(merging));
    if (count % kJobsPerTurn == kJobsPerTurn - 1) co_await rt::yield(sync_executor());
  }
  co_return {};
}

// The next in turn. Whether it has ended.
Task<bool> Engine::run_job(Commit& commit) {
  auto at = catalog_->jobs().upper_bound(job_cursor_);  // Take turns among jobs.
  if (at == catalog_->jobs().end()) at = catalog_->jobs().begin();
  Job job = at->second;
  job_cursor_ = job.id;
  u64 freed = 0;
  bool done = false;
  if (auto* tree = std::get_if<FreeTree>(&job.work)) {
    Task<bool> working = free_tree(commit, *tree, freed);
    done = co_await ok(std::move(working));
  } else if (auto* prune = std::get_if<PruneDead>(&job.work)) {
    Task<bool> working = prune_dead(commit, *prune, freed);
    done = co_await ok(std::move(working));
  } else if (auto* drop = std::get_if<DropDead>(&job.work)) {
    Task<bool> working = drop_dead(commit, *drop, freed);
    done = co_await ok(std::move(working));
  }
  job.blocks_left -= std::min(job.blocks_left, freed);
  if (trace::on(trace::Point::job_step)) [[unlikely]]
    trace::fire(trace::Point::job_step, {this, job.id, done, freed});
  if (done) {
    catalog_->erase_job(job.id);
  } else {
    catalog_->put_job(std::move(job));
  }
  co_return done;
}

Task<bool> Engine::free_tree(Commit& commit, FreeTree& work, u64& freed) {
  TreeFreer freer(nodes_, *space_, commit.txg, work.keep_upto, work.cursor);
  const std::string from = work.cursor == 0 ? std::string() : map_key(work.cursor);
  Task<> walking = walk(nodes_, work.root, from, freer);
  Result<> walked = co_await std::move(walking);
  freed = freer.freed();
  if (freer.leaked() > 0)
    warn("pool '" + name() + "': a damaged map node hides blocks that should have been freed");
  if (walked) co_return true;
  if (walked.error().code != Errc::cancelled) co_return std::unexpected(walked.error());
  work.cursor = freer.next();
  co_return false;
}

namespace {

// Of one volume's snapshots, the youngest that can see a block that died in a given group. Deaths
// are asked for in ascending order, so the answer only moves forward.
class Survivors {
 public:
  Survivors(const Catalog& catalog, DatasetId dataset, Txg first_death) : catalog_(catalog) {
    const Txg before = Txg(raw(first_death) - 1);
    if (const Snapshot* last = catalog.snapshot(catalog.last_snapshot_upto(dataset, before)))
      last_ = last->createtxg;
    next_ = catalog.first_snapshot_after(dataset, before);
  }
  Txg last_before(Txg death) {
    for (;;) {
      const Snapshot* next = catalog_.snapshot(next_);
      if (next == nullptr || raw(next->createtxg) == 0 || next->createtxg >= death) return last_;
      last_ = next->createtxg;
      next_ = catalog_.after(next_);
    }
  }

 private:
  const Catalog& catalog_;
  Txg last_{};  // 0: none.
  SnapshotId next_{};
};

}  // namespace

Task<bool> Engine::prune_dead(Commit& commit, PruneDead& work, u64& freed) {
  VolumeState* state = catalog_->edit_volume_state(work.dataset);
  if (state == nullptr) co_return true;
  const std::vector<Slice> slices = clip(state->dead, work.after, work.upto);
  u64 steps = 0;
  bool resumed = work.cursor.empty();
  for (const Slice& slice : slices) {
    DeadScan scan(nodes_, commit.dead_root, slice, slice.after, slice.upto);
    const std::string low = dead_key(slice.segment, next(slice.after), Txg{}, BlockAddr{});
    const std::string high = dead_key(slice.segment, slice.upto, Txg(~u64{0}), BlockAddr(~u64{0}));
    if (!resumed && !(work.cursor >= low && work.cursor <= high)) continue;
    const std::string from = resumed ? std::string() : work.cursor;
    Task<> beginning = scan.begin(from);
    co_await ok(std::move(beginning));
    resumed = true;
    Survivors survivors(*catalog_, work.dataset, next(slice.after));
    DeadEntry entry;
    for (;;) {
      Task<bool> stepping = scan.next(entry);
      const bool more = co_await ok(std::move(stepping));
      if (!more) break;
      if (steps++ >= kJobStepsMax) {
        work.cursor = scan.key();
        co_return false;
      }
      if (steps % kTurnItems == 0) co_await rt::yield(sync_executor());
      state = catalog_->edit_volume_state(work.dataset);
      if (entry.birth <= state->origin_txg) continue;
      if (entry.birth <= survivors.last_before(entry.death)) continue;
      space_->kill(commit.txg, entry.run);
      commit.dead.erase(std::string(scan.key()));
      freed += entry.run.count;
      CHECK(state->dead_blocks >= entry.run.count);
      state->dead_blocks -= entry.run.count;
    }
  }
  if (!resumed) {  // The slice it was in has moved to another dataset, whose job goes on with it.
    work.cursor.clear();
    co_return false;
  }
  co_return true;
}

Task<bool> Engine::drop_dead(Commit& commit, DropDead& work, u64& freed) {
  DeadScan scan(nodes_, commit.dead_root, work.slice, work.slice.after, work.slice.upto);
  Task<> beginning = scan.begin({});
  co_await ok(std::move(beginning));
  DeadEntry entry;
  for (u64 steps = 0;; ++steps) {
    Task<bool> stepping = scan.next(entry);
    const bool more = co_await ok(std::move(stepping));
    if (!more) co_return true;
    if (steps >= kJobStepsMax) co_return false;
    if (steps % kTurnItems == kTurnItems - 1) co_await rt::yield(sync_executor());
    commit.dead.erase(std::string(scan.key()));
    if (entry.birth <= work.keep_upto) continue;
    space_->kill(commit.txg, entry.run);
    freed += entry.run.count;
  }
}

Task<> Engine::wait_for_jobs() {
  while (!catalog_->jobs().empty()) {
    if (shared_.failed) co_return std::unexpected(failed_with_);
    want_group();
    co_await jobs_event_.wait();
  }
  Task<> syncing = sync();  // What the last one freed is reusable after one more group.
  co_return co_await std::move(syncing);
}

}  // namespace coppice::pool
