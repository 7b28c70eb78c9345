// rename: datasets with all below them, snapshots, and snapshots of one name all over a tree.
#include <algorithm>

#include "pool/catalog_codec.h"
#include "verb/accounts.h"
#include "verb/arguments.h"
#include "verb/links.h"
#include "verb/names.h"
#include "verb/plan.h"

namespace coppice::verb {
namespace {

using pool::CatalogView;
using pool::Dataset;
using pool::DatasetId;
using pool::Snapshot;
using pool::SnapshotId;

struct Renaming {
  DatasetId dataset{};  // 0: snapshots are renamed.
  Place place;
  std::vector<SnapshotId> snapshots;
  std::string name;  // Of the snapshots.
};

// No name below becomes too long or too deep.
Attempt<> check_names_below(const CatalogView& view, Doing doing, DatasetId top,
                            std::string_view new_name) {
  const size_t old_bytes = full_name(view, top).size();
  const auto depth_of = [](std::string_view name) {
    return static_cast<size_t>(std::count(name.begin(), name.end(), '/')) + 1;
  };
  const size_t new_depth = depth_of(new_name);
  const size_t old_depth = depth_of(full_name(view, top));
  for (DatasetId id : subtree(view, top)) {
    const std::string name = full_name(view, id);
    const size_t bytes = name.size() - old_bytes + new_name.size();
    size_t longest = bytes;
    if (bytes + 1 + pool::kComponentBytesMax >
        kNameBytesMax) {  // Else no snapshot can be too long.
      for (SnapshotId snapshot : view.snapshots(id)) {
        longest = std::max(longest, bytes + 1 + view.snapshot(snapshot)->name.size());
      }
    }
    if (longest > kNameBytesMax || depth_of(name) - old_depth + new_depth > kDepthMax) {
      return refuse(ENAMETOOLONG, doing, "the name of '" + name + "' would become too long");
    }
  }
  return {};
}

// What moves fits under the quotas that it was not under before.
Attempt<> check_quotas(const Context& context, Doing doing, DatasetId moving, DatasetId parent) {
  const CatalogView& view = context.view();
  std::vector<DatasetId> old_path;
  for (DatasetId at = moving; raw(at) != 0; at = view.dataset(at)->parent) old_path.push_back(at);
  Ledger ledger(view, context.facts());
  for (DatasetId at = parent; raw(at) != 0; at = view.dataset(at)->parent) {
    if (std::find(old_path.begin(), old_path.end(), at) != old_path.end()) break;
    const u64 quota = quota_of(*view.dataset(at));
    if (quota == 0) continue;
    const u64 more = std::max(ledger.used(moving), reservation_of(*view.dataset(moving)));
    const u64 used = ledger.used(at);
    if (used + more > quota) {
      return refuse(EDQUOT, doing,
                    "its " + human_bytes(more) + " do not fit under the quota of '" +
                        full_name(view, at) + "'");
    }
  }
  return {};
}

Attempt<Renaming> plan_dataset(const Context& context, Doing doing, DatasetId id,
                               const Arguments& arguments) {
  const CatalogView& view = context.view();
  const std::string& new_name = text(arguments, "new_name");
  if (flag(arguments, "recursive")) {
    return refuse(EINVAL, doing, "only snapshots are renamed recursively (-r)");
  }
  if (id == view.root()) {
    return refuse(EINVAL, doing, "it is the pool itself, which is named when it is opened");
  }
  const std::string& old_name = text(arguments, "name");
  if (new_name.starts_with(old_name + '/')) {
    return refuse(EINVAL, doing, "'" + new_name + "' lies inside of it");
  }
  Renaming plan;
  plan.dataset = id;
  const Doing making{doing.what, new_name};
  ATTEMPT(plan.place, find_place(view, making, new_name, flag(arguments, "parents")));
  if (raw(plan.place.taken) != 0) return refuse(EEXIST, making, "dataset already exists");
  ATTEMPT_VOID(check_names_below(view, doing, id, new_name));
  ATTEMPT_VOID(check_quotas(context, doing, id, plan.place.parent));
  return plan;
}

Attempt<Renaming> plan_snapshots(const Context& context, Doing doing, const Name& from,
                                 DatasetId top, const Arguments& arguments) {
  const CatalogView& view = context.view();
  const std::string& given = text(arguments, "new_name");
  Renaming plan;
  const size_t at = given.find('@');
  plan.name = at == std::string::npos ? given : given.substr(at + 1);
  if (at != std::string::npos && at != 0 && given.substr(0, at) != from.dataset) {
    return refuse(EXDEV, doing, "a snapshot stays with its dataset");
  }
  if (!is_component(plan.name)) {
    return refuse(plan.name.size() > pool::kComponentBytesMax ? ENAMETOOLONG : EINVAL, doing,
                  "'" + plan.name + "' is no snapshot's name");
  }
  if (flag(arguments, "parents")) {
    return refuse(EINVAL, doing, "a snapshot has no parents to make (-p)");
  }
  const bool recursive = flag(arguments, "recursive");
  const auto members = recursive ? subtree(view, top) : std::vector<DatasetId>{top};
  for (DatasetId id : members) {
    const SnapshotId snapshot = view.snapshot_named(id, from.rest);
    if (raw(snapshot) == 0) continue;
    const std::string name = full_name(view, id) + '@' + plan.name;
    if (raw(view.snapshot_named(id, plan.name)) != 0) {
      return refuse(EEXIST, {doing.what, doing.on}, "'" + name + "' already exists", {name});
    }
    if (name.size() > kNameBytesMax) {
      return refuse(ENAMETOOLONG, doing, "'" + name + "' is longer than 1023 bytes");
    }
    plan.snapshots.push_back(snapshot);
  }
  if (plan.snapshots.empty()) {
    return refuse(
        ENOENT, doing,
        recursive ? "neither it nor what is below has that snapshot" : "snapshot does not exist");
  }
  return plan;
}

Attempt<Renaming> plan_rename(const Context& context, const Arguments& arguments) {
  const std::string& name = text(arguments, "name");
  const Doing doing{"rename", name};
  ATTEMPT(const Name from, parse_name(doing, name));
  if (from.mark == '#') return refuse(EINVAL, doing, "bookmarks are not renamed");
  const DatasetId id = find_dataset(context.view(), from.dataset);
  if (raw(id) == 0) return refuse(ENOENT, doing, "dataset does not exist");
  if (from.mark == '@') return plan_snapshots(context, doing, from, id, arguments);
  return plan_dataset(context, doing, id, arguments);
}

// The name an export has.
std::string export_name(const CatalogView& view, DatasetId dataset, SnapshotId snapshot) {
  return raw(snapshot) != 0 ? full_name(view, snapshot) : full_name(view, dataset);
}

void apply_rename(Context& context, Renaming plan, Changes& changes) {
  const CatalogView& view = context.view();
  pool::Transaction& transaction = context.transaction();
  std::vector<RenameExport> exports;
  const auto remember = [&](DatasetId id, SnapshotId only) {
    for (const RunningExport& each : context.facts().exports_of(id)) {
      if (raw(only) != 0 && each.snapshot != only) continue;
      exports.push_back({id, each.snapshot, export_name(view, id, each.snapshot), {}});
    }
  };
  if (raw(plan.dataset) != 0) {
    for (DatasetId id : subtree(view, plan.dataset)) {
      if (is_volume(view, id)) remember(id, {});
    }
    Dataset renamed = *view.dataset(plan.dataset);
    const DatasetId old_parent = renamed.parent;
    renamed.parent = make_parents(context, plan.place, changes);
    const bool others_above =
        renamed.parent != old_parent &&
        (has_links_above(view, old_parent) || has_links_above(view, renamed.parent));
    renamed.name = std::move(plan.place.name);
    transaction.edit_dataset(plan.dataset, std::move(renamed));
    changes.report.changed.push_back(full_name(view, plan.dataset));
    if (others_above) links_changed(context, plan.dataset, changes);
  }
  for (SnapshotId id : plan.snapshots) {
    Snapshot renamed = *view.snapshot(id);
    remember(renamed.dataset, id);
    renamed.name = plan.name;
    transaction.edit_snapshot(id, std::move(renamed));
    changes.report.changed.push_back(full_name(view, id));
  }
  for (RenameExport& each : exports) {
    each.new_name = export_name(view, each.dataset, each.snapshot);
    changes.effects.emplace_back(std::move(each));
  }
}

constexpr Argument kArguments[] = {
    {"name", Kind::text, 0, true, "", "full name of a dataset or snapshot"},
    {"new_name", Kind::text, 1, true, "",
     "new full name; of a snapshot also its last part alone, with or without @"},
    {"parents", Kind::flag, -1, false, "", "make the groups above the new name that are missing"},
    {"recursive", Kind::flag, -1, false, "", "snapshots of the same name below as well"},
};

}  // namespace

const Row kRenameRow = row_of<plan_rename, apply_rename>("rename", "rename a dataset or snapshot",
                                                         kArguments, Right::rename);

}  // namespace coppice::verb
