// load and unload: objects that stay in the pool whether links use them or not.
#include "pool/catalog_codec.h"
#include "verb/arguments.h"
#include "verb/links.h"
#include "verb/names.h"
#include "verb/plan.h"

namespace coppice::verb {

using pool::CatalogView;
using pool::DatasetId;
using pool::StoredObject;

namespace {

// Items of a tree are at most 3000 bytes and its nodes are not always full.
constexpr u64 kStoredShare = 2;

Attempt<> check_object_room(const Context& context, Doing doing, const StoredObject& object) {
  const std::vector<std::string> known = context.view().objects();
  if (known.size() >= pool::kObjectsMax) {
    return refuse(E2BIG, doing, "the pool has 1024 objects, and more are not kept: unload some");
  }
  u64 bytes = object.bytes.size();  // Others may have come in the same transaction.
  for (const std::string& hash : known) bytes += context.view().object(hash)->bytes.size();
  if (bytes * kStoredShare <= context.facts().available_bytes()) return {};
  return refuse(ENOSPC, doing, "the pool has no room to keep the object: free some space");
}

}  // namespace

Attempt<FoundObject> find_object(const Context& context, Doing doing, std::string_view text) {
  const CatalogView& view = context.view();
  const StoredObject* known =
      pool::is_object_hash(text) ? view.object(text) : pool::find_object(view, text);
  if (known != nullptr) return FoundObject{.known = known};
  auto loaded = context.facts().loaded_object(text);
  if (!loaded) {
    return refuse(ENOENT, doing,
                  "there is no object '" + std::string(text) +
                      "': name one that is loaded, or give the hash of one that was just verified");
  }
  CHECK((*loaded)->hash == text && (*loaded)->name.empty());
  if (!pool::well_formed(**loaded)) {
    return refuse(EINVAL, doing,
                  "the object cannot be kept: it is larger than 1 MiB, or has settings or names of "
                  "programs that are too long or not printable");
  }
  ATTEMPT_VOID(check_object_room(context, doing, *loaded));
  return FoundObject{.fresh = std::move(loaded)};
}

void keep_object(Context& context, const FoundObject& found) {
  if (found.fresh) context.transaction().put_object(*found);
}

void drop_unused_objects(Context& context, const pool::PinnedLinks& gone) {
  for (const pool::PinnedLink& link : gone) {
    const StoredObject* object = context.view().object(link.object);
    if (object == nullptr || !object->name.empty() || context.view().linked(link.object)) continue;
    context.transaction().erase_object(link.object);
  }
}

void links_changed(const Context& context, DatasetId id, Changes& changes) {
  changes.effects.push_back(LinksChanged{id, full_name(context.view(), id)});
}

bool has_links_above(const CatalogView& view, DatasetId id) {
  for (const pool::Dataset* at = view.dataset(id); at != nullptr; at = view.dataset(at->parent)) {
    if (!at->links.empty()) return true;
  }
  return false;
}

namespace {

struct Loading {
  FoundObject found;
  std::string name;
};

Attempt<Loading> plan_load(const Context& context, const Arguments& arguments) {
  const std::string& name = text(arguments, "as");
  const Doing doing{"load", name};
  if (!is_component(name)) return refuse(EINVAL, doing, "it is no name for an object");
  if (pool::is_object_hash(name)) {
    return refuse(EINVAL, doing, "it looks like the hash of an object: choose another name");
  }
  if (const StoredObject* taken = pool::find_object(context.view(), name)) {
    return refuse(EEXIST, doing, "object " + taken->hash + " has the name: unload it first");
  }
  ATTEMPT(FoundObject found, find_object(context, doing, text(arguments, "object")));
  if (!found->name.empty()) {
    return refuse(EEXIST, doing, "the object is loaded as '" + found->name + "'");
  }
  return Loading{std::move(found), name};
}

void apply_load(Context& context, Loading plan, Changes& changes) {
  StoredObject object = *plan.found;
  object.name = plan.name;
  context.transaction().put_object(std::move(object));
  changes.report.changed.push_back(full_name(context.view(), context.view().root()));
}

Attempt<std::string> plan_unload(const Context& context, const Arguments& arguments) {
  const std::string& name = text(arguments, "object");
  const CatalogView& view = context.view();
  const StoredObject* object =
      pool::is_object_hash(name) ? view.object(name) : pool::find_object(view, name);
  if (object == nullptr) return refuse(ENOENT, {"unload", name}, "there is no such object");
  if (object->name.empty()) {
    return refuse(EINVAL, {"unload", name}, "it has no name, and goes with the last of its links");
  }
  return object->hash;
}

void apply_unload(Context& context, std::string hash, Changes& changes) {
  if (context.view().linked(hash)) {
    StoredObject object = *context.view().object(hash);
    object.name.clear();
    context.transaction().put_object(std::move(object));
  } else {
    context.transaction().erase_object(hash);
  }
  changes.report.changed.push_back(full_name(context.view(), context.view().root()));
}

constexpr Argument kLoadArguments[] = {
    {"as", Kind::text, 0, true, "", "the name that the object gets"},
    {"object", Kind::text, 1, true, "", "hash of an object that the daemon has verified"},
};
constexpr Argument kUnloadArguments[] = {
    {"object", Kind::text, 0, true, "", "name or hash of an object"},
};

}  // namespace

const Row kLoadRow = row_of<plan_load, apply_load>(
    "load", "name an eBPF object, so that it stays in the pool", kLoadArguments, Right::configure);
const Row kUnloadRow = row_of<plan_unload, apply_unload>(
    "unload", "take the name of an eBPF object, so that it goes with its last link",
    kUnloadArguments, Right::configure);

}  // namespace coppice::verb
