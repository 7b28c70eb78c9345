// cli/command_list.cc — list and get: what there is, and every property of it.
#include <algorithm>

#include "cli/command.h"
#include "cli/rows.h"

namespace coppice::cli {
namespace {

// How both commands choose rows.
struct Selection {
  std::vector<std::string> names;
  bool recursive = false;
  std::optional<u32> depth;
  std::vector<std::string> types;
};

void add_selection(CLI::App& command, Selection& selection) {
  command.add_flag("-r", selection.recursive, "And all below");
  command.add_option("-d", selection.depth, "And what is below, to this depth")->type_name("DEPTH");
  add_texts(command, "-t", selection.types, "TYPE[,TYPE]",
            "Only these: group, volume, snapshot, bookmark, all");
}

Attempt<Query> query_of(const Selection& selection) {
  TRY(auto types, parse_types(split(selection.types, ',')));
  Query query{.roots = selection.names,
              .recursive = selection.recursive,
              .depth = selection.recursive ? std::nullopt : selection.depth,
              .types = std::move(types),
              .properties = {}};
  if (selection.depth) query.depth = selection.depth;
  return query;
}

// --- list ---

struct ListOptions {
  Selection selection;
  Format format;
  std::vector<std::string> columns;
  std::vector<std::string> ascending, descending;
};

const std::vector<std::string> kDefaultColumns = {"name", "used", "available", "referenced",
                                                  "volsize"};
const std::vector<std::string> kSpaceColumns = {
    "name", "available", "used", "usedbysnapshots", "usedbydataset", "usedbychildren"};

std::vector<std::string> columns_of(const ListOptions& options) {
  if (options.columns.empty()) return kDefaultColumns;
  std::vector<std::string> columns;
  for (const std::string& each : split(options.columns, ',')) {
    if (each == "space") {
      columns.insert(columns.end(), kSpaceColumns.begin(), kSpaceColumns.end());
    } else {
      columns.push_back(each);
    }
  }
  return columns;
}

Attempt<> list(Session& session, const ListOptions& options) {
  const std::vector<std::string> columns = columns_of(options);
  if (columns.empty()) return misuse("-o names no column");
  TRY(Query query, query_of(options.selection));
  // Columns to sort by are fetched even if nobody sees them; the name comes with every row.
  std::vector<std::string> fetched = columns;
  for (const auto* keys : {&options.ascending, &options.descending}) {
    for (const std::string& key : *keys) {
      if (std::ranges::find(fetched, key) == fetched.end()) fetched.push_back(key);
    }
  }
  for (const std::string& each : fetched) {
    if (each != "name") query.properties.push_back(each);
  }
  if (query.properties.empty()) query.properties.push_back("type");  // None would mean all.
  TRY(Connection * connection, session.connect());
  TRY(const Catalogue catalogue, Catalogue::ask(*connection));
  TRY(const auto rows, fetch(*connection, query));

  Table table;
  for (const std::string& each : fetched) table.columns.push_back(catalogue.column(each));
  for (const FetchedRow& row : rows) {
    std::vector<Cell>& cells = table.rows.emplace_back();
    size_t value = 0;
    for (const std::string& each : fetched) {
      if (each == "name") {
        cells.push_back(Cell::text(row.name));
      } else {
        const std::string text = value < row.values.size() ? row.values[value].value : "";
        cells.push_back(catalogue.cell(each, text));
        ++value;
      }
    }
  }
  const auto sort_by = [&](const std::string& key, bool descending) {
    const size_t at = static_cast<size_t>(std::ranges::find(fetched, key) - fetched.begin());
    sort_rows(table, at, descending);
  };
  // The first key named weighs most, so it sorts last.
  for (size_t i = options.descending.size(); i > 0; --i) sort_by(options.descending[i - 1], true);
  for (size_t i = options.ascending.size(); i > 0; --i) sort_by(options.ascending[i - 1], false);
  table.columns.resize(columns.size());
  for (auto& row : table.rows) row.resize(columns.size());
  print(table, options.format);
  return {};
}

void add_list(CommandLine& line) {
  auto options = std::make_shared<ListOptions>();
  CLI::App& command =
      line.add(line.root(),
               {.name = "list",
                .summary = "List datasets, snapshots and bookmarks",
                .example = "coppice list -r -t snapshot -o name,used,creation -s creation tank/vm",
                .group = "Looking"});
  add_names(command, "NAME", options->selection.names,
            "Datasets, snapshots or bookmarks; none: everything");
  add_selection(command, options->selection);
  add_texts(
      command, "-o", options->columns, "COLUMN[,COLUMN]",
      "Properties to show, 'name', or 'space' (default: name,used,available,referenced,volsize)");
  add_texts(command, "-s", options->ascending, "COLUMN", "Sort by it, ascending");
  add_texts(command, "-S", options->descending, "COLUMN", "Sort by it, descending");
  add_table_flags(command, options->format);
  line.runs(command, [options](Session& session) { return list(session, *options); });
}

// --- get ---

struct GetOptions {
  std::string properties;
  Selection selection;
  Format format;
  std::vector<std::string> fields, sources;
};

const std::vector<std::string> kFields = {"name", "property", "value", "source"};
const std::vector<std::string> kSources = {"local", "default", "inherited", "received", "none"};

Attempt<std::vector<std::string>> fields_of(const GetOptions& options) {
  const std::vector<std::string> fields = split(options.fields, ',');
  if (fields.empty() || fields == std::vector<std::string>{"all"}) return kFields;
  for (const std::string& each : fields) {
    if (std::ranges::find(kFields, each) == kFields.end()) {
      return misuse(fmt::format("unknown field '{}' (use name, property, value or source)", each));
    }
  }
  return fields;
}

std::string source_text(const FetchedValue& value) {
  if (value.source == "inherited" && !value.inherited_from.empty()) {
    return "inherited from " + value.inherited_from;
  }
  return value.source;
}

Attempt<> get(Session& session, const GetOptions& options) {
  TRY(const auto fields, fields_of(options));
  const std::vector<std::string> sources = split(options.sources, ',');
  for (const std::string& each : sources) {
    if (std::ranges::find(kSources, each) == kSources.end()) {
      return misuse(fmt::format(
          "unknown source '{}' (use local, default, inherited, received or none)", each));
    }
  }
  TRY(Query query, query_of(options.selection));
  const bool below = query.recursive || query.depth || query.roots.empty();
  if (below && query.types.empty()) {
    TRY(query.types, parse_types({"all"}));
  }
  const std::vector<std::string> asked = split({options.properties}, ',');
  if (asked.empty()) return misuse("no property is named (use 'all' for all of them)");
  if (asked != std::vector<std::string>{"all"}) query.properties = asked;
  TRY(Connection * connection, session.connect());
  TRY(const Catalogue catalogue, Catalogue::ask(*connection));
  TRY(const auto rows, fetch(*connection, query));

  Table table;
  for (const std::string& each : fields) table.columns.push_back({.name = each});
  for (const FetchedRow& row : rows) {
    for (size_t i = 0; i < row.values.size(); ++i) {
      const FetchedValue& value = row.values[i];
      const std::string& property = value.name.empty() && i < asked.size() ? asked[i] : value.name;
      const std::string source = value.source == "-" ? "none" : value.source;
      if (!sources.empty() && std::ranges::find(sources, source) == sources.end()) continue;
      std::vector<Cell>& cells = table.rows.emplace_back();
      for (const std::string& field : fields) {
        if (field == "name") cells.push_back(Cell::text(row.name));
        if (field == "property") cells.push_back(Cell::text(property));
        if (field == "value") cells.push_back(catalogue.cell(property, value.value));
        if (field == "source") cells.push_back(Cell::text(source_text(value)));
      }
    }
  }
  print(table, options.format);
  return {};
}

void add_get(CommandLine& line) {
  auto options = std::make_shared<GetOptions>();
  CLI::App& command =
      line.add(line.root(), {.name = "get",
                             .summary = "Show properties, and where their values come from",
                             .example = "coppice get -r -s local all tank",
                             .group = "Looking"});
  add_name(command, "PROPERTY", options->properties, "Properties, separated by commas, or 'all'");
  add_names(command, "NAME", options->selection.names,
            "Datasets, snapshots or bookmarks; none: everything");
  add_selection(command, options->selection);
  add_texts(command, "-o", options->fields, "FIELD[,FIELD]",
            "Of name, property, value, source (default: all)");
  add_texts(command, "-s", options->sources, "SOURCE[,SOURCE]",
            "Only values that are local, default, inherited, received or none");
  add_table_flags(command, options->format);
  line.runs(command, [options](Session& session) { return get(session, *options); });
}

}  // namespace

void add_list_commands(CommandLine& line) {
  add_list(line);
  add_get(line);
}

}  // namespace coppice::cli
