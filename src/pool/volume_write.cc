#include <cstring>

#include "pool/volume.h"
#include "trace/point.h"

namespace coppice::pool {
namespace {
constexpr u64 kZeroAtOnceBlocks = 1_GiB / kBlock;  // A larger zero looks first at what is mapped.
constexpr u64 kZeroExtentsMax = 100'000;           // Extents dropped in one group by one zero.
constexpr u64 kZeroStepBytes = 4_MiB;              // Of zeroes written as data.
}  // namespace

struct Volume::Partial {
  u64 lba = 0;
  size_t skip = 0;       // Where in the block the new bytes go,
  size_t length = 0;     // how many,
  size_t from = 0;       // and where in the request they are.
  PageRef page;          // The block's content, once read.
  bool touched = false;  // Someone changed the block since it was read.
};

Result<> Volume::admit(u64 offset, u64 length, bool writing) const {
  if (offset > size_bytes_ || length > size_bytes_ - offset)
    return fail(Errc::invalid, "access a range beyond the end of the volume");
  if (!writing) return {};
  if (read_only()) return fail(Errc::read_only, "change a read-only volume");
  if (lane_.shared().failed)
    return fail(Errc::io, "change a volume of a failed pool",
                "an earlier error stopped the pool; see coppice pool status");
  return {};
}

Task<> Volume::write(u64 offset, std::span<const std::byte> from, blk::WriteOptions options) {
  const u64 begun = executor().now_ns();
  Task<> changing = change(offset, from.size(), from.data(), options);
  Result<> result = co_await std::move(changing);
  count(stats.write, from.size(), executor().now_ns() - begun, result.has_value());
  if (result) lane_.shared().user_bytes_written.fetch_add(from.size(), std::memory_order_relaxed);
  co_return std::move(result);
}

Task<> Volume::discard(u64 offset, u64 length, blk::WriteOptions options) {
  return zero(offset, length, {.fua = options.fua, .no_hole = false});
}

Task<> Volume::zero(u64 offset, u64 length, blk::WriteOptions options) {
  const u64 begun = executor().now_ns();
  Result<> result;
  if (options.no_hole) {  // Allocated zeroes are data like any other.
    const std::vector<std::byte> zeroes(std::min(length, kZeroStepBytes));
    for (u64 done = 0; done < length && result; done += zeroes.size()) {
      const u64 step = std::min<u64>(zeroes.size(), length - done);
      Task<> changing = change(offset + done, step, zeroes.data(), {});
      result = co_await std::move(changing);
    }
    if (result && options.fua) {
      Task<> flushing = flush();
      result = co_await std::move(flushing);
    }
  } else {
    Task<> changing = change(offset, length, nullptr, options);
    result = co_await std::move(changing);
  }
  count(stats.discard, length, executor().now_ns() - begun, result.has_value());
  co_return std::move(result);
}

Task<> Volume::flush() {
  const u64 begun = executor().now_ns();
  Result<> result;
  if (!frozen_) {
    Task<> flushing = lane_.flush(*this);
    result = co_await std::move(flushing);
  }
  count(stats.flush, 0, executor().now_ns() - begun, result.has_value());
  co_return std::move(result);
}

// Puts `length` bytes at `offset`: those at `from`, or zeroes if it is null.
Task<> Volume::change(u64 offset, u64 length, const std::byte* from, blk::WriteOptions options) {
  if (Result<> fine = admit(offset, length, true); !fine) co_return std::move(fine);
  if (length == 0) co_return {};
  const u64 end = offset + length;
  const BlockRange whole{divide_up(offset, kBlock), end / kBlock};
  std::list<Partial> partials;
  const auto part = [&](u64 begin, u64 stop) {
    partials.push_back({.lba = begin / kBlock,
                        .skip = begin % kBlock,
                        .length = stop - begin,
                        .from = begin - offset,
                        .page = {}});
  };
  if (offset / kBlock == (end - 1) / kBlock && (offset % kBlock != 0 || end % kBlock != 0)) {
    part(offset, end);
  } else {
    if (offset % kBlock != 0) part(offset, whole.begin * kBlock);
    if (end % kBlock != 0) part(whole.end * kBlock, end);
  }
  if (from == nullptr && mutant(Mutant::discard_forgets_partial_block)) partials.clear();
  const bool any_whole = whole.begin < whole.end;
  const u64 blocks = partials.size() + (any_whole && from ? whole.end - whole.begin : 0);
  Task<> waiting = lane_.wait_for_room();
  co_await ok(std::move(waiting));
  if (blocks > 0) {
    Task<> charging = charge(blocks);
    co_await ok(std::move(charging));
  }
  if (!partials.empty()) {
    Task<> filling = fill(partials);
    if (Result<> filled = co_await std::move(filling); !filled) {
      lane_.shared().charged_blocks -= static_cast<i64>(blocks);
      co_return std::move(filled);
    }
  }
  // From here to the end of the puts nothing is waited for: the write lies in one group.
  const u64 used_before = open_->charged_blocks;
  for (const Partial& partial : partials)
    put_part(partial, from == nullptr ? nullptr : from + partial.from);
  if (from != nullptr) {
    for (u64 lba = whole.begin; lba < whole.end; ++lba)
      put_full(lba, from + (lba * kBlock - offset));
  }
  if (any_whole && from != nullptr) touched(whole);
  const u64 used = open_->charged_blocks - used_before;
  CHECK(used <= blocks);
  lane_.shared().charged_blocks -= static_cast<i64>(blocks - used);
  if (from == nullptr && any_whole) {
    Task<> zeroing = zero_blocks(whole);
    co_await ok(std::move(zeroing));
  }
  Task<> acknowledging = acknowledge(options.fua);
  co_return co_await std::move(acknowledging);
}

// Reserves space for `blocks` blocks, or says why there is none. When the pool seems full, what the
// last groups freed may not be counted yet: one commit settles that.
Task<> Volume::charge(u64 blocks) {
  Shared& shared = lane_.shared();
  const i64 want = static_cast<i64>(blocks);
  for (int tries = 0;; ++tries) {
    const i64 mine =
        static_cast<i64>(open_->charged_blocks + (closing_ ? closing_->charged_blocks : 0));
    const bool within_quota = mine + want <= quota_blocks_;
    if (within_quota) {
      const i64 limit = shared.available_blocks + std::max(i64{0}, reserved_blocks_ - mine);
      if (shared.charged_blocks.fetch_add(want) + want <= limit) co_return {};
      shared.charged_blocks -= want;
    }
    if (tries == 2) {
      if (!within_quota)
        co_return fail(Errc::quota, "write to a volume", "its quota, or one above it, is used up");
      co_return fail(Errc::no_space, "write to a volume",
                     "the pool is full; destroy snapshots or grow the pool");
    }
    Task<> waiting = lane_.control().wait_for_group(executor());
    co_await ok(std::move(waiting));
  }
}

bool Volume::ready(const Partial& partial) {
  if (const DirtyBlock* block = open_->find(partial.lba); block && block->page) return true;
  if (!open_->find(partial.lba) && open_->zeroed(partial.lba)) return true;
  return partial.page && !partial.touched;
}

// Reads what the partials' blocks hold, until none of them changed while another was waited for.
Task<> Volume::fill(std::list<Partial>& partials) {
  for (Partial& partial : partials) waiting_.push_back(&partial);
  Result<> result;
  for (bool all_ready = false; !all_ready && result;) {
    all_ready = true;
    for (Partial& partial : partials) {
      if (ready(partial)) continue;
      all_ready = false;
      partial.touched = false;
      partial.page = lane_.take_page();
      if (trace::on(trace::Point::partial_read)) [[unlikely]]
        trace::fire(trace::Point::partial_read, {this, partial.lba});
      Task<> reading = read_consistent(partial.lba * kBlock, partial.page.span());
      result = co_await std::move(reading);
      if (!result) break;
    }
  }
  waiting_.remove_if([&](Partial* waiting) {
    for (Partial& partial : partials)
      if (waiting == &partial) return true;
    return false;
  });
  co_return std::move(result);
}

void Volume::touched(BlockRange range) {
  for (Partial* partial : waiting_)
    if (partial->lba >= range.begin && partial->lba < range.end) partial->touched = true;
}

void Volume::store(u64 lba, PageRef page) {
  const DirtyBlock* old = open_->find(lba);
  if (old == nullptr || raw(old->addr) != 0) ++open_->charged_blocks;
  const bool grows = old == nullptr || !old->page;
  open_->put(lba, std::move(page));
  if (grows) lane_.volume_dirtied(kBlock);
}

void Volume::put_full(u64 lba, const std::byte* from) {
  if (trace::on(trace::Point::page_put)) [[unlikely]]
    trace::fire(trace::Point::page_put, {this, lba, 0, kBlock});
  if (DirtyBlock* block = open_->find(lba);
      block && raw(block->addr) == 0 && block->page && !block->page.shared()) {
    std::memcpy(block->page.data(), from, kBlock);
    return;
  }
  PageRef page = lane_.take_page();
  std::memcpy(page.data(), from, kBlock);
  store(lba, std::move(page));
}

void Volume::put_part(const Partial& partial, const std::byte* from) {
  if (trace::on(trace::Point::page_put)) [[unlikely]]
    trace::fire(trace::Point::page_put, {this, partial.lba, partial.skip, partial.length});
  DirtyBlock* block = open_->find(partial.lba);
  const bool in_place = block && raw(block->addr) == 0 && block->page && !block->page.shared();
  PageRef page = in_place ? block->page : lane_.take_page();
  if (!in_place) {
    const bool blank = block == nullptr && open_->zeroed(partial.lba);
    const std::byte* base = block && block->page ? block->page.data()
                            : blank              ? nullptr
                                                 : partial.page.data();
    if (base == nullptr || mutant(Mutant::rmw_loses_neighbour)) {
      std::memset(page.data(), 0, kBlock);
    } else {
      std::memcpy(page.data(), base, kBlock);
    }
  }
  if (from == nullptr) {
    std::memset(page.data() + partial.skip, 0, partial.length);
  } else {
    std::memcpy(page.data() + partial.skip, from, partial.length);
  }
  if (!in_place) store(partial.lba, std::move(page));
  touched({partial.lba, partial.lba + 1});
}

// How much of `range` one group may zero: so much that few enough extents are mapped in it.
Task<u64> Volume::chunk_end(BlockRange range) {
  if (range.end - range.begin <= kZeroAtOnceBlocks) co_return range.end;
  Cursor cursor(lane_.nodes(), root_);
  const NodePtr root = root_;
  const std::string first = map_key(range.begin);  // The task looks at it once it has started.
  Task<> seeking = cursor.seek_floor(first);
  Result<> moved = co_await std::move(seeking);
  u64 extents = 0;
  while (moved && !cursor.at_end() && root_ == root) {
    const u64 lba = map_lba(cursor.key());
    if (lba >= range.end) break;
    if (++extents > kZeroExtentsMax && lba > range.begin) co_return lba;
    if (!cursor.try_next()) {
      Task<> stepping = cursor.next();
      moved = co_await std::move(stepping);
    }
  }
  if (root_ != root) co_return range.begin + kZeroAtOnceBlocks;  // Cautious, and still progress.
  if (!moved) co_return std::unexpected(moved.error());
  co_return range.end;
}

Task<> Volume::zero_blocks(BlockRange range) {
  while (range.begin < range.end) {
    Task<u64> measuring = chunk_end(range);
    const u64 end = co_await ok(std::move(measuring));
    const u64 pages_before = open_->pages();
    open_->zero({range.begin, end}, false);
    lane_.volume_dirtied(-static_cast<i64>((pages_before - open_->pages()) * kBlock));
    touched({range.begin, end});
    range.begin = end;
    if (range.begin == range.end) break;
    Task<> waiting = lane_.control().wait_for_group(executor());
    co_await ok(std::move(waiting));
  }
  co_return {};
}

Task<> Volume::acknowledge(bool fua) {
  while (lane_.flipping()) co_await lane_.released().wait();
  if (!fua) co_return {};
  Task<> flushing = lane_.flush(*this);
  co_return co_await std::move(flushing);
}

}  // namespace coppice::pool
