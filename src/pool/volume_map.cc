#include "pool/volume_map.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "base/endian.h"

namespace coppice::pool {
namespace {

constexpr size_t kAddrBytes = 6;
constexpr size_t kBirthBytes = 6;
constexpr size_t kExtentHeaderBytes = kAddrBytes + kBirthBytes + 2;  // + count - 1, flags.
constexpr size_t kTurnItems = 256;
constexpr size_t kArenaBytes = 64_KiB;

void put_le48(std::string& into, u64 value) {
  for (size_t i = 0; i < 6; ++i) into.push_back(static_cast<char>(value >> (8 * i)));
}
u64 get_le48(const char* from) {
  u64 value = 0;
  std::memcpy(&value, from, 6);  // Little endian hosts only: base/endian.h asserts it.
  return value;
}

// Bytes that change views point into; never moves what it has handed out.
class Arena {
 public:
  explicit Arena(std::vector<std::unique_ptr<std::string>>& chunks) : chunks_(chunks) {}
  std::string_view keep(std::string_view bytes) {
    if (chunks_.empty() || chunks_.back()->capacity() - chunks_.back()->size() < bytes.size()) {
      chunks_.push_back(std::make_unique<std::string>());
      chunks_.back()->reserve(std::max(kArenaBytes, bytes.size()));
    }
    std::string& chunk = *chunks_.back();
    const size_t at = chunk.size();
    chunk.append(bytes);
    return {chunk.data() + at, bytes.size()};
  }

 private:
  std::vector<std::unique_ptr<std::string>>& chunks_;
};

// One stretch of the volume that the group changed: written, or zeroed if `extent` is null.
struct Segment {
  u64 begin = 0;
  u64 end = 0;
  const MapExtent* extent = nullptr;
};

std::vector<Segment> segments_of(std::span<const BlockRange> zeroed,
                                 std::span<const MapExtent> written) {
  std::vector<Segment> segments;
  segments.reserve(zeroed.size() + written.size());
  size_t next = 0;
  u64 written_upto = 0;  // An extent may reach over the ends of several ranges.
  for (const BlockRange& range : zeroed) {
    u64 at = std::max(range.begin, written_upto);
    while (next < written.size() && written[next].lba < range.end) {
      const MapExtent& extent = written[next++];
      if (extent.lba > at) segments.push_back({at, extent.lba, nullptr});
      segments.push_back({extent.lba, extent.end(), &extent});
      written_upto = extent.end();
      at = std::max(at, written_upto);
    }
    if (at < range.end) segments.push_back({at, range.end, nullptr});
  }
  for (; next < written.size(); ++next)
    segments.push_back({written[next].lba, written[next].end(), &written[next]});
  return segments;
}

// Sweeps over the old map and the segments in step, emitting changes in key order.
class Sweep {
 public:
  Sweep(NodeStore& store, NodePtr root, MapEdit& edit)
      : cursor_(store, root), arena_(edit.bytes), edit_(edit) {}

  Task<> apply(const Segment& segment) {
    co_await ok(advance_to(segment.begin));
    if (old_ && old_->lba < segment.begin) cut_before(segment.begin);
    if (segment.extent != nullptr) {
      put(*segment.extent);
      edit_.blocks_added += segment.extent->count;
    }
    while (old_ && old_->lba < segment.end) {
      const u64 drop = std::min(old_->end(), segment.end) - old_->lba;
      edit_.dropped.push_back({{old_->addr, static_cast<u32>(drop)}, old_->birth, false});
      edit_.blocks_dropped += drop;
      const bool replaced = segment.extent != nullptr && old_->lba == segment.begin;
      if (!touched_ && !replaced) push(old_->lba, std::nullopt);
      if (drop < old_->count) {
        trim_front(static_cast<u32>(drop));
        touched_ = true;
        break;
      }
      old_.reset();
      co_await ok(take_next());
    }
    co_return {};
  }
  void finish() {
    if (old_ && touched_) put(*old_);
    old_.reset();
  }

