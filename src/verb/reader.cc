// Reader: values of properties.
#include <map>
#include <set>
#include <unordered_map>

#include "base/check.h"
#include "verb/accounts.h"
#include "verb/names.h"
#include "verb/properties.h"

namespace coppice::verb {
namespace {

using pool::CatalogView;
using pool::Dataset;
using pool::DatasetId;
using pool::kBlock;
using pool::Snapshot;
using pool::SnapshotId;

constexpr std::string_view kWrittenSince = "written@";
constexpr int kTriesMax = 4;

using Found = std::optional<PropertyValue>;

Found bytes_value(u64 bytes, Source source = Source::none) {
  return PropertyValue{std::to_string(bytes), human_bytes(bytes), source, {}};
}
Found count_value(u64 count) {
  std::string text = std::to_string(count);
  return PropertyValue{text, text, Source::none, {}};
}
Found text_value(std::string text, Source source = Source::none) {
  return PropertyValue{text, text, source, {}};
}
Found time_value(u64 unix_s) {
  return PropertyValue{std::to_string(unix_s), human_time(unix_s), Source::none, {}};
}
Found limit_value(u64 bytes) {
  if (bytes == 0) return PropertyValue{"0", "none", Source::by_default, {}};
  return bytes_value(bytes, Source::local);
}

// An inheritable property of a dataset, or a user property of a dataset or snapshot.
Found inherited_value(const CatalogView& view, const Target& target, const std::string& name) {
  if (raw(target.snapshot) != 0) {
    const auto& own = view.snapshot(target.snapshot)->properties;
    if (const auto place = own.find(name); place != own.end()) {
      return text_value(place->second, Source::local);
    }
  }
  auto effective = effective_property(view, target.dataset, name);
  if (!effective) return std::nullopt;
  Found value = text_value(std::move(effective->value), Source::by_default);
  if (raw(effective->from) == 0) return value;
  const bool local = effective->from == target.dataset && target.is_dataset();
  value->source = local ? Source::local : Source::inherited;
  if (!local) value->inherited_from = full_name(view, effective->from);
  return value;
}

std::string joined_clones(const CatalogView& view, SnapshotId id) {
  std::string text;
  for (DatasetId clone : view.clones(id)) {
    if (!text.empty()) text += ',';
    text += full_name(view, clone);
  }
  return text;
}

bool asks_written_since(std::string_view name) { return name.starts_with(kWrittenSince); }

// The snapshot of written@NAME, which may also be given with its dataset's name.
SnapshotId since_snapshot(const CatalogView& view, DatasetId dataset, std::string_view name) {
  name.remove_prefix(kWrittenSince.size());
  const size_t at = name.rfind('@');
  return view.snapshot_named(dataset, at == name.npos ? name : name.substr(at + 1));
}

}  // namespace

struct Reader::State {
  State(const CatalogView& v, const Facts& facts, pool::Pool* p, Ledger* shared)
      : view(v), pool(p), own(v, facts), ledger(shared != nullptr ? *shared : own) {}
  const CatalogView& view;
  pool::Pool* pool;
  Ledger own;
  Ledger& ledger;
  std::set<DatasetId> unique_known;
  std::unordered_map<SnapshotId, u64> unique_blocks;
  std::map<std::pair<DatasetId, SnapshotId>, u64> written_blocks;

