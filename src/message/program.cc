#include "message/program.h"

#include "base/check.h"

namespace coppice::message {
namespace {

// What a packet of the nursery begins with.
enum class Packet : u8 { nursery = 1, spawn = 2, started = 3, ended = 4 };

template <class Enum>
Enum get_enum(Decoder& from, Enum first, Enum last, bool& good) {
  const Enum value = from.get<Enum>();
  if (value < first || value > last) good = false;
  return value;
}

void put_bool(Encoder& to, bool value) { to.put(static_cast<u8>(value)); }

Record get_record(Decoder& from, bool& good) {
  Value value = from.get_value();
  if (Record* record = std::get_if<Record>(&value.data)) return std::move(*record);
  good = false;
  return {};
}

List get_list(Decoder& from, bool& good) {
  Value value = from.get_value();
  if (List* list = std::get_if<List>(&value.data)) return std::move(*list);
  good = false;
  return {};
}

template <class Message>
std::optional<Message> checked(const Decoder& from, bool good, Message& message) {
  if (!good || !from.done()) return std::nullopt;
  return std::move(message);
}

}  // namespace

// ------------------------------------------------------------------ frames

Encoder begin_frame(FrameKind kind) {
  Encoder encoder;
  encoder.put(u32{0});
  encoder.put(kind);
  return encoder;
}

std::vector<std::byte> end_frame(Encoder& encoder) {
  const size_t size = encoder.bytes().size();
  CHECK(size >= kFrameHeadBytes && size - sizeof(u32) <= UINT32_MAX);
  encoder.patch(0, static_cast<u32>(size - sizeof(u32)));
  return encoder.take();
}

std::optional<FrameHead> decode_head(std::span<const std::byte, kFrameHeadBytes> bytes) {
  const FrameHead head{.length = load_le<u32>(bytes.data()),
                       .kind = load_le<FrameKind>(bytes.data() + sizeof(u32))};
  if (head.kind < FrameKind::begin || head.kind > FrameKind::end) return std::nullopt;
  if (head.length == 0 || head.length > length_max(head.kind)) return std::nullopt;
  return head;
}

// ------------------------------------------------------------------ the nursery

std::vector<std::byte> encode(const Nursery& message) {
  Encoder to;
  to.put(Packet::nursery);
  to.put(message.version);
  to.put(static_cast<u32>(message.verbs.size()));
  for (const VerbName& verb : message.verbs) {
    to.put(std::string_view(verb.name));
    to.put(std::string_view(verb.usage));
  }
  return to.take();
}

template <>
std::optional<Nursery> decode(std::span<const std::byte> bytes) {
  Decoder from(bytes);
  const bool mine = from.get<Packet>() == Packet::nursery;
  Nursery message;
  message.version = from.get<u32>();
  const size_t count = from.get_count(2 * sizeof(u32));
  message.verbs.reserve(count);
  for (size_t i = 0; i < count && from.good(); ++i) {
    VerbName& verb = message.verbs.emplace_back();
    verb.name = from.get_text();
    verb.usage = from.get_text();
  }
  return checked(from, mine, message);
}

std::vector<std::byte> encode(const Spawn& message) {
  Encoder to;
  to.put(Packet::spawn);
  to.put(message.id);
  to.put(message.cpu_ns_max);
  to.put(message.memory_bytes_max);
  return to.take();
}

template <>
std::optional<Spawn> decode(std::span<const std::byte> bytes) {
  Decoder from(bytes);
  const bool mine = from.get<Packet>() == Packet::spawn;
  Spawn message;
  message.id = from.get<u64>();
  message.cpu_ns_max = from.get<u64>();
  message.memory_bytes_max = from.get<u64>();
  return checked(from, mine, message);
}

std::vector<std::byte> encode(const Started& message) {
  Encoder to;
  to.put(Packet::started);
  to.put(message.id);
  to.put(message.pid);
  to.put(message.error);
  return to.take();
}

template <>
std::optional<Started> decode(std::span<const std::byte> bytes) {
  Decoder from(bytes);
  const bool mine = from.get<Packet>() == Packet::started;
  Started message;
  message.id = from.get<u64>();
  message.pid = from.get<u32>();
  message.error = from.get<i32>();
  return checked(from, mine, message);
}

std::vector<std::byte> encode(const Ended& message) {
  Encoder to;
  to.put(Packet::ended);
  to.put(message.id);
  to.put(message.signal);
  to.put(message.status);
  return to.take();
}

template <>
std::optional<Ended> decode(std::span<const std::byte> bytes) {
  Decoder from(bytes);
  const bool mine = from.get<Packet>() == Packet::ended;
  Ended message;
  message.id = from.get<u64>();
  message.signal = from.get<i32>();
  message.status = from.get<i32>();
  return checked(from, mine, message);
}

// ------------------------------------------------------------------ the program's stream

std::vector<std::byte> encode(const Begin& message) {
  Encoder to = begin_frame(FrameKind::begin);
  put_bool(to, message.sync);
  to.put(message.instructions_max);
  to.put(message.memory_bytes_max);
  to.put(std::string_view(message.pool));
  to.put(std::string_view(message.name));
  to.put(std::string_view(message.source));
  to.put(message.argument);
  return end_frame(to);
}

template <>
std::optional<Begin> decode(std::span<const std::byte> bytes) {
  Decoder from(bytes);
  Begin message;
  message.sync = from.get_bool();
  message.instructions_max = from.get<u64>();
  message.memory_bytes_max = from.get<u64>();
  message.pool = from.get_text();
  message.name = from.get_text();
  message.source = from.get_text();
  message.argument = from.get_value();
  return checked(from, true, message);
}

std::vector<std::byte> encode(const Ask& message) {
  Encoder to = begin_frame(FrameKind::ask);
  to.put(message.call);
  to.put(message.verb);
  to.put_list_head(message.positional.size());
  for (const Value& each : message.positional) to.put(each);
  to.put_record_head(message.named.size());
  for (const auto& [name, each] : message.named) {
    to.put(std::string_view(name));
    to.put(each);
  }
  return end_frame(to);
}

template <>
std::optional<Ask> decode(std::span<const std::byte> bytes) {
  Decoder from(bytes);
  Ask message;
  bool good = true;
  message.call = get_enum(from, Call::check, Call::note, good);
  message.verb = from.get<u16>();
  message.positional = get_list(from, good);
  message.named = get_record(from, good);
  return checked(from, good, message);
}

std::vector<std::byte> encode(const Answer& message) {
  Encoder to = begin_frame(FrameKind::answer);
  to.put(message.error);
  put_bool(to, message.fatal);
  to.put(message.value);
  to.put(std::string_view(message.message));
  return end_frame(to);
}

template <>
std::optional<Answer> decode(std::span<const std::byte> bytes) {
  Decoder from(bytes);
  Answer message;
  message.error = from.get<i32>();
  message.fatal = from.get_bool();
  message.value = from.get_value();
  message.message = from.get_text();
  return checked(from, true, message);
}

std::vector<std::byte> encode(const End& message) {
  Encoder to = begin_frame(FrameKind::end);
  to.put(message.ending);
  put_bool(to, message.too_big);
  to.put(message.value);
  to.put(std::string_view(message.message));
  to.put(std::string_view(message.traceback));
  to.put(message.instructions);
  to.put(message.memory_peak_bytes);
  return end_frame(to);
}

template <>
std::optional<End> decode(std::span<const std::byte> bytes) {
  Decoder from(bytes);
  End message;
  bool good = true;
  message.ending = get_enum(from, Ending::returned, Ending::result, good);
  message.too_big = from.get_bool();
  message.value = from.get_value();
  message.message = from.get_text();
  message.traceback = from.get_text();
  message.instructions = from.get<u64>();
  message.memory_peak_bytes = from.get<u64>();
  return checked(from, good, message);
}

}  // namespace coppice::message
