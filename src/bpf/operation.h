// bpf/operation.h — what the interpreter executes: one operation for each meaning an instruction
// has.
//
// The lists are written once, as X-macros, because the enumeration, the translation and the
// interpreter must agree on every one of them.
#pragma once

#include <type_traits>

#include "base/types.h"

namespace coppice::bpf {

// name, expression over `a` and `b` of an unsigned type T; S is its signed twin.
#define COPPICE_BPF_ALU(X)                                                                         \
  X(add, static_cast<T>(a + b))                                                                    \
  X(sub, static_cast<T>(a - b))                                                                    \
  X(mul, static_cast<T>(a * b))                                                                    \
  X(div, b == 0 ? T{0} : static_cast<T>(a / b))                                                    \
  X(bit_or, static_cast<T>(a | b))                                                                 \
  X(bit_and, static_cast<T>(a & b))                                                                \
  X(lsh, static_cast<T>(a << (b & (sizeof(T) * 8 - 1))))                                           \
  X(rsh, static_cast<T>(a >> (b & (sizeof(T) * 8 - 1))))                                           \
  X(mod, b == 0 ? a : static_cast<T>(a % b))                                                       \
  X(bit_xor, static_cast<T>(a ^ b))                                                                \
  X(mov, b)                                                                                        \
  X(arsh, static_cast<T>(static_cast<S>(a) >> (b & (sizeof(T) * 8 - 1))))                          \
  X(sdiv, b == 0       ? T{0}                                                                      \
          : b == T(-1) ? static_cast<T>(T{0} - a)                                                  \
                       : static_cast<T>(static_cast<S>(a) / static_cast<S>(b)))                    \
  X(smod, b == 0 ? a : b == T(-1) ? T{0} : static_cast<T>(static_cast<S>(a) % static_cast<S>(b)))

// name, condition.
#define COPPICE_BPF_JUMPS(X)                                                                       \
  X(jeq, a == b)                                                                                   \
  X(jgt, a > b)                                                                                    \
  X(jge, a >= b)                                                                                   \
  X(jset, (a & b) != 0)                                                                            \
  X(jne, a != b)                                                                                   \
  X(jsgt, static_cast<S>(a) > static_cast<S>(b))                                                   \
  X(jsge, static_cast<S>(a) >= static_cast<S>(b))                                                  \
  X(jlt, a < b)                                                                                    \
  X(jle, a <= b)                                                                                   \
  X(jslt, static_cast<S>(a) < static_cast<S>(b))                                                   \
  X(jsle, static_cast<S>(a) <= static_cast<S>(b))

// name, the type loaded, the type it is extended through.
#define COPPICE_BPF_LOADS(X)                                                                       \
  X(load8, u8, u64)                                                                                \
  X(load16, u16, u64)                                                                              \
  X(load32, u32, u64)                                                                              \
  X(load64, u64, u64) X(load8s, std::int8_t, i64) X(load16s, i16, i64) X(load32s, i32, i64)
#define COPPICE_BPF_STORES(X) X(store8, u8) X(store16, u16) X(store32, u32) X(store64, u64)

// name, builtin.
#define COPPICE_BPF_ATOMICS(X)                                                                     \
  X(add, __atomic_fetch_add)                                                                       \
  X(bit_or, __atomic_fetch_or) X(bit_and, __atomic_fetch_and) X(bit_xor, __atomic_fetch_xor)

enum class Operation : u8 {
#define X(name, ...) name##_64k, name##_64x, name##_32k, name##_32x,
  COPPICE_BPF_ALU(X) COPPICE_BPF_JUMPS(X)
#undef X
#define X(name, ...) name,
      COPPICE_BPF_LOADS(X)
#undef X
#define X(name, ...) name##_k, name##_x,
          COPPICE_BPF_STORES(X)
#undef X
#define X(name, ...) atomic_##name##_64, atomic_##name##_32, fetch_##name##_64, fetch_##name##_32,
              COPPICE_BPF_ATOMICS(X)
#undef X
                  exchange_64,
  exchange_32,
  compare_exchange_64,
  compare_exchange_32,
  neg_64,
  neg_32,
  movsx8_64,
  movsx16_64,
  movsx32_64,
  movsx8_32,
  movsx16_32,
  low16,
  low32,
  low64,
  swap16,
  swap32,
  swap64,
  load_imm64,
  jump,
  call_helper,
  call_local,
  tail_call,
  unsatisfied,  // Needs what the host has not; a verified program cannot come here.
  exit,
};

// One slot, ready to run. Slots keep their numbers.
struct Step {
  Operation operation = Operation::exit;
  u8 dst = 0;
  u8 src = 0;
  i32 offset = 0;  // Of memory; of a jump or call from the slot behind it.
  u64 imm = 0;     // Extended to 64 bits; of a call to a helper the Helper's address.
};
static_assert(sizeof(Step) == 16);

}  // namespace coppice::bpf
