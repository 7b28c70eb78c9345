// set, inherit and resize: properties.
#include <set>

#include "verb/arguments.h"
#include "verb/names.h"
#include "verb/plan.h"
#include "verb/settings.h"

namespace coppice::verb {
namespace {

using pool::CatalogView;
using pool::Dataset;
using pool::DatasetId;
using pool::Snapshot;
using pool::SnapshotId;

// Records as they shall be. `resized` has the old sizes.
struct Edits {
  std::vector<Dataset> datasets;
  std::vector<Snapshot> snapshots;
  std::map<DatasetId, u64> resized;
  bool read_only_changes = false;
};

Attempt<> plan_size(const Context& context, Doing doing, u64 bytes, Dataset& dataset,
                    Edits& edits) {
  ATTEMPT_VOID(check_volsize(doing, bytes));
  if (bytes == dataset.volsize_bytes) return {};
  if (read_only(context.view(), dataset.id)) {
    return refuse(EROFS, doing, "the volume is read-only; set readonly=off first");
  }
  if (bytes < dataset.volsize_bytes && context.facts().in_use(dataset.id)) {
    return refuse(EBUSY, doing, "a volume in use can grow, but not shrink; disconnect its clients");
  }
  edits.resized.emplace(dataset.id, dataset.volsize_bytes);
  dataset.volsize_bytes = bytes;
  return {};
}

Attempt<Edits> plan_set(const Context& context, const Arguments& arguments) {
  const CatalogView& view = context.view();
  const Names& wanted = names(arguments, "names");
  const Pairs& values = pairs(arguments, "properties");
  if (wanted.empty()) return refuse(EINVAL, {"set property of", ""}, "no name is given");
  if (values.empty()) return refuse(EINVAL, {"set property of", wanted[0]}, "no property is given");
  Edits edits;
  u64 promised = 0;
  std::set<std::string_view> seen;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const Doing doing{"set property of", wanted[i]};
    if (!seen.insert(wanted[i]).second) return refuse(EINVAL, doing, "it is named twice");
    ATTEMPT(const Target target, find_target(view, wanted[i]));
    if (!target.bookmark.empty()) return refuse(EINVAL, doing, "bookmarks have no properties");
    ATTEMPT(Settings settings, check_settings(doing, kind_of(view, target), values));
    if (raw(target.snapshot) != 0) {
      Snapshot snapshot = *view.snapshot(target.snapshot);
      ATTEMPT_VOID(put_settings(doing, settings, snapshot.properties));
      edits.snapshots.push_back(std::move(snapshot));
      continue;
    }
    Dataset dataset = *view.dataset(target.dataset);
    if (const auto size = settings.find("volsize"); size != settings.end()) {
      ATTEMPT_VOID(plan_size(context, doing, parse_size(size->second).value_or(0), dataset, edits));
      settings.erase(size);
    }
    ATTEMPT_VOID(put_settings(doing, settings, dataset.properties));
    ATTEMPT_VOID(check_room(context, doing, dataset, promised));
    edits.read_only_changes = edits.read_only_changes || settings.contains("readonly");
    edits.datasets.push_back(std::move(dataset));
  }
  return edits;
}

Attempt<Edits> plan_inherit(const Context& context, const Arguments& arguments) {
  const CatalogView& view = context.view();
  const Names& wanted = names(arguments, "names");
  const std::string& name = text(arguments, "property");
  if (wanted.empty()) return refuse(EINVAL, {"inherit property", name}, "no dataset is named");
  const Property* property = find_property(name);
  const Doing inheriting{"inherit property", name};
  if (property == nullptr && !is_user_property(name)) {
    return refuse(EINVAL, inheriting, "there is no such property");
  }
  if (property != nullptr && !property->settable) {
    return refuse(EINVAL, inheriting, "it is read-only");
  }
  if (property != nullptr && !property->inheritable) {
    return refuse(EINVAL, inheriting,
                  property->name == "volsize" ? "it is never inherited"
                                              : "it is never inherited; set it to none instead");
  }
  const std::string key(property != nullptr ? property->name : name);
  Edits edits;
  edits.read_only_changes = key == "readonly";
  std::set<DatasetId> seen;
  for (const std::string& each : wanted) {
    const Doing doing{"set property of", each};
    ATTEMPT(const Target target, find_target(view, each));
    if (!target.bookmark.empty()) return refuse(EINVAL, doing, "bookmarks have no properties");
    if (raw(target.snapshot) != 0) {
      if (property != nullptr) {
        return refuse(EINVAL, doing, "property '" + key + "' does not apply to snapshots");
      }
      Snapshot snapshot = *view.snapshot(target.snapshot);
      if (snapshot.properties.erase(key) > 0) edits.snapshots.push_back(std::move(snapshot));
      continue;
    }
    const bool recursive = flag(arguments, "recursive");
    for (DatasetId id :
         recursive ? subtree(view, target.dataset) : std::vector<DatasetId>{target.dataset}) {
      if (!view.dataset(id)->properties.contains(key) || !seen.insert(id).second) continue;
      Dataset dataset = *view.dataset(id);
      dataset.properties.erase(key);
      edits.datasets.push_back(std::move(dataset));
    }
  }
  return edits;
}

Attempt<Edits> plan_resize(const Context& context, const Arguments& arguments) {
  const CatalogView& view = context.view();
  const std::string& name = text(arguments, "name");
  const Doing doing{"resize", name};
  ATTEMPT(const DatasetId id, need_dataset(view, doing, name));
  if (!is_volume(view, id)) return refuse(EINVAL, doing, "it is a group, which has no size");
  Edits edits;
  Dataset dataset = *view.dataset(id);
  ATTEMPT_VOID(plan_size(context, doing, number(arguments, "size").value_or(0), dataset, edits));
  edits.datasets.push_back(std::move(dataset));
  return edits;
}

void apply_edits(Context& context, Edits plan, Changes& changes) {
  const CatalogView& view = context.view();
  pool::Transaction& transaction = context.transaction();
  // Volumes that are served, and whether they were read-only.
  std::map<DatasetId, bool> served;
  if (plan.read_only_changes) {
    for (const Dataset& each : plan.datasets) {
      for (DatasetId id : subtree(view, each.id)) {
        if (!is_volume(view, id) || context.facts().exports_of(id).empty()) continue;
        served.emplace(id, read_only(view, id));
      }
    }
  }
  for (Dataset& each : plan.datasets) {
    const DatasetId id = each.id;
    const u64 bytes = each.volsize_bytes;
    transaction.edit_dataset(id, std::move(each));
    if (const auto old = plan.resized.find(id); old != plan.resized.end()) {
      transaction.add_tree_op(pool::ResizeVolume{id, old->second, bytes});
    }
    changes.report.changed.push_back(full_name(view, id));
  }
  for (Snapshot& each : plan.snapshots) {
    const SnapshotId id = each.id;
    transaction.edit_snapshot(id, std::move(each));
    changes.report.changed.push_back(full_name(view, id));
  }
  for (const auto& [id, before] : served) {
    const bool now = read_only(view, id);
    if (now != before) changes.effects.push_back(SetReadOnly{id, full_name(view, id), now});
  }
}

constexpr Argument kSetArguments[] = {
    {"names", Kind::names, 0, true, "", "full names of datasets and snapshots"},
    {"properties", Kind::pairs, 1, true, "", "properties and their new values"},
};
constexpr Argument kInheritArguments[] = {
    {"names", Kind::names, 0, true, "", "full names of datasets and snapshots"},
    {"property", Kind::text, 1, true, "", "the property to take from the parent again"},
    {"recursive", Kind::flag, -1, false, "", "everything below as well"},
};
constexpr Argument kResizeArguments[] = {
    {"name", Kind::text, 0, true, "", "full name of a volume"},
    {"size", Kind::number, 1, true, "", "new size in bytes; what lies beyond it is discarded"},
};

}  // namespace

const Row kSetRow =
    row_of<plan_set, apply_edits>("set", "set properties", kSetArguments, Right::configure);
const Row kInheritRow = row_of<plan_inherit, apply_edits>("inherit", "take back what was set",
                                                          kInheritArguments, Right::configure);
const Row kResizeRow = row_of<plan_resize, apply_edits>("resize", "change the size of a volume",
                                                        kResizeArguments, Right::configure);

}  // namespace coppice::verb
