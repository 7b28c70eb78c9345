#include "cli/typed_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "cli/hex_bytes.h"
#include "cli/size.h"

namespace coppice::cli {
namespace {

using bpf::Btf;
using Kind = Btf::Kind;
using Bytes = std::span<const std::byte>;

constexpr size_t kRunShown = 4;  // So many equal zeroes or more are shown as a run.

std::string digits_of(Bytes bytes) {
  std::string digits;
  for (const std::byte each : bytes) digits += fmt::format("{:02x}", static_cast<unsigned>(each));
  return digits;
}

u64 load(Bytes bytes) {
  u64 number = 0;
  std::memcpy(&number, bytes.data(), std::min<size_t>(bytes.size(), 8));
  return number;
}

Json number_of(u64 raw, u32 bits, bool is_signed) {
  if (bits < 64) raw &= (u64{1} << bits) - 1;
  if (!is_signed) return raw;
  const u32 unused = 64 - bits;
  return static_cast<i64>(raw << unused) >> unused;
}

bool is_byte(const Btf::Type& type) { return type.kind == Kind::integer && type.size == 1; }
bool is_char(const Btf::Type& type) { return is_byte(type) && type.name == "char"; }

std::string text_of(Bytes bytes) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  return {text, ::strnlen(text, bytes.size())};
}

// --- Reading

class Reader {
 public:
  explicit Reader(const Btf& types) : types_(types) {}

  Json read(u32 id, Bytes bytes) const {
    const Btf::Type& type = types_.plain(id);
    switch (type.kind) {
      case Kind::integer:
        if (type.size > 8) return digits_of(bytes);
        if (type.is_bool) return load(bytes) != 0;
        return number_of(load(bytes), type.bits, type.is_signed);
      case Kind::enumeration:
      case Kind::enumeration64: return enumerator(type, load(bytes));
      case Kind::pointer: return fmt::format("{:#x}", load(bytes));
      case Kind::floating: return real(bytes);
      case Kind::array: return array(type, bytes);
      case Kind::structure:
      case Kind::union_: {
        Json fields = Json::object();
        members(type, bytes, fields);
        return fields;
      }
      case Kind::section: return variables(type, bytes);
      default: return digits_of(bytes);
    }
  }

 private:
  static Json enumerator(const Btf::Type& type, u64 raw) {
    const Json number = number_of(raw, type.size * 8, type.is_signed);
    for (const Btf::Enumerator& each : type.enumerators)
      if (number_of(each.value, type.size * 8, type.is_signed) == number)
        return std::string(each.name);
    return number;
  }

