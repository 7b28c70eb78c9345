// trace record and trace report: what happened while one request was under way.
//
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

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

bool write_frame(std::FILE* file, Frame kind, std::span<const std::byte> bytes) {
  const u32 head[2] = {static_cast<u32>(kind), static_cast<u32>(bytes.size())};
  return std::fwrite(head, sizeof head, 1, file) == 1 &&
         std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
}

// What is needed to read records later.
bool write_types(std::FILE* file, const EventTypes& types) {
  std::string names;
  for (const auto& [number, name] : types.names()) names += fmt::format("{} {}\n", number, name);
  return std::fwrite(kRecordingMagic.data(), kRecordingMagic.size(), 1, file) == 1 &&
         write_frame(file, Frame::names, std::as_bytes(std::span(names))) &&
         write_frame(file, Frame::types, types.btf());
}

std::map<u32, std::string> names_of(std::span<const std::byte> bytes) {
  std::istringstream lines(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  std::map<u32, std::string> names;
  u32 number = 0;
  std::string name;
  while (lines >> number >> name) names.emplace(number, name);
  return names;
}

// Frames of a recording, of which nothing is believed.
class Recording {
 public:
  static Attempt<Recording> open(const std::string& path) {
    Recording recording;
    recording.path_ = path;
    recording.file_.open(path, std::ios::binary);
    char magic[kRecordingMagic.size()];
    if (!recording.file_) return refuse(fmt::format("cannot read '{}'", path));
    if (!recording.file_.read(magic, sizeof magic) ||
        std::string_view(magic, sizeof magic) != kRecordingMagic)
      return refuse(fmt::format("'{}' is no recording of 'coppice trace record'", path));
    return recording;
  }
  // False: that was the last one, or what follows was cut off.
  bool next(Frame& kind, std::vector<std::byte>& bytes) {
    u32 head[2];
    if (!file_.read(reinterpret_cast<char*>(head), sizeof head) || head[1] > kFrameBytesMax)
      return false;
    kind = static_cast<Frame>(head[0]);
    bytes.resize(head[1]);
    return static_cast<bool>(file_.read(reinterpret_cast<char*>(bytes.data()), head[1]));
  }

 private:
  static constexpr u32 kFrameBytesMax = 64_MiB;
  std::string path_;
  std::ifstream file_;
};

Attempt<std::vector<Event>> read_recording(const std::string& path) {
  TRY(Recording recording, Recording::open(path));
  std::map<u32, std::string> names;
  std::optional<EventTypes> types;
  std::vector<Event> events;
  Frame kind{};
  std::vector<std::byte> bytes;
  while (recording.next(kind, bytes)) {
    if (kind == Frame::names) names = names_of(bytes);
    if (kind == Frame::types) {
      TRY(types, EventTypes::make(names, bytes));
    }
    if (kind != Frame::record || !types) continue;
    if (events.size() == kEventsMax)
      return refuse(fmt::format("'{}' has more than {} events", path, kEventsMax));
    if (auto event = types->decode(bytes)) events.push_back(*std::move(event));
  }
  std::ranges::stable_sort(events, {}, &Event::time_ns);
  return events;
}

u64 number_of(const Event& event, const char* field) {
  const auto found = event.fields.find(field);
  return found != event.fields.end() && found->is_number_unsigned() ? found->get<u64>() : 0;
}

// The end of the wanted request, or of the slowest one.
const Event* find_end(const std::vector<Event>& events, u64 request) {
  const Event* found = nullptr;
  for (const Event& event : events) {
    if (event.name != "io_complete") continue;
    if (request != 0
            ? number_of(event, "request") == request
            : found == nullptr || number_of(event, "latency_ns") > number_of(*found, "latency_ns"))
      found = &event;
  }
  return found;
}

// What is the request's own, or of its lane while it was under way.
bool concerns(const Event& event, const Event& end) {
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
  bool written = write_types(out.file, stream.types());
  u64 events = 0;
  const auto began = std::chrono::steady_clock::now();
  bool go_on = true;
  while (go_on && written) {
    const auto woken = stream.wait();
    if (woken == Connection::Woken::by_daemon) return refuse("the daemon has gone");
    const auto took = std::chrono::steady_clock::now() - began;
    go_on = woken != Connection::Woken::by_signal &&
            (wishes.seconds == 0 || took < std::chrono::seconds(wishes.seconds));
    events += stream.poll_raw([&](std::span<const std::byte> record) {
      written = written && write_frame(out.file, Frame::record, record);
    });
  }
  if (!written || std::fflush(out.file) != 0)
    return refuse(fmt::format("cannot write '{}': {}", wishes.file, std::strerror(errno)));
  fmt::print("{} events in {}", events, wishes.file);
  if (const u64 lost = stream.lost()) fmt::print("; {} found no room and were left out", lost);
  fmt::print("\n");
  return {};
}

Attempt<> report_request(const ReportWishes& wishes) {
  TRY(const std::vector<Event> events, read_recording(wishes.file));
  const Event* end = find_end(events, wishes.request);
  if (end == nullptr)
    return refuse(wishes.request == 0
                      ? fmt::format("'{}' has no request that was completed", wishes.file)
                      : fmt::format("'{}' has no end of request {}", wishes.file, wishes.request));
  const u64 latency = number_of(*end, "latency_ns"), begin = end->time_ns - latency;
  Json list = Json::array();
  if (!wishes.json)
    fmt::print("request {}: {} ({} bytes at {})\n", number_of(*end, "request"),
               show_nanoseconds(latency), number_of(*end, "length"), number_of(*end, "offset"));
  for (const Event& event : events) {
    if (event.time_ns < begin || event.time_ns > end->time_ns || !concerns(event, *end)) continue;
    const u64 at = event.time_ns - begin;
    if (wishes.json) {
      Json each = json_of(event);
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
