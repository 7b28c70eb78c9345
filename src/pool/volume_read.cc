#include <cstring>

#include "base/crc32c.h"
#include "io/aligned.h"
#include "pool/events.h"
#include "pool/volume.h"

namespace coppice::pool {
namespace {
constexpr int kTriesMax = 8;
}  // namespace

// Blocks side by side on the device, of one birth, and where their bytes go: all of `into`, which
// begins `skip` bytes into the first block.
struct Volume::Miss {
  BlockAddr addr{};
  Txg birth{};
  u64 lba = 0;
  size_t skip = 0;
  std::vector<u32> crcs;
  std::span<std::byte> into;
};

Task<> Volume::read(u64 offset, std::span<std::byte> into) {
  if (Result<> fine = admit(offset, into.size(), false); !fine) co_return std::move(fine);
  const u64 begun = executor().now_ns();
  Task<> reading = read_consistent(offset, into);
  Result<> result = co_await std::move(reading);
  count(stats.read, into.size(), executor().now_ns() - begun, result.has_value());
  co_return std::move(result);
}

Task<> Volume::read_consistent(u64 offset, std::span<std::byte> into) {
  for (int tries = 1;; ++tries) {
    bool stale = false;
    Task<> reading = read_once(offset, into, tries == kTriesMax, stale);
    Result<> result = co_await std::move(reading);
    if (!stale) co_return std::move(result);
    if (tries == kTriesMax) co_return fail(Errc::again, "read while the map keeps changing");
  }
}

// Sets `stale` if what it looked at may have been changed by a commit since: the caller tries
// again.
Task<> Volume::read_once(u64 offset, std::span<std::byte> into, bool last_try, bool& stale) {
  const NodePtr root = root_;
  Cursor cursor(lane_.nodes(), root);
  ExtentView extent{};  // Looks into the cursor's node.
  std::vector<Miss> misses;
  size_t done = 0;
  while (done < into.size()) {
    const u64 lba = (offset + done) / kBlock;
    const size_t skip = (offset + done) % kBlock;
    const std::span<std::byte> part =
        into.subspan(done, std::min<size_t>(kBlock - skip, into.size() - done));
    done += part.size();
    if (from_overlays(lba, skip, part, misses)) continue;
    const bool mapped = lba >= extent.lba && lba < extent.end();
    if (!mapped) {
      const std::string key = map_key(lba);
      if (!cursor.try_seek_floor(key)) {
        Task<> seeking = cursor.seek_floor(key);
        Result<> sought = co_await std::move(seeking);
        stale = root_ != root;
        if (stale || !sought) co_return std::move(sought);
      }
      extent = {};
      if (!cursor.at_end()) {
        const Result<ExtentView> view = view_extent(cursor.key(), cursor.value());
        if (!view) co_return damaged("decode the volume's map", root.addr);
        extent = *view;
      }
    }
    if (extent.count > 0 && lba >= extent.lba && lba < extent.end()) {
      from_extent(extent, lba, skip, part, misses);
    } else {
      std::memset(part.data(), 0, part.size());
    }
  }
  if (misses.empty()) co_return {};
  if (misses.size() == 1) {
    Task<> reading = read_miss(misses.front(), last_try, stale);
    co_return co_await std::move(reading);
  }
  rt::Scope scope;
  for (Miss& miss : misses) scope.spawn(read_miss(miss, last_try, stale));
  Task<> joining = scope.join();
  co_return co_await std::move(joining);
}

// Whether the block's newest content is in an overlay; then it is copied, or a miss is noted.
bool Volume::from_overlays(u64 lba, size_t skip, std::span<std::byte> into,
                           std::vector<Miss>& misses) {
  for (Overlay* overlay : {open_.get(), closing_.get()}) {
    if (overlay == nullptr || overlay->empty()) continue;
    if (const DirtyBlock* block = overlay->find(lba)) {
      if (block->page) {
        std::memcpy(into.data(), block->page.data() + skip, into.size());
      } else {
        add_miss(misses, {.addr = block->addr,
                          .birth = {},
                          .lba = lba,
                          .skip = skip,
                          .crcs = {block->crc},
                          .into = into});
      }
      return true;
    }
    if (overlay->zeroed(lba)) {
      std::memset(into.data(), 0, into.size());
      return true;
    }
  }
  return false;
}

void Volume::from_extent(const ExtentView& extent, u64 lba, size_t skip, std::span<std::byte> into,
                         std::vector<Miss>& misses) {
  const u64 index = lba - extent.lba;
  const BlockAddr addr = extent.addr + index;
  if (const PageRef page = lane_.cache().find(addr, extent.birth)) {
    std::memcpy(into.data(), page.data() + skip, into.size());
    return;
  }
  add_miss(misses, {.addr = addr,
                    .birth = extent.birth,
                    .lba = lba,
                    .skip = skip,
                    .crcs = {extent.crc(index)},
                    .into = into});
}

void Volume::add_miss(std::vector<Miss>& misses, Miss miss) {
  if (!misses.empty()) {
    Miss& last = misses.back();
    const bool adjoins = last.addr + last.crcs.size() == miss.addr && last.birth == miss.birth &&
                         last.into.data() + last.into.size() == miss.into.data() &&
                         last.crcs.size() < kExtentBlocksMax;
    if (adjoins) {
      last.crcs.push_back(miss.crcs.front());
      last.into = {last.into.data(), last.into.size() + miss.into.size()};
      return;
    }
  }
  misses.push_back(std::move(miss));
}

// Birth 0 means a block of an overlay, whose pages are not for the cache.
Task<> Volume::read_miss(Miss& miss, bool last_try, bool& stale) {
  const size_t count = miss.crcs.size();
  if (trace::on(trace::Point::cache_miss)) [[unlikely]]
    trace::fire(coppice_cache_miss{.time_ns = executor().now_ns(),
                                   .pool = lane_.pool_guid(),
                                   .volume = raw(id_),
                                   .offset = miss.lba * kBlock + miss.skip,
                                   .length = miss.into.size(),
                                   .disk_offset = byte_offset(miss.addr)});
  AlignedBuffer bounce;
  PageRef page;
  std::span<std::byte> bytes;
  if (count == 1) {
    page = lane_.take_page();
    bytes = page.span();
  } else {
    bounce = AlignedBuffer(count * kBlock);
    bytes = bounce.span();
  }
  Task<> reading = lane_.disk().read(byte_offset(miss.addr), bytes);
  Result<> result = co_await std::move(reading);
  if (!result) {
    ++lane_.shared().io_errors;
    co_return std::move(result);
  }
  for (size_t i = 0; i < count; ++i) {
    const auto block = bytes.subspan(i * kBlock, kBlock);
    if (crc32c(block) == miss.crcs[i] || mutant(Mutant::checksum_not_verified)) continue;
    stale = !last_try;  // Perhaps freed and reused since we looked; the last look settles it.
    if (stale) co_return {};
    co_return damaged("read a block", miss.addr + i);
  }
  std::memcpy(miss.into.data(), bytes.data() + miss.skip, miss.into.size());
  if (raw(miss.birth) == 0) co_return {};
  for (size_t i = 0; i < count; ++i) {
    if (count > 1) {
      page = lane_.take_page();
      std::memcpy(page.data(), bytes.data() + i * kBlock, kBlock);
    }
    lane_.keep(miss.addr + i, miss.birth, std::move(page));
  }
  co_return {};
}

Result<> Volume::damaged(const char* what, BlockAddr addr) {
  ++stats.checksum_errors;
  ++lane_.shared().checksum_errors;
  std::string where = "volume " + std::to_string(raw(id_)) + ", device byte " +
                      std::to_string(byte_offset(addr)) +
                      ": the checksum is wrong; restore these blocks from a snapshot or a backup";
  lane_.control().warn(std::string("cannot ") + what + ": " + where);
  std::unexpected<Error> failed = fail(Errc::corrupt, what, std::move(where));
  if (trace::on(trace::Point::error)) [[unlikely]]
    fire_error({.time_ns = executor().now_ns(),
                .pool_guid = lane_.pool_guid(),
                .volume = raw(id_),
                .disk_offset = byte_offset(addr),
                .kind = COPPICE_ERROR_CHECKSUM},
               failed.error());
  return failed;
}

Task<> Volume::prefetch(u64 offset, u64 length) {
  if (Result<> fine = admit(offset, length, false); !fine) co_return std::move(fine);
  constexpr u64 kStep = 1_MiB;
  AlignedBuffer scratch(std::min(round_up(length, kBlock), kStep));
  for (u64 done = 0; done < length; done += kStep) {
    const auto into = scratch.span().first(std::min(kStep, length - done));
    Task<> reading = read_consistent(offset + done, into);
    co_await ok(std::move(reading));
  }
  co_return {};
}

}  // namespace coppice::pool
