// Values that global variables of an object get before it is verified.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/check.h"
#include "bpf/object/object.h"

namespace coppice::bpf {
namespace {

constexpr size_t kNamesShown = 20;
constexpr size_t kTextShown = 80;

// A refusal's reason; empty: the bytes were written.
using Why = std::string;

struct Number {
  bool negative = false;
  u64 magnitude = 0;
};

std::optional<Number> parse_number(std::string_view text) {
  Number number;
  number.negative = text.starts_with('-');
  if (number.negative) text.remove_prefix(1);
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  if (hex) text.remove_prefix(2);
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number.magnitude, hex ? 16 : 10);
  if (error != std::errc()) return std::nullopt;
  if (rest == end) return number;
  const size_t unit = std::string_view("KMGT").find(*rest);
  if (unit == std::string_view::npos || rest + 1 != end) return std::nullopt;
  const u32 shift = static_cast<u32>(unit + 1) * 10;
  if (number.magnitude > ~u64{0} >> shift) return std::nullopt;
  number.magnitude <<= shift;
  return number;
}

// Whether so many bytes hold it.
bool fits(Number number, u32 size, bool is_signed) {
  const u32 bits = size * 8;
  if (!is_signed) {
    if (number.negative && number.magnitude != 0) return false;
    return bits == 64 || number.magnitude >> bits == 0;
  }
  const u64 limit = u64{1} << (bits - 1);
  return number.negative ? number.magnitude <= limit : number.magnitude < limit;
}

void store(Number number, std::span<std::byte> into) {
  const u64 value = number.negative ? ~number.magnitude + 1 : number.magnitude;
  for (size_t i = 0; i < into.size(); ++i) into[i] = static_cast<std::byte>(value >> (8 * i));
}

Why put_flag(std::string_view text, std::span<std::byte> into) {
  const bool yes = text == "true" || text == "1" || text == "on" || text == "yes";
  const bool no = text == "false" || text == "0" || text == "off" || text == "no";
  if (!yes && !no) return "it is true or false";
  store({.magnitude = yes ? 1u : 0u}, into);
  return {};
}

Why put_number(const Btf::Type& type, std::string_view text, std::span<std::byte> into) {
  if (type.size == 0 || type.size > 8 || type.size != into.size()) {
    return "numbers of this size cannot be set";
  }
  if (type.is_bool) return put_flag(text, into);
  auto number = parse_number(text);
  for (const Btf::Enumerator& each : type.enumerators) {
    if (each.name != text) continue;
    const bool negative = type.is_signed && static_cast<i64>(each.value) < 0;
    number = Number{.negative = negative, .magnitude = negative ? ~each.value + 1 : each.value};
  }
  if (!number) return "that is no number: use 1000, 0x3e8, -5, 64K, 1M";
  if (!fits(*number, type.size, type.is_signed)) {
    return fmt::format("that does not fit: it has {} {}signed bytes", type.size,
                       type.is_signed ? "" : "un");
  }
  store(*number, into);
  return {};
}

// What is not given is zero.
Why put_array(const Btf& btf, const Btf::Type& type, std::string_view text,
              std::span<std::byte> into) {
  const Btf::Type& element = btf.plain(type.type);
  std::vector<std::byte> bytes(into.size());
  if (element.kind == Btf::Kind::integer && element.name == "char") {
    if (text.size() >= bytes.size()) {
      return fmt::format("the text has {} bytes; {} and a zero fit", text.size(),
                         bytes.size() - std::min<size_t>(bytes.size(), 1));
    }
    std::memcpy(bytes.data(), text.data(), text.size());
  } else if (element.kind == Btf::Kind::integer || element.is_enumeration()) {
    if (element.size == 0 || bytes.size() != u64{element.size} * type.count) {
      return "arrays of this size cannot be set";
    }
    for (u64 at = 0; !text.empty(); ++at) {
      if (at == type.count) return fmt::format("there are more than its {} numbers", type.count);
      const size_t comma = std::min(text.find(','), text.size());
      const std::span<std::byte> place(bytes.data() + at * element.size, element.size);
      if (Why why = put_number(element, text.substr(0, comma), place); !why.empty()) {
        return fmt::format("number {}: {}", at + 1, why);
      }
      text.remove_prefix(std::min(comma + 1, text.size()));
    }
  } else {
    return "only arrays of numbers and texts can be set";
  }
  std::ranges::copy(bytes, into.begin());
  return {};
}

Why put_value(const Btf& btf, u32 type_id, std::string_view text, std::span<std::byte> into) {
  const Btf::Type& type = btf.plain(type_id);
  if (type.kind == Btf::Kind::integer || type.is_enumeration()) return put_number(type, text, into);
  if (type.kind == Btf::Kind::array) return put_array(btf, type, text, into);
  return "only numbers, arrays of numbers, and texts can be set";
}

// Calls visit(map, variable, place) for each global variable, until it returns false.
template <class Maps, class Visit>
void each_variable(const Btf& btf, Maps& maps, Visit visit) {
  for (auto& map : maps) {
    if (!map.is_data || map.value_type == 0) continue;
    for (const Btf::Placed& place : btf.type(map.value_type).placed) {
      const Btf::Type& variable = btf.type(place.variable);
      if (variable.kind == Btf::Kind::variable && !visit(map, variable, place)) return;
    }
  }
}

std::string variables_of(const Btf* btf, std::span<const ObjectMap> maps) {
  std::string list;
  size_t count = 0;
  if (btf == nullptr) return "it was compiled without -g, so nobody knows its variables";
  each_variable(*btf, maps, [&](const ObjectMap&, const Btf::Type& variable, const auto&) {
    if (count++ < kNamesShown) {
      list += (list.empty() ? "" : ", ") + std::string(variable.name) + " (" +
              btf->describe(variable.type) + ")";
    }
    return true;
  });
  if (count == 0) return "it has no global variables";
  if (count > kNamesShown) list += fmt::format(" and {} more", count - kNamesShown);
  return "it has: " + list;
}

}  // namespace

Result<> Object::set(std::string_view variable, std::string_view text) {
  const auto refuse = [&](Errc code, std::string_view why) {
    return fail(code, "cannot set a global variable of the object",
                fmt::format("'{}' to '{}': {}", variable.substr(0, kTextShown),
                            text.substr(0, kTextShown), why));
  };
  ObjectMap* found_in = nullptr;
  Btf::Placed found;
  u32 type = 0;
  bool twice = false;
  if (btf_) {
    each_variable(*btf_, maps_, [&](ObjectMap& map, const Btf::Type& each, Btf::Placed place) {
      if (each.name != variable) return true;
      twice = found_in != nullptr;
      found_in = &map;
      found = place;
      type = each.type;
      return !twice;
    });
  }
  if (found_in == nullptr) {
    return refuse(Errc::not_found, "there is none of that name; " + variables_of(btf(), maps_));
  }
  if (twice) return refuse(Errc::invalid, "there are two of that name: rename one");
  const auto bytes = std::span(found_in->contents);
  if (found.offset > bytes.size() || found.size > bytes.size() - found.offset) {
    return refuse(Errc::invalid, "its place is not in its section: the object is damaged");
  }
  const Why why = put_value(*btf_, type, text, bytes.subspan(found.offset, found.size));
  if (why.empty()) return {};
  return refuse(Errc::invalid, fmt::format("it is '{}': {}", btf_->describe(type), why));
}

}  // namespace coppice::bpf
