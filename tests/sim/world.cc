#include "world.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace coppice::simtest {
namespace {

constexpr const char* kVerbNames[] = {
    "create group", "create volume", "snapshot", "clone",   "promote", "rollback",
    "destroy",      "rename",        "set",      "inherit", "hold",    "release",
    "resize",       "bookmark",      "link",     "relink",  "unlink"};

std::string_view before(std::string_view path, char mark) {
  return path.substr(0, path.rfind(mark));
}
std::string_view behind(std::string_view path, char mark) {
  const size_t at = path.rfind(mark);
  return at == path.npos ? std::string_view() : path.substr(at + 1);
}
bool names_snapshot(std::string_view path) { return path.find('@') != path.npos; }

}  // namespace

const char* name_of(Verb verb) { return kVerbNames[static_cast<u8>(verb)]; }

std::string AdminOp::describe() const {
  std::string text = name_of(verb);
  for (const std::string& name : names) text += " " + name;
  if (!other.empty()) text += " " + other;
  if (!value.empty()) text += fmt::format("={:.20}", value);
  if (size != 0) text += fmt::format(" size {}", size);
  if (recursive) text += " -r";
  if (defer) text += " -d";
  return text;
}

World::World(std::string pool_name) {
  Dataset root;
  root.id = last_id_;
  root.name = std::move(pool_name);
  datasets.emplace(root.id, std::move(root));
}

// --- Names ---

std::string World::path(u64 id) const {
  const Dataset& dataset = datasets.at(id);
  return dataset.parent == 0 ? dataset.name : path(dataset.parent) + "/" + dataset.name;
}
std::string World::snapshot_path(u64 id) const {
  const Snapshot& snapshot = snapshots.at(id);
  return path(snapshot.dataset) + "@" + snapshot.name;
}
u64 World::find_dataset(std::string_view wanted) const {
  for (const auto& [id, dataset] : datasets) {
    if (path(id) == wanted) return id;
  }
  return 0;
}
u64 World::find_snapshot(std::string_view wanted) const {
  if (!names_snapshot(wanted)) return 0;
  const u64 dataset = find_dataset(before(wanted, '@'));
  if (dataset == 0) return 0;
  for (const u64 id : datasets.at(dataset).snapshots) {
    if (snapshots.at(id).name == behind(wanted, '@')) return id;
  }
  return 0;
}
std::vector<u64> World::children(u64 parent) const {
  std::vector<u64> result;
  for (const auto& [id, dataset] : datasets) {
    if (dataset.parent == parent) result.push_back(id);
  }
  return result;
}
std::vector<u64> World::below(u64 top) const {
  std::vector<u64> result{top};
  for (size_t at = 0; at < result.size(); ++at) {
    const std::vector<u64> more = children(result[at]);
    result.insert(result.end(), more.begin(), more.end());
  }
  return result;
}
std::vector<u64> World::clones(u64 snapshot) const {
  std::vector<u64> result;
  for (const auto& [id, dataset] : datasets) {
    if (dataset.origin == snapshot) result.push_back(id);
  }
  return result;
}

std::map<std::string, std::string> World::list() const {
  std::map<std::string, std::string> result;
  for (const auto& [id, dataset] : datasets) {
    std::string text = dataset.volume ? fmt::format("volume {}", dataset.content.size_bytes())
                                      : std::string("group");
    if (dataset.origin != 0) text += " of " + snapshot_path(dataset.origin);
    for (const auto& [name, value] : dataset.properties) text += fmt::format(" {}={}", name, value);
    for (const auto& [name, object] : dataset.links) text += fmt::format(" {}>{}", name, object);
    if (id == root()) {  // An object is kept while a link uses it, and no longer.
      std::set<std::string> objects;
      for (const auto& [other, each] : datasets) {
        for (const auto& [name, object] : each.links) objects.insert(object);
      }
      for (const std::string& object : objects) text += " object:" + object;
    }
    text += " snapshots:";
    for (const u64 snapshot : dataset.snapshots) text += " " + snapshots.at(snapshot).name;
    const std::string name = path(id);
    result[name] = text;
    for (const auto& [bookmark, born] : dataset.bookmarks)
      result[name + "#" + bookmark] = "bookmark";
  }
  for (const auto& [id, snapshot] : snapshots) {
    std::string text = fmt::format("snapshot {}", snapshot.size_bytes);
    if (snapshot.deferred) text += " deferred";
    for (const std::string& tag : snapshot.holds) text += " held:" + tag;
    result[snapshot_path(id)] = text;
  }
  return result;
}

