// message/value.h — what crosses between the daemon and its helpers: values, and bytes for them.
//
// Theory. A value is what Lua and JSON have in common. Encoded it is a tag byte and what the tag
// says, little endian, lengths and counts as u32 before what they count. A decoder trusts nothing:
// not the depth, not a count (each element takes a byte at least, so a count beyond the bytes that
// are left is refused before anything is allocated for it).
#pragma once

#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/endian.h"
#include "base/result.h"

namespace coppice::message {

struct Value;
using List = std::vector<Value>;
using Record = std::vector<std::pair<std::string, Value>>;  // In order of insertion.

struct Value {
  std::variant<std::monostate, bool, i64, double, std::string, List, Record> data;

  Value() = default;
  Value(bool value) : data(value) {}                      // NOLINT(google-explicit-constructor)
  Value(i64 value) : data(value) {}                       // NOLINT(google-explicit-constructor)
  Value(double value) : data(value) {}                    // NOLINT(google-explicit-constructor)
  Value(std::string value) : data(std::move(value)) {}    // NOLINT(google-explicit-constructor)
  Value(const char* value) : data(std::string(value)) {}  // NOLINT(google-explicit-constructor)
  Value(List value) : data(std::move(value)) {}           // NOLINT(google-explicit-constructor)
  Value(Record value) : data(std::move(value)) {}         // NOLINT(google-explicit-constructor)

  bool is_nil() const { return data.index() == 0; }
  friend bool operator==(const Value&, const Value&) = default;
};

inline constexpr size_t kDepthMax = 24;  // Of lists and records in one another.

// Bytes for a message, appended one after the other.
class Encoder {
 public:
  template <Scalar T>
  void put(T value) {
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    store_le(bytes_.data() + at, value);
  }
  void put(std::string_view text);  // u32 length and the bytes.
  void put(const Value& value);     // CHECKs kDepthMax.
  std::vector<std::byte> take() { return std::move(bytes_); }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  void put_value(const Value& value, size_t depth);
  std::vector<std::byte> bytes_;
};

// The same back. After anything that is wrong it yields empty values and good() is false for good.
class Decoder {
 public:
  explicit Decoder(std::span<const std::byte> bytes) : reader_(bytes) {}
  template <Scalar T>
  T get() {
    return reader_.get<T>();
  }
  bool get_bool() { return reader_.get<u8>() != 0; }
  std::string get_text();
  Value get_value();
  bool good() const { return good_ && reader_.good(); }
  bool done() const { return good_ && reader_.done(); }
  // For counts of things that take at least `each_bytes` each: 0 and bad if there is no room.
  size_t get_count(size_t each_bytes = 1);

 private:
  Value value_at(size_t depth);
  Reader reader_;
  bool good_ = true;
};

}  // namespace coppice::message
