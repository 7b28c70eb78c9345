#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <vector>

#include "base/crc32c.h"
#include "base/endian.h"
#include "base/lookout.h"
#include "base/prng.h"
#include "base/ref.h"
#include "base/result.h"

namespace coppice {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(Crc32c, IsTheStandardOneAndMayBeFedInPieces) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283u);
  EXPECT_EQ(crc32c({}), 0u);
  for (size_t cut = 0; cut <= 9; ++cut) {
    const auto whole = bytes_of("123456789");
    EXPECT_EQ(crc32c(whole.subspan(cut), crc32c(whole.first(cut))), 0xE3069283u) << cut;
  }
  const std::vector<std::byte> zeroes(32);
  EXPECT_EQ(crc32c(zeroes), 0x8A9136AAu);  // RFC 3720, B.4.
}

TEST(Endian, StoresInTheOrderItSays) {
  std::byte buffer[8];
  store_be<u32>(buffer, 0x01020304);
  EXPECT_EQ(buffer[0], std::byte{1});
  EXPECT_EQ(load_be<u32>(buffer), 0x01020304u);
  EXPECT_EQ(load_le<u32>(buffer), 0x04030201u);
  store_le<u64>(buffer, 0x0102030405060708);
  EXPECT_EQ(buffer[0], std::byte{8});
  EXPECT_EQ(load_be<u64>(buffer), 0x0807060504030201u);
  EXPECT_EQ(load_be<u16>(buffer), 0x0807u);
}

TEST(Reader, TurnsBadForGoodAtTheFirstByteThatIsMissing) {
  std::byte buffer[7]{};
  Writer writer(buffer);
  writer.put<u32>(0xdeadbeef);
  writer.put_be<u16>(0x1234);
  writer.zero(1);
  EXPECT_EQ(writer.remaining(), 0u);
  Reader reader(buffer);
  EXPECT_EQ(reader.get<u32>(), 0xdeadbeefu);
  EXPECT_EQ(reader.get_be<u16>(), 0x1234);
  EXPECT_EQ(reader.remaining(), 1u);
  EXPECT_FALSE(reader.done());
  EXPECT_EQ(reader.get<u16>(), 0);
  EXPECT_FALSE(reader.good());
  EXPECT_EQ(reader.get<u8>(), 0);  // Though one byte was left.
  EXPECT_FALSE(reader.done());
}

TEST(Reader, TakesNothingFromNothing) {
  Reader reader({});
  EXPECT_TRUE(reader.bytes(0).empty());
  EXPECT_TRUE(reader.done());
  EXPECT_TRUE(reader.bytes(~size_t{0}).empty());
  EXPECT_FALSE(reader.good());
}

TEST(WriterDeathTest, StopsTheCallerWhoseBufferIsTooSmall) {
  std::byte buffer[3];
  EXPECT_DEATH(Writer(buffer).put<u32>(1), "CHECK");
}

TEST(Prng, RepeatsItselfAndStaysBelow) {
  for (u64 seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    Prng one(seed);
    Prng two(seed);
    std::set<u64> seen;
    for (int i = 0; i < 400; ++i) {
      const u64 n = one.below(10);
      EXPECT_EQ(n, two.below(10));
      EXPECT_LT(n, 10u);
      seen.insert(n);
    }
    EXPECT_EQ(seen.size(), 10u);
    EXPECT_NE(one.fork().next(), one.next());
    EXPECT_TRUE(one.chance(1, 1));
    EXPECT_FALSE(one.chance(0, 1));
    EXPECT_EQ(one.between(7, 7), 7u);
  }
}

TEST(Error, DescribesItselfInOneLine) {
  const Result<> plain = fail(Errc::busy, "opening the pool");
  EXPECT_EQ(describe(plain.error()), "opening the pool: busy");
  const Result<> detailed = fail(Errc::not_found, "looking up a dataset", std::string("a/b\nc"));
  EXPECT_EQ(describe(detailed.error()), "looking up a dataset: a/b c");
  const Result<> kernel = fail(Errc::io, "reading", EIO);
  EXPECT_EQ(describe(kernel.error()), "reading (Input/output error)");
  EXPECT_EQ(errno_of(Errc::no_space), ENOSPC);
  EXPECT_STREQ(name_of(Errc::timed_out), "timed_out");
}

Result<int> half(int n) {
  if (n % 2 != 0) return fail(Errc::invalid, "halving");
  return n / 2;
}
Result<int> quarter(int n) {
  TRY(const int h, half(n));
  TRY_VOID(half(h));
  return half(h);
}
TEST(Result, TryPassesErrorsOn) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().code, Errc::invalid);
}

struct Thing : Counted {
  bool& gone;
  explicit Thing(bool& flag) : gone(flag) {}
  ~Thing() { gone = true; }
};
TEST(Ref, TheLastOneDeletes) {
  bool gone = false;
  Ref<Thing> one(new Thing(gone));
  Ref<Thing> two = one;
  one = {};
  EXPECT_FALSE(gone);
  EXPECT_EQ(two->references(), 1u);
  two = {};
  EXPECT_TRUE(gone);
}

TEST(Lookout, SkipsMoreAfterEachLookInVainAndNoneAfterASuccess) {
  Lookout lookout;
  const auto skipped = [&lookout] {
    u32 count = 0;
    while (!lookout.worthwhile()) ++count;
    return count;
  };
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(skipped(), 0u);
    for (u32 expected = 1; expected <= 4 * Lookout::kSkippedMax; expected *= 2) {
      lookout.in_vain();
      EXPECT_EQ(skipped(), std::min(expected, Lookout::kSkippedMax));
    }
    lookout.found();
  }
}

}  // namespace
}  // namespace coppice
