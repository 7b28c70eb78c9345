#include "pool/log_record.h"

#include "base/crc32c.h"
#include "base/endian.h"

namespace coppice::pool {
namespace {

constexpr u64 kLogMagic = 0x31676f4c70436f43;  // "CoCpLog1"
constexpr size_t kCrcAt = 8;
constexpr size_t kInlineMax = kBlock - kLogHeaderBytes;
constexpr u32 kListMax = 1u << 22;

template <class T>
void put(std::vector<std::byte>& into, T value) {
  const size_t at = into.size();
  into.resize(at + sizeof value);
  store_le(into.data() + at, value);
}

u32 header_crc(std::span<const std::byte> block) {
  static constexpr std::byte kZero[4] = {};
  u32 crc = crc32c(block.first(kCrcAt));
  crc = crc32c(kZero, crc);
  return crc32c(block.subspan(kCrcAt + 4), crc);
}

}  // namespace

std::vector<std::byte> encode_sections(std::span<const LogSection> sections) {
  std::vector<std::byte> out;
  put<u32>(out, static_cast<u32>(sections.size()));
  for (const LogSection& section : sections) {
    put<u64>(out, raw(section.volume));
    put<u64>(out, raw(section.group));
    put<u32>(out, static_cast<u32>(section.zeroed.size()));
    put<u32>(out, static_cast<u32>(section.extents.size()));
    for (const BlockRange& range : section.zeroed) {
      put<u64>(out, range.begin);
      put<u64>(out, range.end);
    }
    for (const LogExtent& extent : section.extents) {
      CHECK(!extent.crcs.empty() && extent.crcs.size() <= kLogExtentBlocksMax);
      put<u64>(out, extent.lba);
      put<u64>(out, raw(extent.addr));
      put<u32>(out, static_cast<u32>(extent.crcs.size()));
      for (u32 crc : extent.crcs) put<u32>(out, crc);
    }
  }
  return out;
}

Result<std::vector<LogSection>> decode_sections(std::span<const std::byte> payload) {
  const auto bad = [] { return fail(Errc::corrupt, "decode an intent-log record"); };
  Reader in(payload);
  const u32 count = in.get<u32>();
  if (!in.good() || count > kListMax) return bad();
  std::vector<LogSection> sections;
  for (u32 s = 0; s < count; ++s) {
    LogSection section;
    section.volume = DatasetId(in.get<u64>());
    section.group = Txg(in.get<u64>());
    const u32 zeroed = in.get<u32>();
    const u32 extents = in.get<u32>();
    if (!in.good() || zeroed > kListMax || extents > kListMax) return bad();
    for (u32 i = 0; i < zeroed && in.good(); ++i) {
      const BlockRange range{in.get<u64>(), in.get<u64>()};
      if (range.begin >= range.end || range.end > kVolumeBytesMax / kBlock) return bad();
      section.zeroed.push_back(range);
    }
    for (u32 i = 0; i < extents && in.good(); ++i) {
      LogExtent extent;
      extent.lba = in.get<u64>();
      extent.addr = BlockAddr(in.get<u64>());
      const u32 blocks = in.get<u32>();
      if (!in.good() || blocks == 0 || blocks > kLogExtentBlocksMax || raw(extent.addr) == 0 ||
          extent.lba > kVolumeBytesMax / kBlock - blocks)
        return bad();
      for (u32 b = 0; b < blocks; ++b) extent.crcs.push_back(in.get<u32>());
      section.extents.push_back(std::move(extent));
    }
    if (!in.good()) return bad();
    sections.push_back(std::move(section));
  }
  if (!in.done()) return bad();
  return sections;
}

void encode_log_header(const LogHeader& header, std::span<const std::byte> inline_payload,
                       std::span<std::byte> block) {
  CHECK(block.size() == kBlock);
  CHECK(inline_payload.size() <= kInlineMax);
  std::memset(block.data(), 0, block.size());
  Writer out(block);
  out.put<u64>(kLogMagic);
  out.put<u32>(0);  // The checksum.
  out.put<u32>(header.lane);
  out.put<u64>(header.pool_guid);
  out.put<u64>(header.sequence);
  out.put<u64>(raw(header.next));
  out.put<u64>(raw(header.payload));
  out.put<u32>(header.payload_blocks);
  out.put<u32>(header.payload_bytes);
  out.put<u32>(header.payload_crc);
  if (!inline_payload.empty())
    std::memcpy(block.data() + kLogHeaderBytes, inline_payload.data(), inline_payload.size());
  store_le<u32>(block.data() + kCrcAt, header_crc(block));
}

Result<LogHeader> decode_log_header(std::span<const std::byte> block, u64 pool_guid, u32 lane,
                                    u64 sequence) {
  CHECK(block.size() == kBlock);
  Reader in(block);
  const u64 magic = in.get<u64>();
  const u32 crc = in.get<u32>();
  LogHeader header;
  header.lane = in.get<u32>();
  header.pool_guid = in.get<u64>();
  header.sequence = in.get<u64>();
  header.next = BlockAddr(in.get<u64>());
  header.payload = BlockAddr(in.get<u64>());
  header.payload_blocks = in.get<u32>();
  header.payload_bytes = in.get<u32>();
  header.payload_crc = in.get<u32>();
  CHECK(in.good());
  const bool ours = magic == kLogMagic && header.pool_guid == pool_guid && header.lane == lane &&
                    header.sequence == sequence && crc == header_crc(block);
  if (!ours) return fail(Errc::not_found, "find the next intent-log record");
  const bool spilled = raw(header.payload) != 0;
  const u64 room = spilled ? u64{header.payload_blocks} * kBlock : kInlineMax;
  if (header.payload_bytes > room || header.payload_bytes > kLogPayloadMax ||
      header.payload_blocks > kLogPayloadMax / kBlock)
    return fail(Errc::corrupt, "decode an intent-log header");
  return header;
}

}  // namespace coppice::pool
