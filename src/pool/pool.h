// pool/pool.h — a pool of volumes: what the rest of the daemon sees of the engine.
//
// Theory. A pool lives on lanes: one sync lane, which owns the catalog, the space and the
// transaction groups, and I/O lanes, each of which owns some volumes, an intent log and caches. A
// lane is an executor with its own view of the device. Everything here is called on the sync lane;
// a Device runs on its volume's lane.
//
// Written data is dirty in memory in the open group, on the volume's lane. A group closes by time,
// by dirty bytes or on demand: a barrier makes every acknowledged write fall on one side of it.
// Each lane then writes its volumes' dirty data, merges their maps and reports; the sync lane
// settles births and deaths, runs the tree operations of accepted transactions, writes catalog,
// dead index and bitmaps, flushes, and commits all with one uberblock. FLUSH in between is served
// by the lane's intent log. See ARCHITECTURE.md for the ways through.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "blk/device.h"
#include "io/disk.h"
#include "pool/catalog.h"
#include "pool/records.h"
#include "rt/event.h"

namespace coppice::pool {

struct Lane {
  rt::Executor* executor = nullptr;
  io::Disk* disk = nullptr;  // This lane's view of the pool's device; outlives the pool.
};

struct Options {
  std::string name;  // What the caller calls the pool; must match the stored name. Empty: any.
  u64 cache_bytes = 256_MiB;      // Block caches of all lanes together.
  u64 node_cache_bytes = 64_MiB;  // Tree nodes, per lane.
  u64 dirty_bytes_max = 512_MiB;  // Of open and closing groups together: beyond it writers wait.
  u64 group_ns = 5'000'000'000;   // A group with anything in it closes at this age.
  u64 seed = 0;                   // For guids; the host draws it from the system.
  std::function<void(std::string)> warn =
      {};  // One line for the daemon's log: a checksum error, a failed pool.
};

struct LatencyHistogram {  // Bucket i: requests of [2^i, 2^(i+1)) nanoseconds.
  u64 buckets[40] = {};
  u64 total_ns = 0;
};
struct IoStats {
  u64 operations = 0, bytes = 0, errors = 0;
  LatencyHistogram latency;
};
struct VolumeStats {
  IoStats read, write, flush, discard;  // discard: zero as well.
  u64 checksum_errors = 0;
};
struct PoolStats {
  u64 device_blocks = 0, total_blocks = 0, used_blocks = 0, free_blocks = 0, dying_blocks = 0;
  u64 metadata_blocks = 0;  // Used by catalog and dead index.
  u64 freeing_blocks = 0;   // Left for background jobs to free.
  u64 reserve_blocks = 0;   // Kept for administration: not for users' writes.
  u64 dirty_bytes = 0;
  u64 user_bytes_written = 0, device_bytes_written = 0, device_bytes_read = 0;
  u64 block_cache_hits = 0, block_cache_misses = 0, block_cache_bytes = 0;
  u64 node_cache_hits = 0, node_cache_misses = 0, node_cache_bytes = 0;
  u64 groups = 0, group_ns_last = 0, group_ns_max = 0, group_ns_total = 0;
  u64 log_records = 0, log_replayed = 0;
  u64 checksum_errors = 0, io_errors = 0;
  Txg txg{};  // The durable group.
  u64 guid = 0;
  u32 format_version = 0;
  bool turn_taken = false;  // An administrative transaction is under way,
  u64 turn_waiting = 0;     // and so many wait for it to end.
  std::string failed;       // Why the pool stopped taking changes; empty: it is healthy.
};
struct ScrubStatus {
  enum class State : u8 { none, running, paused, finished } state = State::none;
  u64 examined_blocks = 0, to_examine_blocks = 0, errors = 0;
  u64 started_s = 0, ended_s = 0;
  std::vector<std::string>
      damaged;  // "tank/vm@s: 4096 bytes at 1048576", at most kDamagedMax lines.
};
inline constexpr size_t kDamagedMax = 100;

class Pool {
 public:
  struct CreateOptions {
    std::string name;
    u64 seed = 0;  // For guids.
    u64 now_s = 0;
  };
  // Writes an empty pool over the device. busy-free check of the content is the caller's
  // (`looks_used`).
  static Task<> create(Lane sync, CreateOptions options);
  // Whether the device begins with a pool's label, and its name: for `pool create` to refuse.
  static Task<std::string> probe(Lane sync);
  // lanes[0] is the sync lane; if there is no other, it is the I/O lane as well. Replays the intent
  // log. Errors: invalid (no pool), unsupported (newer format or feature), corrupt, io.
  static Task<std::unique_ptr<Pool>> open(std::vector<Lane> lanes, Options options);
  virtual ~Pool() = default;  // After close().
  // Commits what is dirty. busy while devices are held: it stays open. After any other error it is
  // closed, and what was not durable is lost.
  virtual Task<> close() = 0;

