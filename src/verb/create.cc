// create and clone: new datasets.
#include "verb/arguments.h"
#include "verb/names.h"
#include "verb/plan.h"
#include "verb/settings.h"

namespace coppice::verb {
namespace {

using pool::Dataset;
using pool::DatasetId;
using pool::DatasetType;
using pool::Snapshot;

struct Creation {
  Place place;
  Dataset dataset;       // All but its parent.
  bool nothing = false;  // It is there already, and that is fine.
};

// What create and clone share: the place and the properties.
Attempt<Creation> plan_new(const Context& context, Doing doing, std::string_view name,
                           DatasetType type, const Arguments& arguments) {
  Creation plan;
  const bool parents = flag(arguments, "parents");
  ATTEMPT(plan.place, find_place(context.view(), doing, name, parents));
  if (raw(plan.place.taken) != 0) {
    // As mkdir -p: asked for with its parents, a group that is there is as good as made.
    const bool same =
        parents && type == DatasetType::group && !is_volume(context.view(), plan.place.taken);
    if (!same) return refuse(EEXIST, doing, "dataset already exists");
    plan.nothing = true;
    return plan;
  }
  const u8 kind = type == DatasetType::volume ? kVolume : kGroup;
  ATTEMPT(const Settings settings, check_settings(doing, kind, pairs(arguments, "properties")));
  if (settings.contains("volsize")) {
    return refuse(EINVAL, doing, "the size is not given as a property: use -V (size)");
  }
  Dataset& dataset = plan.dataset;
  dataset.name = plan.place.name;
  dataset.type = type;
  dataset.creation_s = context.facts().now_s();
  ATTEMPT_VOID(put_settings(doing, settings, dataset.properties));
  dataset.parent = plan.place.parent;  // Space is the nearest ancestor's to give.
  u64 promised = 0;
  ATTEMPT_VOID(check_room(context, doing, dataset, promised));
  return plan;
}

Attempt<Creation> plan_create(const Context& context, const Arguments& arguments) {
  const std::string& name = text(arguments, "name");
  const Doing doing{"create", name};
  const std::optional<u64> size = number(arguments, "size");
  if (size) ATTEMPT_VOID(check_volsize(doing, *size));
  const DatasetType type = size ? DatasetType::volume : DatasetType::group;
  ATTEMPT(Creation plan, plan_new(context, doing, name, type, arguments));
  plan.dataset.volsize_bytes = size.value_or(0);
  return plan;
}

void apply_create(Context& context, Creation plan, Changes& changes) {
  if (plan.nothing) return;
  plan.dataset.parent = make_parents(context, plan.place, changes);
  const bool volume = plan.dataset.type == DatasetType::volume;
  const DatasetId id = context.transaction().new_dataset(std::move(plan.dataset));
  if (volume) context.transaction().add_tree_op(pool::MakeVolume{id});
  changes.report.created.push_back(full_name(context.view(), id));
}

Attempt<Creation> plan_clone(const Context& context, const Arguments& arguments) {
  const std::string& origin_name = text(arguments, "snapshot");
  const std::string& name = text(arguments, "name");
  const Doing from{"clone", origin_name};
  ATTEMPT(const pool::SnapshotId origin, need_snapshot(context.view(), from, origin_name));
  const Snapshot& snapshot = *context.view().snapshot(origin);
  if (!is_volume(context.view(), snapshot.dataset)) {
    return refuse(EINVAL, from,
                  "it is a snapshot of a group, which has no data: create a group instead");
  }
  const Doing doing{"create", name};
  ATTEMPT(Creation plan, plan_new(context, doing, name, DatasetType::volume, arguments));
  plan.dataset.origin = origin;
  plan.dataset.volsize_bytes = snapshot.volsize_bytes;
  return plan;
}

void apply_clone(Context& context, Creation plan, Changes& changes) {
  plan.dataset.parent = make_parents(context, plan.place, changes);
  const pool::SnapshotId origin = plan.dataset.origin;
  const DatasetId id = context.transaction().new_dataset(std::move(plan.dataset));
  context.transaction().add_tree_op(pool::MakeClone{origin, id});
  changes.report.created.push_back(full_name(context.view(), id));
}

constexpr Argument kCreateArguments[] = {
    {"name", Kind::text, 0, true, "", "full name of the new group or volume"},
    {"size", Kind::number, -1, false, "", "makes a volume of that many bytes; without it a group"},
    {"properties", Kind::pairs, -1, false, "", "properties to set"},
    {"parents", Kind::flag, -1, false, "", "make the groups above it that are missing"},
};
constexpr Argument kCloneArguments[] = {
    {"snapshot", Kind::text, 0, true, "", "full name of the snapshot to start from"},
    {"name", Kind::text, 1, true, "", "full name of the new volume"},
    {"properties", Kind::pairs, -1, false, "", "properties to set"},
    {"parents", Kind::flag, -1, false, "", "make the groups above it that are missing"},
};

}  // namespace

const Row kCreateRow = row_of<plan_create, apply_create>("create", "make a group or a volume",
                                                         kCreateArguments, Right::create);
const Row kCloneRow = row_of<plan_clone, apply_clone>(
    "clone", "make a volume that begins as a snapshot is", kCloneArguments, Right::clone);

}  // namespace coppice::verb
