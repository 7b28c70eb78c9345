#include "cli/size.h"

#include <gtest/gtest.h>

#include <limits>

namespace coppice::cli {
namespace {

TEST(Size, ReadsEveryUnitInEverySpelling) {
  const std::pair<const char*, u64> cases[] = {
      {"0", 0},
      {"4096", 4096},
      {"512B", 512},
      {"1K", 1_KiB},
      {"1k", 1_KiB},
      {"1KB", 1_KiB},
      {"1KiB", 1_KiB},
      {"64G", 64_GiB},
      {"64gib", 64_GiB},
      {"1.5G", 1536_MiB},
      {"0.5K", 512},
      {"2T", 2048_GiB},
      {"1P", u64{1} << 50},
      {"8E", u64{1} << 63},
      {"18446744073709551615", ~u64{0}},
      {"1.0", 1},
  };
  for (const auto& [text, bytes] : cases) {
    SCOPED_TRACE(text);
    const Result<u64> read = parse_size(text);
    ASSERT_TRUE(read);
    EXPECT_EQ(*read, bytes);
  }
}

TEST(Size, RefusesWhatIsNoSize) {
  for (const char* text : {"", "G", "-1", "1.5", "1X", "1GG", "1 G", "0x10", ".5G", "16E", "1.5.5G",
                           "18446744073709551616", "99999999999999999999999999", "1KiBs"}) {
    SCOPED_TRACE(text);
    const Result<u64> read = parse_size(text);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, Errc::invalid);
    EXPECT_FALSE(read.error().detail.empty());
  }
}

TEST(Size, ShowsAtMostFiveCharacters) {
  EXPECT_EQ(show_bytes(0), "0B");
  EXPECT_EQ(show_bytes(512), "512B");
  EXPECT_EQ(show_bytes(1_KiB), "1K");
  EXPECT_EQ(show_bytes(1536), "1.50K");
  EXPECT_EQ(show_bytes(1536_MiB), "1.50G");
  EXPECT_EQ(show_bytes(15565_MiB), "15.2G");
  EXPECT_EQ(show_bytes(150_GiB + 1), "150G");
  EXPECT_EQ(show_bytes(1023_GiB + 512_MiB), "1024G");
  EXPECT_EQ(show_bytes(~u64{0}), "16.0E");
  EXPECT_EQ(show_bytes(u64{1} << 63), "8E");
  EXPECT_EQ(show_count(0), "0");
  EXPECT_EQ(show_count(999), "999");
  EXPECT_EQ(show_count(1500), "1.46K");
  for (u64 value = 1; value != 0; value = value * 3 < value ? 0 : value * 3) {
    EXPECT_LE(show_bytes(value).size(), 5u) << value;
  }
}

TEST(Size, SaturatesWhatNoIntegerHolds) {
  EXPECT_EQ(saturate(1.9), 1u);
  EXPECT_EQ(saturate(-1), 0u);
  EXPECT_EQ(saturate(1e30), ~u64{0});
  EXPECT_EQ(saturate(static_cast<double>(~u64{0})), ~u64{0});
  EXPECT_EQ(saturate(0.0 / std::numeric_limits<double>::infinity()), 0u);
  EXPECT_EQ(saturate(std::numeric_limits<double>::quiet_NaN()), 0u);
}

TEST(Size, ShowsTimes) {
  EXPECT_EQ(show_nanoseconds(850), "850ns");
  EXPECT_EQ(show_nanoseconds(12'400), "12.4us");
  EXPECT_EQ(show_nanoseconds(3'100'000), "3.10ms");
  EXPECT_EQ(show_nanoseconds(1'500'000'000), "1.50s");
  EXPECT_EQ(show_duration(0), "0:00");
  EXPECT_EQ(show_duration(42), "0:42");
  EXPECT_EQ(show_duration(727), "12:07");
  EXPECT_EQ(show_duration(3 * 3600), "3:00:00");
  EXPECT_EQ(show_duration(2 * 86400 + 3 * 3600), "2 days 03:00:00");
}

TEST(ParseDuration, TakesAWholeNumberAndItsUnit) {
  EXPECT_EQ(parse_duration("7ns").value(), 7u);
  EXPECT_EQ(parse_duration("500us").value(), 500'000u);
  EXPECT_EQ(parse_duration("10ms").value(), 10'000'000u);
  EXPECT_EQ(parse_duration("2s").value(), 2'000'000'000u);
  EXPECT_EQ(parse_duration("5m").value(), 300'000'000'000u);
  EXPECT_EQ(parse_duration("1h").value(), 3'600'000'000'000u);
  for (const char* text : {"", "5", "ms", "0s", "-1s", "1.5s", "1 s", "1sec", "9999999999h"})
    EXPECT_FALSE(parse_duration(text)) << text;
}

}  // namespace
}  // namespace coppice::cli
