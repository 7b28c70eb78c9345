#include "helper/jit/order.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace coppice::jit {

using namespace bpf;

namespace {

std::unexpected<Error> refuse(std::string why) {
  return fail(Errc::invalid, "cannot compile the program", std::move(why));
}

bool is_helper_call(const Instruction& in) {
  return in.opcode == kOpcodeCall && in.src == static_cast<u8>(bpf::Callee::helper);
}
bool has_value_elsewhere(const Instruction& in) {
  return in.is_wide() && in.src != static_cast<u8>(Immediate::number) &&
         in.src != static_cast<u8>(Immediate::code);
}

// How deep calls from each subprogram nest, itself included. 0: they go round in a circle.
class Depths {
 public:
  explicit Depths(const Program& program)
      : program_(program), depths_(program.subprograms().size(), kUnknown) {}
  u32 of(size_t slot, u32 outer = 0) {
    if (outer == kFrames) return kFrames + 1;  // So that this does not lie deeper itself.
    u32& depth = depths_[static_cast<size_t>(
        std::ranges::lower_bound(program_.subprograms(), slot) - program_.subprograms().begin())];
    if (depth == kUnderway) return 0;
    if (depth != kUnknown) return depth;
    depth = kUnderway;
    u32 deepest = 0;
    const size_t end = program_.end_of_subprogram(slot);
    for (size_t at = slot; at < end; at += program_.slots()[at].is_wide() ? 2 : 1) {
      const Instruction& in = program_.slots()[at];
      const bool calls = (in.opcode == kOpcodeCall && in.src == static_cast<u8>(Callee::local)) ||
                         (in.is_wide() && in.src == static_cast<u8>(Immediate::code));
      if (!calls) continue;
      const u32 inner = of(program_.target_of(at), outer + 1);
      if (inner == 0 || inner > kFrames) return depth = inner;
      deepest = std::max(deepest, inner);
    }
    return depth = deepest + 1;
  }

 private:
  static constexpr u32 kUnknown = ~u32{0}, kUnderway = kUnknown - 1;
  const Program& program_;
  std::vector<u32> depths_;
};

}  // namespace

Result<Order> Order::check(Request request) {
  TRY(Program program, Program::make(request.slots, request.entry));
  Order order(std::move(request), std::move(program));
  TRY_VOID(order.check_facts());
  TRY_VOID(order.check_tables());
  TRY_VOID(order.check_calls());
  return order;
}

const HelperPlace* Order::find_helper(i32 number) const {
  const auto found = std::ranges::find(request_.helpers, number, &HelperPlace::number);
  return found != request_.helpers.end() ? &*found : nullptr;
}

const WideValue* Order::find_wide(size_t slot) const {
  const auto found = std::ranges::lower_bound(request_.wides, slot, {}, &WideValue::slot);
  return found != request_.wides.end() && found->slot == slot ? &*found : nullptr;
}

Result<> Order::check_tables() const {
  if (!std::ranges::is_sorted(request_.wides, {}, &WideValue::slot))
    return refuse("its wide immediates are not in the order of their slots");
  const auto slots = program_.slots();
  for (size_t i = 0; i < slots.size(); i += slots[i].is_wide() ? 2 : 1) {
    const Instruction& in = slots[i];
    if (has_value_elsewhere(in) && find_wide(i) == nullptr)
      return refuse(fmt::format("slot {}: nothing says what the immediate stands for", i));
    // No code is made of what is never reached, such as calls of what the host has not.
    if (in.opcode != kOpcodeCall || !fact(i).reached) continue;
    if (in.src == static_cast<u8>(bpf::Callee::btf))
      return refuse(fmt::format("slot {}: calls by BTF id are not known", i));
    if (is_helper_call(in) && find_helper(in.imm) == nullptr)
      return refuse(fmt::format("slot {}: nothing says where helper {} is", i, in.imm));
  }
  for (const HelperPlace& each : request_.helpers) {
    if (each.address == 0 || each.shortcut > Shortcut::tail_call)
      return refuse(fmt::format("helper {} is nowhere, or of an unknown kind", each.number));
  }
  return {};
}

Result<> Order::check_facts() const {
  const Facts& facts = request_.facts;
  if (!facts.slots.empty() && facts.slots.size() != program_.slots().size())
    return refuse(fmt::format("{} facts of a program of {} slots", facts.slots.size(),
                              program_.slots().size()));
  if (!facts.frame_bytes.empty() && facts.frame_bytes.size() != program_.subprograms().size())
    return refuse(fmt::format("the frames of {} subprograms, of which there are {}",
                              facts.frame_bytes.size(), program_.subprograms().size()));
  for (const Fact& fact : facts.slots) {
    if (fact.map != kNoMap &&
        (fact.map < 0 || static_cast<size_t>(fact.map) >= request_.maps.size()))
      return refuse(fmt::format("a fact names map {} of {}", fact.map, request_.maps.size()));
  }
  for (const u32 bytes : facts.frame_bytes) {
    if (bytes > kFrameBytes) return refuse(fmt::format("a frame has no {} bytes", bytes));
  }
  return {};
}

// The machine code counts no depth, so it must be known beforehand.
Result<> Order::check_calls() const {
  Depths depths(program_);
  for (const size_t start : program_.subprograms()) {
    const u32 depth = depths.of(start);
    if (depth == 0)
      return refuse(
          fmt::format("slot {}: a subprogram that calls itself, by whatever way, has no "
                      "machine code; the interpreter runs it",
                      start));
    if (depth > kFrames)
      return refuse(fmt::format("slot {}: calls lie more than {} deep", start, kFrames));
  }
  return {};
}

u64 Order::wide_value(size_t slot) const {
  const Instruction& in = program_.slots()[slot];
  if (in.src == static_cast<u8>(Immediate::number)) return program_.imm64(slot);
  CHECK(has_value_elsewhere(in));
  const WideValue* found = find_wide(slot);
  CHECK(found != nullptr);
  return found->value;
}

const HelperPlace& Order::helper(i32 number) const {
  const HelperPlace* found = find_helper(number);
  CHECK(found != nullptr);
  return *found;
}

Fact Order::fact(size_t slot) const {
  return request_.facts.slots.empty() ? Fact{.reached = true} : request_.facts.slots[slot];
}

u32 Order::frame_bytes(size_t subprogram) const {
  const auto& known = request_.facts.frame_bytes;
  if (known.empty() || request_.shows_frames) return kFrameBytes;
  return static_cast<u32>(round_up(known[subprogram], 16));
}

}  // namespace coppice::jit