 private:
  // Makes old_ the first old extent (or rest of one) that ends after `lba`, if it is known to
  // matter.
  Task<> advance_to(u64 lba) {
    if (old_ && old_->end() > lba) co_return {};
    if (old_ && touched_) put(*old_);
    old_.reset();
    const std::string key = map_key(lba);
    if (!cursor_.try_seek_floor(key)) co_await ok(cursor_.seek_floor(key));
    co_await ok(load());
    if (old_ && old_->end() <= lba) {
      old_.reset();
      co_await ok(take_next());
    }
    co_return {};
  }
  Task<> take_next() {
    if (!cursor_.try_next()) co_await ok(cursor_.next());
    co_await ok(load());
    co_return {};
  }
  Task<> load() {
    touched_ = false;
    old_.reset();
    if (cursor_.at_end()) co_return {};
    old_ = co_await ok(decode_extent(cursor_.key(), cursor_.value()));
    co_return {};
  }
  // Keeps what of old_ lies before `lba`.
  void cut_before(u64 lba) {
    CHECK(old_->lba < lba && lba < old_->end());
    MapExtent left = *old_;
    left.count = static_cast<u32>(lba - old_->lba);
    left.crcs.resize(left.count);
    put(left);
    trim_front(left.count);
    touched_ = true;
  }
  void trim_front(u32 count) {
    old_->lba += count;
    old_->addr = old_->addr + count;
    old_->count -= count;
    old_->crcs.erase(old_->crcs.begin(), old_->crcs.begin() + count);
  }
  void put(const MapExtent& extent) {
    scratch_.clear();
    encode_extent(extent, scratch_);
    push(extent.lba, arena_.keep(scratch_));
  }
  void push(u64 lba, std::optional<std::string_view> value) {
    const std::string key = map_key(lba);
    if (!edit_.changes.empty() && edit_.changes.back().key == key) {
      edit_.changes.back().value = value;
      return;
    }
    CHECK(edit_.changes.empty() || edit_.changes.back().key < key);
    edit_.changes.push_back({arena_.keep(key), value});
  }

  Cursor cursor_;
  Arena arena_;
  MapEdit& edit_;
  std::optional<MapExtent> old_;  // The old extent being cut; its rest if touched_.
  bool touched_ = false;          // old_ is no longer what the tree holds under its key.
  std::string scratch_;
};

}  // namespace

std::string map_key(u64 lba) {
  std::string key(8, '\0');
  store_be<u64>(reinterpret_cast<std::byte*>(key.data()), lba);
  return key;
}

u64 map_lba(std::string_view key) {
  CHECK(key.size() == 8);
  return load_be<u64>(reinterpret_cast<const std::byte*>(key.data()));
}

void encode_extent(const MapExtent& extent, std::string& into) {
  CHECK(extent.count >= 1 && extent.count <= kExtentBlocksMax);
  CHECK(extent.crcs.size() == extent.count);
  put_le48(into, raw(extent.addr));
  put_le48(into, raw(extent.birth));
  into.push_back(static_cast<char>(extent.count - 1));
  into.push_back(static_cast<char>(extent.flags));
  into.append(reinterpret_cast<const char*>(extent.crcs.data()), extent.crcs.size() * sizeof(u32));
}

Result<ExtentView> view_extent(std::string_view key, std::string_view value) {
  if (key.size() != 8 || value.size() < kExtentHeaderBytes)
    return fail(Errc::corrupt, "decode a map extent");
  ExtentView view;
  view.lba = map_lba(key);
  view.addr = BlockAddr(get_le48(value.data()));
  view.birth = Txg(get_le48(value.data() + kAddrBytes));
  view.count = static_cast<u8>(value[kAddrBytes + kBirthBytes]) + 1u;
  if (value[kAddrBytes + kBirthBytes + 1] != 0)
    return fail(Errc::unsupported, "decode a map extent with flags of a newer format");
  if (value.size() != kExtentHeaderBytes + view.count * sizeof(u32) || raw(view.addr) == 0 ||
      view.lba > kVolumeBytesMax / kBlock)
    return fail(Errc::corrupt, "decode a map extent");
  view.crcs = value.data() + kExtentHeaderBytes;
  return view;
}

Result<MapExtent> decode_extent(std::string_view key, std::string_view value) {
  TRY(const ExtentView view, view_extent(key, value));
  MapExtent extent{view.lba, view.addr, view.birth, view.count, 0, {}};
  extent.crcs.resize(view.count);
  std::memcpy(extent.crcs.data(), view.crcs, view.count * sizeof(u32));
  return extent;
}

Task<> plan_map_edit(NodeStore& store, NodePtr root, std::span<const BlockRange> zeroed,
                     std::span<const MapExtent> written, MapEdit& edit) {
  const std::vector<Segment> segments = segments_of(zeroed, written);
  Sweep sweep(store, root, edit);
  size_t since_turn = 0;
  for (const Segment& segment : segments) {
    const size_t dropped_before = edit.dropped.size();
    co_await ok(sweep.apply(segment));
    since_turn += 1 + edit.dropped.size() - dropped_before;
    if (since_turn < kTurnItems) continue;
    since_turn = 0;
    co_await rt::yield(store.executor());
  }
  sweep.finish();
  co_return {};
}

}  // namespace coppice::pool
