// pool/engine.h — the sync lane's half of a pool: transaction groups, accounts, tree operations,
// jobs.
//
// Theory. The engine runs one group at a time (commit_group). While group T is being committed, the
// next is open on the lanes, and no transaction is accepted (frozen_) from the moment T's tree
// operations were taken until T's catalog records were: so records and operations of one
// transaction never part. The order within a commit is what makes it safe: lanes' data and maps,
// dead index, catalog, bitmaps; one flush; the uberblock; one flush; only then is what died
// reusable, and only after the lanes look at the new maps. A failure anywhere stops the pool
// (Shared::failed): the disk still holds the last durable group and its log.
#pragma once

#include <map>
#include <memory>
#include <set>

#include "pool/dead_index.h"
#include "pool/lane.h"
#include "pool/limits.h"
#include "pool/metered_disk.h"
#include "pool/mutant.h"
#include "pool/pool.h"
#include "pool/space.h"
#include "pool/uberblock.h"
#include "rt/scope.h"

namespace coppice::pool {

// recovery.cc: writes an empty pool.
Task<> make_pool(Lane sync, Pool::CreateOptions options, u64 device_blocks);
inline constexpr u64 kPoolBytesMin = 16_MiB;
// What the catalog has to store, as changes of its tree. They look into `stored`.
std::vector<Change> tree_changes(const std::vector<Catalog::StoredChange>& stored);
// Of `total` blocks, those that users' writes leave to administration.
u64 reserve_blocks(u64 total);
// At this part of what may be dirty a group closes: with one that is being written and one that is
// about to close, there is room for what comes meanwhile.
constexpr i64 group_bytes_max(i64 dirty_bytes_max) { return dirty_bytes_max / 8 * 3; }

class Engine final : public Pool, private Control {
 public:
  Engine(std::vector<Lane> lanes, Options options, Uberblock uberblock);
  ~Engine() override;

  // recovery.cc: reads everything the uberblock names, replays the log, commits the first group.
  Task<> load();
  Task<> abandon();  // After a load() that failed.

  // Pool.
  Task<> close() override;
  const std::string& name() const override { return uberblock_.name; }
  u64 guid() const override { return uberblock_.guid; }
  const Catalog& catalog() const override { return *catalog_; }
  Task<Session> begin(rt::Mutex::Ticket* ticket) override;
  Task<Txg> commit(Session session, HistoryRecord history) override;
  Task<> record(HistoryRecord history) override;
  Task<std::vector<HistoryRecord>> history(u64 from_sequence, size_t count_max) override;
  Task<std::unique_ptr<Handle>> open_volume(DatasetId id) override;
  Task<std::unique_ptr<Handle>> open_snapshot(SnapshotId id) override;
  bool in_use(DatasetId id) const override;
  bool in_use(SnapshotId id) const override;
  Task<std::vector<u64>> unique_blocks(DatasetId dataset) override;
  Task<u64> reclaimable_blocks(DatasetId dataset, std::vector<SnapshotId> snapshots) override;
  Task<u64> written_since(DatasetId dataset, Txg since) override;
  Task<> sync() override;
  Task<> grow() override;
  Task<> scrub_start() override;
  void scrub_pause() override;
  Task<> scrub_cancel() override;
  ScrubStatus scrub_status() const override { return scrub_; }
  Task<> wait_for_jobs() override;
  Task<PoolStats> stats() override;
  u64 available_blocks() const override;
  Task<VolumeStats> volume_stats(DatasetId id) override;
  Task<std::vector<std::string>> check() override;

 private:
  friend class EngineHandle;
  friend struct TraceTypes;
  struct Commit;  // What one group's commit has gathered so far.

  // Control: called on any lane.
  Task<std::vector<Run>> grant(rt::Executor& home, u64 blocks) override;
  void want_group() override;
  Task<> wait_for_group(rt::Executor& home) override;
  void fail_pool(const Error& error) override;
  void warn(std::string line) override;

  // engine.cc
  rt::Executor& sync_executor() const { return *lanes_in_[0].executor; }
  io::Disk& disk() { return *disks_[0]; }
  IoLane& lane_of(DatasetId id);
  VolumeUpdate update_for(DatasetId id) const;
  bool inherited_read_only(DatasetId id) const;
  bool volume_state_missing(DatasetId id) const;
  static Task<Volume*> activate_on(IoLane& lane, VolumeUpdate update, SnapshotId snapshot);
  void released(u64 user);
  Task<> wait_durable(Txg group);
  Task<std::vector<Run>> take_granted(u64 blocks);
  Task<> held(Task<> scan);  // stats.cc
  Task<> between_groups();
  Task<> run_groups();
  Task<> run_ticker();
  void stop_taking_changes(Error error);
  void fire_opened() const;

  Result<> none_taken_up(const Transaction& transaction) const;
  Task<> before_shrinking(const Transaction& transaction);

  void tell_damaged(u64 blocks);  // That the log vouches for.
  Task<> start_lanes(std::vector<LogSection> sections, std::vector<Run> log_blocks);

