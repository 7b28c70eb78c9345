#include "pool/volume.h"

#include <bit>

#include "pool/mutant.h"
#include "rt/abandon.h"
#include "trace/point.h"

namespace coppice::pool {

void count(IoStats& stats, u64 bytes, u64 ns, bool ok) {
  ++stats.operations;
  stats.bytes += bytes;
  if (!ok) ++stats.errors;
  stats.latency.total_ns += ns;
  ++stats.latency.buckets[std::min<int>(std::bit_width(ns | 1) - 1, 39)];
}

Volume::Volume(IoLane& lane, const VolumeUpdate& update, bool frozen)
    : lane_(lane),
      id_(update.volume),
      frozen_(frozen),
      size_bytes_(update.size_bytes),
      read_only_(update.read_only),
      quota_blocks_(update.quota_blocks),
      reserved_blocks_(update.reserved_blocks),
      root_(update.root),
      open_(std::make_unique<Overlay>()) {}

Volume::~Volume() {
  CHECK(holders == 0 || rt::Abandon::active());
  CHECK(waiting_.empty() || rt::Abandon::active());
}

void Volume::update(const VolumeUpdate& update) {
  CHECK(update.volume == id_);
  size_bytes_ = update.size_bytes;
  read_only_ = update.read_only;
  quota_blocks_ = update.quota_blocks;
  reserved_blocks_ = update.reserved_blocks;
  root_ = update.root;
}

void Volume::apply_logged(const LogSection& section) {
  CHECK(section.volume == id_);
  if (!mutant(Mutant::replay_ignores_zeroes))
    for (const BlockRange& range : section.zeroed) open_->zero(range, true);
  for (const LogExtent& extent : section.extents)
    for (size_t i = 0; i < extent.crcs.size(); ++i)
      open_->put_logged(extent.lba + i, extent.addr + i, extent.crcs[i]);
}

void Volume::flip() {
  CHECK(!closing_);
  if (trace::on(trace::Point::overlay_flip)) [[unlikely]]
    trace::fire(trace::Point::overlay_flip, {this, raw(lane_.open_group()) - 1, open_->pages()});
  closing_ = std::exchange(open_, std::make_unique<Overlay>());
  closing_written = false;
}

void Volume::finish() {
  CHECK(closing_ && closing_written);
  closing_.reset();
  root_ = merged_;
}

Task<std::vector<blk::Extent>> Volume::extents(u64 offset, u64 length, size_t count_max) {
  if (Result<> fine = admit(offset, length, false); !fine) co_return std::unexpected(fine.error());
  constexpr u64 kLooksMax = 65536;
  std::vector<blk::Extent> found;
  if (length == 0 || count_max == 0) co_return found;
  const u64 end = offset + length;
  Cursor cursor(lane_.nodes(), root_);
  const NodePtr root = root_;
  const bool overlaid = dirty();
  u64 at = offset;
  for (u64 looks = 0; at < end && looks < kLooksMax; ++looks) {
    const u64 lba = at / kBlock;
    u64 until = lba + 1;
    bool hole = false;
    const std::string key = map_key(lba);
    if (!cursor.try_seek_floor(key)) {
      co_await ok(cursor.seek_floor(key));
      if (root_ != root) break;  // What was found so far was true when we looked.
    }
    u64 next = end / kBlock + 1;
    bool mapped = false;
    for (int step = 0; step < 2 && !cursor.at_end(); ++step) {
      const ExtentView extent = co_await ok(view_extent(cursor.key(), cursor.value()));
      mapped = extent.lba <= lba && lba < extent.end();
      if (mapped || extent.lba > lba) next = mapped ? extent.end() : extent.lba;
      if (mapped || extent.lba > lba) break;
      if (!cursor.try_next()) co_await ok(cursor.next());
    }
    hole = !mapped;
    until = next;
    if (overlaid) {
      const auto data_in = [lba](Overlay* overlay) { return overlay && overlay->find(lba); };
      const bool open_data = data_in(open_.get());
      if (open_data || (!open_->zeroed(lba) && data_in(closing_.get()))) {
        hole = false;
      } else if (open_->zeroed(lba) || (closing_ && closing_->zeroed(lba))) {
        hole = true;
      }
      until = lba + 1;
    }
    const u64 stop = std::min(end, until * kBlock);
    if (!found.empty() && found.back().hole == hole) {
      found.back().length += stop - at;
    } else {
      if (found.size() == count_max) break;
      found.push_back({at, stop - at, hole, hole});
    }
    at = stop;
  }
  if (found.empty()) {  // The map changed under our first look: say what is always true.
    found.push_back({offset, std::min(length, kBlock - offset % kBlock), false, false});
  }
  co_return found;
}

}  // namespace coppice::pool
