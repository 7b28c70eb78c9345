// host/list_walk.cc — lists of datasets, snapshots and bookmarks with their properties.
//
// What is in the list is decided when it begins, in ids; rows are worked out a page at a time. So a
// list of 100,000 snapshots neither holds the sync lane for long nor keeps all its text in memory.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "host/queries.h"

namespace coppice::host {
namespace {

constexpr u32 kPageDefault = 1000;
constexpr u32 kPageMax = 10'000;

// The target as it is now; nothing if it is gone.
std::optional<verb::Target> present(const pool::CatalogView& view, const verb::Target& target) {
  if (!target.bookmark.empty())
    return view.bookmark(target.dataset, target.bookmark) ? std::optional(target) : std::nullopt;
  auto now = refresh(view, target);
  return now ? std::optional(*std::move(now)) : std::nullopt;
}

}  // namespace

ListWalk::ListWalk(Site& site, ListQuery query)
    : site_(site),
      query_(std::move(query)),
      kinds_(query_.kinds != 0 ? query_.kinds : verb::kDatasets) {}

void ListWalk::add_dataset(pool::DatasetId id, u32 level) {
  const pool::CatalogView& view = site_.pool().catalog();
  if (wanted(verb::kind_of(view, {.dataset = id, .bookmark = ""})))
    targets_.push_back({.dataset = id, .bookmark = ""});
  const u32 below = level + 1;
  if (query_.recursive && query_.depth_max != 0 && below > query_.depth_max) return;
  if (wanted(verb::kSnapshot))
    for (const pool::SnapshotId snapshot : view.snapshots(id))
      targets_.push_back({.dataset = id, .snapshot = snapshot, .bookmark = ""});
  if (wanted(verb::kBookmark))
    for (auto& bookmark : view.bookmarks(id))
      targets_.push_back({.dataset = id, .bookmark = bookmark});
}

void ListWalk::add_below(pool::DatasetId root, u32 level) {
  struct Place {
    pool::DatasetId id;
    u32 level;
  };
  const pool::CatalogView& view = site_.pool().catalog();
  std::vector<Place> stack{{root, level}};
  while (!stack.empty()) {
    const Place place = stack.back();
    stack.pop_back();
    add_dataset(place.id, place.level);
    if (query_.depth_max != 0 && place.level >= query_.depth_max) continue;
    const auto children = view.children(place.id);
    for (auto child = children.rbegin(); child != children.rend(); ++child)
      stack.push_back({*child, place.level + 1});
  }
}

Attempt<> ListWalk::add_root(const std::string& name) {
  const auto target = verb::find_target(site_.pool().catalog(), name);
  if (!target) return std::unexpected(target.error());
  if (!target->is_dataset()) {
    targets_.push_back(*target);
  } else if (query_.recursive) {
    add_below(target->dataset, 0);
  } else {
    add_dataset(target->dataset, 0);
  }
  return {};
}

Task<Attempt<>> ListWalk::begin() {
  for (const std::string& name : query_.properties)
    if (verb::find_property(name) == nullptr && !verb::is_user_property(name) &&
        !name.starts_with("written@"))
      co_return refused(EINVAL, fmt::format("no property is called {}", name));
  facts_ = std::make_unique<verb::PoolFacts>(site_.pool(), site_, static_cast<u64>(time(nullptr)));
  reader_ = std::make_unique<verb::Reader>(site_.pool().catalog(), *facts_, &site_.pool());
  if (query_.roots.empty()) {
    query_.recursive = true;
    add_below(site_.pool().catalog().root(), 0);
  }
  for (const std::string& root : query_.roots) {
    auto added = add_root(root);
    if (!added) co_return refused(added.error());
  }
  if (!query_.properties.empty()) {
    auto names = query_.properties;
    auto targets = targets_;
    co_await ok(reader_->prepare(std::move(targets), std::move(names)));
  }
  co_return Attempt<>{};
}

Attempt<ListRow> ListWalk::row(const verb::Target& target) {
  const pool::CatalogView& view = site_.pool().catalog();
  ListRow row{
      .name = verb::full_name(view, target), .kind = verb::kind_of(view, target), .values = {}};
  for (const std::string& name : query_.properties) {
    auto value = reader_->value(target, name);
    if (!value) return std::unexpected(value.error());
    row.values.emplace_back("", std::move(*value).value_or(verb::PropertyValue{
                                    .raw = "-", .shown = "-", .inherited_from = ""}));
  }
  return row;
}

Task<Attempt<ListRow>> ListWalk::full_row(const verb::Target& target) {
  const pool::CatalogView& view = site_.pool().catalog();
  ListRow row{
      .name = verb::full_name(view, target), .kind = verb::kind_of(view, target), .values = {}};
  row.values = co_await ok(reader_->get_all(target));
  co_return row;
}

Task<Attempt<std::vector<ListRow>>> ListWalk::next(u32 count_max) {
  const size_t count = count_max == 0 ? kPageDefault : std::min(count_max, kPageMax);
  std::vector<ListRow> rows;
  while (next_ < targets_.size() && rows.size() < count) {
    const auto target = present(site_.pool().catalog(), targets_[next_++]);
    if (!target) continue;
    Attempt<ListRow> made;
    if (query_.properties.empty())
      made = co_await ok(full_row(*target));
    else
      made = row(*target);
    if (!made) co_return refused(made.error());
    rows.push_back(*std::move(made));
  }
  co_return rows;
}

Task<Attempt<std::unique_ptr<ListWalk>>> begin_list(Site& site, ListQuery query) {
  auto walk = std::make_unique<ListWalk>(site, std::move(query));
  auto begun = co_await ok(walk->begin());
  if (!begun) co_return refused(begun.error());
  co_return walk;
}

}  // namespace coppice::host
