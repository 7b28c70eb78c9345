// The dead index against a plain list of entries.
#include "pool/dead_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "pool/tree_bed.h"

namespace coppice::pool {
namespace {

using Entry = std::tuple<u64, u64, u64, u64, u32>;  // Segment, death, birth, address, count.
Entry plain(const DeadEntry& e) {
  return {e.segment, raw(e.death), raw(e.birth), raw(e.run.start), e.run.count};
}

class DeadBed {
 public:
  explicit DeadBed(u64 seed) : bed(seed, 1_MiB), prng(seed) {}

  void change() {
    DeadChanges changes;
    for (const Entry& entry : std::vector<Entry>(entries.begin(), entries.end())) {
      if (!prng.chance(1, 6)) continue;
      changes.erase(dead_key(std::get<0>(entry), Txg(std::get<1>(entry)), Txg(std::get<2>(entry)),
                             BlockAddr(std::get<3>(entry))));
      entries.erase(entry);
    }
    for (u64 i = prng.below(300); i > 0; --i) {
      const DeadEntry entry{prng.between(1, 4),
                            Txg(prng.between(2, 40)),
                            Txg(prng.between(1, 40)),
                            {BlockAddr(++next_addr), static_cast<u32>(prng.between(1, 1000))}};
      changes.add(entry);
      entries.insert(plain(entry));
    }
    EXPECT_EQ(changes.empty(), changes.size() == 0);
    auto merged = bed.merge(root, changes.sorted());
    ASSERT_TRUE(merged);
    root = merged->root;
  }
  std::vector<Entry> expected(const Slice& slice, u64 after, u64 upto) const {
    std::vector<Entry> out;
    for (const Entry& entry : entries) {
      const u64 death = std::get<1>(entry);
      if (std::get<0>(entry) == slice.segment && death > std::max(after, raw(slice.after)) &&
          death <= std::min(upto, raw(slice.upto)))
        out.push_back(entry);
    }
    return out;
  }
  Slice some_slice() {
    const u64 after = prng.below(40);
    const Txg upto = prng.chance(1, 3) ? kForever : Txg(after + prng.below(20));
    return {prng.between(1, 5), Txg(after), upto};
  }

  TreeBed bed;
  Prng prng;
  NodePtr root;
  std::set<Entry> entries;
  u64 next_addr = 0;
};

Task<std::vector<Entry>> scan_in_pieces(DeadBed& bed, Slice slice, Txg after, Txg upto,
                                        size_t piece) {
  std::vector<Entry> found;
  std::string from;
  for (;;) {
    DeadScan scan(*bed.bed.store, bed.root, slice, after, upto);
    Task<> beginning = scan.begin(from);
    co_await ok(std::move(beginning));
    DeadEntry entry;
    for (size_t i = 0; i <= piece; ++i) {
      Task<bool> stepping = scan.next(entry);
      const bool more = co_await ok(std::move(stepping));
      if (!more) co_return found;
      from = scan.key();  // The last one is looked at again by the next piece.
      if (i < piece) found.push_back(plain(entry));
    }
  }
}

// A scan finds exactly the entries of its slice that died in its range, in order; also when it is
// broken off and taken up again at any key.
TEST(DeadIndex, ScansFindWhatDiedInTheirRange) {
  for (u64 seed = 1; seed <= 15; ++seed) {
    SCOPED_TRACE(seed);
    DeadBed bed(seed);
    for (int round = 0; round < 8; ++round) {
      bed.change();
      const Slice slice = bed.some_slice();
      const u64 after = bed.prng.below(40), upto = after + bed.prng.below(20);
      const auto expected = bed.expected(slice, after, upto);
      const auto found = bed.bed.run(scan_in_pieces(bed, slice, Txg(after), Txg(upto), 1 + seed));
      ASSERT_TRUE(found);
      EXPECT_EQ(*found, expected);
    }
  }
}

TEST(DeadIndex, VisitsSlicesInTurnAndClipsThem) {
  for (u64 seed = 1; seed <= 15; ++seed) {
    SCOPED_TRACE(seed);
    DeadBed bed(seed);
    bed.change();
    std::vector<Slice> slices;
    for (int i = 0; i < 4; ++i) slices.push_back(bed.some_slice());
    const u64 after = bed.prng.below(40), upto = after + bed.prng.below(20);
    std::vector<Entry> expected;
    for (const Slice& slice : slices)
      for (const Entry& entry : bed.expected(slice, after, upto)) expected.push_back(entry);
    const auto visit = [&](const std::vector<Slice>& which, Txg from, Txg to) {
      std::vector<Entry> found;
      EXPECT_TRUE(
          bed.bed.run(for_each_dead(*bed.bed.store, bed.root, which, from, to,
                                    [&](const DeadEntry& e) { found.push_back(plain(e)); })));
      return found;
    };
    EXPECT_EQ(visit(slices, Txg(after), Txg(upto)), expected);
    EXPECT_EQ(visit(clip(slices, Txg(after), Txg(upto)), Txg(0), kForever), expected);
    EXPECT_EQ(visit(slices, kForever, kForever), std::vector<Entry>{});
  }
}

TEST(DeadIndex, RefusesWhatNoWriterMakes) {
  const std::string key = dead_key(1, Txg(9), Txg(3), BlockAddr(77));
  const std::string value("\5\0\0\0", 4);
  const auto good = decode_dead(key, value);
  ASSERT_TRUE(good);
  EXPECT_EQ(plain(*good), (Entry{1, 9, 3, 77, 5}));
  const auto refused = [](std::string_view k, std::string_view v) {
    const auto decoded = decode_dead(k, v);
    return !decoded && decoded.error().code == Errc::corrupt;
  };
  EXPECT_TRUE(refused(key.substr(1), value));
  EXPECT_TRUE(refused(key + "x", value));
  EXPECT_TRUE(refused(key, value.substr(1)));
  EXPECT_TRUE(refused(key, std::string(4, '\0')));
  EXPECT_TRUE(refused(dead_key(1, Txg(9), Txg(3), BlockAddr(0)), value));
}

}  // namespace
}  // namespace coppice::pool
