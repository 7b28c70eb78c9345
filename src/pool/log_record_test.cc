// Intent-log records: what is encoded is decoded, and nothing else is.
#include "pool/log_record.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/prng.h"

namespace coppice::pool {
namespace {

std::vector<LogSection> some_sections(Prng& prng) {
  std::vector<LogSection> sections(prng.below(4));
  for (LogSection& section : sections) {
    section.volume = DatasetId(prng.next());
    section.group = Txg(prng.next());
    for (u64 i = prng.below(4); i > 0; --i) {
      const u64 begin = prng.below(kVolumeBytesMax / kBlock);
      section.zeroed.push_back({begin, prng.between(begin + 1, kVolumeBytesMax / kBlock)});
    }
    for (u64 i = prng.below(5); i > 0; --i) {
      LogExtent extent{prng.below(kVolumeBytesMax / kBlock - kLogExtentBlocksMax),
                       BlockAddr(prng.between(1, ~u64{0})),
                       {}};
      extent.crcs.resize(prng.chance(1, 8) ? kLogExtentBlocksMax : prng.between(1, 5));
      for (u32& crc : extent.crcs) crc = static_cast<u32>(prng.next());
      section.extents.push_back(extent);
    }
  }
  return sections;
}

LogHeader some_header(Prng& prng) {
  LogHeader header;
  header.pool_guid = prng.next();
  header.lane = static_cast<u32>(prng.below(64));
  header.sequence = prng.next();
  header.next = BlockAddr(prng.next());
  if (prng.chance(1, 2)) {
    header.payload = BlockAddr(prng.between(1, ~u64{0}));
    header.payload_blocks = static_cast<u32>(prng.between(1, 100));
    header.payload_bytes = static_cast<u32>(prng.between(1, header.payload_blocks * kBlock));
  } else {
    header.payload_bytes = static_cast<u32>(prng.below(kBlock - kLogHeaderBytes + 1));
  }
  header.payload_crc = static_cast<u32>(prng.next());
  return header;
}

// Sections are decoded to what was encoded; every shorter or longer text is refused.
TEST(LogRecord, SectionsGoRound) {
  for (u64 seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    const auto sections = some_sections(prng);
    const auto bytes = encode_sections(sections);
    const auto again = decode_sections(bytes);
    ASSERT_TRUE(again);
    ASSERT_EQ(again->size(), sections.size());
    EXPECT_EQ(encode_sections(*again), bytes);
    for (size_t i = 0; i < sections.size(); ++i) {
      EXPECT_EQ((*again)[i].volume, sections[i].volume);
      EXPECT_EQ((*again)[i].group, sections[i].group);
      EXPECT_EQ((*again)[i].zeroed.size(), sections[i].zeroed.size());
      EXPECT_EQ((*again)[i].extents.size(), sections[i].extents.size());
    }
    const std::span<const std::byte> whole(bytes);
    for (size_t cut = 0; cut < bytes.size(); cut += 1 + bytes.size() / 300)
      EXPECT_FALSE(decode_sections(whole.first(cut))) << cut;
    auto longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decode_sections(longer));
  }
}

// What no writer makes is corrupt: empty and reversed ranges, extents of no or too many blocks, at
// address 0, past the greatest volume.
TEST(LogRecord, RefusesWhatNoWriterMakes) {
  const auto refused = [](LogSection section) {
    const auto decoded = decode_sections(encode_sections({&section, 1}));
    return !decoded && decoded.error().code == Errc::corrupt;
  };
  const u64 end = kVolumeBytesMax / kBlock;
  EXPECT_FALSE(refused({DatasetId(1), Txg(1), {{0, end}}, {{end - 1, BlockAddr(1), {7}}}}));
  EXPECT_TRUE(refused({DatasetId(1), Txg(1), {{5, 5}}, {}}));
  EXPECT_TRUE(refused({DatasetId(1), Txg(1), {{6, 5}}, {}}));
  EXPECT_TRUE(refused({DatasetId(1), Txg(1), {{6, end + 1}}, {}}));
  EXPECT_TRUE(refused({DatasetId(1), Txg(1), {}, {{0, BlockAddr(0), {7}}}}));
  EXPECT_TRUE(refused({DatasetId(1), Txg(1), {}, {{end, BlockAddr(1), {7}}}}));
  EXPECT_TRUE(refused({DatasetId(1), Txg(1), {}, {{~u64{0}, BlockAddr(1), {7}}}}));
  std::vector<std::byte> huge(4, std::byte{0xff});  // A count that no memory would hold.
  EXPECT_FALSE(decode_sections(huge));
}

// A header is found again by its pool, lane and sequence, and by no other.
TEST(LogRecord, HeadersGoRound) {
  for (u64 seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    const LogHeader header = some_header(prng);
    std::vector<std::byte> inlined(raw(header.payload) == 0 ? header.payload_bytes : 0,
                                   std::byte{9});
    std::vector<std::byte> block(kBlock);
    encode_log_header(header, inlined, block);
    const auto again = decode_log_header(block, header.pool_guid, header.lane, header.sequence);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->next, header.next);
    EXPECT_EQ(again->payload, header.payload);
    EXPECT_EQ(again->payload_blocks, header.payload_blocks);
    EXPECT_EQ(again->payload_bytes, header.payload_bytes);
    EXPECT_EQ(again->payload_crc, header.payload_crc);
    EXPECT_TRUE(std::equal(inlined.begin(), inlined.end(), block.begin() + kLogHeaderBytes));
    const auto missed = [&](u64 guid, u32 lane, u64 sequence) {
      const auto other = decode_log_header(block, guid, lane, sequence);
      return !other && other.error().code == Errc::not_found;
    };
    EXPECT_TRUE(missed(header.pool_guid + 1, header.lane, header.sequence));
    EXPECT_TRUE(missed(header.pool_guid, header.lane + 1, header.sequence));
    EXPECT_TRUE(missed(header.pool_guid, header.lane, header.sequence + 1));
  }
}

