// Links and objects in the catalog: their indexes, their transactions, and whether they agree.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "pool/catalog_state.h"

namespace coppice::pool {
namespace {

std::unexpected<Error> contradiction(std::string what) {
  return fail(Errc::corrupt, "load the catalog", std::move(what));
}

// Lists mostly differ in one place, and may be long: the links before and after it stay.
struct Difference {
  size_t same_first = 0;
  size_t same_last = 0;
};
Difference difference(const PinnedLinks& before, const PinnedLinks& after) {
  const size_t most = std::min(before.size(), after.size());
  Difference found;
  while (found.same_first < most && before[found.same_first] == after[found.same_first]) {
    ++found.same_first;
  }
  while (found.same_first + found.same_last < most &&
         before[before.size() - 1 - found.same_last] == after[after.size() - 1 - found.same_last]) {
    ++found.same_last;
  }
  return found;
}

const PinnedLink* named(const PinnedLinks& links, std::string_view name) {
  for (const PinnedLink& each : links) {
    if (each.name == name) return &each;
  }
  return nullptr;
}

}  // namespace

// --- Transactions ---

void Transaction::State::reindex_links(DatasetId id, const PinnedLinks& before,
                                       const PinnedLinks& after) {
  const Difference same = difference(before, after);
  for (size_t i = same.same_first; i + same.same_last < before.size(); ++i) {
    link_names.erase(before[i]->name);
    uses.erase(UseView{before[i]->object, before[i]->id});
  }
  for (size_t i = same.same_first; i + same.same_last < after.size(); ++i) {
    link_names.insert(after[i]->name, id);  // CHECKs that the name is free in the pool.
    uses.insert(Use{after[i]->object, after[i]->id}, Nothing{});
  }
}

u64 Transaction::new_link_id() { return state_->base.header.next_id++; }

void Transaction::put_object(StoredObject object) {
  CHECK(well_formed(object));
  State::UndoObject back{object.hash, {}};
  if (const auto* now = state_->objects.find(object.hash)) {
    back.before = now->second;
    state_->objects.erase(back.hash);
  }
  std::string hash = object.hash;
  state_->undo.emplace_back(std::move(back));
  state_->objects.insert(std::move(hash), std::move(object));
}

void Transaction::erase_object(std::string_view hash) {
  const auto* now = state_->objects.find(hash);
  CHECK(now != nullptr && !linked(hash));
  state_->undo.emplace_back(State::UndoObject{now->first, now->second});
  state_->objects.erase(hash);
}

DatasetId Transaction::link_owner(std::string_view name) const {
  const auto* item = state_->link_names.find(name);
  return item != nullptr ? item->second : DatasetId{};
}

const StoredObject* Transaction::object(std::string_view hash) const {
  const auto* item = state_->objects.find(hash);
  return item != nullptr ? &*item->second : nullptr;
}

std::vector<std::string> Transaction::objects() const {
  std::vector<std::string> hashes;
  state_->objects.each(std::string_view(), [&](auto item) {
    hashes.push_back(item->first);
    return true;
  });
  return hashes;
}

bool Transaction::linked(std::string_view object) const {
  bool found = false;
  state_->uses.each(UseView{object, 0}, [&](auto item) {
    found = item->first.object == object;
    return false;
  });
  return found;
}

// --- The accepted state ---

DatasetId Catalog::link_owner(std::string_view name) const {
  const auto place = state_->link_names.find(name);
  return place != state_->link_names.end() ? place->second : DatasetId{};
}

const StoredObject* Catalog::object(std::string_view hash) const {
  const auto place = state_->objects.find(hash);
  return place != state_->objects.end() ? &*place->second : nullptr;
}

std::vector<std::string> Catalog::objects() const {
  std::vector<std::string> hashes;
  for (const auto& [hash, object] : state_->objects) hashes.push_back(hash);
  return hashes;
}

bool Catalog::linked(std::string_view object) const {
  const auto place = state_->uses.lower_bound(UseView{object, 0});
  return place != state_->uses.end() && place->first.object == object;
}

void Catalog::State::touch_links(DatasetId id, const PinnedLinks& before,
                                 const PinnedLinks& after) {
  const Difference same = difference(before, after);
  if (same.same_first == before.size() && same.same_first == after.size()) return;
  touch(Table::links, raw(id));
  // A link's place may have changed without its contents: what is stored beside the list is theirs.
  const auto touch_contents = [&](const PinnedLinks& these, const PinnedLinks& others) {
    for (size_t i = same.same_first; i + same.same_last < these.size(); ++i) {
      const PinnedLink* other = named(others, these[i]->name);
      const bool kept =
          !these[i]->contents.empty() || (other != nullptr && !other->contents.empty());
      if (kept && (other == nullptr || other->contents != these[i]->contents)) {
        touch(Table::contents, raw(id), these[i]->name);
      }
    }
  };
  touch_contents(before, after);
  touch_contents(after, before);
}

// --- Loading ---

Result<> Catalog::State::add_loaded_links(DatasetId id, PinnedLinks links) {
  const auto owner = datasets.find(id);
  if (owner == datasets.end()) return contradiction("links belong to no dataset");
  for (const PinnedLink& each : links) {
    if (!link_names.emplace(each.name, id).second) {
      return contradiction("two links share the name " + each.name);
    }
    if (!uses.emplace(Use{each.object, each.id}, Nothing{}).second) {
      return contradiction("two links share an id");
    }
  }
  owner->second.links = std::move(links);
  return {};
}

Result<> Catalog::State::add_loaded_contents(DatasetId id, std::string_view link,
                                             MapContents contents) {
  const auto owner = datasets.find(id);
  if (owner != datasets.end()) {
    for (SharedValue<PinnedLink>& each : owner->second.links) {
      if (each->name != link) continue;
      PinnedLink filled = each;
      filled.contents = std::move(contents);
      each = std::move(filled);
      return {};
    }
  }
  return contradiction("what maps hold belongs to no link");
}

Result<> Catalog::State::check_links() const {
  std::unordered_set<u64> ids;
  for (const auto& [use, nothing] : uses) {
    if (use.link >= header.next_id) return contradiction("an id was never given out");
    if (!ids.insert(use.link).second) return contradiction("two links share an id");
    if (!objects.contains(use.object)) return contradiction("a link has lost its object");
  }
  std::set<std::string_view> names;
  for (const auto& [hash, object] : objects) {
    if (object->name.empty()) continue;
    if (!names.insert(object->name).second) {
      return contradiction("two objects share the name " + object->name);
    }
  }
  return {};
}

// --- Names ---

const StoredObject* find_object(const CatalogView& view, std::string_view name) {
  for (const std::string& hash : view.objects()) {
    const StoredObject* object = view.object(hash);
    if (!object->name.empty() && object->name == name) return object;
  }
  return nullptr;
}

const PinnedLink* find_link(const CatalogView& view, std::string_view name) {
  const Dataset* owner = view.dataset(view.link_owner(name));
  return owner != nullptr ? named(owner->links, name) : nullptr;
}

}  // namespace coppice::pool
