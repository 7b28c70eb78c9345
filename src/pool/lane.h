// pool/lane.h — an I/O lane: its caches, its supply of space, its intent log, its volumes.
//
// Theory. Everything here runs on the lane's executor. The sync lane drives a lane through a
// transaction group T in four calls: flip(T) ends the open group (T's writes are now in each
// volume's closing overlay, new writes go to T + 1 and are applied but not acknowledged); release()
// acknowledges them, once every lane has flipped; write_group(T) writes out what is closing and
// merges the maps; finish_group(T), after T's uberblock is durable, makes the merged maps current
// and drops the overlays. Between them, FLUSH goes on.
//
// The log: one record at a time. A flusher collects what the volumes that wait have unlogged,
// writes the data, then the record, flushes the device once, and wakes all who waited. Flushes that
// arrive meanwhile share the next record.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "pool/block_cache.h"
#include "pool/lane_space.h"
#include "pool/log_record.h"
#include "pool/node_store.h"
#include "pool/page_pool.h"
#include "pool/pool.h"
#include "pool/volume_map.h"
#include "rt/event.h"
#include "rt/scope.h"

namespace coppice::pool {

struct DirtyBlock;
class Volume;

// The few numbers that the lanes of one pool share.
struct Shared {
  std::atomic<i64> dirty_bytes{0};        // Held by open and closing overlays.
  std::atomic<i64> open_bytes{0};         // Of those, by open ones.
  std::atomic<i64> charged_blocks{0};     // Written by users, not yet committed.
  std::atomic<i64> available_blocks{0};   // How far charged_blocks may go: set by each commit.
  std::atomic<i64> group_bytes_max{0};    // open_bytes beyond this close the group.
  std::atomic<i64> dirty_bytes_max{0};    // dirty_bytes beyond this make writers wait.
  std::atomic<bool> open_changed{false};  // The open group has something to commit.
  std::atomic<bool> failed{false};        // No change is taken any more.
  std::atomic<i64> cached_blocks{0};      // In the block caches of all lanes,
  i64 cached_blocks_max = 0;              // which share so many.
  std::atomic<u64> user_bytes_written{0};
  std::atomic<u64> device_bytes_written{0};
  std::atomic<u64> device_bytes_read{0};
  std::atomic<u64> checksum_errors{0};
  std::atomic<u64> io_errors{0};
  std::atomic<u64> log_records{0};
};

// What a lane asks of the sync lane. Callable on the lane.
class Control {
 public:
  virtual ~Control() = default;
  virtual Task<std::vector<Run>> grant(rt::Executor& home, u64 blocks) = 0;
  virtual void want_group() = 0;                          // Soon; does not wait.
  virtual Task<> wait_for_group(rt::Executor& home) = 0;  // All that is open now is durable after.
  virtual void fail_pool(const Error& error) = 0;         // Takes no more changes.
  virtual void warn(std::string line) = 0;                // For the daemon's log.
};

// What a group did to one volume, for the sync lane to account.
struct VolumeReport {
  DatasetId volume{};
  NodePtr root;         // The merged map.
  u64 data_blocks = 0;  // Mapped anew.
  u64 node_blocks = 0;  // Of map nodes written.
  u64 data_blocks_dropped = 0;
  std::vector<Dropped> dropped;  // Data and nodes.
  std::vector<Run> superseded;   // Born and died within the group.
  u64 charged_blocks = 0;
};
struct LaneReport {
  std::vector<VolumeReport> volumes;
  LaneSpace::Taken taken;
  LogHead log;  // Where records of later groups begin.
};

// What the sync lane tells a lane about an active volume after each commit.
struct VolumeUpdate {
  DatasetId volume{};
  NodePtr root;
  u64 size_bytes = 0;
  bool read_only = false;
  Txg seen_upto{};          // What was born later, no snapshot sees.
  i64 quota_blocks = 0;     // It may grow by so many,
  i64 reserved_blocks = 0;  // of which these are set aside for it.
};

class IoLane {
 public:
  struct Config {
    u32 index = 0;
    u64 pool_guid = 0;
    u64 cache_bytes_min = 0;  // What its block cache keeps whatever the others hold.
    u64 node_cache_bytes = 0;
  };
  IoLane(Config config, Lane lane, Shared& shared, Control& control);
  ~IoLane();

