// The overlay against plain maps and sets.
#include "pool/overlay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/prng.h"

namespace coppice::pool {
namespace {

// An overlay, and what it must say.
class OverlayBed {
 public:
  explicit OverlayBed(u64 seed) : prng_(seed) {}

  void step() {
    const u64 choice = prng_.below(100);
    if (choice < 60) return put();
    if (choice < 68) return put_logged();
    if (choice < 85) return zero();
    if (choice < 95) return flush();
    take_superseded();
  }

  void expect_model() {
    std::vector<u64> live;
    u64 pages = 0;
    for (const auto& [lba, block] : blocks_) {
      live.push_back(lba);
      pages += block.content != 0;
    }
    std::vector<u64> sorted;
    for (const DirtyBlock* block : overlay_.sorted()) sorted.push_back(block->lba);
    ASSERT_EQ(sorted, live);
    ASSERT_EQ(overlay_.live_blocks(), live.size());
    ASSERT_EQ(overlay_.pages(), pages);
    ASSERT_EQ(overlay_.empty(), live.empty() && zeroed_.empty());
    std::set<u64> in_ranges;
    u64 end = 0;
    for (const BlockRange& range : overlay_.zeroed_ranges()) {
      ASSERT_LT(range.begin, range.end);
      ASSERT_TRUE(in_ranges.empty() || range.begin > end) << "ranges touch";
      end = range.end;
      for (u64 lba = range.begin; lba < range.end; ++lba) in_ranges.insert(lba);
    }
    ASSERT_EQ(in_ranges, zeroed_);
    for (u64 lba = 0; lba < kLbas; ++lba) {
      ASSERT_EQ(overlay_.zeroed(lba), zeroed_.contains(lba));
      const DirtyBlock* found = overlay_.find(lba);
      const auto block = blocks_.find(lba);
      ASSERT_EQ(found != nullptr, block != blocks_.end()) << lba;
      if (found == nullptr) continue;
      ASSERT_EQ(raw(found->addr), block->second.addr);
      ASSERT_EQ(found->logged, block->second.logged);
      ASSERT_EQ(bool(found->page), block->second.content != 0);
      if (!found->page) continue;
      ASSERT_EQ(content(found->page), block->second.content);
    }
  }

 private:
  struct Block {
    u64 content = 0;  // 0: not in memory.
    u64 addr = 0;
    bool logged = false;
  };
  static constexpr u64 kLbas = 400;

  static u64 content(const PageRef& page) {
    u64 value;
    std::memcpy(&value, page.data(), sizeof value);
    return value;
  }
  void give_up(u64 lba) {
    if (const auto block = blocks_.find(lba); block != blocks_.end() && block->second.addr != 0)
      superseded_.insert(block->second.addr);
  }
  void put() {
    const u64 lba = prng_.below(kLbas);
    PageRef page = pages_.allocate();
    ASSERT_TRUE(page);
    std::memcpy(page.data(), &++next_content_, sizeof next_content_);
    give_up(lba);
    overlay_.put(lba, std::move(page));
    blocks_[lba] = {next_content_, 0, false};
    unlogged_.insert(lba);
  }
  void put_logged() {
    const u64 lba = prng_.below(kLbas);
    give_up(lba);
    overlay_.put_logged(lba, BlockAddr(++next_addr_), 1);
    blocks_[lba] = {0, next_addr_, true};
    unlogged_.erase(lba);
  }
  void zero() {
    const u64 begin = prng_.below(kLbas);
    const u64 end = std::min(kLbas, begin + prng_.between(1, prng_.chance(1, 10) ? kLbas : 6));
    const bool logged = prng_.chance(1, 3);
    overlay_.zero({begin, end}, logged);
    for (u64 lba = begin; lba < end; ++lba) {
      give_up(lba);
      blocks_.erase(lba);
      unlogged_.erase(lba);
      zeroed_.insert(lba);
    }
    if (!logged) unlogged_zeroes_.emplace_back(begin, end);
  }
  // What FLUSH does: gives each unlogged block an address and logs it.
  void flush() {
    ASSERT_TRUE(overlay_.has_unlogged() || (unlogged_.empty() && unlogged_zeroes_.empty()));
    const Overlay::Unlogged taken = overlay_.take_unlogged();
    std::set<u64> lbas;
    for (DirtyBlock* block : taken.blocks) {
      ASSERT_TRUE(block->alive);
      ASSERT_TRUE(lbas.insert(block->lba).second) << "named twice";
      block->addr = BlockAddr(++next_addr_);
      block->logged = true;
      blocks_[block->lba].addr = next_addr_;
      blocks_[block->lba].logged = true;
    }
    ASSERT_EQ(lbas, unlogged_);
    std::vector<std::pair<u64, u64>> zeroes;
    for (const BlockRange& range : taken.zeroed) zeroes.emplace_back(range.begin, range.end);
    ASSERT_EQ(zeroes, unlogged_zeroes_);
    ASSERT_FALSE(overlay_.has_unlogged());
    unlogged_.clear();
    unlogged_zeroes_.clear();
  }
  void take_superseded() {
    std::multiset<u64> taken;
    for (const Run& run : overlay_.take_superseded())
      for (u32 i = 0; i < run.count; ++i) taken.insert(raw(run.start) + i);
    ASSERT_EQ(taken, superseded_);
    superseded_.clear();
  }

  Prng prng_;
  PagePool pages_{16_MiB};
  Overlay overlay_;
  std::map<u64, Block> blocks_;
  std::set<u64> zeroed_;
  std::set<u64> unlogged_;
  std::vector<std::pair<u64, u64>> unlogged_zeroes_;
  std::multiset<u64> superseded_;
  u64 next_content_ = 0;
  u64 next_addr_ = 0;
};

// Whatever is put, zeroed, flushed: the overlay says of each block what was done to it last, names
// what is not logged once, and gives up each address that it assigned and then lost.
TEST(Overlay, SaysWhatWasDoneLast) {
  for (u64 seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    OverlayBed bed(seed);
    for (int i = 0; i < 600 && !testing::Test::HasFatalFailure(); ++i) {
      bed.step();
      if (i % 20 == 0) bed.expect_model();
    }
  }
}

// A range of the whole volume costs nothing per block, and pointers stay good while it grows.
TEST(Overlay, TakesHugeRangesAndKeepsPointers) {
  PagePool pages(64_MiB);
  Overlay overlay;
  DirtyBlock* const first = &overlay.put(kVolumeBytesMax / kBlock - 1, pages.allocate());
  for (u64 i = 0; i < 5000; ++i) overlay.put(i * 977, pages.allocate());
  EXPECT_EQ(overlay.find(kVolumeBytesMax / kBlock - 1), first);
  overlay.zero({0, kVolumeBytesMax / kBlock}, false);
  EXPECT_EQ(overlay.live_blocks(), 0u);
  EXPECT_EQ(pages.used_bytes(), 0u);
  EXPECT_EQ(overlay.zeroed_ranges().size(), 1u);
  EXPECT_FALSE(overlay.empty());
}

}  // namespace
}  // namespace coppice::pool
