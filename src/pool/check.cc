// The whole pool against itself: for tests, and for `coppice pool check` of an idle pool.
//
// Theory. Every tree is walked in full and everything it names is marked. Then the marks must be
// the used set, each dataset's accounts must be the sums of what was found, and every entry of the
// dead index must belong to someone. Data blocks are read and checked once each.
#include <algorithm>

#include "base/crc32c.h"
#include "io/aligned.h"
#include "pool/engine.h"
#include "pool/node.h"

namespace coppice::pool {
namespace {
constexpr size_t kContradictionsMax = 100;
}  // namespace

class Checker {
 public:
  explicit Checker(Engine& engine)
      : engine_(engine), marked_(engine.uberblock_.device_blocks), read_(marked_.size()) {}

  Task<std::vector<std::string>> run() {
    const NodePtr catalog = engine_.uberblock_.catalog;
    const NodePtr dead = engine_.uberblock_.dead_index;
    Counts metadata;
    Task<> first = visit("the catalog", catalog, Txg{}, 0, false, metadata);
    co_await ok(std::move(first));
    Task<> second = visit("the dead index", dead, Txg{}, 0, false, metadata);
    co_await ok(std::move(second));
    expect("blocks of catalog and dead index", metadata.blocks, engine_.metadata_blocks_);
    std::vector<DatasetId> pending{engine_.catalog_->root()};
    while (!pending.empty()) {
      const DatasetId id = pending.back();
      pending.pop_back();
      for (const DatasetId child : engine_.catalog_->children(id)) pending.push_back(child);
      if (engine_.catalog_->volume_state(id) == nullptr) continue;
      Task<> volume = check_volume(id);
      co_await ok(std::move(volume));
    }
    Task<> working = check_jobs();
    co_await ok(std::move(working));
    Task<> counting = count_dead();
    co_await ok(std::move(counting));
    compare_used();
    co_return std::move(found_);
  }

 private:
  struct Counts {
    u64 blocks = 0;   // Reachable: data and nodes.
    u64 logical = 0;  // Data.
    u64 old = 0;      // Of blocks: born at or before `old_upto`.
    u64 young = 0;    // Of blocks: born after `young_after`.
    Txg old_upto{}, young_after{};
  };

  class Visitor final : public Walk {
   public:
    Visitor(Checker& checker, std::string owner, Txg born_after, u64 from, bool is_map,
            Counts& counts)
        : checker_(checker),
          owner_(std::move(owner)),
          born_after_(born_after),
          from_(from),
          is_map_(is_map),
          counts_(counts) {}
    bool enter(const NodePtr& ptr) override { return ptr.birth > born_after_; }
    Task<> node(const NodePtr& ptr, const Node& node) override {
      count(ptr.run(), ptr.birth);
      if (!is_map_ || ptr.level > 0) co_return {};
      u64 end = 0;
      for (size_t i = 0; i < node.count(); ++i) {
        const std::string key = node.key(i);
        Result<MapExtent> extent = decode_extent(key, node.value(i));
        if (!extent) {
          checker_.say(owner_ + ": " + describe(extent.error()));
          continue;
        }
        if (extent->lba < end) checker_.say(owner_ + ": extents overlap");
        end = extent->end();
        if (extent->birth > ptr.birth)
          checker_.say(owner_ + ": an extent is younger than its node");
        if (extent->birth <= born_after_ || extent->lba < from_) continue;
        count({extent->addr, extent->count}, extent->birth);
        counts_.logical += extent->count;
        Task<> reading = checker_.read_extent(owner_, *extent);
        co_await ok(std::move(reading));
      }
      co_return {};
    }
    Result<> bad(const NodePtr&, const Error& error) override {
      checker_.say(owner_ + ": a tree node cannot be read: " + describe(error));
      return {};
    }
    Task<> leave(const NodePtr&) override { co_return {}; }

   private:
    void count(Run run, Txg birth) {
      checker_.mark(owner_, run);
      counts_.blocks += run.count;
      if (birth <= counts_.old_upto) counts_.old += run.count;
      if (birth > counts_.young_after) counts_.young += run.count;
    }
    Checker& checker_;
    const std::string owner_;
    const Txg born_after_;
    const u64 from_;
    const bool is_map_;
    Counts& counts_;
  };

  void say(std::string line) {
    if (found_.size() < kContradictionsMax) found_.push_back(std::move(line));
  }
  void expect(const std::string& what, u64 counted, u64 recorded) {
    if (counted == recorded) return;
    say(what + ": " + std::to_string(counted) + " counted, " + std::to_string(recorded) +
        " recorded");
  }
  void mark(const std::string& owner, Run run) {
    if (!engine_.space_->in_range(run)) return say(owner + ": names blocks outside the pool");
    for (u32 i = 0; i < run.count; ++i) marked_[raw(run.start) + i] = true;
  }
  Task<> visit(std::string owner, NodePtr root, Txg born_after, u64 from, bool is_map,
               Counts& counts) {
    if (root.empty()) co_return {};
    Visitor visitor(*this, std::move(owner), born_after, from, is_map, counts);
    const std::string key = from == 0 ? std::string() : map_key(from);
    Task<> walking = walk(engine_.nodes_, root, key, visitor);
    co_return co_await std::move(walking);
  }

