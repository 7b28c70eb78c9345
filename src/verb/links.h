// verb/links.h — what verbs share that change pinned links, or what lies around them.
#pragma once

#include <string_view>

#include "verb/refuse.h"

namespace coppice::verb {

// The object that a name, or a hash, means. Good until the transaction is changed.
struct FoundObject {
  const pool::StoredObject* known = nullptr;
  std::optional<pool::SharedValue<pool::StoredObject>> fresh = {};  // The catalog lacks it yet.
  const pool::StoredObject& operator*() const { return fresh ? **fresh : *known; }
  const pool::StoredObject* operator->() const { return &**this; }
};
// ENOENT; ENOSPC, E2BIG: it would have to be stored, and there is no room.
Attempt<FoundObject> find_object(const Context& context, Doing doing, std::string_view text);
void keep_object(Context& context, const FoundObject& found);

// Erases the objects of `gone` that have neither links nor a name any more.
void drop_unused_objects(Context& context, const pool::PinnedLinks& gone);

// The host is to look again at the links of `id`.
void links_changed(const Context& context, pool::DatasetId id, Changes& changes);

// Of the dataset, or of something above it.
bool has_links_above(const pool::CatalogView& view, pool::DatasetId id);

}  // namespace coppice::verb
