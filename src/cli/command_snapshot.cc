// cli/command_snapshot.cc — snapshot, clone, rollback, bookmark, hold, release, holds.
#include <algorithm>

#include "cli/command.h"
#include "cli/rows.h"
#include "cli/verbs.h"

namespace coppice::cli {
namespace {

Attempt<> need_snapshots(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (name.find('@') == name.npos)
      return misuse(fmt::format("'{}' is no snapshot's name (NAME@SNAP)", name));
  }
  return {};
}

// --- snapshot ---

struct SnapshotOptions {
  std::vector<std::string> names, settings;
  bool recursive = false;
};

Attempt<> snapshot(Session& session, const SnapshotOptions& options) {
  TRY_VOID(need_snapshots(options.names));
  TRY(const std::string pool, one_pool(options.names));
  TRY(auto properties, parse_settings(options.settings));
  nlohmann::ordered_json arguments = {{"names", options.names}};
  if (options.recursive) arguments["recursive"] = true;
  if (!properties.empty()) arguments["properties"] = std::move(properties);
  TRY(Connection * connection, session.connect());
  TRY_VOID(invoke(*connection, pool, {.verb = "snapshot", .arguments = std::move(arguments)}));
  return {};
}

void add_snapshot(CommandLine& line) {
  auto options = std::make_shared<SnapshotOptions>();
  CLI::App& command =
      line.add(line.root(),
               {.name = "snapshot",
                .summary = "Freeze datasets as they are: all named at one point in time, or none",
                .example = "coppice snapshot tank/db@monday tank/log@monday",
                .group = "Snapshots"});
  command.alias("snap");
  add_names(command, "NAME@SNAP", options->names, "The new snapshots")->required();
  command.add_flag("-r", options->recursive, "And of everything below");
  add_texts(command, "-o", options->settings, "PROP=VALUE", "Set a property; may be repeated");
  line.runs(command, [options](Session& session) { return snapshot(session, *options); });
}

// --- clone ---

struct CloneOptions {
  std::string origin, name;
  bool parents = false;
  std::vector<std::string> settings;
};

Attempt<> clone(Session& session, const CloneOptions& options) {
  TRY_VOID(need_snapshots({options.origin}));
  TRY(auto properties, parse_settings(options.settings));
  nlohmann::ordered_json arguments = {{"snapshot", options.origin}, {"name", options.name}};
  if (!properties.empty()) arguments["properties"] = std::move(properties);
  if (options.parents) arguments["parents"] = true;
  TRY(Connection * connection, session.connect());
  TRY_VOID(
      invoke(*connection, options.origin, {.verb = "clone", .arguments = std::move(arguments)}));
  return {};
}

void add_clone(CommandLine& line) {
  auto options = std::make_shared<CloneOptions>();
  CLI::App& command =
      line.add(line.root(), {.name = "clone",
                             .summary = "Make a volume that begins as a snapshot's content",
                             .example = "coppice clone tank/golden@v1 tank/vm7",
                             .group = "Snapshots"});
  add_name(command, "SNAPSHOT", options->origin, "What it begins as: NAME@SNAP");
  add_name(command, "NEW", options->name, "The new volume's full name");
  command.add_flag("-p", options->parents, "Make missing groups above it too");
  add_texts(command, "-o", options->settings, "PROP=VALUE", "Set a property; may be repeated");
  line.runs(command, [options](Session& session) { return clone(session, *options); });
}

// --- rollback ---

struct RollbackOptions {
  std::string snapshot;
  bool younger = false, dependents = false;
};

Attempt<> rollback(Session& session, const RollbackOptions& options) {
  TRY_VOID(need_snapshots({options.snapshot}));
  nlohmann::ordered_json arguments = {{"name", options.snapshot}};
  if (options.younger || options.dependents) arguments["recursive"] = true;
  if (options.dependents) arguments["clones"] = true;
  TRY(Connection * connection, session.connect());
  TRY_VOID(invoke(*connection, options.snapshot,
                  {.verb = "rollback", .arguments = std::move(arguments)}));
  return {};
}

void add_rollback(CommandLine& line) {
  auto options = std::make_shared<RollbackOptions>();
  CLI::App& command = line.add(line.root(), {.name = "rollback",
                                             .summary = "Put a volume back to a snapshot of it",
                                             .example = "coppice rollback -r tank/vm@monday",
                                             .group = "Snapshots"});
  add_name(command, "SNAPSHOT", options->snapshot, "NAME@SNAP; it stays");
  command.add_flag("-r", options->younger, "Destroy the younger snapshots and bookmarks");
  command.add_flag("-R", options->dependents, "And the clones of those");
  line.runs(command, [options](Session& session) { return rollback(session, *options); });
}

// --- bookmark ---

struct BookmarkOptions {
  std::string source, bookmark;
};

Attempt<> bookmark(Session& session, const BookmarkOptions& options) {
  const size_t mark = options.source.find_first_of("@#");
  if (mark == std::string::npos) {
    return misuse(
        fmt::format("'{}' is neither a snapshot's name nor a bookmark's", options.source));
  }
  // "#new" and "new" say as much as "NAME#new".
  std::string name = options.bookmark;
  if (name.find('#') == name.npos) name.insert(0, "#");
  if (name.starts_with('#')) name.insert(0, options.source.substr(0, mark));
  TRY(Connection * connection, session.connect());
  TRY_VOID(invoke(*connection, options.source,
                  {.verb = "bookmark", .arguments = {{"source", options.source}, {"name", name}}}));
  return {};
}

void add_bookmark(CommandLine& line) {
  auto options = std::make_shared<BookmarkOptions>();
  CLI::App& command = line.add(
      line.root(), {.name = "bookmark",
                    .summary = "Remember a snapshot's point in time without keeping its blocks",
                    .example = "coppice bookmark tank/vm@monday tank/vm#monday",
                    .group = "Snapshots"});
  add_name(command, "SNAPSHOT", options->source, "NAME@SNAP, or another bookmark");
  add_name(command, "BOOKMARK", options->bookmark, "NAME#BOOKMARK of the same dataset");
  line.runs(command, [options](Session& session) { return bookmark(session, *options); });
}

// --- hold, release ---

struct HoldOptions {
  std::string tag;
  std::vector<std::string> snapshots;
  bool recursive = false;
};

Attempt<> hold(Session& session, const char* verb, const HoldOptions& options) {
  TRY_VOID(need_snapshots(options.snapshots));
  TRY(const std::string pool, one_pool(options.snapshots));
  nlohmann::ordered_json arguments = {{"tag", options.tag}, {"snapshots", options.snapshots}};
  if (options.recursive) arguments["recursive"] = true;
  TRY(Connection * connection, session.connect());
  TRY_VOID(invoke(*connection, pool, {.verb = verb, .arguments = std::move(arguments)}));
  return {};
}

void add_hold(CommandLine& line, const char* verb, Word word) {
  auto options = std::make_shared<HoldOptions>();
  CLI::App& command = line.add(line.root(), std::move(word));
  add_name(command, "TAG", options->tag, "The hold's name");
  add_names(command, "SNAPSHOT", options->snapshots, "NAME@SNAP, all or none")->required();
  command.add_flag("-r", options->recursive, "And the snapshots of this name of all below");
  line.runs(command, [options, verb](Session& session) { return hold(session, verb, *options); });
}

// --- holds ---

struct HoldsOptions {
  std::vector<std::string> snapshots;
  bool recursive = false;
  Format format;
};

// The snapshots of the same name below the snapshot's dataset, and itself.
Attempt<std::vector<std::string>> same_name_below(Connection& connection,
                                                  const std::string& snapshot) {
  const size_t at = snapshot.find('@');
  const std::string mark = snapshot.substr(at);
  TRY(const auto rows, fetch(connection, {.roots = {snapshot.substr(0, at)},
                                          .recursive = true,
                                          .types = {schema::DatasetType::SNAPSHOT},
                                          .properties = {"type"}}));
  std::vector<std::string> names;
  for (const FetchedRow& row : rows) {
    if (row.name.ends_with(mark)) names.push_back(row.name);
  }
  return names;
}

Attempt<> holds(Session& session, const HoldsOptions& options) {
  TRY_VOID(need_snapshots(options.snapshots));
  TRY(Connection * connection, session.connect());
  Table table{.columns = {{.name = "name"}, {.name = "tag"}, {.name = "timestamp"}}, .rows = {}};
  for (const std::string& named : options.snapshots) {
    std::vector<std::string> names = {named};
    if (options.recursive) {
      TRY(names, same_name_below(*connection, named));
    }
    for (const std::string& name : names) {
      TRY(auto snapshot, connection->snapshot(name));
      TRY(const auto response, connection->ask(snapshot.holdsRequest()));
      for (auto each : response.getValue()) {
        table.rows.push_back(
            {Cell::text(name), Cell::text(each.getTag().cStr()), Cell::time(each.getTimeS())});
      }
    }
  }
  print(table, options.format);
  return {};
}

void add_holds(CommandLine& line) {
  auto options = std::make_shared<HoldsOptions>();
  CLI::App& command = line.add(line.root(), {.name = "holds",
                                             .summary = "List the holds of snapshots",
                                             .example = "coppice holds -r tank@monday",
                                             .group = "Snapshots"});
  add_names(command, "SNAPSHOT", options->snapshots, "NAME@SNAP")->required();
  command.add_flag("-r", options->recursive, "And of the snapshots of this name of all below");
  add_table_flags(command, options->format);
  line.runs(command, [options](Session& session) { return holds(session, *options); });
}

}  // namespace

void add_snapshot_commands(CommandLine& line) {
  add_snapshot(line);
  add_clone(line);
  add_rollback(line);
  add_bookmark(line);
  add_hold(line, "hold",
           {.name = "hold",
            .summary = "Keep snapshots from being destroyed",
            .example = "coppice hold -r backup tank@monday",
            .group = "Snapshots"});
  add_hold(line, "release",
           {.name = "release",
            .summary = "Remove a hold from snapshots",
            .example = "coppice release -r backup tank@monday",
            .group = "Snapshots"});
  add_holds(line);
}

}  // namespace coppice::cli
