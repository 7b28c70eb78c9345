#include "cli/rows.h"

#include <algorithm>
#include <charconv>

namespace coppice::cli {
namespace {

constexpr u32 kRowsPerCall = 2'000;
constexpr std::string_view kAbsent = "-";

const char* name_of(schema::PropertyValue::Source source) {
  switch (source) {
    case schema::PropertyValue::Source::DEFAULT: return "default";
    case schema::PropertyValue::Source::LOCAL: return "local";
    case schema::PropertyValue::Source::INHERITED: return "inherited";
    case schema::PropertyValue::Source::RECEIVED: return "received";
    case schema::PropertyValue::Source::NONE: break;
  }
  return "-";
}

// Whether `query` wants a row at this depth below its root.
bool wanted(const Query& query, const std::string& name) {
  if (!query.depth || query.roots.empty()) return true;
  return std::ranges::any_of(query.roots, [&](const std::string& root) {
    const bool below = name.starts_with(root) &&
                       (name.size() == root.size() ||
                        std::string_view("/@#").find(name[root.size()]) != std::string_view::npos);
    return below && depth_below(root, name) <= *query.depth;
  });
}

Attempt<> drain(Connection& connection, schema::Cursor::Client cursor, const Query& query,
                std::vector<FetchedRow>& into) {
  while (true) {
    auto request = cursor.nextRequest();
    request.setCountMax(kRowsPerCall);
    TRY(const auto response, connection.ask(kj::mv(request)));
    if (response.getValue().size() == 0) return {};
    for (auto row : response.getValue()) {
      FetchedRow fetched{.name = row.getName().cStr(), .type = row.getType(), .values = {}};
      if (!wanted(query, fetched.name)) continue;
      for (auto value : row.getValues()) {
        fetched.values.push_back({.name = value.getName().cStr(),
                                  .value = value.getValue().cStr(),
                                  .source = name_of(value.getSource()),
                                  .inherited_from = value.getInheritedFrom().cStr()});
      }
      into.push_back(std::move(fetched));
    }
  }
}

// One question to one pool: `roots` are all of it.
Attempt<> fetch_of(Connection& connection, const std::vector<std::string>& roots,
                   const Query& query, std::vector<FetchedRow>& into) {
  TRY(auto pool, connection.pool(roots.front()));
  auto request = pool.listRequest();
  auto asked = request.initQuery();
  auto names = asked.initRoots(static_cast<u32>(roots.size()));
  for (u32 i = 0; i < names.size(); ++i) names.set(i, roots[i].c_str());
  asked.setRecursive(query.recursive || query.depth.value_or(0) > 0);
  asked.setDepthMax(query.depth.value_or(0));
  auto types = asked.initTypes(static_cast<u32>(query.types.size()));
  for (u32 i = 0; i < types.size(); ++i) types.set(i, query.types[i]);
  auto properties = asked.initProperties(static_cast<u32>(query.properties.size()));
  for (u32 i = 0; i < properties.size(); ++i) properties.set(i, query.properties[i].c_str());
  TRY(auto response, connection.ask(kj::mv(request)));
  return drain(connection, response.getValue(), query, into);
}

}  // namespace

u32 depth_below(std::string_view root, std::string_view name) {
  return static_cast<u32>(
      std::ranges::count_if(name.substr(std::min(root.size(), name.size())),
                            [](char each) { return each == '/' || each == '@' || each == '#'; }));
}

Attempt<std::vector<FetchedRow>> fetch(Connection& connection, const Query& query) {
  std::vector<FetchedRow> rows;
  if (query.roots.empty()) {
    TRY(const auto pools, connection.ask(connection.host().poolsRequest()));
    Query everything = query;
    everything.recursive = true;
    for (auto entry : pools.getValue()) {
      everything.roots = {entry.getStatus().getName().cStr()};
      TRY_VOID(fetch_of(connection, everything.roots, everything, rows));
    }
    return rows;
  }
  for (size_t begin = 0; begin < query.roots.size();) {
    size_t end = begin;
    const std::string_view pool = pool_part(query.roots[begin]);
    while (end < query.roots.size() && pool_part(query.roots[end]) == pool) ++end;
    const std::vector<std::string> roots(query.roots.begin() + static_cast<std::ptrdiff_t>(begin),
                                         query.roots.begin() + static_cast<std::ptrdiff_t>(end));
    TRY_VOID(fetch_of(connection, roots, query, rows));
    begin = end;
  }
  return rows;
}

Attempt<Catalogue> Catalogue::ask(Connection& connection) {
  TRY(const auto response, connection.ask(connection.host().propertiesRequest()));
  Catalogue catalogue;
  for (auto each : response.getValue()) {
    const std::string_view values(each.getValues().cStr());
    catalogue.facts_[each.getName().cStr()] = {
        .kind = each.getKind(),
        .can_be_none = values.find("none") != values.npos,
        .settable = each.getSettable(),
        .heading = each.getColumn().cStr(),
    };
  }
  return catalogue;
}

const Catalogue::Facts* Catalogue::find(std::string_view property) const {
  static const Facts kWritten{.kind = schema::PropertyInfo::Kind::SIZE, .heading = {}};
  if (property.starts_with("written@") || property.starts_with("written#")) return &kWritten;
  if (property == "avail") property = "available";
  if (property == "refer") property = "referenced";
  const auto found = facts_.find(property);
  return found == facts_.end() ? nullptr : &found->second;
}

Cell Catalogue::cell(std::string_view property, std::string_view value) const {
  if (value.empty() || value == kAbsent) return {};
  const Facts* facts = find(property);
  u64 number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  const bool is_number = error == std::errc{} && end == value.data() + value.size();
  if (facts == nullptr || !is_number) return Cell::text(std::string(value));
  if (number == 0 && facts->can_be_none) return Cell::named(0, "none");
  switch (facts->kind) {
    case schema::PropertyInfo::Kind::SIZE: return Cell::bytes(number);
    case schema::PropertyInfo::Kind::TIME: return Cell::time(number);
    case schema::PropertyInfo::Kind::NUMBER: return Cell::exact(number);
    default: return Cell::text(std::string(value));
  }
}

Column Catalogue::column(const std::string& property) const {
  const Facts* facts = find(property);
  if (facts == nullptr) return {.name = property};
  const bool right = facts->kind == schema::PropertyInfo::Kind::SIZE ||
                     facts->kind == schema::PropertyInfo::Kind::NUMBER ||
                     facts->kind == schema::PropertyInfo::Kind::RATIO;
  return {.name = property, .right = right, .header = facts->heading};
}

std::vector<std::string> Catalogue::names() const {
  std::vector<std::string> names;
  for (const auto& [name, facts] : facts_) names.push_back(name);
  return names;
}

bool Catalogue::settable(std::string_view property) const {
  const Facts* facts = find(property);
  return facts != nullptr && facts->settable;
}

const char* name_of(schema::DatasetType type) {
  switch (type) {
    case schema::DatasetType::GROUP: return "group";
    case schema::DatasetType::VOLUME: return "volume";
    case schema::DatasetType::SNAPSHOT: return "snapshot";
    case schema::DatasetType::BOOKMARK: return "bookmark";
  }
  return "unknown";
}

Attempt<std::vector<schema::DatasetType>> parse_types(const std::vector<std::string>& names) {
  using Type = schema::DatasetType;
  static const std::map<std::string, std::vector<Type>> kTypes = {
      {"group", {Type::GROUP}},
      {"filesystem", {Type::GROUP}},
      {"fs", {Type::GROUP}},
      {"volume", {Type::VOLUME}},
      {"vol", {Type::VOLUME}},
      {"snapshot", {Type::SNAPSHOT}},
      {"snap", {Type::SNAPSHOT}},
      {"bookmark", {Type::BOOKMARK}},
      {"dataset", {Type::GROUP, Type::VOLUME}},
      {"all", {Type::GROUP, Type::VOLUME, Type::SNAPSHOT, Type::BOOKMARK}},
  };
  std::vector<Type> types;
  for (const std::string& name : names) {
    const auto found = kTypes.find(name);
    if (found == kTypes.end()) {
      return misuse(
          fmt::format("unknown type '{}' (use group, volume, snapshot, bookmark or all)", name));
    }
    for (Type type : found->second) {
      if (std::ranges::find(types, type) == types.end()) types.push_back(type);
    }
  }
  return types;
}

}  // namespace coppice::cli
