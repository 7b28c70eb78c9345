#include "helper/lua/arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <vector>

#include "base/prng.h"

namespace coppice::lua {
namespace {

Arena::Options options(std::uintptr_t address = 0, size_t cap_bytes = 64_MiB) {
  return {.address = address, .reserve_bytes = 256_MiB, .cap_bytes = cap_bytes};
}

struct Block {
  std::byte* at = nullptr;
  size_t bytes = 0;
  std::byte mark{};
};

size_t some_size(Prng& prng) {
  switch (prng.below(4)) {
    case 0: return 1 + prng.below(64);
    case 1: return 1 + prng.below(1024);
    case 2: return 1 + prng.below(8192);
    default: return 1 + prng.below(100'000);
  }
}

// Blocks keep their content whatever else is done, never overlap, and are counted to the byte; once
// all are given back, so are the pages, but for one slab of each class.
TEST(Arena, KeepsBlocksApartAndCountsThem) {
  for (u64 seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    Arena arena(options());
    std::vector<Block> blocks;
    size_t expected = 0, peak = 0;
    const auto check = [](const Block& block, size_t bytes) {
      for (size_t i = 0; i < bytes; ++i) {
        if (block.at[i] != block.mark) return false;
      }
      return true;
    };
    for (int step = 0; step < 5000; ++step) {
      const u64 what = blocks.empty() ? 0 : prng.below(3);
      if (what == 0) {
        Block block{.bytes = some_size(prng), .mark = static_cast<std::byte>(prng.below(256))};
        block.at = static_cast<std::byte*>(arena.reallocate(nullptr, 5, block.bytes));
        if (block.at == nullptr) continue;  // 64 MiB are used up.
        ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block.at) % 16, 0U);
        std::memset(block.at, static_cast<int>(block.mark), block.bytes);
        expected += block.bytes;
        blocks.push_back(block);
      } else {
        const size_t which = prng.below(blocks.size());
        Block& block = blocks[which];
        ASSERT_TRUE(check(block, block.bytes));
        const size_t bytes = what == 1 ? 0 : some_size(prng);
        auto* now = static_cast<std::byte*>(arena.reallocate(block.at, block.bytes, bytes));
        if (bytes == 0) {
          expected -= block.bytes;
          blocks.erase(blocks.begin() + static_cast<ptrdiff_t>(which));
          continue;
        }
        if (now == nullptr) {
          ASSERT_GT(bytes, block.bytes);  // Shrinking does not fail.
          continue;
        }
        block.at = now;
        ASSERT_TRUE(check(block, std::min(bytes, block.bytes)));
        expected += bytes - block.bytes;
        block.bytes = bytes;
        std::memset(block.at, static_cast<int>(block.mark), block.bytes);
      }
      peak = std::max(peak, expected);
      ASSERT_EQ(arena.used_bytes(), expected);
      ASSERT_EQ(arena.peak_bytes(), peak);
    }
    for (const Block& block : blocks) {
      ASSERT_TRUE(check(block, block.bytes));
      arena.reallocate(block.at, block.bytes, 0);
    }
    EXPECT_EQ(arena.used_bytes(), 0U);
    // Other classes' last slabs keep the end where it is; a second round needs no more.
    const size_t top = arena.top_bytes();
    EXPECT_LE(top, 64_MiB);
    void* large = arena.reallocate(nullptr, 0, 8_MiB);
    EXPECT_LE(arena.top_bytes(), std::max<size_t>(top, 0) + 8_MiB);
    arena.reallocate(large, 8_MiB, 0);
  }
}

// The same calls give the same addresses, in any process and whenever.
TEST(Arena, IsDeterministic) {
  const auto addresses = [](u64 seed) {
    Prng prng(seed);
    Arena arena(options(Arena::kAddress));
    std::vector<std::pair<void*, size_t>> blocks;
    std::vector<std::uintptr_t> seen;
    for (int step = 0; step < 3000; ++step) {
      if (blocks.size() < 100 || prng.chance(1, 2)) {
        const size_t bytes = some_size(prng);
        blocks.emplace_back(arena.reallocate(nullptr, 0, bytes), bytes);
        seen.push_back(reinterpret_cast<std::uintptr_t>(blocks.back().first));
      } else {
        const size_t which = prng.below(blocks.size());
        arena.reallocate(blocks[which].first, blocks[which].second, 0);
        blocks[which] = blocks.back();
        blocks.pop_back();
      }
    }
    return seen;
  };
  for (u64 seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    const auto first = addresses(seed);
    EXPECT_EQ(first, addresses(seed));
    EXPECT_GE(first.front(), Arena::kAddress);
  }
}

TEST(Arena, RefusesBeyondItsLimitAndOnlyThat) {
  Arena arena(options());
  void* first = arena.reallocate(nullptr, 0, 1000);
  arena.set_limit(1500);
  EXPECT_EQ(arena.reallocate(nullptr, 0, 501), nullptr);
  EXPECT_EQ(arena.refusals(), 1U);
  void* second = arena.reallocate(nullptr, 0, 500);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(arena.reallocate(second, 500, 501), nullptr);
  EXPECT_EQ(arena.used_bytes(), 1500U);
  EXPECT_NE(arena.reallocate(second, 500, 499), nullptr);
  EXPECT_NE(arena.reallocate(nullptr, 0, 1), nullptr);
  arena.set_limit(10);  // Below what is used: shrinking still works.
  first = arena.reallocate(first, 1000, 20);
  EXPECT_NE(first, nullptr);
  EXPECT_EQ(arena.reallocate(nullptr, 0, SIZE_MAX), nullptr);
}

// However its pieces are cut, the arena takes no more pages than its cap.
TEST(Arena, StaysUnderItsCap) {
  Arena arena(options(0, 1_MiB));
  std::vector<void*> blocks;
  while (void* block = arena.reallocate(nullptr, 0, 100)) blocks.push_back(block);
  EXPECT_LE(arena.top_bytes(), 1_MiB);
  EXPECT_GT(blocks.size(), 1_MiB / 112 * 9 / 10);
  EXPECT_EQ(arena.reallocate(nullptr, 0, 5000), nullptr);
  // One of a hundred stays: no slab is free, so no large block fits; the class itself goes on.
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i % 100 != 0) arena.reallocate(blocks[i], 100, 0);
  }
  EXPECT_EQ(arena.reallocate(nullptr, 0, 512_KiB), nullptr);
  EXPECT_NE(arena.reallocate(nullptr, 0, 100), nullptr);
  ASSERT_TRUE(arena.set_cap(2_MiB, true));
  EXPECT_NE(arena.reallocate(nullptr, 0, 512_KiB), nullptr);
  EXPECT_EQ(arena.reserve_bytes(), 2_MiB);
}

TEST(Arena, GrowsALargeBlockInPlace) {
  Arena arena(options());
  void* block = arena.reallocate(nullptr, 0, 10'000);
  EXPECT_EQ(arena.reallocate(block, 10'000, 1_MiB), block);
  void* after = arena.reallocate(nullptr, 0, 10'000);
  EXPECT_EQ(arena.reallocate(block, 1_MiB, 10'000), block);
  EXPECT_EQ(arena.reallocate(block, 10'000, 500'000), block);  // Into what it gave back.
  EXPECT_NE(arena.reallocate(block, 500'000, 2_MiB), block);   // Somebody else lies there.
  EXPECT_NE(after, nullptr);
}

}  // namespace
}  // namespace coppice::lua
