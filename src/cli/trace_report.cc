// trace record and trace report: what happened while one request was under way.
//
// A recording is a line of JSON an event, in the order in which they were read.
#include <algorithm>
#include <cstdio>
#include <fstream>

#include "cli/size.h"
#include "cli/trace_events.h"
#include "cli/trace_tools.h"

namespace coppice::cli {
namespace {

const std::vector<std::string> kOfRequests = {"io_submit",   "io_complete",   "cache_miss",
                                              "disk_submit", "disk_complete", "txg_close",
                                              "txg_sync",    "error"};
constexpr size_t kEventsMax = 10'000'000;

struct File {
  std::FILE* file = nullptr;
  ~File() {
    if (file != nullptr) std::fclose(file);
  }
};

struct Recorded {
  std::string name;
  u64 time_ns = 0;
  u32 thread = 0;
  Json fields;
};

Attempt<std::vector<Recorded>> read_recording(const std::string& path) {
  std::ifstream file(path);
  if (!file) return refuse(fmt::format("cannot read '{}'", path));
  std::vector<Recorded> events;
  std::string line;
  while (std::getline(file, line)) {
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("event") || !json["event"].is_string() ||
        !json.contains("time_ns") || !json["time_ns"].is_number_unsigned())
      return refuse(
          fmt::format("line {} of '{}' is no event: is it a recording of 'coppice trace "
                      "record'?",
                      events.size() + 1, path));
    if (events.size() == kEventsMax)
      return refuse(fmt::format("'{}' has more than {} events", path, kEventsMax));
    events.push_back({.name = json["event"],
                      .time_ns = json["time_ns"],
                      .thread = json.contains("thread") && json["thread"].is_number_unsigned()
                                    ? json["thread"].get<u32>()
                                    : 0,
                      .fields = json});
  }
  std::ranges::stable_sort(events, {}, &Recorded::time_ns);
  return events;
}

u64 number_of(const Recorded& event, const char* field) {
  const auto found = event.fields.find(field);
  return found != event.fields.end() && found->is_number_unsigned() ? found->get<u64>() : 0;
}

// The end of the wanted request, or of the slowest one.
const Recorded* find_end(const std::vector<Recorded>& events, u64 request) {
  const Recorded* found = nullptr;
  for (const Recorded& event : events) {
    if (event.name != "io_complete") continue;
    if (request != 0
            ? number_of(event, "request") == request
            : found == nullptr || number_of(event, "latency_ns") > number_of(*found, "latency_ns"))
      found = &event;
  }
  return found;
}

// What is the request's own, or of its lane while it was under way.
bool concerns(const Recorded& event, const Recorded& end) {
  const u64 request = number_of(event, "request");
  if (request != 0) return request == number_of(end, "request");
  return event.thread == end.thread || event.name.starts_with("txg");
}

}  // namespace

Attempt<> record_events(Session& session, const RecordWishes& wishes) {
  Connection::catch_signals();
  TRY(Connection * connection, session.connect());
  const File out{std::fopen(wishes.file.c_str(), "we")};
  if (out.file == nullptr)
    return refuse(fmt::format("cannot write '{}': {}", wishes.file, std::strerror(errno)));
  TRY(EventStream stream,
      EventStream::open(*connection,
                        wishes.events.empty() ? kOfRequests : split(wishes.events, ',')));
  u64 events = 0;
  const auto began = std::chrono::steady_clock::now();
  bool go_on = true;
  while (go_on) {
    const auto woken = stream.wait();
    if (woken == Connection::Woken::by_daemon) return refuse("the daemon has gone");
    const auto took = std::chrono::steady_clock::now() - began;
    go_on = woken != Connection::Woken::by_signal &&
            (wishes.seconds == 0 || took < std::chrono::seconds(wishes.seconds));
    stream.poll([&](const Event& event) {
      fmt::print(out.file, "{}\n",
                 json_of(event).dump(-1, ' ', false, Json::error_handler_t::replace));
      ++events;
    });
  }
  if (std::fflush(out.file) != 0)
    return refuse(fmt::format("cannot write '{}': {}", wishes.file, std::strerror(errno)));
  fmt::print("{} events in {}", events, wishes.file);
  if (const u64 lost = stream.lost()) fmt::print("; {} found no room and were left out", lost);
  fmt::print("\n");
  return {};
}

Attempt<> report_request(const ReportWishes& wishes) {
  TRY(const std::vector<Recorded> events, read_recording(wishes.file));
  const Recorded* end = find_end(events, wishes.request);
  if (end == nullptr)
    return refuse(wishes.request == 0
                      ? fmt::format("'{}' has no request that was completed", wishes.file)
                      : fmt::format("'{}' has no end of request {}", wishes.file, wishes.request));
  const u64 latency = number_of(*end, "latency_ns"), begin = end->time_ns - latency;
  Json list = Json::array();
  if (!wishes.json)
    fmt::print("request {}: {} ({} bytes at {})\n", number_of(*end, "request"),
               show_nanoseconds(latency), number_of(*end, "length"), number_of(*end, "offset"));
  for (const Recorded& event : events) {
    if (event.time_ns < begin || event.time_ns > end->time_ns || !concerns(event, *end)) continue;
    const u64 at = event.time_ns - begin;
    if (wishes.json) {
      Json each = event.fields;
      each["at_ns"] = at;
      list.push_back(std::move(each));
      continue;
    }
    constexpr size_t kScale = 40;
    const size_t column = latency == 0 ? 0 : at * kScale / latency;
    std::string details;
    for (const char* field : {"request", "offset", "length", "address", "bytes", "error", "txg"})
      if (event.fields.contains(field))
        details += fmt::format(" {}={}", field, show_value(event.fields[field]));
    fmt::print("{:>10} |{:{}}*{:{}}| {}{}\n", "+" + show_nanoseconds(at), "", column, "",
               kScale - std::min(column, kScale), event.name, details);
  }
  if (wishes.json) fmt::print("{}\n", list.dump(2, ' ', false, Json::error_handler_t::replace));
  return {};
}

}  // namespace coppice::cli