  // The group protocol, as above.
  Task<> flip(Txg closing);
  void release();
  Task<LaneReport> write_group(Txg closing);
  Task<> finish_group(std::vector<VolumeUpdate> updates);

  // Volumes. An active one stays while it is held or dirty.
  Volume& activate(const VolumeUpdate& update);  // Or the one already active.
  Volume& view_snapshot(SnapshotId id, const VolumeUpdate& update);
  Volume* find(DatasetId id);
  void hold(Volume& volume);
  void let_go(Volume& volume);  // Destroys it, if nothing else keeps it.

  // Makes everything that `volume` has acknowledged durable.
  Task<> flush(Volume& volume);
  void volume_dirtied(i64 bytes);  // Accounts, and asks for a group if it is time.
  Task<> wait_for_room();          // While too much is dirty.

  // Replay: puts what a record says into the volume's open overlay.
  void replay(Volume& volume, const LogSection& section);
  Task<> start_log(u64 first_sequence, Txg open);  // The lane is ready for its first group, `open`.
  void give_up();  // The pool has failed: wakes who waits for a group.
  // Before the lane is destroyed: waits for what it runs. Its volumes must be held by nobody.
  Task<> stop();

  rt::Executor& executor() { return *lane_.executor; }
  io::Disk& disk() { return *lane_.disk; }
  NodeStore& nodes() { return nodes_; }
  BlockCache& cache() { return cache_; }
  void keep(BlockAddr addr, Txg birth, PageRef page);  // Puts a block into the cache.
  PageRef take_page();
  LaneSpace& space() { return space_; }
  Shared& shared() { return shared_; }
  Control& control() { return control_; }
  Txg open_group() const { return open_; }
  u64 pool_guid() const { return config_.pool_guid; }
  bool flipping() const { return flipping_; }
  rt::Event& released() { return released_; }
  bool active(DatasetId id) const { return volumes_.contains(id); }

  bool log_busy() const { return log_done_ < log_ticket_; }

 private:
  friend struct TraceTypes;
  // What a block held when it got its place on the device.
  struct Placed {
    DirtyBlock* block;
    u64 lba;
    BlockAddr addr;
    u32 crc;
  };
  struct Collected;  // What one record is about to say of one overlay.

  // Gathers pages into runs and writes them. Blocks that were zeroed meanwhile are left out.
  Task<> write_blocks(std::vector<DirtyBlock*> blocks, Txg group, std::vector<Placed>& placed);

  // lane_log.cc
  Task<> run_log();
  Task<> log_once();
  Task<> collect(std::vector<Volume*> volumes, std::vector<Collected>& collected);
  Task<bool> write_record(std::span<const std::byte> payload);  // false: it found no room.
  Task<> log_settled();  // The record that is under way now touches no overlay any more.
  Task<> merge_volume(Volume& volume, std::span<DirtyBlock* const> blocks, Txg closing,
                      VolumeReport& report);
  Task<> forget_dropped(std::vector<Dropped> dropped, Txg seen_upto);
  Task<> write_run(Run run, std::span<DirtyBlock* const> blocks);
  bool idle(const Volume& volume) const;
  void retire_idle();

  const Config config_;
  const Lane lane_;
  Shared& shared_;
  Control& control_;
  PagePool pages_;
  BlockCache cache_;
  NodeStore nodes_;
  LaneSpace space_;
  std::map<DatasetId, std::unique_ptr<Volume>> volumes_;
  std::map<SnapshotId, std::unique_ptr<Volume>> views_;
  std::vector<DatasetId> closing_;  // Volumes with a closing overlay.

  Txg open_{};
  bool flipping_ = false;
  rt::Event released_;
  rt::Event room_;
  rt::Event written_;  // Some volume's closing data has all been written.

  LogHead log_next_;  // Where the next record goes.
  LogHead log_at_flip_;
  std::vector<Volume*> log_waiting_;  // Volumes with someone waiting for a flush.
  bool log_running_ = false;
  u64 log_ticket_ = 0;   // Of the last record begun.
  u64 log_settled_ = 0;  // Of the last record that is done with the overlays.
  u64 log_done_ = 0;     // Of the last record durable.
  Result<> log_result_{};
  rt::Event log_event_;
  rt::Scope background_;
};

}  // namespace coppice::pool
