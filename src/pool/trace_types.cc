#include "pool/trace_types.h"

#include "pool/engine.h"
#include "pool/volume.h"

// Offsets in classes that are no plain structures: both compilers know them all the same.
#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace coppice::pool {
namespace {

std::vector<trace::Structure> plain_types() {
  return {
      {"pool_NodePtr",
       sizeof(NodePtr),
       {COPPICE_FIELD(NodePtr, addr), COPPICE_FIELD(NodePtr, birth), COPPICE_FIELD(NodePtr, crc),
        COPPICE_FIELD(NodePtr, blocks), COPPICE_FIELD(NodePtr, level)}},
      {"pool_LogHead",
       sizeof(LogHead),
       {COPPICE_FIELD(LogHead, addr), COPPICE_FIELD(LogHead, sequence)}},
      {"pool_Shared",
       sizeof(Shared),
       {COPPICE_FIELD(Shared, dirty_bytes), COPPICE_FIELD(Shared, open_bytes),
        COPPICE_FIELD(Shared, charged_blocks), COPPICE_FIELD(Shared, available_blocks),
        COPPICE_FIELD(Shared, group_bytes_max), COPPICE_FIELD(Shared, dirty_bytes_max),
        COPPICE_FIELD(Shared, open_changed), COPPICE_FIELD(Shared, failed),
        COPPICE_FIELD(Shared, cached_blocks), COPPICE_FIELD(Shared, cached_blocks_max),
        COPPICE_FIELD(Shared, user_bytes_written), COPPICE_FIELD(Shared, device_bytes_written),
        COPPICE_FIELD(Shared, device_bytes_read), COPPICE_FIELD(Shared, checksum_errors),
        COPPICE_FIELD(Shared, io_errors), COPPICE_FIELD(Shared, log_records)}},
      {"pool_BlockCacheStats",
       sizeof(BlockCache::Stats),
       {COPPICE_FIELD(BlockCache::Stats, hits), COPPICE_FIELD(BlockCache::Stats, misses)}},
      {"pool_NodeStoreStats",
       sizeof(NodeStore::Stats),
       {COPPICE_FIELD(NodeStore::Stats, hits), COPPICE_FIELD(NodeStore::Stats, misses),
        COPPICE_FIELD(NodeStore::Stats, corrupt), COPPICE_FIELD(NodeStore::Stats, io_errors),
        COPPICE_FIELD(NodeStore::Stats, bytes)}},
  };
}

}  // namespace

std::vector<trace::Structure> TraceTypes::all() {
  static_assert(sizeof(std::unique_ptr<Overlay>) == sizeof(Overlay*));
  std::vector<trace::Structure> types = plain_types();
  types.push_back(node_store_state());
  types.push_back({"pool_NodeStore",
                   sizeof(NodeStore),
                   {COPPICE_FIELD_OF(NodeStore, state_, "pool_NodeStoreState *")}});
  types.push_back({"pool_Overlay",
                   sizeof(Overlay),
                   {COPPICE_FIELD(Overlay, charged_blocks), COPPICE_FIELD(Overlay, live_blocks_),
                    COPPICE_FIELD(Overlay, pages_)}});
  types.push_back({"pool_BlockCache",
                   sizeof(BlockCache),
                   {COPPICE_FIELD_OF(BlockCache, stats_, "pool_BlockCacheStats")}});
  types.push_back({"pool_LaneSpace",
                   sizeof(LaneSpace),
                   {COPPICE_FIELD(LaneSpace, free_blocks_), COPPICE_FIELD(LaneSpace, next_grant_),
                    COPPICE_FIELD(LaneSpace, refilling_)}});
  types.push_back({"pool_Volume",
                   sizeof(Volume),
                   {COPPICE_FIELD(Volume, closing_written), COPPICE_FIELD(Volume, holders),
                    COPPICE_FIELD(Volume, id_), COPPICE_FIELD(Volume, frozen_),
                    COPPICE_FIELD(Volume, size_bytes_), COPPICE_FIELD(Volume, read_only_),
                    COPPICE_FIELD(Volume, quota_blocks_), COPPICE_FIELD(Volume, reserved_blocks_),
                    COPPICE_FIELD_OF(Volume, root_, "pool_NodePtr"),
                    COPPICE_FIELD_OF(Volume, merged_, "pool_NodePtr"),
                    COPPICE_FIELD_OF(Volume, open_, "pool_Overlay *"),
                    COPPICE_FIELD_OF(Volume, closing_, "pool_Overlay *")}});
  types.push_back(
      {"pool_IoLane",
       sizeof(IoLane),
       {COPPICE_FIELD_OF(IoLane, cache_, "pool_BlockCache"),
        COPPICE_FIELD_OF(IoLane, nodes_, "pool_NodeStore"),
        COPPICE_FIELD_OF(IoLane, space_, "pool_LaneSpace"), COPPICE_FIELD(IoLane, open_),
        COPPICE_FIELD(IoLane, flipping_), COPPICE_FIELD_OF(IoLane, log_next_, "pool_LogHead"),
        COPPICE_FIELD_OF(IoLane, log_at_flip_, "pool_LogHead"), COPPICE_FIELD(IoLane, log_running_),
        COPPICE_FIELD(IoLane, log_ticket_), COPPICE_FIELD(IoLane, log_settled_),
        COPPICE_FIELD(IoLane, log_done_)}});
  types.push_back(
      {"pool_Engine",
       sizeof(Engine),
       {COPPICE_FIELD_OF(Engine, shared_, "pool_Shared"),
        COPPICE_FIELD_OF(Engine, nodes_, "pool_NodeStore"),
        COPPICE_FIELD_OF(Engine, sync_space_, "pool_LaneSpace"), COPPICE_FIELD(Engine, open_),
        COPPICE_FIELD(Engine, durable_), COPPICE_FIELD(Engine, frozen_),
        COPPICE_FIELD(Engine, stopping_), COPPICE_FIELD(Engine, committing_),
        COPPICE_FIELD(Engine, opened_ns_), COPPICE_FIELD(Engine, unkept_blocks_),
        COPPICE_FIELD(Engine, groups_), COPPICE_FIELD(Engine, group_ns_last_),
        COPPICE_FIELD(Engine, group_ns_max_), COPPICE_FIELD(Engine, log_replayed_),
        COPPICE_FIELD(Engine, metadata_blocks_)}});
  return types;
}

}  // namespace coppice::pool
