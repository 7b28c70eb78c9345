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
// Of one message, those inside lists and records included: a value of one byte takes tens of bytes
// of memory once decoded. Who makes a message of somebody else's values counts first.
inline constexpr size_t kValuesMax = 1'000'000;

// The byte that an encoded value begins with.
enum class Tag : u8 {
  nil = 0,
  no = 1,
  yes = 2,
  integer = 3,  // i64.
  real = 4,     // The bits of a double.
  text = 5,     // u32 length, bytes.
  list = 6,     // u32 count, values.
  record = 7,   // u32 count; of each its name (as a text without the tag) and value.
};

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
  // Values without making them: a head is followed by `count` values, of a record by names (put)
  // and values in turn.
  void put_list_head(size_t count);
  void put_record_head(size_t count);
  void put_text_value(std::string_view text);
  void put_text_value(std::string_view first, char between, std::string_view last);
  void put_integer_value(i64 value);
  // For a count that is known later: `at` is bytes().size() before the 4 bytes were put.
  void patch(size_t at, u32 value) { store_le(bytes_.data() + at, value); }
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
  bool get_bool();  // 0 or 1; anything else is bad.
  std::string get_text();
  Value get_value();
  bool good() const { return good_ && reader_.good(); }
  bool done() const { return good_ && reader_.done(); }
  // For counts of things that take at least `each_bytes` each: 0 and bad if there is no room.
  size_t get_count(size_t each_bytes = 1);

 private:
  Value value_at(size_t depth);
  Reader reader_;
  size_t values_ = 0;  // Decoded so far, or promised by a count.
  bool good_ = true;
};

}  // namespace coppice::message
