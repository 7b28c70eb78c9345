#include "verb/names.h"

#include <algorithm>

#include "base/check.h"
#include "pool/catalog_codec.h"

namespace coppice::verb {

using pool::CatalogView;
using pool::Dataset;
using pool::DatasetId;
using pool::DatasetType;
using pool::SnapshotId;

bool is_component(std::string_view text) {
  if (text.empty() || text.size() > pool::kComponentBytesMax || text == "." || text == "..") {
    return false;
  }
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == ':' || c == ' ';
  });
}

Attempt<Name> parse_name(Doing doing, std::string_view text) {
  if (text.size() > kNameBytesMax) {
    return refuse(ENAMETOOLONG, doing, "the name is longer than 1023 bytes");
  }
  Name name;
  const size_t mark = text.find_first_of("@#");
  name.dataset = text.substr(0, mark);
  if (mark != std::string_view::npos) {
    name.mark = text[mark];
    name.rest = text.substr(mark + 1);
  }
  const auto check = [doing](std::string_view component) -> Attempt<> {
    if (is_component(component)) return {};
    if (component.size() > pool::kComponentBytesMax) {
      return refuse(ENAMETOOLONG, doing, "a part of the name is longer than 255 bytes");
    }
    if (component.empty()) return refuse(EINVAL, doing, "a part of the name is empty");
    return refuse(
        EINVAL, doing,
        "'" + std::string(component) + "' is no name: use letters, digits, space and any of -_.:");
  };
  size_t depth = 0;
  for (std::string_view rest = name.dataset;; ++depth) {
    const size_t slash = rest.find('/');
    ATTEMPT_VOID(check(rest.substr(0, slash)));
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  if (depth >= kDepthMax) {
    return refuse(ENAMETOOLONG, doing, "the name has more than 50 levels");
  }
  if (name.mark != 0) ATTEMPT_VOID(check(name.rest));
  return name;
}

Attempt<Name> parse_marked(Doing doing, std::string_view text, char mark) {
  if (text.find(mark) == std::string_view::npos) {
    return refuse(EINVAL, doing,
                  mark == '@' ? "it names no snapshot: write DATASET@SNAPSHOT"
                              : "it names no bookmark: write DATASET#BOOKMARK");
  }
  ATTEMPT(Name name, parse_name(doing, text));
  if (name.mark != mark) {
    return refuse(EINVAL, doing, "a name has one of @ and #, once");
  }
  return name;
}

Attempt<DatasetId> need_dataset(const CatalogView& view, Doing doing, std::string_view name) {
  ATTEMPT(const Name parsed, parse_name(doing, name));
  if (parsed.mark != 0) {
    return refuse(EINVAL, doing, "it must be the name of a group or volume, without @ or #");
  }
  const DatasetId id = find_dataset(view, parsed.dataset);
  if (raw(id) == 0) return refuse(ENOENT, doing, "dataset does not exist");
  return id;
}

Attempt<SnapshotId> need_snapshot(const CatalogView& view, Doing doing, std::string_view name) {
  ATTEMPT(const Name parsed, parse_marked(doing, name, '@'));
  const DatasetId dataset = find_dataset(view, parsed.dataset);
  if (raw(dataset) == 0) return refuse(ENOENT, doing, "dataset does not exist");
  const SnapshotId id = view.snapshot_named(dataset, parsed.rest);
  if (raw(id) == 0) return refuse(ENOENT, doing, "snapshot does not exist");
  return id;
}

Attempt<Place> find_place(const CatalogView& view, Doing doing, std::string_view name,
                          bool parents) {
  ATTEMPT(const Name parsed, parse_name(doing, name));
  if (parsed.mark != 0) {
    return refuse(EINVAL, doing, "it must be the name of a group or volume, without @ or #");
  }
  std::string_view rest = parsed.dataset;
  size_t slash = rest.find('/');
  const Dataset* root = view.dataset(view.root());
  if (rest.substr(0, slash) != root->name) {
    return refuse(EXDEV, doing, "it is not in pool '" + root->name + "'");
  }
  Place place;
  place.taken = view.root();
  while (slash != std::string_view::npos) {
    rest.remove_prefix(slash + 1);
    slash = rest.find('/');
    if (raw(place.taken) == 0) {
      place.missing.push_back(std::move(place.name));
    } else {
      if (view.dataset(place.taken)->type != DatasetType::group) {
        return refuse(EINVAL, doing,
                      "'" + full_name(view, place.taken) + "' is a volume, which has no children");
      }
      place.parent = place.taken;
      place.taken = view.child(place.parent, rest.substr(0, slash));
    }
    place.name = rest.substr(0, slash);
  }
  if (place.name.empty()) place.name = root->name;
  if (!place.missing.empty() && !parents) {
    return refuse(ENOENT, doing, "parent does not exist; use -p (parents) to make it");
  }
  return place;
}

DatasetId make_parents(Context& context, const Place& place, Changes& changes) {
  DatasetId parent = place.parent;
  for (const std::string& name : place.missing) {
    Dataset group;
    group.parent = parent;
    group.name = name;
    group.creation_s = context.facts().now_s();
    parent = context.transaction().new_dataset(std::move(group));
    changes.report.created.push_back(full_name(context.view(), parent));
  }
  return parent;
}

std::vector<DatasetId> subtree(const CatalogView& view, DatasetId top) {
  std::vector<DatasetId> found;
  std::vector<DatasetId> open{top};
  while (!open.empty()) {
    const DatasetId id = open.back();
    open.pop_back();
    found.push_back(id);
    if (is_volume(view, id)) continue;
    const std::vector<DatasetId> children = view.children(id);
    open.insert(open.end(), children.rbegin(), children.rend());
  }
  return found;
}

bool is_volume(const CatalogView& view, DatasetId id) {
  const Dataset* dataset = view.dataset(id);
  CHECK(dataset != nullptr);
  return dataset->type == DatasetType::volume;
}

std::vector<std::string> listed(std::vector<std::string> names) {
  if (names.size() <= kNamesListed) return names;
  const size_t more = names.size() - kNamesListed;
  names.resize(kNamesListed);
  names.push_back("and " + std::to_string(more) + " more");
  return names;
}

}  // namespace coppice::verb
