// base/types.h — the fixed-width integers that disk and wire are made of.
#pragma once

#include <cstddef>
#include <cstdint>

namespace coppice {
using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

inline constexpr u64 operator""_KiB(unsigned long long n) { return n << 10; }
inline constexpr u64 operator""_MiB(unsigned long long n) { return n << 20; }
inline constexpr u64 operator""_GiB(unsigned long long n) { return n << 30; }

constexpr u64 round_down(u64 value, u64 unit) { return value / unit * unit; }
constexpr u64 divide_up(u64 value, u64 unit) { return value / unit + (value % unit != 0); }
constexpr u64 round_up(u64 value, u64 unit) { return divide_up(value, unit) * unit; }
}  // namespace coppice
