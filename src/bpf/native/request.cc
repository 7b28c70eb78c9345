#include "bpf/native/request.h"

#include <fmt/format.h>

#include "base/endian.h"

namespace coppice::bpf {
namespace {

constexpr u32 kMapsMax = 4096;     // Of a program.
constexpr u32 kHelpersMax = 4096;  // Different ones that it calls.
constexpr u8 kReached = 1, kConstant = 2, kHasMap = 4;

class Appender {
 public:
  template <Scalar T>
  void put(T value) {
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    store_le(&bytes_[at], value);
  }
  void bytes(std::span<const std::byte> from) {
    bytes_.insert(bytes_.end(), from.begin(), from.end());
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

void put_facts(Appender& out, const Facts& facts) {
  out.put(static_cast<u32>(facts.slots.size()));
  for (const Fact& fact : facts.slots) {
    out.put(static_cast<u8>((fact.reached ? kReached : 0) | (fact.constant ? kConstant : 0) |
                            (fact.map != kNoMap ? kHasMap : 0)));
    if (fact.constant) out.put(fact.value);
    if (fact.map != kNoMap) out.put(fact.map);
  }
  out.put(static_cast<u32>(facts.frame_bytes.size()));
  for (const u32 bytes : facts.frame_bytes) out.put(bytes);
}

// A count of things of which each takes `bytes_each` of what follows: so that a wrong one cannot
// make the vector larger than the request.
size_t get_count(Reader& in, size_t bytes_each, size_t most) {
  const size_t count = in.get<u32>();
  if (count <= most && count * bytes_each <= in.remaining()) return count;
  in.skip(in.remaining() + 1);  // Bad for good.
  return 0;
}

Facts get_facts(Reader& in) {
  Facts facts;
  facts.slots.resize(get_count(in, 1, kSlotsMax));
  for (Fact& fact : facts.slots) {
    const u8 bits = in.get<u8>();
    fact.reached = (bits & kReached) != 0;
    fact.constant = (bits & kConstant) != 0;
    if (fact.constant) fact.value = in.get<u64>();
    if ((bits & kHasMap) != 0) fact.map = in.get<i32>();
  }
  facts.frame_bytes.resize(get_count(in, 4, kSlotsMax));
  for (u32& bytes : facts.frame_bytes) bytes = in.get<u32>();
  return facts;
}

}  // namespace

std::vector<std::byte> encode(const Request& request) {
  Appender out;
  out.put(request.target);
  out.put(request.wanted);
  out.put(static_cast<u8>(request.shows_frames));
  out.put(request.entry);
  out.put(static_cast<u32>(request.slots.size()));
  out.bytes(encode(request.slots));
  out.put(static_cast<u32>(request.wides.size()));
  for (const WideValue& each : request.wides) {
    out.put(each.slot);
    out.put(each.value);
  }
  out.put(static_cast<u32>(request.helpers.size()));
  for (const HelperPlace& each : request.helpers) {
    out.put(each.number);
    out.put(each.shortcut);
    out.put(each.address);
  }
  out.put(static_cast<u32>(request.maps.size()));
  for (const MapPlace& each : request.maps) {
    out.put(each.values);
    out.put(each.stride);
    out.put(each.slot_stride);
    out.put(each.entries);
    out.put(each.slots);
  }
  put_facts(out, request.facts);
  return out.take();
}

Result<Request> decode_request(std::span<const std::byte> bytes) {
  const char* what = "cannot read the request for machine code";
  Reader in(bytes);
  Request request;
  request.target = in.get<Target>();
  request.wanted = in.get<Wanted>();
  request.shows_frames = in.get<u8>() != 0;
  request.entry = in.get<u32>();
  const auto slots = in.bytes(get_count(in, kSlotBytes, kSlotsMax) * kSlotBytes);
  request.wides.resize(get_count(in, 12, kSlotsMax));
  for (WideValue& each : request.wides) {
    each.slot = in.get<u32>();
    each.value = in.get<u64>();
  }
  request.helpers.resize(get_count(in, 13, kHelpersMax));
  for (HelperPlace& each : request.helpers) {
    each.number = in.get<i32>();
    each.shortcut = in.get<Shortcut>();
    each.address = in.get<u64>();
  }
  request.maps.resize(get_count(in, 32, kMapsMax));
  for (MapPlace& each : request.maps) {
    each.values = in.get<u64>();
    each.stride = in.get<u64>();
    each.slot_stride = in.get<u64>();
    each.entries = in.get<u32>();
    each.slots = in.get<u32>();
  }
  request.facts = get_facts(in);
  if (!in.done())
    return fail(Errc::invalid, what, fmt::format("its {} bytes are no request", bytes.size()));
  if (request.target > Target::aarch64 || request.wanted > Wanted::listing)
    return fail(Errc::unsupported, what, "it asks for something that nobody knows");
  TRY(request.slots, decode(slots));
  return request;
}

}  // namespace coppice::bpf
