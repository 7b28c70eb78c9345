// base/endian.h — integers in bytes of a stated order, and cursors that decode and encode them.
#pragma once

#include <bit>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/check.h"
#include "base/types.h"

namespace coppice {

static_assert(std::endian::native == std::endian::little);

// Integers, and enumerations of a fixed underlying type.
template <class T>
concept Scalar = std::is_integral_v<T> || std::is_enum_v<T>;

namespace endian_detail {
template <Scalar T>
constexpr T swapped(T value) {
  if constexpr (sizeof(T) == 1)
    return value;
  else if constexpr (sizeof(T) == 2)
    return static_cast<T>(__builtin_bswap16(static_cast<u16>(value)));
  else if constexpr (sizeof(T) == 4)
    return static_cast<T>(__builtin_bswap32(static_cast<u32>(value)));
  else
    return static_cast<T>(__builtin_bswap64(static_cast<u64>(value)));
}
}  // namespace endian_detail

template <Scalar T>
T load_le(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <Scalar T>
void store_le(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}
template <Scalar T>
T load_be(const std::byte* from) {
  return endian_detail::swapped(load_le<T>(from));
}
template <Scalar T>
void store_be(std::byte* to, T value) {
  store_le(to, endian_detail::swapped(value));
}

// Decodes bytes of a disk or a peer. Reading past the end yields zeroes and makes the reader bad
// for good, so a decoder reads all its fields and asks good() once, before it trusts any of them.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : rest_(bytes) {}
  template <Scalar T>
  T get() {
    const std::byte* from = take(sizeof(T));
    return from != nullptr ? load_le<T>(from) : T{};
  }
  template <Scalar T>
  T get_be() {
    const std::byte* from = take(sizeof(T));
    return from != nullptr ? load_be<T>(from) : T{};
  }
  // `count` bytes, or none at all.
  std::span<const std::byte> bytes(size_t count) {
    const std::byte* from = take(count);
    return from != nullptr ? std::span(from, count) : std::span<const std::byte>{};
  }
  void skip(size_t count) { take(count); }
  size_t remaining() const { return rest_.size(); }
  bool good() const { return good_; }
  bool done() const { return good_ && rest_.empty(); }  // Everything was read, and nothing more.

 private:
  const std::byte* take(size_t count) {
    // So that taking 0 of an empty span is not a failure; as wide as a scalar for g++-12's peace.
    static constexpr std::byte kNothing[8] = {};
    if (!good_ || count > rest_.size()) {
      good_ = false;
      rest_ = {};
      return nullptr;
    }
    const std::byte* from = rest_.data() != nullptr ? rest_.data() : kNothing;
    rest_ = rest_.subspan(count);
    return from;
  }
  std::span<const std::byte> rest_;
  bool good_ = true;
};

// Encodes into a buffer that its caller made large enough: running out of it is the caller's
// mistake.
class Writer {
 public:
  explicit Writer(std::span<std::byte> into) : into_(into) {}
  template <Scalar T>
  void put(T value) {
    store_le(take(sizeof(T)), value);
  }
  template <Scalar T>
  void put_be(T value) {
    store_be(take(sizeof(T)), value);
  }
  void bytes(std::span<const std::byte> from) {
    std::byte* to = take(from.size());
    if (!from.empty()) std::memcpy(to, from.data(), from.size());
  }
  void zero(size_t count) {
    std::byte* to = take(count);
    if (count > 0) std::memset(to, 0, count);
  }
  size_t position() const { return position_; }
  size_t remaining() const { return into_.size() - position_; }
  std::span<const std::byte> written() const { return into_.first(position_); }

 private:
  std::byte* take(size_t count) {
    CHECK(count <= remaining());
    std::byte* to = into_.data() + position_;
    position_ += count;
    return to;
  }
  std::span<std::byte> into_;
  size_t position_ = 0;
};

}  // namespace coppice