// --- Verbs ---

std::string World::apply(const AdminOp& op, Stamp asked, Stamp answered) {
  switch (op.verb) {
    case Verb::create_group: return create(op, false);
    case Verb::create_volume: return create(op, true);
    case Verb::snapshot: return snapshot(op, asked, answered);
    case Verb::clone: return clone(op, asked);
    case Verb::promote: return promote(op);
    case Verb::rollback: return rollback(op, asked);
    case Verb::destroy: return destroy(op);
    case Verb::rename: return rename(op);
    case Verb::set:
    case Verb::inherit: return properties(op);
    case Verb::hold:
    case Verb::release: return holds(op);
    case Verb::resize: return resize(op);
    case Verb::bookmark: return bookmark(op);
    case Verb::link:
    case Verb::relink:
    case Verb::unlink: return links(op);
  }
  return "no such verb";
}

// Where a new dataset of this name would go.
std::string World::place_for(std::string_view wanted, u64& parent, std::string& name) const {
  if (find_dataset(wanted) != 0) return "exists";
  parent = find_dataset(before(wanted, '/'));
  name = behind(wanted, '/');
  if (parent == 0 || name.empty()) return "no parent";
  return datasets.at(parent).volume ? "the parent is a volume" : "";
}

std::string World::create(const AdminOp& op, bool volume) {
  Dataset fresh;
  if (std::string why = place_for(op.names.at(0), fresh.parent, fresh.name); !why.empty())
    return why;
  if (volume && (op.size == 0 || op.size % kBlock != 0)) return "bad size";
  fresh.id = ++last_id_;
  fresh.volume = volume;
  fresh.content = Blocks(op.size);
  if (keep_all_) fresh.content.forget_nothing();
  datasets.emplace(fresh.id, std::move(fresh));
  return {};
}

std::string World::snapshot(const AdminOp& op, Stamp asked, Stamp answered) {
  std::vector<std::pair<u64, std::string>> wanted;  // Dataset and name.
  for (const std::string& name : op.names) {
    const u64 dataset = find_dataset(before(name, '@'));
    if (dataset == 0 || !names_snapshot(name)) return "no such dataset";
    std::vector<u64> of{dataset};
    if (op.recursive) of = below(dataset);
    for (const u64 id : of) wanted.emplace_back(id, behind(name, '@'));
  }
  std::set<std::pair<u64, std::string>> distinct(wanted.begin(), wanted.end());
  if (distinct.size() != wanted.size()) return "twice the same";
  for (const auto& [id, name] : wanted) {
    if (find_snapshot(path(id) + "@" + name) != 0) return "exists";
  }
  const u64 cut = ++last_id_;
  cuts[cut].spans = {{asked, answered}};
  for (const auto& [dataset, name] : wanted) {
    Snapshot fresh;
    fresh.id = ++last_id_;
    fresh.dataset = dataset;
    fresh.name = name;
    fresh.born = asked;
    fresh.content = datasets.at(dataset).content.freeze(asked, answered);
    fresh.size_bytes = fresh.content.size_bytes();
    fresh.cut = cut;
    datasets.at(dataset).snapshots.push_back(fresh.id);
    snapshots.emplace(fresh.id, std::move(fresh));
  }
  return {};
}

std::string World::clone(const AdminOp& op, Stamp asked) {
  const u64 origin = find_snapshot(op.names.at(0));
  if (origin == 0) return "no such snapshot";
  const Snapshot& from = snapshots.at(origin);
  if (!datasets.at(from.dataset).volume) return "not of a volume";
  Dataset fresh;
  if (std::string why = place_for(op.other, fresh.parent, fresh.name); !why.empty()) return why;
  fresh.id = ++last_id_;
  fresh.volume = true;
  fresh.origin = origin;
  fresh.content = Blocks(from.content, asked);
  if (keep_all_) fresh.content.forget_nothing();
  datasets.emplace(fresh.id, std::move(fresh));
  return {};
}