  static Json real(Bytes bytes) {
    if (bytes.size() == sizeof(float)) {
      float value;
      std::memcpy(&value, bytes.data(), sizeof value);
      return value;
    }
    if (bytes.size() != sizeof(double)) return digits_of(bytes);
    double value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

  // One without a length, at the end of a record, reaches as far as the record does.
  Json array(const Btf::Type& type, Bytes bytes) const {
    const Btf::Type& element = types_.plain(type.type);
    const size_t size = types_.size_of(type.type).value_or(0);
    if (is_char(element)) return text_of(bytes);
    if (is_byte(element) || size == 0) return digits_of(bytes);
    Json list = Json::array();
    for (size_t at = 0; at + size <= bytes.size(); at += size)
      list.push_back(read(type.type, bytes.subspan(at, size)));
    return list;
  }

  void members(const Btf::Type& type, Bytes bytes, Json& into) const {
    for (const Btf::Member& each : type.members) {
      const size_t at = each.bit_offset / 8;
      if (at > bytes.size()) continue;
      const Btf::Type& plain = types_.plain(each.type);
      const bool open = plain.kind == Kind::array && plain.count == 0;
      const size_t size = open ? bytes.size() - at : types_.size_of(each.type).value_or(0);
      if (each.bitfield_size != 0) {
        into[std::string(each.name)] = number_of(load(bytes.subspan(at)) >> (each.bit_offset % 8),
                                                 each.bitfield_size, plain.is_signed);
      } else if (size > bytes.size() - at) {
        continue;
      } else if (each.name.empty() && plain.is_composite()) {
        members(plain, bytes.subspan(at, size), into);
      } else {
        into[std::string(each.name)] = read(each.type, bytes.subspan(at, size));
      }
    }
  }

  Json variables(const Btf::Type& type, Bytes bytes) const {
    Json fields = Json::object();
    for (const Btf::Placed& each : type.placed) {
      if (each.offset > bytes.size() || each.size > bytes.size() - each.offset) continue;
      const Btf::Type& variable = types_.type(each.variable);
      fields[std::string(variable.name)] =
          read(variable.type, bytes.subspan(each.offset, each.size));
    }
    return fields;
  }

  const Btf& types_;
};

// --- Writing

std::unexpected<Failure> wrong(const std::string& what, const Json& value) {
  return misuse(fmt::format("a value for {} is wanted, not {}", what, show_value(value)));
}

// The bits of a number, of `bits` bits, however it is written: 5, -5, true, "0x10", "64K".
Attempt<u64> bits_of(const Json& value, u32 bits, bool is_signed) {
  const std::string what =
      fmt::format("{} {}-bit number", is_signed ? "a signed" : "an unsigned", bits);
  u64 raw = 0;
  bool negative = false;
  if (value.is_boolean()) {
    raw = value.get<bool>() ? 1 : 0;
  } else if (value.is_number_unsigned()) {
    raw = value.get<u64>();
  } else if (value.is_number_integer()) {
    raw = static_cast<u64>(value.get<i64>());
    negative = value.get<i64>() < 0;
  } else if (value.is_string()) {
    const std::string& text = value.get_ref<const std::string&>();
    if (text.starts_with("0x")) {
      const auto [end, error] =
          std::from_chars(text.data() + 2, text.data() + text.size(), raw, 16);
      if (error != std::errc{} || end != text.data() + text.size()) return wrong(what, value);
    } else {
      const Result<u64> size = parse_size(text);
      if (!size) return wrong(what, value);
      raw = *size;
    }
  } else {
    return wrong(what, value);
  }
  const u64 most =
      bits == 64 && !is_signed ? ~u64{0} : (u64{1} << (bits - (is_signed ? 1 : 0))) - 1;
  const bool fits = negative ? is_signed && ~raw <= most : raw <= most;
  if (!fits) return wrong(what, value);
  return raw;
}

void store(u64 raw, std::span<std::byte> into) {
  std::memcpy(into.data(), &raw, std::min<size_t>(into.size(), 8));
}

Attempt<> put_bytes(const Json& value, std::span<std::byte> into) {
  if (!value.is_string()) return wrong(fmt::format("{} bytes in hexadecimal", into.size()), value);
  TRY(const auto bytes, bytes_of_digits(value.get_ref<const std::string&>(), "the value"));
  if (bytes.size() != into.size())
    return misuse(
        fmt::format("{} bytes in hexadecimal are wanted, not {}", into.size(), bytes.size()));
  std::ranges::copy(bytes, into.begin());
  return {};
}

class Writer {
 public:
  explicit Writer(const Btf& types) : types_(types) {}

  Attempt<> put(u32 id, const Json& value, std::span<std::byte> into) const {
    const Btf::Type& type = types_.plain(id);
    switch (type.kind) {
      case Kind::integer: {
        if (type.size > 8) return put_bytes(value, into);
        TRY(const u64 raw, bits_of(value, type.is_bool ? 1 : type.bits, type.is_signed));
        store(raw, into);
        return {};
      }
      case Kind::enumeration:
      case Kind::enumeration64: return put_enumerator(type, value, into);
      case Kind::array: return put_array(type, value, into);
      case Kind::structure:
      case Kind::union_:
      case Kind::section: {
        if (!value.is_object()) return wrong(types_.describe(id), value);
        for (const auto& [name, field] : value.items()) {
          TRY(const bool found, put_field(type, name, field, into));
          if (!found)
            return misuse(fmt::format("{} has no field '{}'; it is {}", types_.describe(id), name,
                                      show_value(Reader(types_).read(id, into))));
        }
        return {};
      }
      default: return put_bytes(value, into);
    }
  }

 private:
  static Attempt<> put_enumerator(const Btf::Type& type, const Json& value,
                                  std::span<std::byte> into) {
    for (const Btf::Enumerator& each : type.enumerators) {
      if (!value.is_string() || value.get_ref<const std::string&>() != each.name) continue;
      store(each.value, into);
      return {};
    }
    TRY(const u64 raw, bits_of(value, type.size * 8, type.is_signed));
    store(raw, into);
    return {};
  }

