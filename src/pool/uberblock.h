// pool/uberblock.h — the one block that names a whole pool, and the label area it lives in.
//
// Theory. The first kLabelBlocks blocks of the device are the label: two rings of kUberblockSlots
// blocks. The group `txg` writes its uberblock to slot txg % kUberblockSlots of both rings. Opening
// takes the valid one with the highest txg; a torn write leaves the one before. Everything else is
// found from it.
#pragma once

#include <array>
#include <span>
#include <string>

#include "pool/log_record.h"
#include "pool/types.h"

namespace coppice::pool {

inline constexpr u32 kFormatVersion = 1;
inline constexpr u64 kUberblockSlots = 64;
inline constexpr u64 kSecondRingBlock = 128;
inline constexpr size_t kLanesMax = 64;
inline constexpr size_t kPoolNameMax = 255;

// Feature sets of the format, as bits. A pool with an unknown bit in `incompatible` is not opened,
// with one in `read_only_compatible` not opened for writing; others do no harm.
struct Features {
  u64 compatible = 0, read_only_compatible = 0, incompatible = 0;
  friend bool operator==(const Features&, const Features&) = default;
};

struct Uberblock {
  Features features;
  u64 guid = 0;
  Txg txg{};
  u64 time_s = 0;
  u64 device_blocks = 0;
  u64 space_sum = 0;
  u64 metadata_blocks = 0;  // Used by the catalog and the dead index.
  NodePtr catalog;
  NodePtr dead_index;
  std::array<LogHead, kLanesMax> logs{};
  std::string name;
  friend bool operator==(const Uberblock&, const Uberblock&) = default;
};

void encode(const Uberblock& uberblock, std::span<std::byte> block);
// invalid: this is no uberblock. corrupt: it was one. unsupported: of a newer format; detail says
// which.
Result<Uberblock> decode_uberblock(std::span<const std::byte> block);

Task<> write_uberblock(io::Disk& disk, const Uberblock& uberblock);  // Does not flush.
// The newest valid one. Errors as above.
Task<Uberblock> read_uberblock(io::Disk& disk);

}  // namespace coppice::pool