  Task<> read_extent(const std::string& owner, const MapExtent& extent) {
    bool all_read = true;
    for (u32 i = 0; i < extent.count; ++i)
      if (raw(extent.addr) + i < read_.size()) {
        all_read = all_read && read_[raw(extent.addr) + i];
        read_[raw(extent.addr) + i] = true;
      }
    if (all_read) co_return {};
    AlignedBuffer bytes(u64{extent.count} * kBlock);
    Task<> reading = engine_.disk().read(byte_offset(extent.addr), bytes.span());
    Result<> read = co_await std::move(reading);
    for (u32 i = 0; i < extent.count; ++i) {
      if (read && crc32c(bytes.span().subspan(u64{i} * kBlock, kBlock)) == extent.crcs[i]) continue;
      say(owner + ": 4096 bytes at " + std::to_string((extent.lba + i) * kBlock) +
          " do not match their checksum");
    }
    co_return {};
  }

  Task<> check_volume(DatasetId id) {
    const Catalog& catalog = *engine_.catalog_;
    const VolumeState state = *catalog.volume_state(id);
    const std::string name = full_name(catalog, id);
    Counts live;
    live.old_upto = state.origin_txg;
    live.young_after = std::max(state.origin_txg, state.last_snapshot);
    Task<> visiting = visit(name, state.live.root, Txg{}, 0, true, live);
    co_await ok(std::move(visiting));
    expect(name + " referenced", live.blocks, state.live.referenced_blocks);
    expect(name + " logical", live.logical, state.live.logical_blocks);
    expect(name + " inherited", live.old, state.inherited_blocks);
    expect(name + " written", live.young, state.written_blocks);
    std::vector<Txg> seers;
    for (const SnapshotId snapshot : catalog.snapshots(id)) {
      const Snapshot record = *catalog.snapshot(snapshot);
      if (!seers.empty() && record.createtxg < seers.back())
        say(name + ": its snapshots are not in order of creation");
      seers.push_back(record.createtxg);
      Counts counts;
      Task<> snapping =
          visit(full_name(catalog, snapshot), record.tree.root, Txg{}, 0, true, counts);
      co_await ok(std::move(snapping));
      expect(full_name(catalog, snapshot) + " referenced", counts.blocks,
             record.tree.referenced_blocks);
    }
    expect(name + " last snapshot", seers.empty() ? 0 : raw(seers.back()),
           raw(state.last_snapshot));
    u64 own = 0, inherited = 0, unseen = 0;
    const std::function<void(const DeadEntry&)> look = [&](const DeadEntry& entry) {
      ++dead_entries_;
      if (entry.birth <= state.origin_txg) {
        inherited += entry.run.count;
        return;
      }
      own += entry.run.count;
      mark(name + " (dead)", entry.run);
      const auto first = std::lower_bound(seers.begin(), seers.end(), entry.birth);
      if (first == seers.end() || *first >= entry.death) unseen += entry.run.count;
    };
    const NodePtr dead = engine_.uberblock_.dead_index;
    Task<> scanning = for_each_dead(engine_.nodes_, dead, state.dead, Txg{}, kForever, look);
    co_await ok(std::move(scanning));
    expect(name + " dead", own, state.dead_blocks);
    expect(name + " inherited dead", inherited, state.inherited_dead_blocks);
    if (catalog.jobs().empty()) expect(name + " dead that nobody sees", unseen, 0);
    co_return {};
  }

  // What jobs have still to free is used until they have.
  Task<> check_jobs() {
    for (const auto& [id, job] : engine_.catalog_->jobs()) {
      if (const auto* tree = std::get_if<FreeTree>(&job.work)) {
        Counts counts;
        Task<> visiting =
            visit("a tree being freed", tree->root, tree->keep_upto, tree->cursor, true, counts);
        co_await ok(std::move(visiting));
      } else if (const auto* drop = std::get_if<DropDead>(&job.work)) {
        const std::function<void(const DeadEntry&)> look = [&](const DeadEntry& entry) {
          ++dead_entries_;
          if (entry.birth > drop->keep_upto) mark("a dead slice being dropped", entry.run);
        };
        Task<> scanning = for_each_dead(engine_.nodes_, engine_.uberblock_.dead_index,
                                        {drop->slice}, Txg{}, kForever, look);
        co_await ok(std::move(scanning));
      }
    }
    co_return {};
  }

  Task<> count_dead() {
    u64 entries = 0;
    Cursor cursor(engine_.nodes_, engine_.uberblock_.dead_index);
    Task<> seeking = cursor.seek({});
    co_await ok(std::move(seeking));
    while (!cursor.at_end()) {
      ++entries;
      Task<> stepping = cursor.next();
      co_await ok(std::move(stepping));
    }
    expect("entries of the dead index that belong to someone", dead_entries_, entries);
    co_return {};
  }

  void compare_used() {
    u64 leaked = 0, lost = 0;
    for (u64 at = 0; at < marked_.size(); ++at) {
      const bool used = engine_.space_->is_used(BlockAddr(at));
      leaked += used && !marked_[at];
      lost += !used && marked_[at];
    }
    expect("used blocks that nothing names", leaked, 0);
    expect("named blocks that are not used", lost, 0);
  }

  Engine& engine_;
  std::vector<bool> marked_, read_;
  std::vector<std::string> found_;
  u64 dead_entries_ = 0;
};

Task<std::vector<std::string>> Engine::check() {
  Task<> syncing = sync();
  co_await ok(std::move(syncing));
  checking_ = true;  // No group begins meanwhile: the used set must stand still.
  Task<> settling = between_groups();
  co_await ok(std::move(settling));
  space_->hold();
  Checker checker(*this);
  Task<std::vector<std::string>> running = checker.run();
  Result<std::vector<std::string>> found = co_await std::move(running);
  checking_ = false;
  wanted_.pulse();
  space_->unhold();
  co_return std::move(found);
}

}  // namespace coppice::pool