  Task<> learn_unique(DatasetId id);
  Task<> learn_written(DatasetId id, SnapshotId since);
  Found of_dataset(const Dataset& dataset, std::string_view name);
  Found of_volume(const Dataset& dataset, std::string_view name) const;
  Found of_snapshot(const Snapshot& snapshot, std::string_view name) const;
  static Found of_bookmark(const pool::Bookmark& bookmark, std::string_view name);
};

// What destroying each snapshot alone would free. Asked again if the snapshots changed meanwhile.
Task<> Reader::State::learn_unique(DatasetId id) {
  if (pool == nullptr || !unique_known.insert(id).second) co_return {};
  const pool::Catalog& catalog = pool->catalog();
  for (int tries = 0; tries < kTriesMax; ++tries) {
    if (catalog.volume_state(id) == nullptr) co_return {};
    const std::vector<SnapshotId> asked = catalog.snapshots(id);
    auto blocks = co_await pool->unique_blocks(id);
    if (!blocks) co_return std::unexpected(blocks.error());
    if (catalog.snapshots(id) != asked || blocks->size() != asked.size()) continue;
    for (size_t i = 0; i < asked.size(); ++i) unique_blocks[asked[i]] = (*blocks)[i];
    co_return {};
  }
  co_return fail(Errc::again, "account for snapshots", "they change too fast; try again");
}

Task<> Reader::State::learn_written(DatasetId id, SnapshotId since) {
  if (pool == nullptr || pool->catalog().volume_state(id) == nullptr) co_return {};
  const Snapshot* snapshot = pool->catalog().snapshot(since);
  if (snapshot == nullptr) co_return {};
  auto blocks = co_await pool->written_since(id, snapshot->createtxg);
  if (!blocks) co_return std::unexpected(blocks.error());
  written_blocks[{id, since}] = *blocks;
  co_return {};
}

Found Reader::State::of_bookmark(const pool::Bookmark& bookmark, std::string_view name) {
  if (name == "type") return text_value("bookmark");
  if (name == "creation") return time_value(bookmark.creation_s);
  if (name == "createtxg") return count_value(raw(bookmark.createtxg));
  if (name == "guid") return count_value(bookmark.guid);
  return std::nullopt;
}

Found Reader::State::of_snapshot(const Snapshot& snapshot, std::string_view name) const {
  if (name == "type") return text_value("snapshot");
  if (name == "creation") return time_value(snapshot.creation_s);
  if (name == "createtxg") return count_value(raw(snapshot.createtxg));
  if (name == "guid") return count_value(snapshot.guid);
  if (name == "used") {
    const auto known = unique_blocks.find(snapshot.id);
    return bytes_value(known != unique_blocks.end() ? known->second * kBlock : 0);
  }
  if (name == "referenced") return bytes_value(snapshot.tree.referenced_blocks * kBlock);
  if (name == "logicalreferenced") return bytes_value(snapshot.tree.logical_blocks * kBlock);
  if (name == "written") return bytes_value(snapshot.written_blocks * kBlock);
  if (name == "volsize") {
    if (!is_volume(view, snapshot.dataset)) return std::nullopt;
    return bytes_value(snapshot.volsize_bytes);
  }
  if (name == "defer_destroy") return text_value(snapshot.defer_destroy ? "on" : "off");
  if (name == "userrefs") return count_value(snapshot.holds.size());
  if (name == "clones") return text_value(joined_clones(view, snapshot.id));
  return std::nullopt;
}

Found Reader::State::of_volume(const Dataset& dataset, std::string_view name) const {
  if (name == "volsize") return bytes_value(dataset.volsize_bytes, Source::local);
  if (name == "origin") {
    if (raw(dataset.origin) == 0) return std::nullopt;
    return text_value(full_name(view, dataset.origin));
  }
  return std::nullopt;
}

Found Reader::State::of_dataset(const Dataset& dataset, std::string_view name) {
  const bool volume = dataset.type == pool::DatasetType::volume;
  if (name == "type") return text_value(volume ? "volume" : "group");
  if (name == "creation") return time_value(dataset.creation_s);
  if (name == "createtxg") return count_value(raw(dataset.createtxg));
  if (name == "guid") return count_value(dataset.guid);
  if (name == "checksum") return text_value("on", Source::by_default);
  if (name == "reservation") return limit_value(reservation_of(dataset));
  if (name == "quota") return volume ? std::nullopt : limit_value(quota_of(dataset));
  if (name == "usedbyrefreservation") return bytes_value(0);
  if (name == "available") return bytes_value(ledger.available(dataset.id));
  if (name == "volsize" || name == "origin")
    return volume ? of_volume(dataset, name) : std::nullopt;
  const pool::VolumeState* state = view.volume_state(dataset.id);
  if (name == "written") return bytes_value(state != nullptr ? state->written_blocks * kBlock : 0);
  ledger.used(dataset.id);
  const Accounts& accounts = ledger.counted(dataset.id);
  if (name == "used") return bytes_value(accounts.used);
  if (name == "referenced") return bytes_value(accounts.referenced);
  if (name == "usedbydataset") return bytes_value(accounts.used_by_dataset);
  if (name == "usedbysnapshots") return bytes_value(accounts.used_by_snapshots);
  if (name == "usedbychildren") return bytes_value(accounts.used_by_children);
  if (name == "logicalused") return bytes_value(accounts.logical_used);
  if (name == "logicalreferenced") return bytes_value(accounts.logical_referenced);
  if (name == "snapshot_count") return count_value(accounts.snapshots);
  return std::nullopt;
}

Reader::Reader(const CatalogView& view, const Facts& facts, pool::Pool* pool, Ledger* ledger)
    : state_(std::make_unique<State>(view, facts, pool, ledger)) {}
Reader::~Reader() = default;

Attempt<Found> Reader::value(const Target& target, std::string_view name) const {
  const CatalogView& view = state_->view;
  const Dataset* dataset = view.dataset(target.dataset);
  const Snapshot* snapshot = view.snapshot(target.snapshot);
  if (dataset == nullptr || (raw(target.snapshot) != 0 && snapshot == nullptr)) {
    return refuse(ENOENT, {"get property", name}, "what it belongs to does not exist any more");
  }
  if (asks_written_since(name)) {
    if (!target.is_dataset() || dataset->type == pool::DatasetType::group) return Found{};
    const SnapshotId since = since_snapshot(view, target.dataset, name);
    if (raw(since) == 0) return Found{};
    const auto known = state_->written_blocks.find({target.dataset, since});
    return bytes_value(known != state_->written_blocks.end() ? known->second * kBlock : 0);
  }
  const Property* property = find_property(name);
  if (property == nullptr) {
    if (!is_user_property(name)) {
      return refuse(EINVAL, {"get property", name}, "there is no such property");
    }
    if (!target.bookmark.empty()) return Found{};
    return inherited_value(view, target, std::string(name));
  }
  if (!target.bookmark.empty()) {
    const pool::Bookmark* bookmark = view.bookmark(target.dataset, target.bookmark);
    if (bookmark == nullptr) {
      return refuse(ENOENT, {"get property", name}, "the bookmark does not exist any more");
    }
    return State::of_bookmark(*bookmark, property->name);
  }
  if (snapshot != nullptr) return state_->of_snapshot(*snapshot, property->name);
  if (property->inheritable) return inherited_value(view, target, std::string(property->name));
  return state_->of_dataset(*dataset, property->name);
}

Task<> Reader::prepare(std::vector<Target> targets, std::vector<std::string> names) {
  bool unique = false;
  for (const std::string& name : names) unique = unique || name == "used";
  for (size_t i = 0; unique && i < targets.size(); ++i) {
    if (raw(targets[i].snapshot) == 0) continue;
    co_await ok(state_->learn_unique(targets[i].dataset));
  }
  for (size_t k = 0; k < names.size(); ++k) {
    if (!asks_written_since(names[k])) continue;
    for (size_t i = 0; i < targets.size(); ++i) {
      if (!targets[i].is_dataset()) continue;
      const SnapshotId since = since_snapshot(state_->view, targets[i].dataset, names[k]);
      if (raw(since) == 0) continue;
      co_await ok(state_->learn_written(targets[i].dataset, since));
    }
  }
  co_return {};
}

Task<Attempt<Found>> Reader::get(Target target, std::string name) {
  std::vector<Target> targets(1, target);
  std::vector<std::string> names(1, name);
  co_await ok(prepare(std::move(targets), std::move(names)));
  Result<Attempt<Found>> found(std::in_place, value(target, name));
  co_return std::move(found);
}

Task<std::vector<std::pair<std::string, PropertyValue>>> Reader::get_all(Target target) {
  std::vector<Target> targets(1, target);
  std::vector<std::string> names(1, "used");
  co_await ok(prepare(std::move(targets), std::move(names)));
  std::vector<std::pair<std::string, PropertyValue>> all;
  const auto add = [&](const std::string& name) {
    auto found = value(target, name);
    if (found && *found) all.emplace_back(name, **std::move(found));
  };
  for (const Property& property : properties()) add(std::string(property.name));
  std::set<std::string> own;
  const auto collect = [&own](const std::map<std::string, std::string>& from) {
    for (const auto& [name, text] : from) {
      if (is_user_property(name)) own.insert(name);
    }
  };
  const CatalogView& view = state_->view;
  if (const Snapshot* snapshot = view.snapshot(target.snapshot)) collect(snapshot->properties);
  if (target.bookmark.empty()) {
    for (const Dataset* at = view.dataset(target.dataset); at != nullptr;
         at = view.dataset(at->parent)) {
      collect(at->properties);
    }
  }
  for (const std::string& name : own) add(name);
  co_return all;
}

const Accounts& Reader::accounts(DatasetId id) const { return state_->ledger.of(id); }

void Reader::forget() {
  state_->ledger.forget();
  state_->unique_known.clear();
  state_->unique_blocks.clear();
  state_->written_blocks.clear();
}

}  // namespace coppice::verb
