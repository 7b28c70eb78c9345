// destroy: datasets, snapshots by name, list or range, and bookmarks.
#include "verb/arguments.h"
#include "verb/doom.h"
#include "verb/names.h"
#include "verb/plan.h"

namespace coppice::verb {
namespace {

using pool::CatalogView;
using pool::DatasetId;
using pool::SnapshotId;

// Part of a list of snapshots: one name, or a range of which either end may be open.
struct Span {
  std::string_view first;
  std::string_view last;
  bool range = false;
};

Attempt<std::vector<Span>> parse_spans(Doing doing, std::string_view list) {
  std::vector<Span> spans;
  for (;;) {
    const size_t comma = list.find(',');
    const std::string_view item = list.substr(0, comma);
    Span span;
    const size_t percent = item.find('%');
    span.range = percent != std::string_view::npos;
    span.first = item.substr(0, percent);
    if (span.range) span.last = item.substr(percent + 1);
    const bool open_first = span.range && span.first.empty();
    const bool open_last = !span.range || span.last.empty();
    if ((!open_first && !is_component(span.first)) || (!open_last && !is_component(span.last))) {
      return refuse(
          EINVAL, doing,
          "'" + std::string(item) + "' is no snapshot: write NAME, NAME,NAME or OLDEST%YOUNGEST");
    }
    spans.push_back(span);
    if (comma == std::string_view::npos) return spans;
    list.remove_prefix(comma + 1);
  }
}

// Dooms the span's snapshots of one dataset. `strict`: what is missing is an error, else passed
// over.
Attempt<bool> doom_span(const CatalogView& view, Doing doing, DatasetId dataset, const Span& span,
                        bool strict, Doom& doom) {
  const auto missing = [&](std::string_view name) {
    return refuse(
        ENOENT, doing,
        "snapshot '" + full_name(view, dataset) + '@' + std::string(name) + "' does not exist");
  };
  SnapshotId first{};
  SnapshotId last = view.last_snapshot(dataset);
  if (!span.first.empty()) {
    first = view.snapshot_named(dataset, span.first);
    if (raw(first) == 0) {
      if (strict) return missing(span.first);
      return false;
    }
  }
  if (!span.range) {
    doom.add(first);
    return true;
  }
  if (!span.last.empty()) {
    last = view.snapshot_named(dataset, span.last);
    if (raw(last) == 0) {
      if (strict) return missing(span.last);
      return false;
    }
  }
  std::vector<SnapshotId>
      within;  // From the youngest back: a range mostly is a dataset's end or all of it.
  for (SnapshotId id = last; raw(id) != 0; id = view.before(id)) {
    within.push_back(id);
    if (id == first) break;
  }
  if (raw(first) != 0 && (within.empty() || within.back() != first)) {
    return refuse(EINVAL, doing,
                  "'" + std::string(span.first) + "' is younger than '" + std::string(span.last) +
                      "': write OLDEST%YOUNGEST");
  }
  for (size_t i = within.size(); i-- > 0;) doom.add(within[i]);
  return !within.empty();
}

Attempt<> doom_snapshots(const Context& context, std::string_view name, size_t at, bool recursive,
                         Doom& doom) {
  const CatalogView& view = context.view();
  const Doing doing{"destroy", name};
  ATTEMPT(const DatasetId top, need_dataset(view, doing, name.substr(0, at)));
  ATTEMPT(const std::vector<Span> spans, parse_spans(doing, name.substr(at + 1)));
  for (const Span& span : spans) {
    bool any = false;
    if (!recursive) {
      ATTEMPT(any, doom_span(view, doing, top, span, true, doom));
    } else {
      for (DatasetId id : subtree(view, top)) {
        ATTEMPT(const bool found, doom_span(view, doing, id, span, false, doom));
        any = any || found;
      }
    }
    if (!any) {
      return refuse(
          ENOENT, doing,
          recursive ? "neither it nor what is below has such a snapshot" : "it has no snapshots");
    }
  }
  return {};
}

Attempt<DoomPlan> plan_destroy(const Context& context, const Arguments& arguments) {
  const CatalogView& view = context.view();
  const Names& wanted = names(arguments, "names");
  if (wanted.empty()) return refuse(EINVAL, {"destroy", ""}, "no name is given");
  const bool clones = flag(arguments, "clones");
  const bool recursive = flag(arguments, "recursive") || clones;
  const bool defer = flag(arguments, "defer");
  Doom doom(context, {"destroy", wanted[0]}, {.clones = clones, .defer = defer});
  for (const std::string& each : wanted) {
    const Doing doing{"destroy", each};
    const size_t at = each.find_first_of("@#");
    if (at == std::string::npos) {
      ATTEMPT(const DatasetId id, need_dataset(view, doing, each));
      if (defer) return refuse(EINVAL, doing, "only snapshots can be deferred (-d)");
      if (recursive) {
        doom.add_with_all(id);
      } else {
        doom.add(id);
      }
    } else if (each[at] == '@') {
      // Names in a list may hold what single names may not.
      ATTEMPT_VOID(doom_snapshots(context, each, at, recursive, doom));
    } else {
      ATTEMPT(const Name mark, parse_marked(doing, each, '#'));
      const DatasetId id = find_dataset(view, mark.dataset);
      if (raw(id) == 0) return refuse(ENOENT, doing, "dataset does not exist");
      if (view.bookmark(id, mark.rest) == nullptr) {
        return refuse(ENOENT, doing, "bookmark does not exist");
      }
      doom.add(DoomPlan::Mark{id, std::string(mark.rest)});
    }
  }
  return doom.close();
}

constexpr Argument kArguments[] = {
    {"names", Kind::names, 0, true, "",
     "datasets, DATASET@SNAP[,SNAP]... with ranges OLDEST%YOUNGEST, or DATASET#BOOKMARK"},
    {"recursive", Kind::flag, -1, false, "", "everything below and all snapshots as well"},
    {"clones", Kind::flag, -1, false, "", "recursive, and clones of the snapshots as well"},
    {"defer", Kind::flag, -1, false, "",
     "a snapshot that is held or cloned goes as soon as it is not any more"},
};

}  // namespace

const Row kDestroyRow = row_of<plan_destroy, apply_doom>(
    "destroy", "destroy datasets, snapshots or bookmarks", kArguments, Right::destroy);

}  // namespace coppice::verb
