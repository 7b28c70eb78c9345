// Reading and checking everything a pool holds, while it is in use.
//
// Theory. A scrub visits the live tree of every volume and every snapshot, in order of their ids,
// and of each tree only what was born after the snapshot before it: so every block is read once. It
// goes in steps. During a step the Space is held: what dies is not reused, so a tree that was
// current when the step began stays readable to its end. Where the scrub has got to is kept in the
// catalog, and committed with the next group.
#include <algorithm>
#include <charconv>

#include "base/crc32c.h"
#include "io/aligned.h"
#include "pool/engine.h"
#include "pool/events.h"
#include "pool/node.h"

namespace coppice::pool {
namespace {
constexpr u64 kStepBlocks = 64_MiB / kBlock;
constexpr u64 kPauseNs = 1'000'000;  // Between steps, for others.
constexpr const char* kStateName = "scrub";
}  // namespace

// One step over one tree.
class ScrubWalk final : public Walk {
 public:
  ScrubWalk(NodeStore& nodes, Txg born_after, u64 from, std::string owner, bool is_map,
            ScrubStatus& status)
      : nodes_(nodes),
        born_after_(born_after),
        from_(from),
        next_(from),
        owner_(std::move(owner)),
        is_map_(is_map),
        status_(status) {}
  bool enter(const NodePtr& ptr) override { return ptr.birth > born_after_; }
  Task<> node(const NodePtr& ptr, const Node& node) override {
    status_.examined_blocks += ptr.blocks;
    blocks_ += ptr.blocks;
    // The node may have come from memory: what is on the device is what matters.
    Task<> reading = check_node(ptr);
    co_await ok(std::move(reading));
    if (!is_map_ || ptr.level > 0) co_return {};
    if (blocks_ >= kStepBlocks) {
      next_ = map_lba(node.key(0));
      co_return fail(Errc::cancelled, "scrub more in one step");
    }
    for (size_t i = 0; i < node.count(); ++i) {
      const std::string key = node.key(i);
      const MapExtent extent = co_await ok(decode_extent(key, node.value(i)));
      if (extent.birth <= born_after_ || extent.end() <= from_) continue;
      Task<> checking = check_extent(extent);
      co_await ok(std::move(checking));
    }
    co_return {};
  }
  Result<> bad(const NodePtr& ptr, const Error&) override {
    note("map node at device byte " + std::to_string(byte_offset(ptr.addr)));
    return {};
  }
  Task<> leave(const NodePtr&) override { co_return {}; }
  u64 next() const { return next_; }

 private:
  Task<> check_node(const NodePtr& ptr) {
    AlignedBuffer bytes(u64{ptr.blocks} * kBlock);
    Task<> reading = nodes_.disk().read(byte_offset(ptr.addr), bytes.span());
    Result<> read = co_await std::move(reading);
    if (read && crc32c(bytes.span()) == ptr.crc) co_return {};
    note("tree node at device byte " + std::to_string(byte_offset(ptr.addr)));
    if (read) fire(ptr.addr);
    co_return {};
  }
  Task<> check_extent(const MapExtent& extent) {
    AlignedBuffer bytes(u64{extent.count} * kBlock);
    Task<> reading = nodes_.disk().read(byte_offset(extent.addr), bytes.span());
    Result<> read = co_await std::move(reading);
    for (u32 i = 0; i < extent.count; ++i) {
      if (read && crc32c(bytes.span().subspan(u64{i} * kBlock, kBlock)) == extent.crcs[i]) continue;
      note("4096 bytes at " + std::to_string((extent.lba + i) * kBlock));
      if (read) fire(extent.addr + i);
    }
    status_.examined_blocks += extent.count;
    blocks_ += extent.count;
    co_return {};
  }
  void note(const std::string& what) {
    ++status_.errors;
    if (status_.damaged.size() < kDamagedMax) status_.damaged.push_back(owner_ + ": " + what);
  }

