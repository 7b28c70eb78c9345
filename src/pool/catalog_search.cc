// Finding snapshots by the group that made them.
#include "pool/catalog_state.h"

namespace coppice::pool {

// Within a dataset, createtxg never falls as the id rises; what is not committed yet counts as
// youngest. So the boundary is found by halving the ids, each step a look into the order of
// creation.
SnapshotId Catalog::first_snapshot_after(DatasetId dataset, Txg txg) const {
  u64 low = 0,
      high = state_->header.next_id;  // The first id beyond the boundary is in [low, high].
  SnapshotId found{};
  while (low < high) {
    const u64 middle = low + (high - low) / 2;
    const auto place = state_->order.lower_bound(Link{raw(dataset), middle});
    if (place == state_->order.end() || place->first.owner != raw(dataset)) {
      high = middle;
      continue;
    }
    const SnapshotId id = SnapshotId(place->first.child);
    const Txg createtxg = snapshot(id)->createtxg;
    if (raw(createtxg) == 0 || createtxg > txg) {
      found = id;
      high = middle;
    } else {
      low = raw(id) + 1;
    }
  }
  return found;
}

SnapshotId Catalog::last_snapshot_upto(DatasetId dataset, Txg txg) const {
  const SnapshotId beyond = first_snapshot_after(dataset, txg);
  return raw(beyond) != 0 ? before(beyond) : last_snapshot(dataset);
}

}  // namespace coppice::pool
