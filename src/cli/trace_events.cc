#include "cli/trace_events.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <ctime>

#include "bpf/object/object.h"
#include "cli/links.h"
#include "cli/object_file.h"
#include "cli/shared_folder.h"

namespace coppice::cli {
namespace {

constexpr const char* kObject = "trace_events";
constexpr u64 kLookEachMs = 1000;

// What the program writes before each view.
struct Header {
  u32 point = 0;
  u32 thread = 0;
  u64 time_ns = 0;
};

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == text.npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t at = text.find(separator);
    parts.push_back(trimmed(text.substr(0, at)));
    if (at == text.npos) return parts;
    text = text.substr(at + separator.size());
  }
}

// The program's numbers of tracepoints: enumerators of the object's types.
Attempt<std::map<u32, std::string>> read_names() {
  TRY(const auto path, find_object(kObject));
  TRY(const bpf::Object object, read_object_file(path, "", {.own_types = true}));
  std::map<u32, std::string> names;
  constexpr std::string_view kPrefix = "TRACE_";
  if (object.btf() == nullptr) return refuse(fmt::format("'{}' has no types", path.string()));
  const auto id = object.btf()->find("trace_point", bpf::Btf::Kind::enumeration);
  if (!id) return refuse(fmt::format("'{}' has no enum trace_point", path.string()));
  for (const auto& each : object.btf()->type(*id).enumerators)
    names.emplace(static_cast<u32>(each.value), std::string(each.name.substr(kPrefix.size())));
  return names;
}

}  // namespace

Attempt<EventStream> EventStream::open(Connection& connection, std::vector<std::string> names) {
  TRY(const auto known, read_names());
  for (const std::string& name : names) {
    const bool is_there =
        std::ranges::any_of(known, [&](const auto& each) { return each.second == name; });
    if (!is_there)
      return misuse(fmt::format("there is no tracepoint '{}': see coppice trace list", name));
  }
  auto request = connection.host().attachRequest();
  TRY_VOID(describe_object({.file = kObject}, request.getSpec().initObject()));
  auto programs = request.getSpec().initPrograms(static_cast<u32>(names.size()));
  for (u32 i = 0; i < programs.size(); ++i) programs[i].setProgram(names[i].c_str());
  TRY(auto attached, connection.ask(kj::mv(request)));
  auto link = attached.getValue().getLinks()[0].getLink();
  TRY(const auto maps, connection.ask(link.mapsRequest()));
  std::optional<schema::Map::Client> ring_map, counters;
  for (auto each : maps.getValue()) {
    const std::string_view kind = each.getInfo().getKind().cStr();
    if (kind == "ringbuf") ring_map = each.getMap();
    if (kind == "array") counters = each.getMap();
  }
  if (!ring_map) return refuse("the object of 'coppice trace' has no ring");
  TRY(const auto response, connection.ask(ring_map->ringRequest()));
  const auto files = response.getValue();
  TRY(kj::AutoCloseFd consumer, connection.descriptor_of(files.getConsumer()));
  TRY(kj::AutoCloseFd ring, connection.descriptor_of(files.getRing()));
  TRY(kj::AutoCloseFd event, connection.descriptor_of(files.getEvent()));
  TRY(bpf::RingReader reader, bpf::RingReader::open(consumer.get(), ring.get(), files.getBytes()));
  EventStream stream(connection, kj::mv(attached), std::move(reader));
  stream.consumer_ = kj::mv(consumer);
  stream.ring_ = kj::mv(ring);
  stream.event_ = kj::mv(event);
  stream.counters_ = kj::mv(counters);
  TRY(const auto types, connection.ask(connection.host().typesRequest()));
  const auto btf = types.getValue().getBtf();
  const auto* data = reinterpret_cast<const std::byte*>(btf.begin());
  TRY(stream.types_, EventTypes::make(known, {data, data + btf.size()}));
  return stream;
}

Attempt<EventTypes> EventTypes::make(std::map<u32, std::string> names, std::vector<std::byte> btf) {
  EventTypes types;
  types.names_ = std::move(names);
  types.btf_ = std::make_unique<std::vector<std::byte>>(std::move(btf));
  TRY(bpf::Btf views, bpf::Btf::read(*types.btf_));
  types.views_ = std::make_unique<bpf::Btf>(std::move(views));
  return types;
}

std::optional<Event> EventTypes::decode(std::span<const std::byte> record) const {
  Header header;
  if (record.size() < sizeof header) return std::nullopt;
  std::memcpy(&header, record.data(), sizeof header);
  const auto name = names_.find(header.point);
  if (name == names_.end()) return std::nullopt;
  Event event{.name = name->second,
              .time_ns = header.time_ns,
              .thread = header.thread,
              .fields = Json::object()};
  const auto id = views_->find("coppice_" + event.name, bpf::Btf::Kind::structure);
  std::vector<std::byte> view(record.begin() + sizeof header, record.end());
  if (!id) return event;
  view.resize(views_->size_of(*id).value_or(0));  // This program's view may be another version's.
  event.fields = value_of_bytes({.types = views_.get(), .id = *id}, view);
  if (const auto time = event.fields.find("time_ns"); time != event.fields.end()) {
    if (time->is_number_unsigned()) event.time_ns = *time;  // When it was, not when it was told.
    event.fields.erase(time);
  }
  return event;
}