  // Failed reads have been told of where the disk is read.
  void fire(BlockAddr addr) {
    if (!trace::on(trace::Point::error)) return;
    fire_error({.time_ns = nodes_.executor().now_ns(),
                .pool_guid = nodes_.pool_guid(),
                .disk_offset = byte_offset(addr),
                .kind = COPPICE_ERROR_CHECKSUM},
               {Errc::corrupt, "scrub", 0, owner_ + ": a checksum is wrong", {}});
  }

  NodeStore& nodes_;
  const Txg born_after_;
  const u64 from_;
  u64 next_;
  const std::string owner_;
  const bool is_map_;
  ScrubStatus& status_;
  u64 blocks_ = 0;
};

namespace {

// The next thing to scrub after (tree, lba): trees are numbered by the id of their dataset or
// snapshot; 0 is the catalog and the dead index together.
std::vector<DatasetId> volumes_from(const Catalog& catalog) {
  std::vector<DatasetId> volumes, pending{catalog.root()};
  while (!pending.empty()) {
    const DatasetId id = pending.back();
    pending.pop_back();
    if (catalog.volume_state(id) != nullptr) volumes.push_back(id);
    for (const DatasetId child : catalog.children(id)) pending.push_back(child);
  }
  std::sort(volumes.begin(), volumes.end());
  return volumes;
}

}  // namespace

Task<> Engine::scrub_start() {
  if (scrub_.state == ScrubStatus::State::running)
    co_return fail(Errc::busy, "start a scrub", "one is running already");
  if (scrub_.state != ScrubStatus::State::paused) {
    scrub_ = ScrubStatus{};
    scrub_at_ = ScrubPlace{};
    scrub_.started_s = sync_executor().wall_ns() / 1'000'000'000;
  }
  scrub_.state = ScrubStatus::State::running;
  scrub_.to_examine_blocks = space_->used_blocks();
  scrub_stop_ = false;
  save_scrub();
  background_.spawn(run_scrub());
  co_return {};
}

void Engine::scrub_pause() {
  if (scrub_.state == ScrubStatus::State::running) scrub_stop_ = true;
}

Task<> Engine::scrub_cancel() {
  scrub_stop_ = true;
  while (scrub_running_) co_await scrub_event_.wait();
  scrub_ = ScrubStatus{};
  scrub_at_ = ScrubPlace{};
  save_scrub();
  co_return {};
}

Task<> Engine::run_scrub() {
  scrub_running_ = true;
  Result<bool> more = true;
  while (more && *more && !scrub_stop_ && !stopping_ && !shared_.failed) {
    while (frozen_ && !shared_.failed) co_await thawed_.wait();
    space_->hold();
    Task<bool> stepping = scrub_step();
    more = co_await std::move(stepping);
    space_->unhold();
    while (frozen_ && !shared_.failed) co_await thawed_.wait();
    save_scrub();
    co_await rt::sleep_for(sync_executor(), kPauseNs);
  }
  scrub_.state = more && *more ? ScrubStatus::State::paused : ScrubStatus::State::finished;
  if (scrub_.state == ScrubStatus::State::finished) {
    scrub_.ended_s = sync_executor().wall_ns() / 1'000'000'000;
    if (!more) ++scrub_.errors;
    if (scrub_.errors > 0)
      warn("scrub of pool '" + name() + "' found " + std::to_string(scrub_.errors) + " errors");
  }
  save_scrub();
  scrub_running_ = false;
  scrub_event_.pulse();
  co_return {};
}

// Scrubs from scrub_at_ on, at most kStepBlocks of one tree. false: there is nothing after it.
Task<bool> Engine::scrub_step() {
  if (!scrub_at_.roots_done) {
    for (const NodePtr root : {uberblock_.catalog, uberblock_.dead_index}) {
      ScrubWalk walk_all(nodes_, Txg{}, 0, name() + " (metadata)", false, scrub_);
      Task<> walking = walk(nodes_, root, {}, walk_all);
      co_await ok(std::move(walking));
    }
    scrub_at_.roots_done = true;
    co_return true;
  }
  for (const DatasetId id : volumes_from(*catalog_)) {
    if (id < scrub_at_.volume) continue;
    if (id > scrub_at_.volume) scrub_at_ = {true, id, SnapshotId{}, false, 0, Txg{}};
    const VolumeState& state = *catalog_->volume_state(id);
    // The snapshot that is under way, or the first one after those done; after the last the live
    // tree.
    SnapshotId snapshot = scrub_at_.snapshot;
    if (!scrub_at_.live && catalog_->snapshot(snapshot) == nullptr)
      snapshot = catalog_->first_snapshot_after(id, scrub_at_.done_upto);
    const Snapshot* record = scrub_at_.live ? nullptr : catalog_->snapshot(snapshot);
    if (record != nullptr && raw(record->createtxg) == 0) record = nullptr;
    const Snapshot* before = nullptr;
    if (record != nullptr) {
      before = catalog_->snapshot(catalog_->before(snapshot));
    } else {
      before = catalog_->snapshot(catalog_->last_snapshot_upto(id, durable_));
    }
    const Txg born_after = std::max(state.origin_txg, before ? before->createtxg : Txg{});
    const NodePtr root = record != nullptr ? record->tree.root : state.live.root;
    const std::string owner =
        record != nullptr ? full_name(*catalog_, snapshot) : full_name(*catalog_, id);
    const Txg txg = record != nullptr ? record->createtxg : Txg{};
    ScrubWalk walk_one(nodes_, born_after, scrub_at_.lba, owner, true, scrub_);
    const std::string from = scrub_at_.lba == 0 ? std::string() : map_key(scrub_at_.lba);
    Task<> walking = walk(nodes_, root, from, walk_one);
    Result<> walked = co_await std::move(walking);
    if (!walked && walked.error().code != Errc::cancelled)
      co_return std::unexpected(walked.error());
    if (!walked) {
      scrub_at_.snapshot = snapshot;
      scrub_at_.live = raw(txg) == 0;
      scrub_at_.lba = walk_one.next();
    } else if (raw(txg) != 0) {
      scrub_at_ = {true, id, SnapshotId{}, false, 0, txg};
    } else {
      scrub_at_ = {true, DatasetId(raw(id) + 1), SnapshotId{}, false, 0, Txg{}};
    }
    co_return true;
  }
  co_return false;
}

void Engine::save_scrub() {
  const ScrubPlace& at = scrub_at_;
  std::string text;
  for (const u64 field :
       {u64(scrub_.state), scrub_.examined_blocks, scrub_.to_examine_blocks, scrub_.errors,
        scrub_.started_s, scrub_.ended_s, u64(at.roots_done), raw(at.volume), raw(at.snapshot),
        u64(at.live), at.lba, raw(at.done_upto)})
    text += std::to_string(field) + " ";
  for (const std::string& line : scrub_.damaged) text += "\n" + line;
  catalog_->set_value(kStateName, std::move(text));
  shared_.open_changed = true;
}

void Engine::load_scrub() {
  const std::optional<std::string> text = catalog_->value(kStateName);
  if (!text) return;
  u64 fields[12] = {};
  const char* at = text->data();
  const char* end = at + text->size();
  for (u64& field : fields) {
    const auto parsed = std::from_chars(at, end, field);
    if (parsed.ec != std::errc{} || parsed.ptr == end) return;
    at = parsed.ptr + 1;
  }
  const u8 state = static_cast<u8>(std::min<u64>(fields[0], 3));
  scrub_.state = static_cast<ScrubStatus::State>(state);
  scrub_.examined_blocks = fields[1];
  scrub_.to_examine_blocks = fields[2];
  scrub_.errors = fields[3];
  scrub_.started_s = fields[4];
  scrub_.ended_s = fields[5];
  scrub_at_ = {fields[6] != 0, DatasetId(fields[7]), SnapshotId(fields[8]),
               fields[9] != 0, fields[10],           Txg(fields[11])};
  for (const char* line = at; line < end;) {
    const char* stop = std::find(line, end, '\n');
    if (stop != line) scrub_.damaged.emplace_back(line, stop);
    line = stop == end ? end : stop + 1;
  }
  if (scrub_.state != ScrubStatus::State::running) return;
  background_.spawn(run_scrub());  // It was running when the pool went down.
}

}  // namespace coppice::pool
