// verb/names.h — the rules of names, and finding what a name names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "verb/refuse.h"

namespace coppice::verb {

inline constexpr size_t kNameBytesMax = 1023;  // Of a full name with its snapshot.
inline constexpr size_t kDepthMax = 50;        // Components of a dataset's name.
inline constexpr size_t kTagBytesMax = 255;

// Letters, digits and -_.: and space; neither empty, "." nor "..", at most kComponentBytesMax
// bytes.
bool is_component(std::string_view text);

struct Name {
  std::string_view dataset;
  char mark = 0;          // '@', '#', or 0: a dataset.
  std::string_view rest;  // After the mark.
};
// Checks all of it. EINVAL, ENAMETOOLONG.
Attempt<Name> parse_name(Doing doing, std::string_view text);
// The same with a mark that must be there. EINVAL.
Attempt<Name> parse_marked(Doing doing, std::string_view text, char mark);

// ENOENT, EINVAL and what parse_name refuses.
Attempt<pool::DatasetId> need_dataset(const pool::CatalogView& view, Doing doing,
                                      std::string_view name);
Attempt<pool::SnapshotId> need_snapshot(const pool::CatalogView& view, Doing doing,
                                        std::string_view name);

// Where a new dataset would go.
struct Place {
  pool::DatasetId parent{};          // The nearest ancestor that exists.
  std::vector<std::string> missing;  // Groups to be made below it.
  std::string name;
  pool::DatasetId taken{};  // What already has the name; 0: it is free.
};
// ENOENT: a parent is missing, and not `parents`. EINVAL: the name, or a volume above it. EXDEV:
// another pool.
Attempt<Place> find_place(const pool::CatalogView& view, Doing doing, std::string_view name,
                          bool parents);
// Makes the missing groups; the parent of the new dataset.
pool::DatasetId make_parents(Context& context, const Place& place, Changes& changes);

// The dataset and everything below it, parents first, names ascending.
std::vector<pool::DatasetId> subtree(const pool::CatalogView& view, pool::DatasetId top);

bool is_volume(const pool::CatalogView& view, pool::DatasetId id);

// The names, at most kNamesListed and then how many more there are: for details.
inline constexpr size_t kNamesListed = 100;
std::vector<std::string> listed(std::vector<std::string> names);

}  // namespace coppice::verb