  virtual const std::string& name() const = 0;
  virtual u64 guid() const = 0;
  virtual const Catalog& catalog() const = 0;

  // --- Administration. One transaction at a time: begin() waits for its turn.
  struct Session {
    rt::Mutex::Lock turn;
    std::unique_ptr<Transaction> transaction;
  };
  // `ticket`, if any: to give up waiting (cancelled). It outlives the task.
  virtual Task<Session> begin(rt::Mutex::Ticket* ticket) = 0;
  Task<Session> begin() { return begin(nullptr); }
  // Accepts the transaction (its turn ends), and returns once it is durable. `history` goes with
  // it.
  virtual Task<Txg> commit(Session session, HistoryRecord history) = 0;
  // A record for something that changed nothing (a failed program).
  virtual Task<> record(HistoryRecord history) = 0;
  virtual Task<std::vector<HistoryRecord>> history(u64 from_sequence, size_t count_max) = 0;

  // --- Devices. A volume is active (has memory) while it has dirty data or someone holds a Handle.
  class Handle {  // Destroyed on the sync lane or on the device's lane.
   public:
    virtual ~Handle() = default;
    virtual blk::Device& device() = 0;
  };
  virtual Task<std::unique_ptr<Handle>> open_volume(DatasetId id) = 0;
  virtual Task<std::unique_ptr<Handle>> open_snapshot(SnapshotId id) = 0;
  virtual bool in_use(
      DatasetId id) const = 0;  // Somebody holds a Handle of it, or of one of its snapshots.
  virtual bool in_use(SnapshotId id) const = 0;

  // --- Space questions that need the dead index.
  // Blocks that destroying each of `dataset`'s snapshots alone would free, in snapshots() order.
  virtual Task<std::vector<u64>> unique_blocks(DatasetId dataset) = 0;
  // Blocks that destroying these snapshots of one dataset together would free.
  virtual Task<u64> reclaimable_blocks(DatasetId dataset, std::vector<SnapshotId> snapshots) = 0;
  // Blocks of the live volume born since `since` (for written@snapshot).
  virtual Task<u64> written_since(DatasetId dataset, Txg since) = 0;

  // --- The whole pool.
  virtual Task<> sync() = 0;         // Everything acknowledged so far is committed and durable.
  virtual Task<> grow() = 0;         // Takes in what the device has grown by.
  virtual Task<> scrub_start() = 0;  // busy: running. Continues a paused one.
  virtual void scrub_pause() = 0;
  virtual Task<> scrub_cancel() = 0;
  virtual ScrubStatus scrub_status() const = 0;
  virtual Task<> wait_for_jobs() = 0;  // Until nothing is left to be freed.
  virtual Task<PoolStats> stats() = 0;
  virtual u64 available_blocks() const = 0;  // Free now, less the reserve: for users' data.
  virtual Task<VolumeStats> volume_stats(DatasetId id) = 0;
  // Everything reachable is read and checked, and the reachable set compared with the used set and
  // the accounts. For tests and `coppice pool check`: the pool must be idle. Each string is one
  // contradiction.
  virtual Task<std::vector<std::string>> check() = 0;
};

}  // namespace coppice::pool
