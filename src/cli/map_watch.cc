#include "cli/map_watch.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "bpf/ring_buffer.h"
#include "cli/size.h"

namespace coppice::cli {
namespace {

void print_line(const Json& value, bool json) {
  const std::string line =
      json ? value.dump(-1, ' ', false, Json::error_handler_t::replace) : show_value(value);
  fmt::print("{}\n", line);
}

// What the records of a ring are: a program has nowhere else to say so than in a structure's name.
Attempt<ValueType> record_type(const OpenMap& map, const std::string& wanted) {
  const std::string name = wanted.empty() ? map.name() + "_record" : wanted;
  std::optional<u32> found;
  if (map.types() != nullptr) found = map.types()->find(name, bpf::Btf::Kind::structure);
  if (!found && !wanted.empty())
    return misuse(fmt::format("the object of map '{}' has no struct {}", map.name(), wanted));
  return ValueType{.types = found ? map.types() : nullptr, .id = found.value_or(0)};
}

class Counter {
 public:
  explicit Counter(u64 most) : most_(most) {}
  bool is_enough() const { return most_ != 0 && seen_ >= most_; }
  void count() { ++seen_; }

 private:
  const u64 most_;
  u64 seen_ = 0;
};

Attempt<> watch_ring(OpenMap& map, const WatchWishes& wishes) {
  Connection& connection = map.connection();
  TRY(const ValueType type, record_type(map, wishes.type));
  TRY(const auto response, connection.ask(map.capability().ringRequest()));
  const auto files = response.getValue();
  TRY(const kj::AutoCloseFd consumer, connection.descriptor_of(files.getConsumer()));
  TRY(const kj::AutoCloseFd ring, connection.descriptor_of(files.getRing()));
  TRY(const kj::AutoCloseFd event, connection.descriptor_of(files.getEvent()));
  TRY(bpf::RingReader reader, bpf::RingReader::open(consumer.get(), ring.get(), files.getBytes()));
  Counter counter(wishes.count);
  while (true) {
    reader.poll([&](std::span<const std::byte> record) {
      if (counter.is_enough()) return;
      print_line(value_of_bytes(type, record), wishes.json);
      counter.count();
    });
    std::fflush(stdout);
    if (counter.is_enough()) return {};
    switch (connection.wait_for_end({.readable = event.get()})) {
      case Connection::Woken::by_signal: return {};
      case Connection::Woken::by_daemon: return refuse("the map ended with the daemon");
      default: break;
    }
    u64 events = 0;
    if (::read(event.get(), &events, sizeof events) < 0 && errno != EAGAIN)
      return refuse(
          fmt::format("cannot wait for records of map '{}': {}", map.name(), std::strerror(errno)));
  }
}

// Elements of other maps, whenever they have changed.
Attempt<> watch_elements(OpenMap& map, const WatchWishes& wishes) {
  u64 interval_ns = 1'000'000'000;
  if (!wishes.every.empty()) {
    TRY(interval_ns, parse_duration(wishes.every));
  }
  std::map<std::vector<std::byte>, std::vector<std::byte>> known;
  Counter counter(wishes.count);
  while (true) {
    TRY_VOID(map.for_each([&](std::span<const std::byte> key, std::span<const std::byte> value) {
      std::vector<std::byte>& last = known[{key.begin(), key.end()}];
      if (std::ranges::equal(last, value) || counter.is_enough()) return;
      last.assign(value.begin(), value.end());
      const Json shown = map.value(value);
      if (wishes.json) {
        print_line({{"key", map.key(key)}, {"value", shown}}, true);
      } else {
        fmt::print("{}: {}\n", show_value(map.key(key)), show_value(shown));
      }
      counter.count();
    }));
    std::fflush(stdout);
    if (counter.is_enough()) return {};
    const u64 milliseconds = std::max<u64>(interval_ns / 1'000'000, 1);
    switch (map.connection().wait_for_end({.milliseconds = milliseconds})) {
      case Connection::Woken::by_signal: return {};
      case Connection::Woken::by_daemon: return refuse("the map ended with the daemon");
      default: break;
    }
  }
}

}  // namespace

Attempt<> watch(Session& session, const WatchWishes& wishes) {
  Connection::catch_signals();
  TRY(Connection * connection, session.connect());
  TRY(OpenMap map, OpenMap::find(*connection, wishes.map));
  return map.is_ring() ? watch_ring(map, wishes) : watch_elements(map, wishes);
}

}  // namespace coppice::cli
