// promote and rollback: which history a volume has.
#include <algorithm>

#include "verb/arguments.h"
#include "verb/doom.h"
#include "verb/names.h"
#include "verb/plan.h"

namespace coppice::verb {
namespace {

using pool::CatalogView;
using pool::Dataset;
using pool::DatasetId;
using pool::Snapshot;
using pool::SnapshotId;

struct Promotion {
  DatasetId clone{};
  DatasetId old{};  // Whose snapshots move.
  SnapshotId origin{};
  std::vector<SnapshotId> moving;  // Up to and including the origin, oldest first.
};

Attempt<Promotion> plan_promote(const Context& context, const Arguments& arguments) {
  const CatalogView& view = context.view();
  const std::string& name = text(arguments, "name");
  const Doing doing{"promote", name};
  Promotion plan;
  ATTEMPT(plan.clone, need_dataset(view, doing, name));
  plan.origin = view.dataset(plan.clone)->origin;
  if (raw(plan.origin) == 0) return refuse(EINVAL, doing, "it is not a clone");
  plan.old = view.snapshot(plan.origin)->dataset;
  for (SnapshotId id = plan.origin; raw(id) != 0; id = view.before(id)) plan.moving.push_back(id);
  std::reverse(plan.moving.begin(), plan.moving.end());

  std::vector<std::string> conflicts;
  const std::string clone_name = full_name(view, plan.clone);
  for (SnapshotId id : plan.moving) {
    const std::string& moved = view.snapshot(id)->name;
    if (raw(view.snapshot_named(plan.clone, moved)) != 0) conflicts.push_back(moved);
    if (clone_name.size() + 1 + moved.size() > kNameBytesMax) {
      return refuse(ENAMETOOLONG, doing,
                    "the name of its snapshot '" + moved + "' would be longer than 1023 bytes");
    }
  }
  if (!conflicts.empty()) {
    const std::string why =
        "snapshots of this name would move to it, where there are others: " + conflicts.front() +
        (conflicts.size() > 1 ? ", ..." : "") + "; rename them first";
    return refuse(EEXIST, doing, why, std::move(conflicts));
  }
  return plan;
}

void apply_promote(Context& context, Promotion plan, Changes& changes) {
  const CatalogView& view = context.view();
  pool::Transaction& transaction = context.transaction();
  const std::string old_name = full_name(view, plan.old);
  const std::string clone_name = full_name(view, plan.clone);
  Dataset clone = *view.dataset(plan.clone);
  Dataset old = *view.dataset(plan.old);

  // Exports of the snapshots that move go with them.
  const auto moves = [&](SnapshotId id) {
    return raw(id) != 0 &&
           std::find(plan.moving.begin(), plan.moving.end(), id) != plan.moving.end();
  };
  for (const pool::ExportSpec& spec : old.exports) {
    if (moves(spec.snapshot)) clone.exports.push_back(spec);
  }
  std::erase_if(old.exports, [&](const auto& spec) { return moves(spec.snapshot); });
  for (const RunningExport& each : context.facts().exports_of(plan.old)) {
    if (!moves(each.snapshot)) continue;
    const std::string snapshot = '@' + view.snapshot(each.snapshot)->name;
    changes.effects.push_back(
        RenameExport{plan.clone, each.snapshot, old_name + snapshot, clone_name + snapshot});
  }

  for (SnapshotId id : plan.moving) {
    Snapshot moved = *view.snapshot(id);
    moved.dataset = plan.clone;
    transaction.edit_snapshot(id, std::move(moved));
  }
  clone.origin = old.origin;
  old.origin = plan.origin;
  transaction.edit_dataset(plan.clone, std::move(clone));
  transaction.edit_dataset(plan.old, std::move(old));
  transaction.add_tree_op(pool::Promote{plan.clone, plan.old, plan.origin});
  changes.report.changed.push_back(clone_name);
  changes.report.changed.push_back(old_name);
}

struct Rollback {
  DatasetId dataset{};
  SnapshotId target{};
  DoomPlan doom;
};

// Bookmarks younger than the snapshot: they point at what is undone.
std::vector<std::string> younger_bookmarks(const CatalogView& view, DatasetId dataset,
                                           const Snapshot& target) {
  std::vector<std::string> younger;
  const auto age = [](pool::Txg txg) { return raw(txg) != 0 ? raw(txg) : ~u64{0}; };
  for (std::string& name : view.bookmarks(dataset)) {
    const pool::Bookmark& bookmark = *view.bookmark(dataset, name);
    if (bookmark.guid != target.guid && age(bookmark.createtxg) > age(target.createtxg)) {
      younger.push_back(std::move(name));
    }
  }
  return younger;
}

Attempt<Rollback> plan_rollback(const Context& context, const Arguments& arguments) {
  const CatalogView& view = context.view();
  const std::string& name = text(arguments, "name");
  const Doing doing{"roll back to", name};
  const bool clones = flag(arguments, "clones");
  const bool recursive = flag(arguments, "recursive") || clones;
  Rollback plan;
  if (name.find('@') != std::string::npos) {
    ATTEMPT(plan.target, need_snapshot(view, doing, name));
    plan.dataset = view.snapshot(plan.target)->dataset;
  } else {
    ATTEMPT(plan.dataset, need_dataset(view, doing, name));
    plan.target = view.last_snapshot(plan.dataset);
  }
  if (!is_volume(view, plan.dataset)) {
    return refuse(EINVAL, doing, "a group has no data that could be rolled back");
  }
  if (raw(plan.target) == 0) return refuse(EINVAL, doing, "it has no snapshots");

  std::vector<SnapshotId> younger;
  for (SnapshotId id = view.last_snapshot(plan.dataset); id != plan.target; id = view.before(id)) {
    younger.push_back(id);
  }
  std::vector<std::string> bookmarks =
      younger_bookmarks(view, plan.dataset, *view.snapshot(plan.target));
  if (!recursive && !(younger.empty() && bookmarks.empty())) {
    std::vector<std::string> in_the_way;
    const std::string dataset = full_name(view, plan.dataset);
    for (size_t i = younger.size(); i-- > 0;) in_the_way.push_back(full_name(view, younger[i]));
    for (const std::string& each : bookmarks) in_the_way.push_back(dataset + '#' + each);
    return refuse(EEXIST, doing,
                  "there are younger snapshots or bookmarks; use -r (recursive) to destroy them",
                  listed(std::move(in_the_way)));
  }
  if (context.facts().in_use(plan.dataset)) {
    return refuse(EBUSY, doing, "the volume is in use; disconnect its clients first");
  }
  Doom doom(context, {"destroy", name}, {.clones = clones});
  for (size_t i = younger.size(); i-- > 0;) doom.add(younger[i]);
  for (std::string& each : bookmarks) doom.add(DoomPlan::Mark{plan.dataset, std::move(each)});
  ATTEMPT(plan.doom, doom.close());
  return plan;
}

void apply_rollback(Context& context, Rollback plan, Changes& changes) {
  apply_doom(context, std::move(plan.doom), changes);
  pool::Transaction& transaction = context.transaction();
  Dataset dataset = *context.view().dataset(plan.dataset);
  dataset.volsize_bytes = context.view().snapshot(plan.target)->volsize_bytes;
  transaction.edit_dataset(plan.dataset, std::move(dataset));
  transaction.add_tree_op(pool::RollBack{plan.dataset, plan.target});
  changes.report.target = full_name(context.view(), plan.target);
  changes.report.changed.push_back(full_name(context.view(), plan.dataset));
}

constexpr Argument kPromoteArguments[] = {
    {"name", Kind::text, 0, true, "", "full name of a clone"},
};
constexpr Argument kRollbackArguments[] = {
    {"name", Kind::text, 0, true, "", "full name of a snapshot, or of a volume: its youngest"},
    {"recursive", Kind::flag, -1, false, "", "destroy younger snapshots and bookmarks"},
    {"clones", Kind::flag, -1, false, "", "recursive, and clones of younger snapshots as well"},
};

}  // namespace

const Row kPromoteRow = row_of<plan_promote, apply_promote>(
    "promote", "make a clone the owner of the history it came from", kPromoteArguments,
    Right::promote);
const Row kRollbackRow = row_of<plan_rollback, apply_rollback>(
    "rollback", "put a volume back to a snapshot", kRollbackArguments, Right::rollback);

}  // namespace coppice::verb