void EventStream::poll(const std::function<void(const Event&)>& visit) {
  reader_.poll([&](std::span<const std::byte> record) {
    if (const auto event = types_.decode(record)) visit(*event);
  });
}

Connection::Woken EventStream::wait() {
  const auto woken =
      connection_->wait_for_end({.readable = event_.get(), .milliseconds = kLookEachMs});
  u64 events = 0;
  if (woken == Connection::Woken::by_descriptor && ::read(event_.get(), &events, sizeof events) < 0)
    return Connection::Woken::by_time;  // Somebody else has read it.
  return woken;
}

u64 EventStream::lost() {
  if (!counters_) return 0;
  auto request = counters_->getRequest();
  const kj::byte zero[4] = {};
  request.setKey({zero, sizeof zero});
  const auto answer = connection_->ask(kj::mv(request));
  u64 lost = 0;
  if (answer && answer->getValue().size() >= sizeof lost)
    std::memcpy(&lost, answer->getValue().begin(), sizeof lost);
  return lost;
}

// --- Filter -------------------------------------------------------------------------------------

Attempt<EventFilter::Term> EventFilter::parse_term(std::string_view text) {
  struct Sign {
    std::string_view text;
    Comparison comparison;
  };
  constexpr Sign kSigns[] = {{"==", Comparison::equal},   {"!=", Comparison::unequal},
                             {"<=", Comparison::at_most}, {">=", Comparison::at_least},
                             {"<", Comparison::less},     {">", Comparison::more},
                             {"~", Comparison::contains}, {"=", Comparison::equal}};
  for (const Sign& sign : kSigns) {
    const size_t at = text.find(sign.text);
    if (at == text.npos) continue;
    Term term;
    term.field = trimmed(text.substr(0, at));
    term.comparison = sign.comparison;
    std::string_view value = trimmed(text.substr(at + sign.text.size()));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
      value = value.substr(1, value.size() - 2);
    term.text = value;
    double number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error == std::errc() && end == value.data() + value.size()) term.number = number;
    const bool ordered = sign.comparison != Comparison::equal &&
                         sign.comparison != Comparison::unequal &&
                         sign.comparison != Comparison::contains;
    if (term.field.empty() || term.text.empty() || (ordered && !term.number)) break;
    return term;
  }
  return misuse(
      fmt::format("'{}' is no condition: FIELD and one of == != < <= > >= ~, then a "
                  "number or a text",
                  text));
}

Attempt<EventFilter> EventFilter::parse(const std::string& text) {
  EventFilter filter;
  if (trimmed(text).empty()) return filter;
  for (const std::string_view part : split_at(text, "||")) {
    std::vector<Term> terms;
    for (const std::string_view each : split_at(part, "&&")) {
      TRY(Term term, parse_term(each));
      terms.push_back(std::move(term));
    }
    filter.any_of_.push_back(std::move(terms));
  }
  return filter;
}

bool EventFilter::holds(const Term& term, const Event& event) {
  Json value;
  if (term.field == "event") {
    value = event.name;
  } else if (event.fields.contains(term.field)) {
    value = event.fields.at(term.field);
  } else {
    return false;
  }
  if (value.is_number() && term.number) {
    const double number = value.get<double>();
    switch (term.comparison) {
      case Comparison::equal: return number == *term.number;
      case Comparison::unequal: return number != *term.number;
      case Comparison::less: return number < *term.number;
      case Comparison::at_most: return number <= *term.number;
      case Comparison::more: return number > *term.number;
      case Comparison::at_least: return number >= *term.number;
      case Comparison::contains: break;
    }
  }
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (term.comparison == Comparison::contains) return text.find(term.text) != text.npos;
  return (text == term.text) == (term.comparison == Comparison::equal);
}

bool EventFilter::passes(const Event& event) const {
  if (any_of_.empty()) return true;
  return std::ranges::any_of(any_of_, [&](const std::vector<Term>& all) {
    return std::ranges::all_of(all, [&](const Term& term) { return holds(term, event); });
  });
}

// --- Showing ------------------------------------------------------------------------------------

std::string line_of(const Event& event) {
  // The clock of events counts from the machine's start; people have another one.
  timespec wall{}, monotonic{};
  ::clock_gettime(CLOCK_REALTIME, &wall);
  ::clock_gettime(CLOCK_MONOTONIC, &monotonic);
  const i64 wall_ns = (wall.tv_sec - monotonic.tv_sec) * 1'000'000'000 +
                      (wall.tv_nsec - monotonic.tv_nsec) + static_cast<i64>(event.time_ns);
  const std::time_t seconds = wall_ns / 1'000'000'000;
  std::tm local{};
  ::localtime_r(&seconds, &local);
  std::string line = fmt::format("{:02}:{:02}:{:02}.{:06} {}", local.tm_hour, local.tm_min,
                                 local.tm_sec, wall_ns % 1'000'000'000 / 1000, event.name);
  for (const auto& [name, value] : event.fields.items())
    line += fmt::format(" {}={}", name, show_value(value));
  return line;
}

Json json_of(const Event& event) {
  Json json = {{"event", event.name}, {"time_ns", event.time_ns}, {"thread", event.thread}};
  json.update(event.fields);
  return json;
}

}  // namespace coppice::cli
