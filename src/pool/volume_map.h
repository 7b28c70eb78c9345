// pool/volume_map.h — a volume's map: which extent of the device holds which blocks of the volume.
//
// Theory. The map is a tree whose keys are the first logical block (lba) of an extent, big endian,
// and whose values are extents: address, birth group, flags, and a checksum for every block.
// Extents never overlap. plan_map_edit() turns what a group did to a volume (ranges zeroed, extents
// written) into tree changes: old extents are cut where the new ones begin and end, and every block
// cut out is reported.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "pool/tree.h"
#include "pool/types.h"

namespace coppice::pool {

inline constexpr u32 kExtentBlocksMax = 256;  // 1 MiB.
inline constexpr u64 kVolumeBytesMax = u64{1} << 63;

// crcs[i] is the crc32c of block i of the extent.
struct MapExtent {
  u64 lba = 0;
  BlockAddr addr{};
  Txg birth{};
  u32 count = 0;
  u8 flags = 0;  // 0: stored as written. Others: room for compression and encryption.
  std::vector<u32> crcs;
  u64 end() const { return lba + count; }
};

std::string map_key(u64 lba);
u64 map_lba(std::string_view key);  // CHECKs the length: keys come from checked nodes.
void encode_extent(const MapExtent& extent, std::string& into);
// corrupt: a length, address or count that no writer makes, or flags of a newer format.
Result<MapExtent> decode_extent(std::string_view key, std::string_view value);

// The part of an extent that the hot read path needs, without copying checksums.
struct ExtentView {
  u64 lba = 0;
  BlockAddr addr{};
  Txg birth{};
  u32 count = 0;
  const char* crcs = nullptr;  // Little endian u32 each, unaligned.
  u64 end() const { return lba + count; }
  u32 crc(u64 index) const {
    u32 value;
    std::memcpy(&value, crcs + index * sizeof value, sizeof value);
    return value;
  }
};
Result<ExtentView> view_extent(std::string_view key, std::string_view value);

// What a group no longer maps: data blocks, or a map node.
struct Dropped {
  Run run;
  Txg birth{};
  bool node = false;
};

struct BlockRange {
  u64 begin = 0;
  u64 end = 0;
};

// The changes to a map, owning their bytes.
struct MapEdit {
  std::vector<Change> changes;
  std::vector<Dropped> dropped;  // Data only.
  u64 blocks_added = 0;
  u64 blocks_dropped = 0;
  std::vector<std::unique_ptr<std::string>> bytes;  // What the views in `changes` look into.
};

// `zeroed`: ascending, disjoint. `written`: ascending, disjoint, and overriding `zeroed`. Reads the
// old map through `store`; gives others a turn now and then.
Task<> plan_map_edit(NodeStore& store, NodePtr root, std::span<const BlockRange> zeroed,
                     std::span<const MapExtent> written, MapEdit& edit);

}  // namespace coppice::pool