std::string World::promote(const AdminOp& op) {
  const u64 id = find_dataset(op.names.at(0));
  if (id == 0) return "no such dataset";
  Dataset& clone = datasets.at(id);
  if (clone.origin == 0) return "no clone";
  const u64 origin = clone.origin;
  Dataset& old = datasets.at(snapshots.at(origin).dataset);
  const auto last = std::ranges::find(old.snapshots, origin);
  CHECK(last != old.snapshots.end());
  const std::vector<u64> moving(old.snapshots.begin(), std::next(last));
  for (const u64 mover : moving) {
    for (const u64 own : clone.snapshots) {
      if (snapshots.at(own).name == snapshots.at(mover).name) return "two snapshots of one name";
    }
  }
  old.snapshots.erase(old.snapshots.begin(), std::next(last));
  clone.snapshots.insert(clone.snapshots.begin(), moving.begin(), moving.end());
  for (const u64 mover : moving) snapshots.at(mover).dataset = id;
  clone.origin = old.origin;
  old.origin = origin;
  return {};
}

std::string World::rollback(const AdminOp& op, Stamp asked) {
  const u64 to = find_snapshot(op.names.at(0));
  if (to == 0) return "no such snapshot";
  Dataset& dataset = datasets.at(snapshots.at(to).dataset);
  if (!dataset.volume) return "not of a volume";
  const auto place = std::ranges::find(dataset.snapshots, to);
  const std::vector<u64> younger(std::next(place), dataset.snapshots.end());
  const Stamp born = snapshots.at(to).born;
  const auto undone = [&](const auto& bookmark) { return bookmark.second > born; };
  const bool marked = std::ranges::any_of(dataset.bookmarks, undone);
  if ((!younger.empty() || marked) && !op.recursive) return "there are younger snapshots";
  for (const u64 id : younger) {
    if (!snapshots.at(id).holds.empty()) return "a younger snapshot is held";
    if (!clones(id).empty()) return "a younger snapshot has a clone";
  }
  for (const u64 id : younger) erase_snapshot(id);
  std::erase_if(dataset.bookmarks, undone);
  dataset.content = Blocks(snapshots.at(to).content, asked);
  return {};
}

void World::erase_snapshot(u64 id) {
  std::erase(datasets.at(snapshots.at(id).dataset).snapshots, id);
  snapshots.erase(id);
}
void World::erase_dataset(u64 id) {
  while (!datasets.at(id).snapshots.empty()) erase_snapshot(datasets.at(id).snapshots.back());
  datasets.erase(id);
}

// Snapshots that wait for their last hold and clone to go.
void World::reap_deferred() {
  std::vector<u64> gone;
  for (const auto& [id, snapshot] : snapshots) {
    if (snapshot.deferred && snapshot.holds.empty() && clones(id).empty()) gone.push_back(id);
  }
  for (const u64 id : gone) erase_snapshot(id);
}

std::string World::destroy(const AdminOp& op) {
  if (names_snapshot(op.names.at(0))) return destroy_snapshots(op);
  const u64 id = find_dataset(op.names.at(0));
  if (id == 0) return "no such dataset";
  if (id == root()) return "the root";
  return destroy_datasets(id, op.recursive);
}

std::string World::destroy_datasets(u64 top, bool recursive) {
  const std::vector<u64> going = below(top);
  if (!recursive && going.size() > 1) return "it has children";
  const std::set<u64> inside(going.begin(), going.end());
  for (const u64 id : going) {
    for (const u64 snapshot : datasets.at(id).snapshots) {
      if (!recursive) return "it has snapshots";
      if (!snapshots.at(snapshot).holds.empty()) return "a snapshot is held";
      for (const u64 clone : clones(snapshot)) {
        if (!inside.contains(clone)) return "a snapshot has a clone elsewhere";
      }
    }
  }
  for (const u64 id : going) erase_dataset(id);
  reap_deferred();
  return {};
}

