#include "pool/block_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "base/prng.h"

namespace coppice::pool {
namespace {

u64 load_u64(const PageRef& page) {
  u64 value;
  std::memcpy(&value, page.data(), sizeof value);
  return value;
}

TEST(PagePool, CountsLimitsAndGivesBack) {
  for (u64 seed = 0; seed < 8; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Prng prng(seed);
    PagePool pool(3000 * kBlock);
    std::vector<PageRef> held;
    for (int step = 0; step < 20'000; ++step) {
      if (prng.chance(11, 20)) {
        PageRef page = pool.allocate();
        ASSERT_EQ(static_cast<bool>(page), held.size() < 3000);
        if (!page) continue;
        std::memset(page.data(), static_cast<int>(seed), kBlock);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(page.data()) % kBlock, 0u);
        held.push_back(std::move(page));
      } else if (!held.empty()) {
        std::swap(held[prng.below(held.size())], held.back());
        const PageRef second = held.back();
        EXPECT_TRUE(second.shared());
        held.pop_back();
        EXPECT_FALSE(second.shared());
      }
      ASSERT_EQ(pool.used_bytes(), held.size() * kBlock);
      ASSERT_LE(pool.used_bytes(), pool.mapped_bytes());
    }
    held.clear();
    EXPECT_EQ(pool.used_bytes(), 0u);
    EXPECT_LE(pool.mapped_bytes(), 2_MiB);
  }
}

// A cache never holds more than it may, never answers with another block, and holds all while it
// has room.
TEST(BlockCache, NeverMixesBlocksUp) {
  for (u64 seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Prng prng(seed);
    PagePool pool(64_MiB);
    u64 blocks = prng.below(300);
    BlockCache cache(blocks * kBlock);
    std::map<std::pair<u64, u64>, u64> written;  // What each block holds.
    u64 hits = 0;
    for (int step = 0; step < 20'000; ++step) {
      const u64 addr = prng.between(1, 400), birth = prng.between(1, 2);
      const PageRef page = cache.find(BlockAddr(addr), Txg(birth));
      const auto there = written.find({addr, birth});
      if (page) {
        ++hits;
        ASSERT_NE(there, written.end());
        ASSERT_EQ(load_u64(page), there->second);
      } else if (prng.chance(1, 2)) {
        PageRef fresh = pool.allocate();
        ASSERT_TRUE(fresh);
        const u64 content = prng.next();
        std::memcpy(fresh.data(), &content, sizeof content);
        written[{addr, birth}] = content;
        cache.insert(BlockAddr(addr), Txg(birth), std::move(fresh));
        ASSERT_EQ(cache.contains(BlockAddr(addr), Txg(birth)), blocks > 0);
      }
      if (prng.chance(1, 2000)) cache.resize((blocks = prng.below(900)) * kBlock);
      if (prng.chance(1, 500)) cache.evict(prng.below(20));
      if (prng.chance(1, 20)) {
        const u64 gone = prng.between(1, 400);
        cache.forget(BlockAddr(gone), Txg(birth));
        ASSERT_FALSE(cache.contains(BlockAddr(gone), Txg(birth)));
      }
      ASSERT_LE(cache.stats().bytes, blocks * kBlock);
      ASSERT_EQ(pool.used_bytes(), cache.stats().bytes + (page && !page.shared() ? kBlock : 0));
    }
    EXPECT_EQ(cache.stats().hits, hits);
    EXPECT_EQ(cache.stats().hits + cache.stats().misses, 20'000u);
  }
}

TEST(BlockCache, KeepsAllThatFits) {
  PagePool pool(64_MiB);
  BlockCache cache(1000 * kBlock);
  for (u64 i = 1; i <= 1000; ++i) cache.insert(BlockAddr(i * 64), Txg(1), pool.allocate());
  for (u64 i = 1; i <= 1000; ++i) EXPECT_TRUE(cache.find(BlockAddr(i * 64), Txg(1)));
  EXPECT_EQ(cache.evict(2000), 1000u);
  EXPECT_EQ(pool.used_bytes(), 0u);
}

// What is looked up again and again outlives what is not.
TEST(BlockCache, KeepsWhatIsUsed) {
  PagePool pool(64_MiB);
  BlockCache cache(200 * kBlock);
  for (u64 i = 1; i <= 100; ++i) cache.insert(BlockAddr(i), Txg(1), pool.allocate());
  for (u64 i = 1000; i < 5000; ++i) {
    cache.insert(BlockAddr(i), Txg(1), pool.allocate());
    if (i % 50 != 0) continue;
    for (u64 used = 1; used <= 100; ++used) EXPECT_TRUE(cache.find(BlockAddr(used), Txg(1)));
  }
}

}  // namespace
}  // namespace coppice::pool
