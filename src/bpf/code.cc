#include "bpf/code.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace coppice::bpf {
namespace {

constexpr Operation variant(Operation first, u8 plus) {
  return static_cast<Operation>(static_cast<u8>(first) + plus);
}

// The operations of one name follow one another: 64 bit by immediate and register, 32 the same.
u8 variant_of(const Instruction& in) {
  const bool narrow =
      in.instruction_class() == Class::alu || in.instruction_class() == Class::jmp32;
  return static_cast<u8>((narrow ? 2 : 0) + (in.from_register() ? 1 : 0));
}

Operation alu_operation(const Instruction& in) {
  const u8 plus = variant_of(in);
  const bool wide = in.instruction_class() == Class::alu64;
  switch (in.alu_code()) {
    case AluCode::add: return variant(Operation::add_64k, plus);
    case AluCode::sub: return variant(Operation::sub_64k, plus);
    case AluCode::mul: return variant(Operation::mul_64k, plus);
    case AluCode::div:
      return variant(in.offset == 1 ? Operation::sdiv_64k : Operation::div_64k, plus);
    case AluCode::bit_or: return variant(Operation::bit_or_64k, plus);
    case AluCode::bit_and: return variant(Operation::bit_and_64k, plus);
    case AluCode::lsh: return variant(Operation::lsh_64k, plus);
    case AluCode::rsh: return variant(Operation::rsh_64k, plus);
    case AluCode::neg: return wide ? Operation::neg_64 : Operation::neg_32;
    case AluCode::mod:
      return variant(in.offset == 1 ? Operation::smod_64k : Operation::mod_64k, plus);
    case AluCode::bit_xor: return variant(Operation::bit_xor_64k, plus);
    case AluCode::mov:
      if (in.offset == 8) return wide ? Operation::movsx8_64 : Operation::movsx8_32;
      if (in.offset == 16) return wide ? Operation::movsx16_64 : Operation::movsx16_32;
      if (in.offset == 32) return Operation::movsx32_64;
      return variant(Operation::mov_64k, plus);
    case AluCode::arsh: return variant(Operation::arsh_64k, plus);
    case AluCode::end: break;
  }
  const u8 width = in.imm == 16 ? 0 : in.imm == 32 ? 1 : 2;
  const bool swaps = wide || in.from_register();  // Hosts are little-endian.
  return variant(swaps ? Operation::swap16 : Operation::low16, width);
}

Operation jump_operation(const Instruction& in) {
  const u8 plus = variant_of(in);
  switch (in.jump_code()) {
    case JumpCode::ja: return Operation::jump;
    case JumpCode::jeq: return variant(Operation::jeq_64k, plus);
    case JumpCode::jgt: return variant(Operation::jgt_64k, plus);
    case JumpCode::jge: return variant(Operation::jge_64k, plus);
    case JumpCode::jset: return variant(Operation::jset_64k, plus);
    case JumpCode::jne: return variant(Operation::jne_64k, plus);
    case JumpCode::jsgt: return variant(Operation::jsgt_64k, plus);
    case JumpCode::jsge: return variant(Operation::jsge_64k, plus);
    case JumpCode::jlt: return variant(Operation::jlt_64k, plus);
    case JumpCode::jle: return variant(Operation::jle_64k, plus);
    case JumpCode::jslt: return variant(Operation::jslt_64k, plus);
    case JumpCode::jsle: return variant(Operation::jsle_64k, plus);
    case JumpCode::exit: return Operation::exit;
    case JumpCode::call: break;
  }
  return Operation::call_local;
}

Operation atomic_operation(const Instruction& in) {
  const u8 narrow = in.size() == Size::word ? 1 : 0;
  switch (in.imm) {
    case kAtomicExchange: return variant(Operation::exchange_64, narrow);
    case kAtomicCompareExchange: return variant(Operation::compare_exchange_64, narrow);
    default: break;
  }
  const u8 plus = static_cast<u8>(narrow + ((in.imm & kAtomicFetch) != 0 ? 2 : 0));
  switch (in.imm & ~kAtomicFetch) {
    case kAtomicAdd: return variant(Operation::atomic_add_64, plus);
    case kAtomicOr: return variant(Operation::atomic_bit_or_64, plus);
    case kAtomicAnd: return variant(Operation::atomic_bit_and_64, plus);
    default: return variant(Operation::atomic_bit_xor_64, plus);
  }
}

Operation memory_operation(const Instruction& in) {
  const u8 power = static_cast<u8>(std::countr_zero(bytes_of(in.size())));
  switch (in.instruction_class()) {
    case Class::ldx:
      return variant(in.mode() == Mode::memsx ? Operation::load8s : Operation::load8, power);
    case Class::st: return variant(Operation::store8_k, static_cast<u8>(2 * power));
    default: break;
  }
  if (in.mode() == Mode::atomic) return atomic_operation(in);
  return variant(Operation::store8_x, static_cast<u8>(2 * power));
}

std::unexpected<Error> unbound(size_t slot, const std::string& why) {
  return fail(Errc::invalid, "cannot bind the program", fmt::format("slot {}: {}", slot, why));
}

Result<u64> wide_value(const Program& program, size_t slot, const Binding& binding) {
  const Instruction& in = program.slots()[slot];
  const auto kind = static_cast<Immediate>(in.src);
  if (kind == Immediate::number) return program.imm64(slot);
  if (kind == Immediate::code) return kCodeAddress + program.target_of(slot);
  if (kind == Immediate::variable)
    return unbound(slot, fmt::format("the host has no variable {}", in.imm));
  if (in.imm < 0 || static_cast<size_t>(in.imm) >= binding.maps.size())
    return unbound(slot, fmt::format("there is no map {}: the program was given {}", in.imm,
                                     binding.maps.size()));
  Map* map = binding.maps[static_cast<size_t>(in.imm)];
  if (kind == Immediate::map || kind == Immediate::map_by_index) return reinterpret_cast<u64>(map);
  if (map->direct_values() == nullptr)
    return unbound(slot, fmt::format("values of map {} have no fixed addresses: only those of an "
                                     "array do",
                                     in.imm));
  const u64 offset = static_cast<u32>(program.slots()[slot + 1].imm);
  const u64 bytes = u64{stride_of(map->spec().value_size)} * map->spec().max_entries;
  if (offset >= bytes)
    return unbound(
        slot, fmt::format("offset {} lies behind the {} bytes of map {}", offset, bytes, in.imm));
  return reinterpret_cast<u64>(map->direct_values()) + offset;
}

Result<Step> step_of(const Program& program, size_t slot, const Binding& binding) {
  const Instruction& in = program.slots()[slot];
  Step step{.dst = in.dst,
            .src = in.src,
            .offset = in.offset,
            .imm = static_cast<u64>(static_cast<i64>(in.imm))};
  if (in.is_alu()) {
    step.operation = alu_operation(in);
    return step;
  }
  if (in.is_wide()) {
    step.operation = Operation::load_imm64;
    TRY(step.imm, wide_value(program, slot, binding));
    return step;
  }
  if (!in.is_jump()) {
    step.operation = memory_operation(in);
    return step;
  }
  step.operation = jump_operation(in);
  if (in.opcode == kOpcodeLongJump) step.offset = in.imm;
  if (in.opcode != kOpcodeCall) return step;
  if (in.src == static_cast<u8>(Callee::local)) {
    step.offset = in.imm;
    return step;
  }
  if (in.src == static_cast<u8>(Callee::btf))
    return unbound(slot, fmt::format("the host has no function of BTF id {}", in.imm));
  if (in.imm == kTailCall) {
    step.operation = Operation::tail_call;
    return step;
  }
  if (in.imm == kUnsatisfied) {
    step.operation = Operation::unsatisfied;
    return step;
  }
  const Helper* helper = binding.helpers.find(in.imm);
  if (helper == nullptr) return unbound(slot, fmt::format("the host has no helper {}", in.imm));
  step.operation = Operation::call_helper;
  step.imm = reinterpret_cast<u64>(helper);
  return step;
}

}  // namespace

Result<Code> Code::bind(const Program& program, const Binding& binding) {
  Code code;
  code.maps_.assign(binding.maps.begin(), binding.maps.end());
  code.subprograms_.assign(program.subprograms().begin(), program.subprograms().end());
  code.entry_ = program.entry();
  const auto slots = program.slots();
  code.steps_.resize(slots.size());
  for (size_t i = 0; i < slots.size(); i += slots[i].is_wide() ? 2 : 1) {
    TRY(code.steps_[i], step_of(program, i, binding));
  }
  return code;
}

bool Code::is_subprogram(u64 code_address) const {
  return std::ranges::binary_search(subprograms_, code_address - kCodeAddress);
}

}  // namespace coppice::bpf
