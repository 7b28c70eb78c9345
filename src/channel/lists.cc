#include "channel/lists.h"

#include <algorithm>
#include <charconv>

#include "message/program.h"
#include "verb/names.h"

namespace coppice::channel {

using message::Encoder;
using message::Value;
using pool::DatasetId;
using pool::SnapshotId;
using verb::Target;

// ------------------------------------------------------------------ values of properties

Value value_of(const verb::PropertyValue& value, std::string_view property) {
  const verb::Property* known = verb::find_property(property);
  const bool number = property.starts_with("written@") ||
                      (known != nullptr && (known->type == verb::PropertyType::bytes ||
                                            known->type == verb::PropertyType::count ||
                                            known->type == verb::PropertyType::time));
  u64 parsed = 0;
  const char* end = value.raw.data() + value.raw.size();
  if (number && std::from_chars(value.raw.data(), end, parsed).ptr == end && !value.raw.empty())
    return static_cast<i64>(parsed);
  return value.raw;
}

Value source_of(const pool::CatalogView& view, const Target& target,
                const verb::PropertyValue& value) {
  switch (value.source) {
    case verb::Source::none: return {};
    case verb::Source::by_default: return "default";
    case verb::Source::inherited: return value.inherited_from;
    case verb::Source::local: return full_name(view, target);
    case verb::Source::temporary: return "temporary";
  }
  return {};
}

// ------------------------------------------------------------------ what is listed

namespace {

std::vector<std::string> native_names(u8 kind) {
  std::vector<std::string> names;
  for (const verb::Property& each : verb::properties())
    if ((each.applies & kind) != 0) names.emplace_back(each.name);
  return names;
}

// Set on the target or above it, in order.
std::vector<std::string> user_names(const pool::CatalogView& view, const Target& target) {
  std::vector<std::string> names;
  if (!target.bookmark.empty()) return names;
  const auto collect = [&names](const auto& properties) {
    for (const auto& [name, value] : properties)
      if (verb::is_user_property(name)) names.push_back(name);
  };
  if (const pool::Snapshot* snapshot = view.snapshot(target.snapshot))
    collect(snapshot->properties);
  for (const pool::Dataset* at = view.dataset(target.dataset); at != nullptr;
       at = view.dataset(at->parent))
    collect(at->properties);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace

std::vector<Lists::Row> Lists::exports_below(DatasetId top) const {
  std::vector<Row> rows;
  for (DatasetId id : verb::subtree(view_, top)) {
    const auto add = [&](SnapshotId snapshot, const pool::ExportSpec& spec, bool pinned) {
      const Target target{.dataset = id, .snapshot = snapshot, .bookmark = {}};
      rows.push_back(
          {full_name(view_, target), spec.protocol, spec.address, spec.read_only, pinned});
    };
    for (const pool::ExportSpec& spec : view_.dataset(id)->exports) add(spec.snapshot, spec, true);
    if (!verb::is_volume(view_, id)) continue;
    for (const verb::RunningExport& each : facts_.exports_of(id))
      if (!each.pinned) add(each.snapshot, each.spec, false);
  }
  return rows;
}

// In the order in which each dataset's hooks run them.
std::vector<Lists::Row> Lists::links_below(DatasetId top) const {
  std::vector<Row> rows;
  for (DatasetId id : verb::subtree(view_, top)) {
    const pool::PinnedLinks& links = view_.dataset(id)->links;
    if (links.empty()) continue;
    const std::string target = full_name(view_, id);
    for (const pool::PinnedLink& link : links) {
      rows.push_back({link.name, target, link.hook, link.object, link.program, link.instance});
    }
  }
  return rows;
}

// Nameless ones with nil.
std::vector<Lists::Row> Lists::objects() const {
  std::vector<Row> rows;
  for (const std::string& hash : view_.objects()) {
    const std::string& name = view_.object(hash)->name;
    rows.push_back({hash, name.empty() ? Value() : Value(name), view_.linked(hash)});
  }
  return rows;
}

std::expected<Lists::Items, std::string> Lists::find(std::string_view what,
                                                     std::string_view name) const {
  const std::string trying = "cannot list " + std::string(what) + " of '" + std::string(name) + "'";
  const auto refuse = [&](std::string_view why) {
    return std::unexpected(trying + ": " + std::string(why));
  };
  auto found = verb::find_target(view_, name);
  if (!found) {
    const std::string& message = found.error().message;
    const size_t why = message.find("': ");
    return refuse(why == message.npos ? message : message.substr(why + 3));
  }
  const Target target = *std::move(found);
  const u8 kind = verb::kind_of(view_, target);
  if (what == "properties" || what == "user_properties" || what == "system_properties") {
    Properties list{.target = target, .names = {}, .values = what != "system_properties"};
    if (what != "user_properties") list.names = native_names(kind);
    if (what != "system_properties") {
      auto own = user_names(view_, target);
      list.names.insert(list.names.end(), own.begin(), own.end());
    }
    return list;
  }
  if (what == "holds" || what == "clones") {
    if (kind != verb::kSnapshot) return refuse("it is no snapshot");
    if (what == "clones") return view_.clones(target.snapshot);
    std::vector<Row> rows;
    for (const auto& [tag, time_s] : view_.snapshot(target.snapshot)->holds)
      rows.push_back({tag, static_cast<i64>(time_s)});
    return rows;
  }
  if (!target.is_dataset()) return refuse("it is neither a group nor a volume");
  if (what == "children") return view_.children(target.dataset);
  if (what == "snapshots") return view_.snapshots(target.dataset);
  if (what == "bookmarks") return Marks{target.dataset, view_.bookmarks(target.dataset)};
  if (what == "exports") return exports_below(target.dataset);
  if (what == "links") return links_below(target.dataset);
  if (what == "objects") {
    if (target.dataset != view_.root()) return refuse("objects are the pool's");
    return objects();
  }
  if (what == "descendants") {
    std::vector<DatasetId> below = verb::subtree(view_, target.dataset);
    below.erase(below.begin());
    return below;
  }
  return refuse("there is no such list");
}

// ------------------------------------------------------------------ cursors

std::expected<u64, std::string> Lists::open(std::string_view what, std::string_view name) {
  auto items = find(what, name);
  if (!items) return std::unexpected(std::move(items).error());
  List list{.items = *std::move(items)};
  list.count = std::visit(
      [](const auto& each) {
        if constexpr (requires { each.names; }) {
          return each.names.size();
        } else {
          return each.size();
        }
      },
      list.items);
  make_room(list.count);
  list.used = ++step_;
  items_ += list.count;
  lists_.emplace(next_, std::move(list));
  return next_++;
}

void Lists::make_room(size_t count) {
  while (!lists_.empty() && (lists_.size() >= kListsMax || items_ + count > kListItemsMax)) {
    const auto oldest = std::min_element(
        lists_.begin(), lists_.end(),
        [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
    items_ -= oldest->second.count;
    lists_.erase(oldest);
  }
}

void Lists::drop(u64 cursor) {
  const auto place = lists_.find(cursor);
  if (place == lists_.end()) return;
  items_ -= place->second.count;
  lists_.erase(place);
}

std::expected<void, std::string> Lists::page(u64 cursor, u64 from, u64 count, Encoder& into) {
  const auto place = lists_.find(cursor);
  if (place == lists_.end()) {
    const bool never = cursor == 0 || cursor >= next_;
    return std::unexpected(
        never ? "cannot go on with a list: there is none of that number"
              : "cannot go on with a list: it was closed, because " + std::to_string(kListsMax) +
                    " newer ones are open or hold too much; finish one before the next");
  }
  List& list = place->second;
  list.used = ++step_;
  prefix_of_ = {};
  into.put_list_head(2);
  into.put(message::Tag::list);
  const size_t rows_at = into.bytes().size();
  into.put(u32{0});
  const size_t most = static_cast<size_t>(
      std::min<u64>(count == 0 ? message::kPageRowsMax : count, message::kPageRowsMax));
  size_t index = static_cast<size_t>(std::min<u64>(from, list.count));
  u32 rows = 0;
  for (; index < list.count && rows < most; ++index, ++rows) {
    if (into.bytes().size() - rows_at >= message::kPageBytesMax) break;
    if (!put_row(list, index, into)) into.put(message::Tag::nil);
  }
  into.patch(rows_at, rows);
  into.put_integer_value(index < list.count ? static_cast<i64>(index) : 0);
  return {};
}

// ------------------------------------------------------------------ rows

// Names of one dataset's snapshots begin alike.
std::string_view Lists::prefix(DatasetId id) {
  if (prefix_of_ != id) {
    prefix_of_ = id;
    prefix_ = full_name(view_, id);
  }
  return prefix_;
}

bool Lists::put_row(const List& list, size_t index, Encoder& into) {
  if (const auto* snapshots = std::get_if<Snapshots>(&list.items)) {
    const pool::Snapshot* snapshot = view_.snapshot((*snapshots)[index]);
    if (snapshot == nullptr) return false;
    into.put_list_head(1);
    into.put_text_value(prefix(snapshot->dataset), '@', snapshot->name);
    return true;
  }
  if (const auto* datasets = std::get_if<Datasets>(&list.items)) {
    const pool::Dataset* dataset = view_.dataset((*datasets)[index]);
    if (dataset == nullptr) return false;
    into.put_list_head(1);
    if (raw(dataset->parent) == 0) {
      into.put_text_value(dataset->name);
    } else {
      into.put_text_value(prefix(dataset->parent), '/', dataset->name);
    }
    return true;
  }
  if (const auto* marks = std::get_if<Marks>(&list.items)) {
    if (view_.dataset(marks->dataset) == nullptr) return false;
    if (view_.bookmark(marks->dataset, marks->names[index]) == nullptr) return false;
    into.put_list_head(1);
    into.put_text_value(prefix(marks->dataset), '#', marks->names[index]);
    return true;
  }
  if (const auto* properties = std::get_if<Properties>(&list.items))
    return put_property(*properties, index, into);
  const Row& row = std::get<std::vector<Row>>(list.items)[index];
  into.put_list_head(row.size());
  for (const Value& each : row) into.put(each);
  return true;
}

bool Lists::put_property(const Properties& list, size_t index, Encoder& into) const {
  const std::string& name = list.names[index];
  if (!list.values) {
    into.put_list_head(1);
    into.put_text_value(name);
    return true;
  }
  const auto found = reader_.value(list.target, name);
  if (!found || !*found) return false;
  into.put_list_head(3);
  into.put_text_value(name);
  into.put(value_of(**found, name));
  into.put(source_of(view_, list.target, **found));
  return true;
}

}  // namespace coppice::channel
