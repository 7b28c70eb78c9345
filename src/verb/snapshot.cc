// snapshot, bookmark, hold and release.
#include <unordered_set>

#include "verb/arguments.h"
#include "verb/doom.h"
#include "verb/names.h"
#include "verb/plan.h"
#include "verb/settings.h"

namespace coppice::verb {
namespace {

using pool::Bookmark;
using pool::CatalogView;
using pool::Dataset;
using pool::DatasetId;
using pool::Snapshot;
using pool::SnapshotId;

constexpr size_t kHoldsMax = 1024;  // On one snapshot.

struct SnapshotPlan {
  struct New {
    DatasetId dataset{};
    std::string name;
  };
  std::vector<New> made;
  Settings settings;
};

Attempt<SnapshotPlan> plan_snapshot(const Context& context, const Arguments& arguments) {
  const CatalogView& view = context.view();
  const Names& wanted = names(arguments, "names");
  const bool recursive = flag(arguments, "recursive");
  SnapshotPlan plan;
  if (wanted.empty()) return refuse(EINVAL, {"create snapshot", ""}, "no name is given");
  ATTEMPT(plan.settings, check_settings({"create snapshot", wanted[0]}, kSnapshot,
                                        pairs(arguments, "properties")));
  if (plan.settings.size() > kUserPropertiesMax) {
    return refuse(E2BIG, {"create snapshot", wanted[0]}, "there are more than 1024 properties");
  }
  std::unordered_set<std::string> full;  // To find names given twice; one name needs no looking.
  for (const std::string& each : wanted) {
    const Doing doing{"create snapshot", each};
    ATTEMPT(const Name parsed, parse_marked(doing, each, '@'));
    const DatasetId top = find_dataset(view, parsed.dataset);
    if (raw(top) == 0) return refuse(ENOENT, doing, "dataset does not exist");
    const auto members = recursive ? subtree(view, top) : std::vector<DatasetId>{top};
    for (DatasetId id : members) {
      const bool twice =
          wanted.size() > 1 &&
          !full.insert(std::to_string(raw(id)) + '@' + std::string(parsed.rest)).second;
      if (twice || raw(view.snapshot_named(id, parsed.rest)) != 0) {
        const std::string name = full_name(view, id) + '@' + std::string(parsed.rest);
        return refuse(EEXIST, {"create snapshot", name},
                      twice ? "the name is given twice" : "snapshot already exists", {name});
      }
      if (id != top && full_name(view, id).size() + 1 + parsed.rest.size() > kNameBytesMax) {
        return refuse(
            ENAMETOOLONG, doing,
            "the name of '" + full_name(view, id) + "'s snapshot would be longer than 1023 bytes");
      }
      plan.made.push_back({id, std::string(parsed.rest)});
    }
  }
  return plan;
}

void apply_snapshot(Context& context, SnapshotPlan plan, Changes& changes) {
  for (SnapshotPlan::New& each : plan.made) {
    Snapshot snapshot;
    snapshot.dataset = each.dataset;
    snapshot.name = std::move(each.name);
    snapshot.creation_s = context.facts().now_s();
    snapshot.volsize_bytes = context.view().dataset(each.dataset)->volsize_bytes;
    snapshot.properties = plan.settings;
    const SnapshotId id = context.transaction().new_snapshot(std::move(snapshot));
    context.transaction().add_tree_op(pool::TakeSnapshot{each.dataset, id});
    changes.report.created.push_back(full_name(context.view(), id));
  }
}

Attempt<Bookmark> plan_bookmark(const Context& context, const Arguments& arguments) {
  const CatalogView& view = context.view();
  const std::string& source = text(arguments, "source");
  const std::string& given = text(arguments, "name");
  const Doing from{"bookmark", source};
  ATTEMPT(const Name origin, parse_name(from, source));
  if (origin.mark == 0) {
    return refuse(EINVAL, from, "a bookmark is made of a snapshot or of a bookmark");
  }
  const DatasetId dataset = find_dataset(view, origin.dataset);
  if (raw(dataset) == 0) return refuse(ENOENT, from, "dataset does not exist");
  Bookmark bookmark;
  bookmark.dataset = dataset;
  if (origin.mark == '@') {
    const Snapshot* snapshot = view.snapshot(view.snapshot_named(dataset, origin.rest));
    if (snapshot == nullptr) return refuse(ENOENT, from, "snapshot does not exist");
    bookmark.createtxg = snapshot->createtxg;
    bookmark.creation_s = snapshot->creation_s;
    bookmark.guid = snapshot->guid;
  } else {
    const Bookmark* other = view.bookmark(dataset, origin.rest);
    if (other == nullptr) return refuse(ENOENT, from, "bookmark does not exist");
    bookmark = *other;
  }
  // "#mark" alone means the same dataset.
  const std::string name = given.starts_with('#') ? std::string(origin.dataset) + given : given;
  const Doing doing{"create bookmark", name};
  ATTEMPT(const Name parsed, parse_marked(doing, name, '#'));
  if (parsed.dataset != origin.dataset) {
    return refuse(EXDEV, doing, "a bookmark belongs to the dataset of its snapshot");
  }
  if (view.bookmark(dataset, parsed.rest) != nullptr) {
    return refuse(EEXIST, doing, "bookmark already exists");
  }
  bookmark.name = parsed.rest;
  return bookmark;
}

void apply_bookmark(Context& context, Bookmark plan, Changes& changes) {
  changes.report.created.push_back(full_name(context.view(), plan.dataset) + '#' + plan.name);
  context.transaction().put_bookmark(std::move(plan));
}

struct HoldPlan {
  std::string tag;
  std::vector<SnapshotId> snapshots;
};

// The named snapshots, and with `recursive` those of the same name below.
Attempt<std::vector<SnapshotId>> find_snapshots(const Context& context, std::string_view what,
                                                const Arguments& arguments) {
  const CatalogView& view = context.view();
  std::vector<SnapshotId> found;
  std::unordered_set<SnapshotId> seen;
  const Names& wanted = names(arguments, "snapshots");
  if (wanted.empty()) return refuse(EINVAL, {what, ""}, "no snapshot is named");
  for (const std::string& each : wanted) {
    const Doing doing{what, each};
    if (!flag(arguments, "recursive")) {
      ATTEMPT(const SnapshotId id, need_snapshot(view, doing, each));
      if (seen.insert(id).second) found.push_back(id);
      continue;
    }
    ATTEMPT(const Name parsed, parse_marked(doing, each, '@'));
    const DatasetId top = find_dataset(view, parsed.dataset);
    if (raw(top) == 0) return refuse(ENOENT, doing, "dataset does not exist");
    bool any = false;
    for (DatasetId id : subtree(view, top)) {
      const SnapshotId snapshot = view.snapshot_named(id, parsed.rest);
      if (raw(snapshot) == 0) continue;
      any = true;
      if (seen.insert(snapshot).second) found.push_back(snapshot);
    }
    if (!any) return refuse(ENOENT, doing, "neither it nor what is below has that snapshot");
  }
  return found;
}

Attempt<HoldPlan> plan_hold(const Context& context, const Arguments& arguments) {
  HoldPlan plan;
  plan.tag = text(arguments, "tag");
  const Doing tagged{"hold with tag", plan.tag};
  if (plan.tag.empty()) return refuse(EINVAL, tagged, "a tag is not empty");
  if (plan.tag.size() > kTagBytesMax) {
    return refuse(E2BIG, tagged, "a tag has at most 255 bytes");
  }
  ATTEMPT(plan.snapshots, find_snapshots(context, "hold", arguments));
  for (SnapshotId id : plan.snapshots) {
    const Snapshot& snapshot = *context.view().snapshot(id);
    if (snapshot.holds.contains(plan.tag)) {
      const std::string name = full_name(context.view(), id);
      return refuse(EEXIST, {"hold", name}, "it is held with tag '" + plan.tag + "' already");
    }
    if (snapshot.holds.size() >= kHoldsMax) {
      const std::string name = full_name(context.view(), id);
      return refuse(E2BIG, {"hold", name}, "it has 1024 holds, and more are not kept");
    }
  }
  return plan;
}

void apply_hold(Context& context, HoldPlan plan, Changes& changes) {
  for (SnapshotId id : plan.snapshots) {
    Snapshot held = *context.view().snapshot(id);
    held.holds[plan.tag] = context.facts().now_s();
    context.transaction().edit_snapshot(id, std::move(held));
    changes.report.changed.push_back(full_name(context.view(), id));
  }
}

Attempt<HoldPlan> plan_release(const Context& context, const Arguments& arguments) {
  const CatalogView& view = context.view();
  HoldPlan plan;
  plan.tag = text(arguments, "tag");
  ATTEMPT(plan.snapshots, find_snapshots(context, "release", arguments));
  // With `recursive`, snapshots without the tag are passed over as long as one has it.
  std::vector<SnapshotId> held;
  for (SnapshotId id : plan.snapshots) {
    const Snapshot& snapshot = *view.snapshot(id);
    if (snapshot.holds.contains(plan.tag)) {
      const bool last = snapshot.holds.size() == 1 && view.clones(id).empty();
      if (snapshot.defer_destroy && last && context.facts().in_use(id)) {
        const std::string name = full_name(view, id);
        return refuse(EBUSY, {"release", name},
                      "it would be destroyed now, as was asked before, but it is in use");
      }
      held.push_back(id);
    } else if (!flag(arguments, "recursive")) {
      const std::string name = full_name(view, id);
      return refuse(ESRCH, {"release", name}, "it has no hold with tag '" + plan.tag + "'");
    }
  }
  if (held.empty()) {
    return refuse(ESRCH, {"release", names(arguments, "snapshots").front()},
                  "no snapshot has a hold with tag '" + plan.tag + "'");
  }
  plan.snapshots = std::move(held);
  return plan;
}

void apply_release(Context& context, HoldPlan plan, Changes& changes) {
  for (SnapshotId id : plan.snapshots) {
    Snapshot released = *context.view().snapshot(id);
    released.holds.erase(plan.tag);
    context.transaction().edit_snapshot(id, std::move(released));
    changes.report.changed.push_back(full_name(context.view(), id));
    drop_if_deferred(context, id, changes);
  }
}

constexpr Argument kSnapshotArguments[] = {
    {"names", Kind::names, 0, true, "", "full names of the snapshots: all at one point in time"},
    {"recursive", Kind::flag, -1, false, "", "of everything below as well"},
    {"properties", Kind::pairs, -1, false, "", "user properties to set on each"},
};
constexpr Argument kBookmarkArguments[] = {
    {"source", Kind::text, 0, true, "", "full name of a snapshot or bookmark"},
    {"name", Kind::text, 1, true, "", "name of the bookmark: DATASET#NAME or #NAME"},
};
constexpr Argument kHoldArguments[] = {
    {"tag", Kind::text, 0, true, "", "name of the hold"},
    {"snapshots", Kind::names, 1, true, "", "full names of snapshots"},
    {"recursive", Kind::flag, -1, false, "", "snapshots of the same name below as well"},
};

}  // namespace

const Row kSnapshotRow = row_of<plan_snapshot, apply_snapshot>("snapshot", "take snapshots",
                                                               kSnapshotArguments, Right::snapshot);
const Row kBookmarkRow = row_of<plan_bookmark, apply_bookmark>(
    "bookmark", "remember when a snapshot was taken", kBookmarkArguments, Right::bookmark);
const Row kHoldRow = row_of<plan_hold, apply_hold>("hold", "keep snapshots from being destroyed",
                                                   kHoldArguments, Right::hold);
const Row kReleaseRow = row_of<plan_release, apply_release>("release", "take holds off snapshots",
                                                            kHoldArguments, Right::release);

}  // namespace coppice::verb
