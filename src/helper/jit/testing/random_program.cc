#include "helper/jit/testing/random_program.h"

#include <algorithm>

#include "bpf/testing/cases.h"

namespace coppice::jit {
namespace {

using namespace bpf;

constexpr size_t kStepsMax = 200;  // Of the random part, the subprogram's included.
constexpr u8 kArena = 9;           // r9: the arena. r8: an address or an index. r7: a counter.
constexpr u8 kValues = 7;          // r0 to r6 are random numbers.
constexpr i32 kFrame = 512;

class Writer {
 public:
  explicit Writer(std::span<const u8> bytes) : bytes_(bytes) {}

  std::vector<Instruction> write() {
    begin();
    while (!bytes_.empty() && steps_ < kStepsMax) step(true);
    finish_jumps();
    for (u8 each = 0; each < kValues; ++each)
      put({.opcode = 0x7b, .dst = kArena, .src = each, .offset = static_cast<bpf::i16>(8 * each)});
    put({.opcode = kOpcodeExit});
    if (calls_.empty()) return std::move(slots_);
    const size_t callee = slots_.size();
    for (const size_t call : calls_) slots_[call].imm = static_cast<i32>(callee - call - 1);
    // It gets the arena in r1, and begins with its registers from there.
    begin();
    for (u64 i = 0, steps = below(16); i < steps; ++i) step(false);
    finish_jumps();
    put({.opcode = kOpcodeExit});
    return std::move(slots_);
  }

 private:
  u8 next() {
    if (bytes_.empty()) return 0;
    const u8 first = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return first;
  }
  u64 below(u64 n) { return next() % n; }
  u8 value() { return static_cast<u8>(below(kValues)); }
  i32 immediate() {
    if (below(2) == 0) return kImmediates[below(std::size(kImmediates))];
    return static_cast<i32>(u32{next()} << 24 | u32{next()} << 8 | next());
  }
  void put(Instruction in) {
    slots_.push_back(in);
    ++steps_;
  }

  void begin() {
    put({.opcode = 0xbf, .dst = kArena, .src = 1});
    for (u8 each = 0; each < kValues; ++each)
      put({.opcode = 0x79, .dst = each, .src = kArena, .offset = static_cast<bpf::i16>(8 * each)});
    // The frame is zeroed: what it held before differs from engine to engine.
    put({.opcode = 0xb7, .dst = 7, .imm = kFrame / 8});
    put({.opcode = 0xbf, .dst = 8, .src = kFramePointer});
    put({.opcode = 0x07, .dst = 8, .imm = -8});
    put({.opcode = 0x7a, .dst = 8});
    put({.opcode = 0x07, .dst = 7, .imm = -1});
    put({.opcode = 0x55, .dst = 7, .offset = -4});
  }

  void step(bool may_call) {
    switch (below(10)) {
      case 0: return jump();
      case 1: return access(kArena, below(kArenaBytes / 8) * 8);
      case 2: return access(kFramePointer, below(kFrame / 8) * 8 - kFrame);
      case 3: return access_by_index();
      case 4: return loop();
      case 5:
        if (may_call) return call();
        return arithmetic();
      default: return arithmetic();
    }
  }

  void arithmetic() {
    static const std::vector<Instruction> kAll = arithmetic_cases();
    Instruction in = kAll[(u64{next()} << 8 | next()) % kAll.size()];
    in.dst = value();
    if (takes_register(in)) in.src = value();
    if (takes_immediate(in)) in.imm = immediate();
    put(in);
  }

  // Some access within the 8 aligned bytes there.
  void access(u8 base, u64 at) {
    constexpr u8 kSizes[] = {0x10, 0x08, 0x00, 0x18};  // 1, 2, 4, 8 bytes.
    const u64 power = below(4);
    const auto offset = static_cast<bpf::i16>(at + (below(u64{8} >> power) << power));
    const u8 size = kSizes[power];
    switch (below(6)) {
      case 0:
        return put({.opcode = static_cast<u8>(0x62 | size),
                    .dst = base,
                    .offset = offset,
                    .imm = immediate()});
      case 1:
      case 2:
        return put({.opcode = static_cast<u8>(0x63 | size),
                    .dst = base,
                    .src = value(),
                    .offset = offset});
      case 3:
        if (power == 3) break;
        return put({.opcode = static_cast<u8>(0x81 | size),
                    .dst = value(),
                    .src = base,
                    .offset = offset});
      case 4: {
        const u8 wide = below(2) == 0 ? 0xdb : 0xc3;
        return put({.opcode = wide,
                    .dst = base,
                    .src = value(),
                    .offset = static_cast<bpf::i16>(at),
                    .imm = kAtomicOperations[below(std::size(kAtomicOperations))]});
      }
      default: break;
    }
    put({.opcode = static_cast<u8>(0x61 | size), .dst = value(), .src = base, .offset = offset});
  }

  // r8 = the arena or the frame, plus a number that the program computed.
  void access_by_index() {
    const bool frame = below(2) == 0;
    put({.opcode = 0xbf, .dst = 8, .src = value()});
    put({.opcode = 0x57, .dst = 8, .imm = 0x78});
    put({.opcode = 0x0f, .dst = 8, .src = frame ? kFramePointer : kArena});
    access(8, frame ? below(4) * 8 - 256 : below(4) * 8);
  }

  void jump() {
    static const std::vector<Instruction> kAll = jump_cases();
    Instruction in = kAll[below(kAll.size())];
    in.dst = value();
    if (in.from_register()) in.src = value();
    if (!in.from_register()) in.imm = immediate();
    open_.push_back({slots_.size(), steps_ + 1 + below(12)});
    put(in);
    finish_jumps_until(steps_);
  }

  // Bodies are arithmetic and accesses, so that no jump leads into or out of one.
  void loop() {
    finish_jumps();
    put({.opcode = 0xb7, .dst = 7, .imm = static_cast<i32>(1 + below(20))});
    const size_t head = slots_.size();
    for (u64 i = 0, count = 1 + below(4); i < count; ++i) {
      if (below(3) == 0) {
        access_by_index();
      } else {
        arithmetic();
      }
    }
    put({.opcode = 0x07, .dst = 7, .imm = -1});
    put({.opcode = 0x55, .dst = 7, .offset = static_cast<bpf::i16>(head - slots_.size() - 1)});
  }

  void call() {
    put({.opcode = 0xbf, .dst = 1, .src = kArena});
    calls_.push_back(slots_.size());
    put({.opcode = kOpcodeCall, .src = static_cast<u8>(Callee::local)});
    // What a callee leaves in r1 to r5 is nobody's; all engines agree on numbers only.
    for (u8 each = 1; each <= 5; ++each)
      put({.opcode = 0xb7, .dst = each, .imm = static_cast<i32>(each)});
  }

  struct Open {
    size_t slot;
    size_t until;  // It may lead here when so many steps are written.
  };
  void finish_jumps_until(size_t steps) {
    std::erase_if(open_, [&](const Open& each) {
      if (each.until > steps) return false;
      slots_[each.slot].offset = static_cast<bpf::i16>(slots_.size() - each.slot - 1);
      return true;
    });
  }
  void finish_jumps() { finish_jumps_until(~size_t{0}); }

  std::span<const u8> bytes_;
  std::vector<Instruction> slots_;
  std::vector<Open> open_;
  std::vector<size_t> calls_;
  size_t steps_ = 0;
};

}  // namespace

std::vector<Instruction> random_program(std::span<const u8> bytes) { return Writer(bytes).write(); }

}  // namespace coppice::jit