std::string World::destroy_snapshots(const AdminOp& op) {
  std::set<u64> going;
  for (const std::string& name : op.names) {
    const u64 top = find_dataset(before(name, '@'));
    if (top == 0) return "no such dataset";
    std::vector<u64> of{top};
    if (op.recursive) of = below(top);
    bool any = false;
    for (const u64 id : of) {
      const u64 snapshot = find_snapshot(path(id) + "@" + std::string(behind(name, '@')));
      if (snapshot != 0) going.insert(snapshot);
      any = any || snapshot != 0;
    }
    if (!any) return "no such snapshot";
  }
  for (const u64 id : going) {
    if ((!snapshots.at(id).holds.empty() || !clones(id).empty()) && !op.defer) return "in use";
  }
  for (const u64 id : going) {
    if (!snapshots.at(id).holds.empty() || !clones(id).empty()) {
      snapshots.at(id).deferred = true;
    } else {
      erase_snapshot(id);
    }
  }
  return {};
}

std::string World::rename(const AdminOp& op) {
  const std::string& name = op.names.at(0);
  if (names_snapshot(name)) {
    const u64 id = find_snapshot(name);
    if (id == 0) return "no such snapshot";
    if (before(op.other, '@') != before(name, '@')) return "another dataset";
    if (find_snapshot(op.other) != 0) return "exists";
    snapshots.at(id).name = behind(op.other, '@');
    return {};
  }
  const u64 id = find_dataset(name);
  if (id == 0) return "no such dataset";
  if (id == root()) return "the root";
  u64 parent = 0;
  std::string last;
  if (std::string why = place_for(op.other, parent, last); !why.empty()) return why;
  const std::vector<u64> inside = below(id);
  if (std::ranges::find(inside, parent) != inside.end()) return "into itself";
  datasets.at(id).parent = parent;
  datasets.at(id).name = last;
  return {};
}

std::string World::properties(const AdminOp& op) {
  const u64 id = find_dataset(op.names.at(0));
  if (id == 0) return "no such dataset";
  if (op.verb == Verb::set) {
    datasets.at(id).properties[op.other] = op.value;
  } else {
    datasets.at(id).properties.erase(op.other);
  }
  return {};
}

std::string World::holds(const AdminOp& op) {
  const u64 id = find_snapshot(op.names.at(0));
  if (id == 0) return "no such snapshot";
  auto& tags = snapshots.at(id).holds;
  if (op.verb == Verb::hold) return tags.insert(op.other).second ? "" : "held already";
  if (tags.erase(op.other) == 0) return "no such hold";
  reap_deferred();
  return {};
}

std::string World::resize(const AdminOp& op) {
  const u64 id = find_dataset(op.names.at(0));
  if (id == 0 || !datasets.at(id).volume) return "no such volume";
  if (op.size == 0 || op.size % kBlock != 0) return "bad size";
  datasets.at(id).content.resize(op.size);
  return {};
}

std::string World::bookmark(const AdminOp& op) {
  const u64 id = find_snapshot(op.names.at(0));
  if (id == 0) return "no such snapshot";
  const u64 dataset = find_dataset(before(op.other, '#'));
  if (dataset != snapshots.at(id).dataset) return "another dataset";
  auto& bookmarks = datasets.at(dataset).bookmarks;
  const bool fresh = bookmarks.emplace(behind(op.other, '#'), snapshots.at(id).born).second;
  return fresh ? "" : "exists";
}

std::string World::links(const AdminOp& op) {
  const u64 id = find_dataset(op.names.at(0));
  if (op.verb == Verb::link && id == 0) return "no such dataset";
  for (auto& [other, dataset] : datasets) {
    const auto place =
        std::ranges::find(dataset.links, op.other, [](const auto& each) { return each.first; });
    if (place == dataset.links.end()) continue;
    if (op.verb == Verb::link) return "exists";
    if (op.verb == Verb::unlink) {
      dataset.links.erase(place);
    } else {
      place->second = op.value;
      if (op.recursive) std::ranges::rotate(dataset.links.begin(), place, std::next(place));
    }
    return {};
  }
  if (op.verb != Verb::link) return "no such link";
  datasets.at(id).links.emplace_back(op.other, op.value);
  return {};
}

void World::crash() {
  for (auto& [id, dataset] : datasets) dataset.content.crash();
}

void World::forget_nothing() {
  keep_all_ = true;
  for (auto& [id, dataset] : datasets) dataset.content.forget_nothing();
}

}  // namespace coppice::simtest
