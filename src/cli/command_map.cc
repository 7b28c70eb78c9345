// cli/command_map.cc — map: what programs keep, seen and changed from outside.
#include <algorithm>

#include "cli/command.h"
#include "cli/map_watch.h"
#include "cli/maps.h"

namespace coppice::cli {
namespace {

capnp::Data::Reader data_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}

void print_json(const Json& value) {
  fmt::print("{}\n", value.dump(2, ' ', false, Json::error_handler_t::replace));
}

void add_choice(CLI::App& command, MapChoice& choice) {
  add_name(command, "MAP", choice.name, "Its number or name, as 'coppice map list' shows them");
  add_text(command, "--link", choice.link, "LINK", "Of several maps of that name, this link's");
}

// --- list

Attempt<> list(Session& session, const Format& format) {
  TRY(Connection * connection, session.connect());
  TRY(const auto response, connection->ask(connection->host().mapsRequest()));
  Table table{.columns = {{.name = "id", .right = true},
                          {.name = "name"},
                          {.name = "kind"},
                          {.name = "key_bytes", .right = true, .header = "KEY"},
                          {.name = "value_bytes", .right = true, .header = "VALUE"},
                          {.name = "entries_max", .right = true, .header = "ENTRIES"},
                          {.name = "access"},
                          {.name = "links"}},
              .rows = {}};
  for (auto each : response.getValue()) {
    const auto info = each.getInfo();
    std::string links;
    for (const u64 link : info.getLinks())
      links += fmt::format("{}{}", links.empty() ? "" : ",", link);
    table.rows.push_back({Cell::exact(info.getId()), Cell::text(info.getName().cStr()),
                          Cell::text(info.getKind().cStr()), Cell::exact(info.getKeySize()),
                          Cell::exact(info.getValueSize()), Cell::exact(info.getMaxEntries()),
                          Cell::text(info.getFrozen()     ? "frozen"
                                     : info.getReadOnly() ? "read-only"
                                                          : "read-write"),
                          Cell::text(links)});
  }
  print(table, format);
  return {};
}

void add_list(CommandLine& line, CLI::App& map) {
  auto format = std::make_shared<Format>();
  CLI::App& command = line.add(map, {.name = "list",
                                     .summary = "List the maps of all programs that are loaded",
                                     .example = "coppice map list"});
  add_table_flags(command, *format);
  line.runs(command, [format](Session& session) { return list(session, *format); });
}

// --- dump, get

struct GetWishes {
  MapChoice map;
  std::string key;
  bool json = false;
};

// Of a per-CPU map a line for each slot.
void print_element(const OpenMap& map, const Json& key, const Json& value) {
  if (!map.is_per_cpu()) {
    fmt::print("{}: {}\n", show_value(key), show_value(value));
    return;
  }
  for (size_t slot = 0; slot < value.size(); ++slot)
    fmt::print("{} [{}]: {}\n", show_value(key), slot, show_value(value[slot]));
}

Attempt<> dump(Session& session, const GetWishes& wishes) {
  TRY(Connection * connection, session.connect());
  TRY(OpenMap map, OpenMap::find(*connection, wishes.map));
  Json all = Json::array();
  TRY_VOID(map.for_each([&](std::span<const std::byte> key, std::span<const std::byte> value) {
    if (wishes.json) {
      all.push_back({{"key", map.key(key)}, {"value", map.value(value)}});
    } else {
      print_element(map, map.key(key), map.value(value));
    }
  }));
  if (wishes.json) print_json(all);
  return {};
}

void add_dump(CommandLine& line, CLI::App& map) {
  auto wishes = std::make_shared<GetWishes>();
  CLI::App& command = line.add(map, {.name = "dump",
                                     .summary = "Show what is in a map",
                                     .example = "coppice map dump latencies --json"});
  add_choice(command, wishes->map);
  command.add_flag("--json", wishes->json, "Print JSON; values of per-CPU maps are lists");
  line.runs(command, [wishes](Session& session) { return dump(session, *wishes); });
}

Attempt<> get(Session& session, const GetWishes& wishes) {
  TRY(Connection * connection, session.connect());
  TRY(OpenMap map, OpenMap::find(*connection, wishes.map));
  TRY(const auto key, map.key_of_text(wishes.key));
  TRY(const auto value, map.get(key));
  if (!value) return refuse(fmt::format("map '{}' has nothing under {}", map.name(), wishes.key));
  const Json shown = map.value(*value);
  if (wishes.json) {
    print_json(shown);
  } else if (!map.is_per_cpu()) {
    fmt::print("{}\n", show_value(shown));
  } else {
    for (size_t slot = 0; slot < shown.size(); ++slot)
      fmt::print("[{}]: {}\n", slot, show_value(shown[slot]));
  }
  return {};
}

void add_get(CommandLine& line, CLI::App& map) {
  auto wishes = std::make_shared<GetWishes>();
  CLI::App& command = line.add(map, {.name = "get",
                                     .summary = "Show one element of a map",
                                     .example = "coppice map get buckets 3"});
  add_choice(command, wishes->map);
  add_name(command, "KEY", wishes->key, "A number, JSON, or hexadecimal digits if it has no type");
  command.add_flag("--json", wishes->json, "Print JSON");
  line.runs(command, [wishes](Session& session) { return get(session, *wishes); });
}

// --- set, remove, pin

struct SetWishes {
  MapChoice map;
  std::string key, value;
  bool create = false, replace = false;
};

Attempt<> set(Session& session, const SetWishes& wishes) {
  TRY(Connection * connection, session.connect());
  TRY(OpenMap map, OpenMap::find(*connection, wishes.map));
  TRY(const auto key, map.key_of_text(wishes.key));
  TRY(auto present, map.get(key));
  TRY(const auto value, map.value_of_text(std::move(present), wishes.value));
  auto request = map.capability().setRequest();
  request.setKey(data_of(key));
  request.setValue(data_of(value));
  request.setCreate(wishes.create);
  request.setReplace(wishes.replace);
  TRY_VOID(connection->ask(kj::mv(request)));
  return {};
}

void add_set(CommandLine& line, CLI::App& map) {
  auto wishes = std::make_shared<SetWishes>();
  CLI::App& command =
      line.add(map, {.name = "set",
                     .summary = "Change an element of a map; fields left out stay as they are",
                     .example = R"(coppice map set allowed 3 '{"reads": 100}')"});
  add_choice(command, wishes->map);
  add_name(command, "KEY", wishes->key, "A number, JSON, or hexadecimal digits if it has no type");
  add_name(command, "VALUE", wishes->value, "Likewise");
  CLI::Option* create = command.add_flag("--create", wishes->create, "Only if it is not there yet");
  command.add_flag("--replace", wishes->replace, "Only if it is there")->excludes(create);
  line.runs(command, [wishes](Session& session) { return set(session, *wishes); });
}

Attempt<> remove(Session& session, const SetWishes& wishes) {
  TRY(Connection * connection, session.connect());
  TRY(OpenMap map, OpenMap::find(*connection, wishes.map));
  TRY(const auto key, map.key_of_text(wishes.key));
  auto request = map.capability().removeRequest();
  request.setKey(data_of(key));
  TRY_VOID(connection->ask(kj::mv(request)));
  return {};
}

void add_remove(CommandLine& line, CLI::App& map) {
  auto wishes = std::make_shared<SetWishes>();
  CLI::App& command = line.add(map, {.name = "remove",
                                     .summary = "Remove an element of a map",
                                     .example = "coppice map remove allowed 3"});
  add_choice(command, wishes->map);
  add_name(command, "KEY", wishes->key, "A number, JSON, or hexadecimal digits if it has no type");
  line.runs(command, [wishes](Session& session) { return remove(session, *wishes); });
}

Attempt<> pin(Session& session, const MapChoice& choice) {
  TRY(Connection * connection, session.connect());
  TRY(OpenMap map, OpenMap::find(*connection, choice));
  TRY_VOID(connection->ask(map.capability().pinRequest()));
  return {};
}

void add_pin(CommandLine& line, CLI::App& map) {
  auto choice = std::make_shared<MapChoice>();
  CLI::App& command =
      line.add(map, {.name = "pin",
                     .summary = "Keep what is in a map now with the pinned links that use it",
                     .example = "coppice map pin allowed"});
  add_choice(command, *choice);
  line.runs(command, [choice](Session& session) { return pin(session, *choice); });
}

// --- watch

void add_watch(CommandLine& line, CLI::App& map) {
  auto wishes = std::make_shared<WatchWishes>();
  CLI::App& command =
      line.add(map, {.name = "watch",
                     .summary = "Print the records of a ring buffer, or what changes in a map",
                     .example = "coppice map watch slow --json"});
  add_choice(command, wishes->map);
  add_text(command, "--type", wishes->type, "STRUCT",
           "What the records are, in the object's types (else NAME_record)");
  command.add_option("--count", wishes->count, "End after so many")->type_name("N");
  add_text(command, "--every", wishes->every, "DURATION",
           "How often a map that is no ring is looked at (1s)");
  command.add_flag("--json", wishes->json, "Print one line of JSON for each");
  line.runs(command, [wishes](Session& session) { return watch(session, *wishes); });
}

}  // namespace

void add_map_commands(CommandLine& line) {
  CLI::App& map =
      line.add(line.root(), {.name = "map",
                             .summary = "See and change what attached eBPF programs keep",
                             .example = "coppice map dump latencies",
                             .group = "Programs"});
  map.require_subcommand(1);
  add_list(line, map);
  add_dump(line, map);
  add_get(line, map);
  add_set(line, map);
  add_remove(line, map);
  add_watch(line, map);
  add_pin(line, map);
}

}  // namespace coppice::cli
