#include "cli/pool_report.h"

#include <algorithm>

#include "cli/size.h"

namespace coppice::cli {
namespace {

const char* name_of(schema::PoolStatus::Health health) {
  switch (health) {
    case schema::PoolStatus::Health::ONLINE: return "online";
    case schema::PoolStatus::Health::DEGRADED: return "degraded";
    case schema::PoolStatus::Health::FAILED: return "failed";
  }
  return "unknown";
}

const char* name_of(schema::ScrubStatus::State state) {
  switch (state) {
    case schema::ScrubStatus::State::NONE: return "none";
    case schema::ScrubStatus::State::RUNNING: return "running";
    case schema::ScrubStatus::State::PAUSED: return "paused";
    case schema::ScrubStatus::State::FINISHED: return "finished";
  }
  return "unknown";
}

u64 percent(u64 part, u64 whole) {
  return whole == 0 ? 0 : saturate(static_cast<double>(part) * 100 / static_cast<double>(whole));
}

nlohmann::ordered_json scrub_facts(schema::ScrubStatus::Reader scrub) {
  nlohmann::ordered_json damaged = nlohmann::ordered_json::array();
  for (auto each : scrub.getDamaged()) damaged.push_back(each.cStr());
  return {{"state", name_of(scrub.getState())},
          {"examined_bytes", scrub.getExaminedBytes()},
          {"to_examine_bytes", scrub.getToExamineBytes()},
          {"errors", scrub.getErrors()},
          {"started_s", scrub.getStartedS()},
          {"ended_s", scrub.getEndedS()},
          {"damaged", std::move(damaged)}};
}

nlohmann::ordered_json space_facts(schema::PoolStats::Reader stats) {
  return {{"size", stats.getTotalBytes()},      {"device_size", stats.getDeviceBytes()},
          {"used", stats.getUsedBytes()},       {"free", stats.getFreeBytes()},
          {"dying", stats.getDyingBytes()},     {"metadata", stats.getMetadataBytes()},
          {"freeing", stats.getFreeingBytes()}, {"reserve", stats.getReserveBytes()},
          {"dirty", stats.getDirtyBytes()}};
}

nlohmann::ordered_json traffic_facts(schema::PoolStats::Reader stats) {
  return {{"user_bytes_written", stats.getUserBytesWritten()},
          {"device_bytes_written", stats.getDeviceBytesWritten()},
          {"device_bytes_read", stats.getDeviceBytesRead()},
          {"block_cache_hits", stats.getBlockCacheHits()},
          {"block_cache_misses", stats.getBlockCacheMisses()},
          {"block_cache_bytes", stats.getBlockCacheBytes()},
          {"node_cache_hits", stats.getNodeCacheHits()},
          {"node_cache_misses", stats.getNodeCacheMisses()},
          {"node_cache_bytes", stats.getNodeCacheBytes()},
          {"groups", stats.getGroups()},
          {"group_ns_last", stats.getGroupNsLast()},
          {"group_ns_max", stats.getGroupNsMax()},
          {"group_ns_total", stats.getGroupNsTotal()},
          {"log_records", stats.getLogRecords()},
          {"log_replayed", stats.getLogReplayed()},
          {"checksum_errors", stats.getChecksumErrors()},
          {"io_errors", stats.getIoErrors()},
          {"txg", stats.getTxg()}};
}

std::string scrub_line(const nlohmann::ordered_json& scrub) {
  const std::string state = scrub["state"];
  const u64 examined = scrub["examined_bytes"], all = scrub["to_examine_bytes"];
  const u64 errors = scrub["errors"], started = scrub["started_s"], ended = scrub["ended_s"];
  if (state == "none") return "none yet";
  if (state == "finished") {
    return fmt::format("examined {} in {} with {} errors on {}", show_bytes(examined),
                       show_duration(ended > started ? ended - started : 0), errors,
                       show_time(ended));
  }
  return fmt::format("{} since {}: {} of {} ({}%), {} errors", state, show_time(started),
                     show_bytes(examined), show_bytes(all), percent(examined, all), errors);
}

std::string hits_line(u64 hits, u64 misses, u64 bytes) {
  if (hits + misses == 0) return fmt::format("{} held, not asked yet", show_bytes(bytes));
  return fmt::format("{} held, {}% of {} reads found", show_bytes(bytes),
                     percent(hits, hits + misses), show_count(hits + misses));
}

void print_line(const char* label, const std::string& text) {
  fmt::print("{:>13}: {}\n", label, text);
}

void print_one(const PoolReport& pool) {
  const auto& facts = pool.facts;
  const auto number = [&](const char* name) -> u64 { return facts[name]; };
  const auto bytes = [&](const char* name) { return show_bytes(number(name)); };
  print_line("pool", pool.name);
  print_line("state", pool.state);
  print_line("space",
             fmt::format("{} in all, {} used ({}%), {} free, {} kept for administration",
                         bytes("size"), bytes("used"), percent(number("used"), number("size")),
                         bytes("free"), bytes("reserve")));
  if (number("freeing") > 0) print_line("freeing", bytes("freeing") + " in the background");
  print_line("holds", fmt::format("{} datasets, {} snapshots, {} exports", number("datasets"),
                                  number("snapshots"), number("exports")));
  print_line("scrub", scrub_line(facts["scrub"]));
  const u64 groups = number("groups");
  print_line("groups", fmt::format("{} committed, the last in {}, the slowest in {}; now {}",
                                   groups, show_nanoseconds(number("group_ns_last")),
                                   show_nanoseconds(number("group_ns_max")), number("txg")));
  std::string written = fmt::format("{} by users, {} to the device", bytes("user_bytes_written"),
                                    bytes("device_bytes_written"));
  if (number("user_bytes_written") > 0) {
    written += fmt::format(" ({:.2f} for each of theirs)",
                           static_cast<double>(number("device_bytes_written")) /
                               static_cast<double>(number("user_bytes_written")));
  }
  print_line("written", written + fmt::format("; {} dirty", bytes("dirty")));
  print_line("block cache", hits_line(number("block_cache_hits"), number("block_cache_misses"),
                                      number("block_cache_bytes")));
  print_line("node cache", hits_line(number("node_cache_hits"), number("node_cache_misses"),
                                     number("node_cache_bytes")));
  const auto& damaged = facts["scrub"]["damaged"];
  const u64 checksum = number("checksum_errors"), io = number("io_errors");
  print_line("errors", checksum + io == 0 && damaged.empty()
                           ? "no known data errors"
                           : fmt::format("{} checksum errors, {} I/O errors", checksum, io));
  for (const auto& each : damaged) fmt::print("{:15}{}\n", "", each.get<std::string>());
}

}  // namespace

PoolReport report_of(schema::PoolStatus::Reader status) {
  PoolReport report{
      .name = status.getName().cStr(), .state = name_of(status.getHealth()), .facts = {}};
  report.facts = {{"name", report.name},
                  {"guid", status.getGuid()},
                  {"health", report.state},
                  {"failed", status.getFailed().cStr()},
                  {"read_only", status.getReadOnly()},
                  {"format_version", status.getFormatVersion()},
                  {"block_bytes", status.getBlockBytes()},
                  {"opened_by", status.getOrigin().cStr()},
                  {"datasets", status.getDatasets()},
                  {"snapshots", status.getSnapshots()},
                  {"exports", status.getExports()},
                  {"transactions", status.getTransactions()}};
  report.facts.update(space_facts(status.getStats()));
  report.facts.update(traffic_facts(status.getStats()));
  report.facts["scrub"] = scrub_facts(status.getScrub());
  if (status.getReadOnly()) report.state += ", read-only";
  if (status.getFailed().size() > 0) report.state += std::string(": ") + status.getFailed().cStr();
  return report;
}

Attempt<std::vector<PoolReport>> pool_statuses(Connection& connection,
                                               const std::vector<std::string>& names) {
  std::vector<PoolReport> reports;
  if (names.empty()) {
    TRY(const auto pools, connection.ask(connection.host().poolsRequest()));
    for (auto each : pools.getValue()) reports.push_back(report_of(each.getStatus()));
  }
  for (const std::string& name : names) {
    TRY(auto pool, connection.pool(name));
    TRY(const auto status, connection.ask(pool.statusRequest()));
    reports.push_back(report_of(status.getValue()));
  }
  return reports;
}

Table pool_table(const std::vector<PoolReport>& pools) {
  Table table{.columns = {{.name = "name"},
                          {.name = "size", .right = true},
                          {.name = "used", .right = true},
                          {.name = "free", .right = true},
                          {.name = "freeing", .right = true},
                          {.name = "capacity", .right = true, .header = "CAP"},
                          {.name = "health"}},
              .rows = {}};
  for (const PoolReport& pool : pools) {
    const u64 size = pool.facts["size"], used = pool.facts["used"];
    const u64 capacity = percent(used, size);
    table.rows.push_back({Cell::text(pool.name), Cell::bytes(size), Cell::bytes(used),
                          Cell::bytes(pool.facts["free"]), Cell::bytes(pool.facts["freeing"]),
                          Cell::named(capacity, fmt::format("{}%", capacity)),
                          Cell::text(pool.facts["health"])});
  }
  return table;
}

void print_pool_status(const std::vector<PoolReport>& pools, bool json, bool single) {
  if (!json) {
    for (size_t i = 0; i < pools.size(); ++i) {
      if (i > 0) fmt::print("\n");
      print_one(pools[i]);
    }
    return;
  }
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const PoolReport& pool : pools) all.push_back(pool.facts);
  const auto& shown = single && all.size() == 1 ? all.front() : all;
  fmt::print("{}\n", shown.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace coppice::cli
