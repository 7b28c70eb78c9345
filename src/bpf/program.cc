#include "bpf/program.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace coppice::bpf {
namespace {

bool is_unconditional(const Instruction& in) {
  return in.opcode == kOpcodeJump || in.opcode == kOpcodeLongJump;
}

bool is_branch(const Instruction& in) {
  return in.is_jump() && in.jump_code() != JumpCode::call && in.jump_code() != JumpCode::exit;
}

// A call or an address of a subprogram.
bool names_code(const Instruction& in) {
  if (in.opcode == kOpcodeCall) return in.src == static_cast<u8>(Callee::local);
  return in.is_wide() && in.src == static_cast<u8>(Immediate::code);
}

i64 aim(const Instruction& in, size_t slot) {
  const i64 distance = in.opcode == kOpcodeLongJump || names_code(in) ? in.imm : in.offset;
  return static_cast<i64>(slot) + 1 + distance;
}

std::unexpected<Error> bad_flow(size_t slot, const std::string& why) {
  return fail(Errc::invalid, "the program is not whole", fmt::format("slot {}: {}", slot, why));
}

}  // namespace

Result<Program> Program::read(std::span<const std::byte> bytes, size_t entry) {
  TRY(auto slots, decode(bytes));
  return make(std::move(slots), entry);
}

Result<Program> Program::make(std::vector<Instruction> slots, size_t entry) {
  // Instructions from elsewhere are held to the rules of bytes.
  if (slots.empty() || slots.size() > kSlotsMax)
    return fail(Errc::invalid, "the program is not whole",
                fmt::format("it has {} slots; 1 to {} are possible", slots.size(), kSlotsMax));
  Program program;
  program.second_.resize(slots.size());
  for (size_t i = 0; i < slots.size(); ++i) {
    if (const std::string why = fault_of(slots[i]); !why.empty()) return bad_flow(i, why);
    if (!slots[i].is_wide()) continue;
    if (++i == slots.size()) return bad_flow(i - 1, "half of a 64-bit immediate is missing");
    program.second_[i] = true;
  }
  program.slots_ = std::move(slots);
  if (!program.begins_instruction(static_cast<i64>(entry)))
    return fail(Errc::invalid, "the program is not whole",
                fmt::format("its entry, slot {}, is no instruction", entry));
  program.entry_ = entry;
  TRY_VOID(program.find_subprograms());
  TRY_VOID(program.check_flow());
  return program;
}

bool Program::begins_instruction(i64 slot) const {
  return slot >= 0 && slot < static_cast<i64>(slots_.size()) && !second_[static_cast<size_t>(slot)];
}

Result<> Program::find_subprograms() {
  // Slot 0 is one too, so that every slot lies in some subprogram.
  subprograms_ = {0, entry_};
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (second_[i] || !names_code(slots_[i])) continue;
    const i64 target = aim(slots_[i], i);
    if (!begins_instruction(target))
      return bad_flow(i, fmt::format("calls slot {}, where no instruction begins", target));
    subprograms_.push_back(static_cast<size_t>(target));
  }
  std::ranges::sort(subprograms_);
  subprograms_.erase(std::ranges::unique(subprograms_).begin(), subprograms_.end());
  return {};
}

Result<> Program::check_flow() const {
  for (size_t s = 0; s < subprograms_.size(); ++s) {
    const size_t begin = subprograms_[s];
    const size_t end = s + 1 < subprograms_.size() ? subprograms_[s + 1] : slots_.size();
    size_t last = begin;
    for (size_t i = begin; i < end; ++i) {
      if (second_[i]) continue;
      last = i;
      if (!is_branch(slots_[i])) continue;
      const i64 target = aim(slots_[i], i);
      if (!begins_instruction(target))
        return bad_flow(i, fmt::format("jumps to slot {}, where no instruction begins", target));
      if (target < static_cast<i64>(begin) || target >= static_cast<i64>(end))
        return bad_flow(i, fmt::format("jumps to slot {}, out of its subprogram (slots {} to {})",
                                       target, begin, end - 1));
    }
    if (slots_[last].opcode != kOpcodeExit && !is_unconditional(slots_[last]))
      return bad_flow(last, "the subprogram ends here, with neither an exit nor a jump");
  }
  return {};
}

bool Program::is_subprogram(size_t slot) const {
  return std::ranges::binary_search(subprograms_, slot);
}

size_t Program::end_of_subprogram(size_t slot) const {
  const auto next = std::ranges::upper_bound(subprograms_, slot);
  return next == subprograms_.end() ? slots_.size() : *next;
}

size_t Program::target_of(size_t slot) const {
  CHECK(slot < slots_.size() && !second_[slot]);
  const Instruction& in = slots_[slot];
  CHECK(is_branch(in) || names_code(in));
  const i64 target = aim(in, slot);
  CHECK(begins_instruction(target));
  return static_cast<size_t>(target);
}

u64 Program::imm64(size_t slot) const {
  CHECK(slots_[slot].is_wide());
  return static_cast<u32>(slots_[slot].imm) |
         static_cast<u64>(static_cast<u32>(slots_[slot + 1].imm)) << 32;
}

}  // namespace coppice::bpf