  // group.cc
  Task<> commit_group(Commit& commit);
  void fire_synced(const Commit& commit, const Result<>& result) const;
  Task<> barrier(Txg closing);
  Task<> gather(Commit& commit);
  void account(Commit& commit);
  void drop(Commit& commit, VolumeState& state, const Dropped& dropped, Txg death);
  Task<> merge_dead(Commit& commit);
  Task<> merge_catalog(Commit& commit);
  Task<> write_roots(Commit& commit);
  Task<> still_healthy();
  Task<> tell_lanes(Commit& commit);
  void settle(Txg durable);
  Task<> punch(Run run);
  void refresh_limits();

  // tree_ops.cc
  Task<> run_tree_ops(Commit& commit, std::vector<TreeOp> ops);
  struct Drops {  // Of one volume's snapshots in one group.
    Txg first{}, last{};
  };
  Task<> prune(Commit& commit, DatasetId id, Drops dropped);
  Task<> roll_back(Commit& commit, const RollBack& op);
  Task<> promote(Commit& commit, const Promote& op);
  void drop_volume(const DropVolume& op);
  Task<> resize(Commit& commit, const ResizeVolume& op);
  Slice fresh_slice(Txg txg);
  void add_job(std::variant<FreeTree, PruneDead, DropDead> work, u64 blocks);

  // jobs.cc
  Task<> run_jobs(Commit& commit);
  Task<bool> run_job(Commit& commit);
  Task<bool> free_tree(Commit& commit, FreeTree& work, u64& freed);
  Task<bool> prune_dead(Commit& commit, PruneDead& work, u64& freed);
  Task<bool> drop_dead(Commit& commit, DropDead& work, u64& freed);

  // scrub.cc
  Task<> run_scrub();
  Task<bool> scrub_step();
  void load_scrub();
  void save_scrub();

  friend class Checker;  // check.cc

  std::vector<Lane> lanes_in_;  // As given, but for the disks, which are metered.
  Options options_;
  Uberblock uberblock_;  // The durable one.
  Shared shared_;
  std::vector<std::unique_ptr<MeteredDisk>> disks_;
  NodeStore nodes_;  // The sync lane's: catalog and dead index.
  LaneSpace sync_space_;
  std::unique_ptr<Space> space_;
  std::unique_ptr<Catalog> catalog_;
  std::vector<std::unique_ptr<IoLane>> lanes_;
  std::map<u64, u32> users_;             // Dataset or snapshot id -> handles held.
  std::set<SnapshotId> snapshots_held_;  // Those of them that are snapshots.

  Txg open_{};  // The group that is open on the lanes.
  Txg durable_{};
  bool frozen_ = false;
  bool stopping_ = false;
  bool checking_ = false;  // No group may begin.
  bool committing_ = false;
  bool group_wanted_ = false;
  std::atomic<bool> want_posted_{false};
  struct WantJob : rt::Job {
    Engine* engine = nullptr;
  } want_job_;
  u64 opened_ns_ = 0;  // When the open group was opened.
  rt::Mutex admin_;
  rt::Event thawed_;
  rt::Event wanted_;
  rt::Event durable_event_;
  rt::Event group_ended_;
  rt::Event jobs_event_;
  rt::Scope background_;
  rt::Scope punches_;
  std::string failure_;
  Error failed_with_{
      Errc::io, "use a pool that has just failed", 0, {}, {}};  // Until the reason is known.

  bool limits_changed_ = true;          // Since limits_ was found, a transaction was accepted.
  std::map<DatasetId, Limits> limits_;  // Of volumes under a quota or a reservation.
  u64 unkept_blocks_ = 0;               // Reserved, and not used yet.
  struct ScrubPlace {                   // How far the scrub has got.
    bool roots_done = false;
    DatasetId volume{};
    SnapshotId snapshot{};  // Under way; 0: the first after done_upto.
    bool live = false;      // The live tree is under way.
    u64 lba = 0;
    Txg done_upto{};  // Snapshots of the volume up to here are done.
  };
  ScrubStatus scrub_;
  ScrubPlace scrub_at_;
  bool scrub_running_ = false;
  bool scrub_stop_ = false;
  rt::Event scrub_event_;
  u64 groups_ = 0, group_ns_last_ = 0, group_ns_max_ = 0, group_ns_total_ = 0;
  u64 log_replayed_ = 0;
  u64 metadata_blocks_ = 0;
  u64 job_cursor_ = 0;
};

// What one group's commit has gathered so far.
struct Engine::Commit {
  Txg txg{};
  u64 begun_ns = 0;
  u64 written_before_bytes = 0;  // To the device, by all lanes.
  std::vector<LaneReport> reports;
  DeadChanges dead;
  NodePtr dead_root;
  NodePtr catalog_root;
  std::vector<NodePtr> nodes_dropped;  // Of catalog and dead index.
  u64 charged = 0;
  std::vector<DatasetId> changed;  // Volumes whose lane must hear of it.
};

}  // namespace coppice::pool
