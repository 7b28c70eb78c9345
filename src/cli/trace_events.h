// cli/trace_events.h — events of the daemon's tracepoints, as they happen.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bpf/ring_buffer.h"
#include "cli/connection.h"
#include "cli/typed_value.h"

namespace coppice::cli {

struct Event {
  std::string name;  // "io_complete".
  u64 time_ns = 0;   // CLOCK_MONOTONIC.
  u32 thread = 0;    // Of the daemon: 0 is the sync lane, then the I/O lanes.
  Json fields;       // By name.
};

// What the bytes of an event mean.
class EventTypes {
 public:
  // `btf`: the daemon's types.
  static Attempt<EventTypes> make(std::map<u32, std::string> names, std::vector<std::byte> btf);
  std::optional<Event> decode(std::span<const std::byte> record) const;
  const std::map<u32, std::string>& names() const { return names_; }
  const std::vector<std::byte>& btf() const { return *btf_; }

 private:
  std::map<u32, std::string> names_;  // By the program's number of the tracepoint.
  std::unique_ptr<std::vector<std::byte>> btf_;
  std::unique_ptr<bpf::Btf> views_;
};

// A program on each of the tracepoints, and the ring that they write into. Ends with this object.
class EventStream {
 public:
  // Names of tracepoints; refused: one that there is not.
  static Attempt<EventStream> open(Connection& connection, std::vector<std::string> names);

  // Those that wait now.
  void poll(const std::function<void(const Event&)>& visit);
  // The same, as bytes for decode().
  u64 poll_raw(const std::function<void(std::span<const std::byte>)>& visit) {
    return reader_.poll(visit);
  }
  const EventTypes& types() const { return types_; }
  // Until there are some, a second has passed, somebody interrupts, or the daemon is gone.
  Connection::Woken wait();
  u64 lost();  // What found no room in the ring.

 private:
  EventStream(Connection& connection, capnp::Response<schema::Answer<schema::Attached>> attached,
              bpf::RingReader reader)
      : connection_(&connection), attached_(kj::mv(attached)), reader_(std::move(reader)) {}

  Connection* connection_;
  capnp::Response<schema::Answer<schema::Attached>> attached_;
  bpf::RingReader reader_;
  kj::AutoCloseFd consumer_, ring_, event_;
  EventTypes types_;
  std::optional<schema::Map::Client> counters_;
};

// A recording: what an EventStream reads, as it comes, with all that is needed to make sense of it
// later. "CPTRACE1", then frames: a u32 kind, a u32 size, so many bytes. Names (lines "NUMBER
// NAME"), the daemon's types, and records.
inline constexpr std::string_view kRecordingMagic = "CPTRACE1";
enum class Frame : u32 { names = 1, types = 2, record = 3 };

// "operation == 1 && latency_ns > 1000000 || error != 0": on the fields of an event.
class EventFilter {
 public:
  static Attempt<EventFilter> parse(const std::string& text);  // Empty: everything passes.
  bool passes(const Event& event) const;

 private:
  enum class Comparison : u8 { equal, unequal, less, at_most, more, at_least, contains };
  struct Term {
    std::string field;
    Comparison comparison = Comparison::equal;
    std::string text;
    std::optional<double> number;
  };
  static Attempt<Term> parse_term(std::string_view text);
  static bool holds(const Term& term, const Event& event);
  std::vector<std::vector<Term>> any_of_;  // All of one list.
};

// "12:07:03.123456 io_complete request=7 ...": one line.
std::string line_of(const Event& event);
Json json_of(const Event& event);

}  // namespace coppice::cli