// Every changed byte of a header block is noticed, whichever it is.
TEST(LogRecord, EveryFlippedByteOfAHeaderIsFound) {
  Prng prng(3);
  const LogHeader header = some_header(prng);
  std::vector<std::byte> block(kBlock);
  encode_log_header(header, {}, block);
  for (size_t at = 0; at < kBlock; ++at) {
    const std::byte flip{static_cast<u8>(prng.between(1, 255))};
    block[at] ^= flip;
    EXPECT_FALSE(decode_log_header(block, header.pool_guid, header.lane, header.sequence)) << at;
    block[at] ^= flip;
  }
  EXPECT_TRUE(decode_log_header(block, header.pool_guid, header.lane, header.sequence));
}

// Sizes that do not agree are corrupt even under a good checksum.
TEST(LogRecord, RefusesSizesThatDoNotAgree) {
  const auto code = [](LogHeader header) {
    std::vector<std::byte> block(kBlock);
    encode_log_header(header, {}, block);
    const auto decoded = decode_log_header(block, 0, 0, 0);
    return decoded ? Errc::closed : decoded.error().code;
  };
  EXPECT_EQ(code({.payload_bytes = kBlock}), Errc::corrupt);
  EXPECT_EQ(code({.payload = BlockAddr(5), .payload_blocks = 1, .payload_bytes = kBlock + 1}),
            Errc::corrupt);
  EXPECT_EQ(code({.payload = BlockAddr(5), .payload_blocks = ~0u, .payload_bytes = 1}),
            Errc::corrupt);
  EXPECT_EQ(code({.payload = BlockAddr(5), .payload_blocks = 1, .payload_bytes = kBlock}),
            Errc::closed);
}

}  // namespace
}  // namespace coppice::pool
