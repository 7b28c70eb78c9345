// cli/command_history.cc — history: what was done to a pool, and doing it again on another.
#include <algorithm>
#include <ctime>
#include <deque>

#include "cli/command.h"
#include "cli/size.h"
#include "cli/verbs.h"

namespace coppice::cli {
namespace {

struct HistoryOptions {
  std::string pool;
  u64 last = 0;  // 0: all.
  bool detailed = false;
  std::optional<u64> replay;
  std::string onto;
  Format format;
};

struct Event {
  u64 sequence, txg, time_s, elapsed_us;
  std::string who, command, result, effects;
};

// Local, to the second, and sortable: "2026-11-21.10:05:00".
std::string stamp(u64 unix_s) {
  const std::time_t time = static_cast<std::time_t>(unix_s);
  std::tm parts{};
  char text[32];
  if (::localtime_r(&time, &parts) == nullptr) return std::to_string(unix_s);
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d.%H:%M:%S", &parts)};
}

Event event_of(schema::HistoryRecord::Reader record) {
  return {.sequence = record.getSequence(),
          .txg = record.getTxg(),
          .time_s = record.getTimeS(),
          .elapsed_us = record.getElapsedUs(),
          .who = record.getWho().cStr(),
          .command = record.getCommand().cStr(),
          .result = record.getResult().cStr(),
          .effects = record.getEffects().cStr()};
}

Attempt<std::deque<Event>> fetch_events(Connection& connection, const HistoryOptions& options) {
  TRY(auto pool, connection.pool(options.pool));
  std::deque<Event> events;
  u64 from = 0;
  while (true) {
    auto request = pool.historyRequest();
    request.setFrom(from);
    TRY(const auto response, connection.ask(kj::mv(request)));
    if (response.getValue().size() == 0) return events;
    for (auto each : response.getValue()) {
      from = each.getSequence() + 1;
      events.push_back(event_of(each));
      if (options.last != 0 && events.size() > options.last) events.pop_front();
    }
  }
}

// "program rotate.lua sha256=... tank/vms" without the hash: it tells a person nothing at a glance.
std::string without_hash(std::string command) {
  constexpr size_t kDigits = 64;
  const size_t at = command.find(" sha256=");
  if (command.starts_with("program ") && at != command.npos)
    command.erase(at, std::min(command.size(), at + 8 + kDigits) - at);
  return command;
}

// What a person reads of the effects: of a program its hash, limits used and result; not the verbs.
std::string shown_effects(const Event& event, bool json) {
  if (json) return event.effects;
  const auto parsed = nlohmann::ordered_json::parse(event.effects, nullptr, false);
  if (!parsed.is_object() || !parsed.contains("program")) return event.effects;
  constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
  std::string shown = parsed["program"].dump(-1, ' ', false, kReplace);
  if (parsed.contains("changes")) shown += " " + parsed["changes"].dump(-1, ' ', false, kReplace);
  return shown;
}

Attempt<> show(Session& session, const HistoryOptions& options) {
  TRY(Connection * connection, session.connect());
  TRY(const auto events, fetch_events(*connection, options));
  constexpr u64 kNsPerUs = 1000;
  const bool all = options.detailed || options.format.json;
  Table table;
  if (all)
    table.columns = {{.name = "sequence", .right = true, .header = "SEQ"},
                     {.name = "txg", .right = true}};
  table.columns.push_back({.name = "time"});
  if (all) {
    table.columns.push_back({.name = "who"});
    table.columns.push_back({.name = "elapsed_ns", .right = true, .header = "ELAPSED"});
  }
  table.columns.push_back({.name = "command"});
  table.columns.push_back({.name = "result"});
  if (all) table.columns.push_back({.name = "effects"});
  for (const Event& event : events) {
    std::vector<Cell>& row = table.rows.emplace_back();
    if (all) {
      row.push_back(Cell::exact(event.sequence));
      row.push_back(Cell::exact(event.txg));
    }
    row.push_back(Cell::named(event.time_s, stamp(event.time_s)));
    if (all) {
      row.push_back(Cell::text(event.who));
      row.push_back(Cell::nanoseconds(event.elapsed_us * kNsPerUs));
    }
    row.push_back(Cell::text(all ? event.command : without_hash(event.command)));
    row.push_back(Cell::text(event.result));
    if (all) row.push_back(Cell::text(shown_effects(event, options.format.json)));
  }
  print(table, options.format);
  return {};
}

// --- replay ---

// Names of datasets are moved to the other pool, wherever a verb takes them.
bool names_things(const std::string& argument) {
  constexpr std::string_view kArguments[] = {"name",     "names",     "new_name",
                                             "snapshot", "snapshots", "source"};
  return std::ranges::find(kArguments, argument) != std::end(kArguments);
}

std::string moved(const std::string& name, const std::string& from, const std::string& onto) {
  return pool_part(name) == from ? onto + name.substr(from.size()) : name;
}

void move_names(nlohmann::ordered_json& arguments, const std::string& from,
                const std::string& onto) {
  for (auto& [argument, value] : arguments.items()) {
    if (!names_things(argument)) continue;
    if (value.is_string()) value = moved(value.get<std::string>(), from, onto);
    if (!value.is_array()) continue;
    for (auto& each : value)
      if (each.is_string()) each = moved(each.get<std::string>(), from, onto);
  }
}

std::unexpected<Failure> no_replay(u64 id, const char* why) {
  return refuse(fmt::format("cannot replay record {}: {}", id, why));
}

Attempt<std::vector<VerbCall>> calls_of(const Event& event, const std::string& from,
                                        const std::string& onto) {
  const auto parsed = nlohmann::ordered_json::parse(event.effects, nullptr, false);
  if (!parsed.is_object() || !parsed.contains("verbs") || !parsed["verbs"].is_array() ||
      parsed["verbs"].empty())
    return no_replay(event.sequence, "it has no verbs: it changed nothing");
  if (parsed.contains("cut") || parsed.contains("verbs_count"))
    return no_replay(event.sequence, "it did more than a record holds, so the record was cut");
  std::vector<VerbCall> calls;
  for (const auto& each : parsed["verbs"]) {
    if (!each.is_object() || !each.contains("verb") || !each["verb"].is_string() ||
        !each.contains("arguments") || !each["arguments"].is_object())
      return no_replay(event.sequence, "a verb of it cannot be read");
    VerbCall call{.verb = each["verb"], .arguments = each["arguments"]};
    for (const auto& [argument, value] : call.arguments.items())
      if (argument.ends_with("_count"))
        return no_replay(event.sequence, "a list in it was too long for the record and was cut");
    move_names(call.arguments, from, onto);
    calls.push_back(std::move(call));
  }
  return calls;
}

Attempt<> replay(Session& session, const HistoryOptions& options) {
  const u64 id = *options.replay;
  TRY(Connection * connection, session.connect());
  TRY(auto pool, connection->pool(options.pool));
  auto request = pool.historyRequest();
  request.setFrom(id);
  request.setCountMax(1);
  TRY(const auto response, connection->ask(kj::mv(request)));
  const auto records = response.getValue();
  if (records.size() == 0 || records[0].getSequence() != id)
    return no_replay(
        id, fmt::format("{} has no such record (see coppice history -l)", options.pool).c_str());
  TRY(const auto calls, calls_of(event_of(records[0]), options.pool, options.onto));
  TRY_VOID(invoke_many(*connection, options.onto, calls));
  fmt::print("{} verb{} of record {} done again on {}\n", calls.size(),
             calls.size() == 1 ? "" : "s", id, options.onto);
  return {};
}

Attempt<> carry_out(Session& session, const HistoryOptions& options) {
  if (options.replay.has_value() != !options.onto.empty())
    return misuse("--replay ID and --onto POOL belong together");
  if (options.replay) return replay(session, options);
  return show(session, options);
}

}  // namespace

void add_history_command(CommandLine& line) {
  auto options = std::make_shared<HistoryOptions>();
  CLI::App& command =
      line.add(line.root(), {.name = "history",
                             .summary = "Show every administrative command of a pool, oldest first",
                             .example = "coppice history -l -n 20 tank",
                             .group = "Looking"});
  add_name(command, "POOL", options->pool, "An open pool");
  command.add_flag("-l", options->detailed, "Also who did it, how long it took, and what it did");
  command.add_option("-n", options->last, "Only the last N")->type_name("N");
  command
      .add_option("--replay", options->replay, "Do again what this record did, as one transaction")
      ->type_name("ID");
  add_text(command, "--onto", options->onto, "POOL", "With --replay: the pool to do it on");
  add_table_flags(command, options->format);
  line.runs(command, [options](Session& session) { return carry_out(session, *options); });
}

}  // namespace coppice::cli
