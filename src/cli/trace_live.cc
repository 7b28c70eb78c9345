// trace latency and trace top: what shipped programs count, looked at once a second.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstring>
#include <map>

#include "cli/links.h"
#include "cli/progress.h"
#include "cli/size.h"
#include "cli/trace_tools.h"

namespace coppice::cli {
namespace {

constexpr u64 kPeriodMs = 1000;
constexpr size_t kBuckets = 40;  // Of the program `latency`.
constexpr size_t kHistory = 60;  // Seconds that the heat map shows.

// The elements of a per-CPU map, whose slots are added up.
template <class Key, class Value>
Attempt<std::map<Key, Value>> read_sums(Connection& connection, schema::Map::Client& map) {
  std::map<Key, Value> sums;
  std::vector<kj::byte> after;
  while (true) {
    auto request = map.dumpRequest();
    request.setAfter({after.data(), after.size()});
    TRY(const auto response, connection.ask(kj::mv(request)));
    if (response.getValue().size() == 0) return sums;
    for (auto element : response.getValue()) {
      Key key{};
      const auto bytes = element.getKey();
      if (bytes.size() != sizeof key) return refuse("the program's map has another shape");
      std::memcpy(&key, bytes.begin(), sizeof key);
      const auto values = element.getValue();
      Value& sum = sums[key];
      for (size_t at = 0; at + sizeof(Value) <= values.size(); at += sizeof(Value)) {
        Value slot{};
        std::memcpy(&slot, values.begin() + at, sizeof slot);
        sum += slot;
      }
      after.assign(bytes.begin(), bytes.end());
    }
  }
}

struct Attached {
  capnp::Response<schema::Answer<schema::Attached>> answer;
  schema::Map::Client map;
};

template <class Request>
Attempt<Attached> attach_shipped(Connection& connection, Request request, const char* object,
                                 std::string_view map_name) {
  TRY_VOID(describe_object({.file = object}, request.getSpec().initObject()));
  TRY(auto answer, connection.ask(kj::mv(request)));
  auto link = answer.getValue().getLinks()[0].getLink();
  TRY(const auto maps, connection.ask(link.mapsRequest()));
  for (auto each : maps.getValue())
    if (each.getInfo().getName() == kj::StringPtr(std::string(map_name).c_str()))
      return Attached{kj::mv(answer), each.getMap()};
  return refuse(fmt::format("the program '{}' has no map '{}'", object, map_name));
}

// --- latency

struct LatencyKey {
  u64 volume = 0;
  u32 operation = 0, reserved = 0;
  friend auto operator<=>(const LatencyKey&, const LatencyKey&) = default;
};
struct Latency {
  u64 requests = 0, errors = 0, total_ns = 0;
  u64 log2_ns[kBuckets] = {};
  Latency& operator+=(const Latency& other) {
    requests += other.requests;
    errors += other.errors;
    total_ns += other.total_ns;
    for (size_t i = 0; i < kBuckets; ++i) log2_ns[i] += other.log2_ns[i];
    return *this;
  }
};
using Buckets = std::array<u64, kBuckets>;

Buckets difference(const Latency& now, const Latency& before) {
  Buckets buckets{};
  for (size_t i = 0; i < kBuckets; ++i)
    buckets[i] = now.log2_ns[i] - std::min(now.log2_ns[i], before.log2_ns[i]);
  return buckets;
}

// The range of buckets with something in any of these.
std::pair<size_t, size_t> used_range(const std::vector<Buckets>& history, const Latency& total) {
  size_t first = kBuckets, last = 0;
  const auto look = [&](size_t bucket, u64 count) {
    if (count == 0) return;
    first = std::min(first, bucket);
    last = std::max(last, bucket);
  };
  for (size_t i = 0; i < kBuckets; ++i) {
    look(i, total.log2_ns[i]);
    for (const Buckets& each : history) look(i, each[i]);
  }
  return first == kBuckets ? std::pair<size_t, size_t>{0, 0} : std::pair{first, last};
}

std::string render_histogram(const Latency& total, const std::vector<Buckets>& history,
                             size_t width) {
  const auto [first, last] = used_range(history, total);
  const u64 most = *std::ranges::max_element(total.log2_ns);
  const size_t bar_max = width > 50 ? width - 40 : 10;
  std::string text;
  for (size_t i = first; i <= last && most > 0; ++i) {
    const size_t bar = total.log2_ns[i] * bar_max / most;
    text += fmt::format("{:>8} .. {:<8} {:>12}  {}\n", show_nanoseconds(u64{1} << i),
                        show_nanoseconds(u64{2} << i), total.log2_ns[i], std::string(bar, '#'));
  }
  return text;
}

// A column a second, the newest at the right; the darker, the more requests.
std::string render_heat(const std::vector<Buckets>& history, const Latency& total) {
  constexpr std::string_view kShades = " .:-=+*#%@";
  const auto [first, last] = used_range(history, total);
  std::string text;
  for (size_t i = last + 1; i-- > first;) {
    text += fmt::format("{:>8} |", show_nanoseconds(u64{1} << i));
    for (const Buckets& second : history) {
      const size_t shade =
          second[i] == 0 ? 0
                         : std::min<size_t>(1 + std::bit_width(second[i]) / 2, kShades.size() - 1);
      text += kShades[shade];
    }
    text += '\n';
  }
  return text;
}

Json json_of(const Latency& total) {
  Json buckets = Json::array();
  for (size_t i = 0; i < kBuckets; ++i)
    if (total.log2_ns[i] != 0)
      buckets.push_back({{"at_least_ns", u64{1} << i}, {"requests", total.log2_ns[i]}});
  return {{"requests", total.requests},
          {"errors", total.errors},
          {"mean_ns", total.requests == 0 ? 0 : total.total_ns / total.requests},
          {"buckets", buckets}};
}

// --- top

struct TopKey {
  u64 pool = 0, volume = 0, client = 0;
  friend auto operator<=>(const TopKey&, const TopKey&) = default;
};
struct Top {
  u64 reads = 0, writes = 0, flushes = 0, bytes_read = 0, bytes_written = 0, latency_ns = 0,
      errors = 0;
  Top& operator+=(const Top& other) {
    reads += other.reads;
    writes += other.writes;
    flushes += other.flushes;
    bytes_read += other.bytes_read;
    bytes_written += other.bytes_written;
    latency_ns += other.latency_ns;
    errors += other.errors;
    return *this;
  }
  u64 requests() const { return reads + writes + flushes; }
};

Top since(const Top& now, const Top& before) {
  return {.reads = now.reads - before.reads,
          .writes = now.writes - before.writes,
          .flushes = now.flushes - before.flushes,
          .bytes_read = now.bytes_read - before.bytes_read,
          .bytes_written = now.bytes_written - before.bytes_written,
          .latency_ns = now.latency_ns - before.latency_ns,
          .errors = now.errors - before.errors};
}

struct ClientName {
  std::string volume, peer;
};

Attempt<std::map<u64, ClientName>> read_clients(Connection& connection) {
  TRY(const auto response, connection.ask(connection.host().statusRequest()));
  std::map<u64, ClientName> clients;
  for (auto each : response.getValue().getClients())
    clients[each.getNumber()] = {.volume = each.getVolume().cStr(), .peer = each.getPeer().cStr()};
  return clients;
}

Table table_of(const std::map<TopKey, Top>& now, const std::map<TopKey, Top>& before,
               const std::map<u64, ClientName>& clients, double seconds) {
  Table table{.columns = {{.name = "volume"},
                          {.name = "client", .right = true},
                          {.name = "peer"},
                          {.name = "reads", .right = true, .header = "READ/S"},
                          {.name = "writes", .right = true, .header = "WRITE/S"},
                          {.name = "flushes", .right = true, .header = "FLUSH/S"},
                          {.name = "read_bytes", .right = true, .header = "RBYTES/S"},
                          {.name = "write_bytes", .right = true, .header = "WBYTES/S"},
                          {.name = "latency_ns", .right = true, .header = "LATENCY"},
                          {.name = "errors", .right = true}},
              .rows = {}};
  std::vector<std::pair<TopKey, Top>> busy;
  for (const auto& [key, top] : now) {
    const auto old = before.find(key);
    const Top change = old == before.end() ? top : since(top, old->second);
    if (change.requests() > 0) busy.emplace_back(key, change);
  }
  std::ranges::sort(
      busy, [](const auto& a, const auto& b) { return a.second.requests() > b.second.requests(); });
  const auto rate = [&](u64 count) {
    return saturate(static_cast<double>(count) / std::max(seconds, 1e-3) + 0.5);
  };
  for (const auto& [key, top] : busy) {
    const auto client = clients.find(key.client);
    const bool known = client != clients.end();
    table.rows.push_back(
        {Cell::text(known ? client->second.volume : fmt::format("#{}", key.volume)),
         Cell::exact(key.client), Cell::text(known ? client->second.peer : "gone"),
         Cell::count(rate(top.reads)), Cell::count(rate(top.writes)),
         Cell::count(rate(top.flushes)), Cell::bytes(rate(top.bytes_read)),
         Cell::bytes(rate(top.bytes_written)), Cell::nanoseconds(top.latency_ns / top.requests()),
         Cell::exact(top.errors)});
  }
  return table;
}

// False: it is time to end.
Attempt<bool> wait_a_second(Connection& connection) {
  switch (connection.wait_for_end({.milliseconds = kPeriodMs})) {
    case Connection::Woken::by_signal: return false;
    case Connection::Woken::by_daemon: return refuse("the daemon has gone");
    default: return true;
  }
}

}  // namespace

Attempt<> show_latency(Session& session, const LatencyWishes& wishes) {
  Connection::catch_signals();
  TRY(Connection * connection, session.connect());
  TRY(auto dataset, connection->dataset(wishes.target));
  TRY(Attached attached,
      attach_shipped(*connection, dataset.attachRequest(), "latency", "latencies"));
  const bool live = ::isatty(STDOUT_FILENO) != 0 && !wishes.json;
  std::vector<Buckets> history;
  Latency before, total;
  for (u64 second = 1;; ++second) {
    TRY(const bool go_on, wait_a_second(*connection));
    using Sums = std::map<LatencyKey, Latency>;
    TRY(const Sums sums, (read_sums<LatencyKey, Latency>(*connection, attached.map)));
    total = {};
    for (const auto& [key, each] : sums) total += each;
    history.push_back(difference(total, before));
    if (history.size() > kHistory) history.erase(history.begin());
    before = total;
    if (live)
      fmt::print("\x1b[H\x1b[2J{}: {} requests, mean {}, {} errors. Interrupt to end.\n\n{}\n{}",
                 wishes.target, total.requests,
                 show_nanoseconds(total.requests == 0 ? 0 : total.total_ns / total.requests),
                 total.errors, render_histogram(total, history, terminal_columns(STDOUT_FILENO)),
                 render_heat(history, total));
    if (std::fflush(stdout) != 0 || !go_on || (wishes.seconds != 0 && second >= wishes.seconds))
      break;
  }
  if (wishes.json) {
    fmt::print("{}\n", json_of(total).dump(2));
  } else if (!live) {
    constexpr size_t kWidth = 100;
    fmt::print("{}", render_histogram(total, history, kWidth));
  }
  return {};
}

Attempt<> show_clients(Session& session, const TopWishes& wishes) {
  Connection::catch_signals();
  TRY(Connection * connection, session.connect());
  TRY(Attached attached,
      attach_shipped(*connection, connection->host().attachRequest(), "trace_top", "tops"));
  const bool live = ::isatty(STDOUT_FILENO) != 0 && !wishes.format.json;
  using Sums = std::map<TopKey, Top>;
  Sums first, before;
  double first_s = monotonic_s(), before_s = first_s;
  for (u64 second = 1;; ++second) {
    TRY(const bool go_on, wait_a_second(*connection));
    TRY(Sums now, (read_sums<TopKey, Top>(*connection, attached.map)));
    TRY(const auto clients, read_clients(*connection));
    const double now_s = monotonic_s();
    if (live)
      fmt::print("\x1b[H\x1b[2J{}",
                 render(table_of(now, before, clients, now_s - before_s), wishes.format));
    const bool last = !go_on || (wishes.seconds != 0 && second >= wishes.seconds);
    if (last && !live) print(table_of(now, first, clients, now_s - first_s), wishes.format);
    if (std::fflush(stdout) != 0 || last) return {};
    before = std::move(now);
    before_s = now_s;
  }
}

}  // namespace coppice::cli
