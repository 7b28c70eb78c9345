// pool/log_record.h — the intent log's records: bytes to meaning and back.
//
// Theory. A record says, for some volumes, which blocks hold what was written since the last
// record. It is one header block at an address that the record before it (or the uberblock)
// announced, plus, when the payload does not fit, a run of payload blocks. A header is taken for
// the next record of its chain only if its checksum, pool, lane and sequence number match; what an
// older use of the block left behind does not.
#pragma once

#include <span>
#include <vector>

#include "pool/types.h"
#include "pool/volume_map.h"

namespace coppice::pool {

inline constexpr size_t kLogHeaderBytes = 96;
inline constexpr u64 kLogPayloadMax = 4_MiB;  // More than this and the group is committed instead.
inline constexpr u32 kLogExtentBlocksMax = kExtentBlocksMax;

// Where a lane's next record is, or will be.
struct LogHead {
  BlockAddr addr{};  // 0: the lane has no log.
  u64 sequence = 0;
  friend bool operator==(const LogHead&, const LogHead&) = default;
};

struct LogExtent {
  u64 lba = 0;
  BlockAddr addr{};
  std::vector<u32> crcs;  // One a block: this is the length, too.
};
// What happened to one volume in one group: first the zeroes, then the extents.
struct LogSection {
  DatasetId volume{};
  Txg group{};
  std::vector<BlockRange> zeroed;
  std::vector<LogExtent> extents;
};

struct LogHeader {
  u64 pool_guid = 0;
  u32 lane = 0;
  u64 sequence = 0;
  BlockAddr next{};
  BlockAddr payload{};  // 0: the payload follows the header in its block.
  u32 payload_blocks = 0;
  u32 payload_bytes = 0;
  u32 payload_crc = 0;
};

std::vector<std::byte> encode_sections(std::span<const LogSection> sections);
Result<std::vector<LogSection>> decode_sections(std::span<const std::byte> payload);
// `block` is one block; an inline payload is put behind the header.
void encode_log_header(const LogHeader& header, std::span<const std::byte> inline_payload,
                       std::span<std::byte> block);
// not_found: this is not the record that `lane` expects at `sequence`.
Result<LogHeader> decode_log_header(std::span<const std::byte> block, u64 pool_guid, u32 lane,
                                    u64 sequence);

}  // namespace coppice::pool
