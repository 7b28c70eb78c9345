// tests/fuzz/log_record_fuzz.cc — intent-log records of any bytes.
//
// The first byte chooses: the rest is a payload of sections, or a header block (signed or not).
// Decoding refuses it, or what it gives is in range and encodes to the same again.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/crc32c.h"
#include "base/endian.h"
#include "pool/log_record.h"

using namespace coppice;
using namespace coppice::pool;

namespace {

void try_sections(std::span<const std::byte> payload) {
  const auto sections = decode_sections(payload);
  if (!sections) return;
  for (const LogSection& section : *sections) {
    for (const BlockRange& range : section.zeroed)
      CHECK(range.begin < range.end && range.end <= kVolumeBytesMax / kBlock);
    for (const LogExtent& extent : section.extents) {
      CHECK(!extent.crcs.empty() && extent.crcs.size() <= kLogExtentBlocksMax);
      CHECK(extent.lba + extent.crcs.size() <= kVolumeBytesMax / kBlock && raw(extent.addr) != 0);
    }
  }
  const std::vector<std::byte> again = encode_sections(*sections);
  CHECK(std::ranges::equal(again, payload));
}

void try_header(std::span<const std::byte> bytes, bool sign) {
  std::vector<std::byte> block(kBlock);
  std::memcpy(block.data(), bytes.data(), std::min(bytes.size(), block.size()));
  if (sign) {
    store_le<u32>(&block[8], 0);
    store_le<u32>(&block[8], crc32c(block));
  }
  const u32 lane = load_le<u32>(&block[12]);
  const u64 guid = load_le<u64>(&block[16]);
  const u64 sequence = load_le<u64>(&block[24]);
  const auto header = decode_log_header(block, guid, lane, sequence);
  CHECK(!decode_log_header(block, guid, lane, sequence + 1));
  if (!header) return;
  CHECK(header->payload_bytes <= kLogPayloadMax &&
        header->payload_blocks <= kLogPayloadMax / kBlock);
  const bool spilled = raw(header->payload) != 0;
  if (!spilled) try_sections(std::span(block).subspan(kLogHeaderBytes, header->payload_bytes));
  std::vector<std::byte> again(kBlock);
  encode_log_header(*header, {}, again);
  const auto twice = decode_log_header(again, guid, lane, sequence);
  CHECK(twice && twice->next == header->next && twice->payload == header->payload &&
        twice->payload_bytes == header->payload_bytes && twice->payload_crc == header->payload_crc);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
  if (size == 0) return 0;
  const auto rest = std::as_bytes(std::span(data, size)).subspan(1);
  if (data[0] % 4 < 2) {
    try_sections(rest);
  } else {
    try_header(rest, data[0] % 4 == 3);
  }
  return 0;
}
