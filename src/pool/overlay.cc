#include "pool/overlay.h"

#include <algorithm>

namespace coppice::pool {
namespace {
constexpr size_t kTableMin = 64;
u64 hash(u64 lba) { return (lba * 0x9E3779B97F4A7C15u) >> 20; }
}  // namespace

u32* Overlay::slot(u64 lba) {
  const size_t mask = table_.size() - 1;
  for (size_t at = hash(lba) & mask;; at = (at + 1) & mask)
    if (table_[at] == 0 || blocks_[table_[at] - 1].lba == lba) return &table_[at];
}

void Overlay::grow_table() {
  table_.assign(std::max(kTableMin, table_.size() * 2), 0);
  for (size_t i = 0; i < blocks_.size(); ++i) *slot(blocks_[i].lba) = static_cast<u32>(i + 1);
}

DirtyBlock* Overlay::find(u64 lba) {
  if (live_blocks_ == 0) return nullptr;
  const u32 index = *slot(lba);
  if (index == 0 || !blocks_[index - 1].alive) return nullptr;
  return &blocks_[index - 1];
}

void Overlay::supersede(DirtyBlock& block) {
  if (raw(block.addr) != 0) superseded_.push_back({block.addr, 1});
  block.addr = {};
  block.logged = false;
}

void Overlay::list(DirtyBlock& block) {
  if (std::exchange(block.listed, true)) return;
  unlogged_.blocks.push_back(&block);
}

DirtyBlock& Overlay::put(u64 lba, PageRef page) {
  if (blocks_.size() * 2 >= table_.size()) grow_table();
  u32* index = slot(lba);
  if (*index == 0) {
    blocks_.push_back(DirtyBlock{.lba = lba, .page = std::move(page)});
    *index = static_cast<u32>(blocks_.size());
    ++live_blocks_;
    pages_ += blocks_.back().page ? 1 : 0;
    list(blocks_.back());
    return blocks_.back();
  }
  DirtyBlock& block = blocks_[*index - 1];
  supersede(block);
  if (!std::exchange(block.alive, true)) ++live_blocks_;
  pages_ -= block.page ? 1 : 0;
  block.page = std::move(page);
  pages_ += block.page ? 1 : 0;
  list(block);
  return block;
}

void Overlay::put_logged(u64 lba, BlockAddr addr, u32 crc) {
  DirtyBlock& block = put(lba, PageRef());
  block.addr = addr;
  block.crc = crc;
  block.logged = true;
}

bool Overlay::zeroed(u64 lba) const {
  auto after = zeroed_.upper_bound(lba);
  return after != zeroed_.begin() && std::prev(after)->second > lba;
}

void Overlay::zero(BlockRange range, bool logged) {
  CHECK(range.begin < range.end);
  if (live_blocks_ > 0) {
    const auto drop = [this](DirtyBlock& block) {
      supersede(block);
      block.alive = false;
      pages_ -= block.page ? 1 : 0;
      block.page = PageRef();
      --live_blocks_;
    };
    if (range.end - range.begin > blocks_.size()) {
      for (DirtyBlock& block : blocks_)
        if (block.alive && block.lba >= range.begin && block.lba < range.end) drop(block);
    } else {
      for (u64 lba = range.begin; lba < range.end; ++lba)
        if (DirtyBlock* block = find(lba)) drop(*block);
    }
  }
  if (!logged) unlogged_.zeroed.push_back(range);
  auto at = zeroed_.upper_bound(range.begin);
  if (at != zeroed_.begin() && std::prev(at)->second >= range.begin) --at;
  while (at != zeroed_.end() && at->first <= range.end) {
    range.begin = std::min(range.begin, at->first);
    range.end = std::max(range.end, at->second);
    at = zeroed_.erase(at);
  }
  zeroed_.emplace(range.begin, range.end);
}

std::vector<DirtyBlock*> Overlay::sorted() {
  std::vector<DirtyBlock*> blocks;
  blocks.reserve(live_blocks_);
  for (DirtyBlock& block : blocks_)
    if (block.alive) blocks.push_back(&block);
  std::sort(blocks.begin(), blocks.end(),
            [](const DirtyBlock* a, const DirtyBlock* b) { return a->lba < b->lba; });
  return blocks;
}

std::vector<BlockRange> Overlay::zeroed_ranges() const {
  std::vector<BlockRange> ranges;
  for (const auto& [begin, end] : zeroed_) ranges.push_back({begin, end});
  return ranges;
}

Overlay::Unlogged Overlay::take_unlogged() {
  for (DirtyBlock* block : unlogged_.blocks) block->listed = false;
  std::erase_if(unlogged_.blocks,
                [](const DirtyBlock* block) { return !block->alive || block->logged; });
  return std::exchange(unlogged_, {});
}

std::vector<Run> Overlay::take_superseded() { return std::exchange(superseded_, {}); }

}  // namespace coppice::pool