  Attempt<> put_array(const Btf::Type& type, const Json& value, std::span<std::byte> into) const {
    const Btf::Type& element = types_.plain(type.type);
    const size_t size = types_.size_of(type.type).value_or(0);
    if (is_char(element) && value.is_string()) {
      const std::string& text = value.get_ref<const std::string&>();
      if (text.size() > into.size())
        return misuse(fmt::format("a text of at most {} bytes is wanted", into.size()));
      std::ranges::fill(into, std::byte{0});
      std::memcpy(into.data(), text.data(), text.size());
      return {};
    }
    if (value.is_string() || size == 0) return put_bytes(value, into);
    if (!value.is_array() || value.size() > into.size() / size)
      return wrong(fmt::format("an array of {}", into.size() / size), value);
    for (size_t i = 0; i < value.size(); ++i)
      TRY_VOID(put(type.type, value[i], into.subspan(i * size, size)));
    return {};
  }

  // Whether there is such a field.
  Attempt<bool> put_field(const Btf::Type& type, const std::string& name, const Json& value,
                          std::span<std::byte> into) const {
    for (const Btf::Placed& each : type.placed) {
      const Btf::Type& variable = types_.type(each.variable);
      if (variable.name != name || each.offset > into.size() ||
          each.size > into.size() - each.offset)
        continue;
      TRY_VOID(put(variable.type, value, into.subspan(each.offset, each.size)));
      return true;
    }
    for (const Btf::Member& each : type.members) {
      const size_t at = each.bit_offset / 8, size = types_.size_of(each.type).value_or(0);
      if (at > into.size() || size > into.size() - at) continue;
      const Btf::Type& plain = types_.plain(each.type);
      if (each.name.empty() && plain.is_composite()) {
        TRY(const bool inside, put_field(plain, name, value, into.subspan(at, size)));
        if (inside) return true;
      } else if (each.name == name) {
        if (each.bitfield_size != 0)
          return misuse(fmt::format("field '{}' is of bits, which cannot be set", name));
        TRY_VOID(put(each.type, value, into.subspan(at, size)));
        return true;
      }
    }
    return false;
  }

  const Btf& types_;
};

bool is_known(const ValueType& type) {
  return type.types != nullptr && type.id != 0 && type.id < type.types->count();
}
bool is_of_size(const ValueType& type, size_t bytes) {
  const Kind kind = type.types->plain(type.id).kind;
  return kind == Kind::section || type.types->size_of(type.id).value_or(0) <= bytes;
}

bool is_zero(const Json& value) { return value.is_number() && value == 0; }

std::string show_list(const Json& list) {
  std::string text;
  for (size_t i = 0; i < list.size();) {
    size_t end = i;
    while (end < list.size() && is_zero(list[end])) ++end;
    if (!text.empty()) text += ", ";
    if (end - i >= kRunShown) {
      text += fmt::format("0 x{}", end - i);
      i = end;
    } else {
      text += show_value(list[i++]);
    }
  }
  return "[" + text + "]";
}

}  // namespace

Json value_of_bytes(const ValueType& type, std::span<const std::byte> bytes) {
  if (!is_known(type) || !is_of_size(type, bytes.size())) return digits_of(bytes);
  return Reader(*type.types).read(type.id, bytes);
}

Attempt<> put_value(const ValueType& type, const Json& value, std::span<std::byte> into) {
  if (!is_known(type) || !is_of_size(type, into.size())) return put_bytes(value, into);
  return Writer(*type.types).put(type.id, value, into);
}

Attempt<> put_text(const ValueType& type, const std::string& text, std::span<std::byte> into) {
  const bool digits = !is_known(type) || !is_of_size(type, into.size());
  const bool array = !digits && type.types->plain(type.id).kind == Kind::array;
  Json parsed = Json::parse(text, nullptr, false);
  // Digits that look like a number are digits all the same.
  const bool as_it_is = parsed.is_discarded() || digits || (array && !parsed.is_array());
  return put_value(type, as_it_is ? Json(text) : parsed, into);
}

std::string show_value(const Json& value) {
  if (value.is_array()) return show_list(value);
  if (!value.is_object()) return value.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string text;
  for (const auto& [name, field] : value.items())
    text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", name, show_value(field));
  return "{" + text + "}";
}

}  // namespace coppice::cli
