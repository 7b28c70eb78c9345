#include "pool/lane.h"

#include <algorithm>

#include "base/crc32c.h"
#include "pool/overlay.h"
#include "pool/volume.h"
#include "trace/point.h"

namespace coppice::pool {
namespace {
constexpr size_t kWritesAtOnce = 16;  // Runs on their way to the device.
constexpr size_t kTurnBlocks = 128;   // Checksummed before others have a turn.
constexpr size_t kEvictAtOnce = 64;
constexpr u32 kRunBlocksMax = static_cast<u32>(io::kPartsMax);
static_assert(kRunBlocksMax <= kExtentBlocksMax);
}  // namespace

IoLane::IoLane(Config config, Lane lane, Shared& shared, Control& control)
    : config_(config),
      lane_(lane),
      shared_(shared),
      control_(control),
      pages_(~u64{0}),
      cache_(static_cast<u64>(shared.cached_blocks_max) * kBlock),
      nodes_(*lane.executor, *lane.disk, config.node_cache_bytes, config.pool_guid),
      space_([this](u64 blocks) { return control_.grant(*lane_.executor, blocks); }) {}

IoLane::~IoLane() = default;

PageRef IoLane::take_page() {
  for (int tries = 0;; ++tries) {
    if (PageRef page = pages_.allocate()) return page;
    CHECK(tries < 1000);  // The system has no memory and the cache nothing to give.
    shared_.cached_blocks -= static_cast<i64>(cache_.evict(kEvictAtOnce));
  }
}

// The lanes share one limit, so that a busy one may have nearly all of it: whoever adds a block
// while there are too many lets two of its own go, down to its minimum.
void IoLane::keep(BlockAddr addr, Txg birth, PageRef page) {
  const i64 before = static_cast<i64>(cache_.blocks());
  if (shared_.cached_blocks.load(std::memory_order_relaxed) >= shared_.cached_blocks_max &&
      cache_.blocks() * kBlock > config_.cache_bytes_min)
    cache_.evict(2);
  cache_.insert(addr, birth, std::move(page));
  shared_.cached_blocks.fetch_add(static_cast<i64>(cache_.blocks()) - before,
                                  std::memory_order_relaxed);
}

// --- Volumes

Volume& IoLane::activate(const VolumeUpdate& update) {
  std::unique_ptr<Volume>& volume = volumes_[update.volume];
  if (!volume) volume = std::make_unique<Volume>(*this, update, false);
  volume->shrink_to(update.size_bytes);  // Of one that is still dirty that may have been accepted.
  return *volume;
}

Volume& IoLane::view_snapshot(SnapshotId id, const VolumeUpdate& update) {
  std::unique_ptr<Volume>& view = views_[id];
  if (!view) view = std::make_unique<Volume>(*this, update, true);
  return *view;
}

Volume* IoLane::find(DatasetId id) {
  const auto found = volumes_.find(id);
  return found == volumes_.end() ? nullptr : found->second.get();
}

void IoLane::hold(Volume& volume) { ++volume.holders; }

void IoLane::let_go(Volume& volume) {
  CHECK(volume.holders > 0);
  --volume.holders;
  if (idle(volume)) retire_idle();
}

// A flush under way looks at the volumes that wait for it.
bool IoLane::idle(const Volume& volume) const {
  return volume.holders == 0 && !volume.dirty() && !log_running_;
}

void IoLane::retire_idle() {
  std::erase_if(volumes_, [this](const auto& each) { return idle(*each.second); });
  std::erase_if(views_, [this](const auto& each) { return idle(*each.second); });
}

void IoLane::volume_dirtied(i64 bytes) {
  shared_.dirty_bytes.fetch_add(bytes, std::memory_order_relaxed);
  if (!shared_.open_changed.load(std::memory_order_relaxed)) shared_.open_changed = true;
  const i64 open = shared_.open_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  if (open >= shared_.group_bytes_max.load(std::memory_order_relaxed)) control_.want_group();
}

Task<> IoLane::wait_for_room() {
  while (shared_.dirty_bytes.load(std::memory_order_relaxed) >=
         shared_.dirty_bytes_max.load(std::memory_order_relaxed)) {
    if (shared_.failed) co_return fail(Errc::io, "write to a failed pool");
    control_.want_group();
    co_await room_.wait();
  }
  co_return {};
}

void IoLane::replay(Volume& volume, const LogSection& section) {
  if (trace::on(trace::Point::log_replay)) [[unlikely]]
    trace::fire(trace::Point::log_replay,
                {this, raw(section.volume), section.extents.size(), section.zeroed.size()});
  volume.apply_logged(section);
  for (const LogExtent& extent : section.extents)
    space_.adopt(open_, {extent.addr, static_cast<u32>(extent.crcs.size())});
}

// --- The group protocol

Task<> IoLane::flip(Txg closing) {
  CHECK(open_ == closing && !flipping_);
  flipping_ = true;
  open_ = next(closing);
  log_at_flip_ = log_next_;
  for (auto& [id, volume] : volumes_) {
    if (volume->open().empty() && volume->open().charged_blocks == 0) continue;
    shared_.open_bytes -= static_cast<i64>(volume->open().pages() * kBlock);
    volume->flip();
    closing_.push_back(id);
  }
  if (trace::on(trace::Point::group_flip)) [[unlikely]]
    trace::fire(trace::Point::group_flip, {this, raw(closing), closing_.size()});
  co_return {};
}

void IoLane::release() {
  CHECK(flipping_);
  flipping_ = false;
  if (trace::on(trace::Point::group_release)) [[unlikely]]
    trace::fire(trace::Point::group_release, {this, raw(open_)});
  released_.pulse();
}

Task<LaneReport> IoLane::write_group(Txg closing) {
  // A record under way may be writing blocks that are closing now.
  Task<> settling = log_settled();
  co_await ok(std::move(settling));
  LaneReport report;
  std::vector<Placed> placed;
  std::vector<std::vector<DirtyBlock*>> blocks;  // Of each closing volume.
  for (size_t i = 0; i < closing_.size(); ++i) {
    Volume& volume = *find(closing_[i]);
    blocks.push_back(volume.closing()->sorted());
    std::vector<DirtyBlock*> fresh = blocks.back();
    std::erase_if(fresh, [](const DirtyBlock* block) { return raw(block->addr) != 0; });
    Task<> writing = write_blocks(std::move(fresh), closing, placed);
    co_await ok(std::move(writing));
    volume.closing_written = true;
    written_.pulse();
  }
  for (size_t i = 0; i < closing_.size(); ++i) {
    report.volumes.emplace_back();
    Volume& volume = *find(closing_[i]);
    Task<> merging = merge_volume(volume, blocks[i], closing, report.volumes.back());
    co_await ok(std::move(merging));
  }
  report.taken = space_.report(closing);
  report.log = log_at_flip_;
  if (trace::on(trace::Point::group_written)) [[unlikely]]
    trace::fire(trace::Point::group_written, {this, raw(closing), closing_.size()});
  co_return report;
}

namespace {

// Dirty blocks that lie side by side both in the volume and on the device become one extent.
std::vector<MapExtent> extents_of(std::span<DirtyBlock* const> blocks, Txg birth) {
  std::vector<MapExtent> extents;
  for (const DirtyBlock* block : blocks) {
    CHECK(raw(block->addr) != 0);
    if (!extents.empty()) {
      MapExtent& last = extents.back();
      if (last.end() == block->lba && last.addr + last.count == block->addr &&
          last.count < kExtentBlocksMax) {
        ++last.count;
        last.crcs.push_back(block->crc);
        continue;
      }
    }
    extents.push_back({block->lba, block->addr, birth, 1, 0, std::vector<u32>{block->crc}});
  }
  return extents;
}

}  // namespace

Task<> IoLane::merge_volume(Volume& volume, std::span<DirtyBlock* const> blocks, Txg closing,
                            VolumeReport& report) {
  Overlay& overlay = *volume.closing();
  const std::vector<MapExtent> written = extents_of(blocks, closing);
  const std::vector<BlockRange> zeroed = overlay.zeroed_ranges();
  MapEdit edit;
  Task<> planning = plan_map_edit(nodes_, volume.root(), zeroed, written, edit);
  co_await ok(std::move(planning));
  NodeWriter writer(nodes_, space_, closing);
  std::vector<NodePtr> nodes_dropped;
  Task<NodePtr> merging = merge(nodes_, writer, volume.root(), edit.changes, nodes_dropped);
  report.root = co_await ok(std::move(merging));
  Task<> finishing = writer.finish();
  co_await ok(std::move(finishing));
  report.volume = volume.id();
  report.data_blocks = edit.blocks_added;
  report.data_blocks_dropped = edit.blocks_dropped;
  report.node_blocks = writer.blocks_written();
  report.dropped = std::move(edit.dropped);
  for (const NodePtr& node : nodes_dropped)
    report.dropped.push_back({node.run(), node.birth, true});
  report.superseded = overlay.take_superseded();
  report.charged_blocks = overlay.charged_blocks;
  volume.set_merged(report.root);
  volume.left_behind = report.dropped;
  co_return {};
}

Task<> IoLane::finish_group(std::vector<VolumeUpdate> updates) {
  const Txg closed = Txg(raw(open_) - 1);
  size_t since_turn = 0;
  for (size_t i = 0; i < closing_.size(); ++i) {
    for (const DirtyBlock& block : find(closing_[i])->closing()->slots()) {
      if (block.alive && block.page) keep(block.addr, closed, block.page);
      if (++since_turn % kTurnBlocks == 0) co_await rt::yield(executor());
    }
  }
  Task<> settling = log_settled();  // A record under way looks at closing overlays.
  co_await ok(std::move(settling));
  for (const DatasetId id : closing_) {
    Volume& volume = *find(id);
    shared_.dirty_bytes -= static_cast<i64>(volume.closing()->pages() * kBlock);
    volume.finish();
  }
  closing_.clear();
  std::vector<std::pair<std::vector<Dropped>, Txg>> dropped;
  for (const VolumeUpdate& update : updates) {
    Volume* volume = find(update.volume);
    if (volume == nullptr) continue;
    volume->update(update);
    dropped.emplace_back(std::exchange(volume->left_behind, {}), update.seen_upto);
  }
  retire_idle();
  room_.pulse();
  for (size_t i = 0; i < dropped.size(); ++i) {
    Task<> forgetting = forget_dropped(std::move(dropped[i].first), dropped[i].second);
    co_await ok(std::move(forgetting));
  }
  co_return {};
}

// Nobody looks for these any more: their memory is of better use.
Task<> IoLane::forget_dropped(std::vector<Dropped> dropped, Txg seen_upto) {
  size_t since_turn = 0;
  for (const Dropped& each : dropped) {
    if (each.birth <= seen_upto) continue;
    if (each.node) {
      nodes_.forget(each.run.start, each.birth);
      continue;
    }
    const auto before = static_cast<i64>(cache_.blocks());
    for (u32 i = 0; i < each.run.count; ++i) cache_.forget(each.run.start + i, each.birth);
    shared_.cached_blocks.fetch_add(static_cast<i64>(cache_.blocks()) - before,
                                    std::memory_order_relaxed);
    since_turn += each.run.count;
    if (since_turn >= kTurnBlocks) {
      since_turn = 0;
      co_await rt::yield(executor());
    }
  }
  co_return {};
}

void IoLane::give_up() {
  written_.pulse();
  room_.pulse();
  if (flipping_) release();
}

Task<> IoLane::stop() {
  Task<> joining = background_.join();
  Result<> result = co_await std::move(joining);
  Task<> draining = space_.drain();
  Result<> drained = co_await std::move(draining);
  volumes_.clear();
  views_.clear();
  if (result) result = std::move(drained);
  co_return std::move(result);
}

// --- Writing data

Task<> IoLane::write_run(Run run, std::span<DirtyBlock* const> blocks) {
  CHECK(run.count == blocks.size() && run.count <= kRunBlocksMax);
  std::vector<PageRef>
      pages;  // What is being written does not change: an overwrite takes a new page.
  std::vector<std::span<const std::byte>> parts;
  pages.reserve(blocks.size());
  for (DirtyBlock* block : blocks) {
    pages.push_back(block->page);
    const std::span<const std::byte> bytes = pages.back().span();
    if (!parts.empty() && parts.back().data() + parts.back().size() == bytes.data()) {
      parts.back() = {parts.back().data(), parts.back().size() + bytes.size()};
    } else {
      parts.push_back(bytes);
    }
  }
  Task<> writing = lane_.disk->write(byte_offset(run.start), parts);
  Result<> result = co_await std::move(writing);
  if (!result) ++shared_.io_errors;
  co_return std::move(result);
}

Task<> IoLane::write_blocks(std::vector<DirtyBlock*> blocks, Txg group,
                            std::vector<Placed>& placed) {
  rt::Scope writes;
  Result<> result;
  for (size_t done = 0; done < blocks.size() && result;) {
    const u32 want = static_cast<u32>(std::min<size_t>(blocks.size() - done, kRunBlocksMax));
    Task<Run> taking = space_.take(want, group);
    const Result<Run> run = co_await std::move(taking);
    if (!run) {
      result = std::unexpected(run.error());
      break;
    }
    // A block may have been zeroed away or logged while we waited for space.
    std::vector<DirtyBlock*> going;
    while (done < blocks.size() && going.size() < run->count) {
      DirtyBlock* block = blocks[done++];
      if (!block->alive || raw(block->addr) != 0) continue;
      block->addr = run->start + going.size();
      block->crc = crc32c(block->page.span());
      going.push_back(block);
      placed.push_back({block, block->lba, block->addr, block->crc});
    }
    const u32 count = static_cast<u32>(going.size());
    if (count < run->count) space_.untake({run->start + count, run->count - count}, group);
    if (count == 0) continue;
    writes.spawn(write_run({run->start, count}, going));
    if (writes.running() >= kWritesAtOnce) {
      Task<> joining = writes.join();
      result = co_await std::move(joining);
    }
    co_await rt::yield(executor());
  }
  Task<> joining = writes.join();
  Result<> joined = co_await std::move(joining);
  if (result) result = std::move(joined);
  co_return std::move(result);
}

}  // namespace coppice::pool
