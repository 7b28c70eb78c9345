// verb/doom.h — what is to be destroyed: destroy and rollback say what, Doom finds what goes with
// it and in which order.
//
// Theory. A snapshot goes after its clones, a volume after its snapshots, a group after its
// children. So volumes go first, those furthest from their origin before others, each with its
// snapshots; then single snapshots; then groups from the bottom up. A deferred snapshot goes by
// itself with its last clone or hold.
#pragma once

#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "verb/refuse.h"

namespace coppice::verb {

struct DoomOptions {
  bool clones = false;  // Clones of doomed snapshots are doomed as well.
  bool defer = false;   // A snapshot that cannot go yet is marked instead.
};

struct DoomPlan {
  struct Mark {
    pool::DatasetId dataset{};
    std::string name;
  };
  std::vector<Mark> bookmarks;
  std::vector<pool::DatasetId> volumes;     // In order; each with all of its snapshots.
  std::vector<pool::SnapshotId> snapshots;  // Of datasets that stay, and of groups.
  std::vector<pool::DatasetId> groups;      // In order.
  std::vector<pool::SnapshotId> deferred;
};

class Doom {
 public:
  Doom(const Context& context, Doing doing, DoomOptions options)
      : context_(context), view_(context.view()), doing_(doing), options_(options) {}

  void add(pool::SnapshotId id);
  void add(pool::DatasetId id);            // Without what is below or its snapshots.
  void add_with_all(pool::DatasetId top);  // With everything below and all snapshots.
  void add(DoomPlan::Mark bookmark) { plan_.bookmarks.push_back(std::move(bookmark)); }

  // Adds what has to go too, checks that all of it may go. EBUSY, EEXIST.
  Attempt<DoomPlan> close();

 private:
  void add_clones();
  Attempt<> check_dataset(pool::DatasetId id) const;
  Attempt<bool> check_snapshot(pool::SnapshotId id) const;  // true: it is to be marked.
  Attempt<> check_deferred_origin(pool::DatasetId id) const;
  size_t clone_depth(pool::DatasetId id);

  const Context& context_;
  const pool::CatalogView& view_;
  Doing doing_;
  DoomOptions options_;
  std::vector<pool::DatasetId> datasets_;
  std::vector<pool::SnapshotId> snapshots_;
  std::unordered_set<pool::DatasetId> dataset_set_;
  std::unordered_set<pool::SnapshotId> snapshot_set_;
  std::unordered_map<pool::DatasetId, size_t> depths_;
  DoomPlan plan_;
};

void apply_doom(Context& context, DoomPlan plan, Changes& changes);

// Destroys the snapshot if that was asked for before and nothing keeps it any more.
void drop_if_deferred(Context& context, pool::SnapshotId id, Changes& changes);

}  // namespace coppice::verb
