// pool/limits.h — quotas and reservations, turned into what each volume may still write.
#pragma once

#include <map>

#include "pool/catalog.h"

namespace coppice::pool {

struct Limits {
  i64 quota_blocks = i64{1} << 60;  // It may grow by so many.
  i64 reserved_blocks = 0;          // Of the pool's space, so many are set aside for it.
};

// Blocks that a volume accounts for: what it alone keeps, and what its snapshots keep.
u64 used_blocks(const VolumeState& state);

// The volumes that have a quota or a reservation, their own or an ancestor's. A quota on a group
// leaves each volume below it what is left of it all; they can overshoot it by what one transaction
// group writes. `unkept` gets the blocks reserved in all and not yet used.
std::map<DatasetId, Limits> find_limits(const CatalogView& catalog, u64& unkept_blocks);

// The value of a size property set on the dataset itself; 0 if it is not, or is "none".
u64 size_property(const Dataset& dataset, std::string_view name);

}  // namespace coppice::pool
