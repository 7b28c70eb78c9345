#include "verb/arguments.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/check.h"
#include "verb/refuse.h"

namespace coppice::verb {

void append_quoted(std::string& line, std::string_view text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c < 0x7f && c != '\'' && c != '"' && c != '\\' && c != ',';
  });
  if (plain) {
    line += text;
    return;
  }
  line += '\'';
  for (char c : text) line += static_cast<unsigned char>(c) < 0x20 || c == '\'' ? '?' : c;
  line += '\'';
}

namespace {

template <class T>
const T* get(const Arguments& arguments, std::string_view name) {
  const auto place = arguments.find(name);
  if (place == arguments.end()) return nullptr;
  const T* value = std::get_if<T>(&place->second);
  CHECK(value != nullptr);  // bind() saw to the kinds.
  return value;
}

std::optional<bool> parse_flag(std::string_view text) {
  for (std::string_view yes : {"true", "on", "yes", "1"}) {
    if (text == yes) return true;
  }
  for (std::string_view no : {"false", "off", "no", "0", ""}) {
    if (text == no) return false;
  }
  return std::nullopt;
}

// The value in the argument's kind, or nothing.
std::optional<Value> converted(Value value, Kind kind) {
  if (value.index() == static_cast<size_t>(kind)) return value;
  const auto* as_text = std::get_if<std::string>(&value);
  switch (kind) {
    case Kind::flag: {
      if (as_text == nullptr) return std::nullopt;
      const auto parsed = parse_flag(*as_text);
      return parsed ? std::optional<Value>(*parsed) : std::nullopt;
    }
    case Kind::number: {
      if (as_text == nullptr) return std::nullopt;
      const auto parsed = parse_size(*as_text);
      return parsed ? std::optional<Value>(*parsed) : std::nullopt;
    }
    case Kind::text:
      if (const u64* as_number = std::get_if<u64>(&value)) {
        return std::optional<Value>(std::to_string(*as_number));
      }
      return std::nullopt;
    case Kind::names:
      if (as_text == nullptr) return std::nullopt;
      return std::optional<Value>(Names{std::move(*std::get_if<std::string>(&value))});
    case Kind::pairs:
      // A language whose empty table is both list and map says it this way.
      if (const Names* empty = std::get_if<Names>(&value); empty != nullptr && empty->empty()) {
        return std::optional<Value>(Pairs{});
      }
      return std::nullopt;
  }
  return std::nullopt;
}

std::unexpected<Refusal> misuse(const Row& row, const std::string& why) {
  return std::unexpected(
      Refusal{EINVAL, std::string(row.name) + ": " + why + "; usage: " + usage(row), {}});
}

void append_value(std::string& line, const Value& value) {
  if (const bool* as_flag = std::get_if<bool>(&value)) {
    line += *as_flag ? "true" : "false";
  } else if (const u64* as_number = std::get_if<u64>(&value)) {
    line += std::to_string(*as_number);
  } else if (const auto* as_text = std::get_if<std::string>(&value)) {
    append_quoted(line, *as_text);
  } else if (const Names* as_names = std::get_if<Names>(&value)) {
    for (size_t i = 0; i < as_names->size(); ++i) {
      if (i > 0) line += ' ';
      append_quoted(line, (*as_names)[i]);
    }
  } else {
    bool first = true;
    for (const auto& [key, each] : std::get<Pairs>(value)) {
      if (!first) line += ' ';
      first = false;
      append_quoted(line, key);
      line += '=';
      append_quoted(line, each);
    }
  }
}

}  // namespace

bool flag(const Arguments& arguments, std::string_view name) {
  const bool* value = get<bool>(arguments, name);
  return value != nullptr && *value;
}
std::optional<u64> number(const Arguments& arguments, std::string_view name) {
  const u64* value = get<u64>(arguments, name);
  return value != nullptr ? std::optional(*value) : std::nullopt;
}
const std::string& text(const Arguments& arguments, std::string_view name) {
  static const std::string kNone;
  const auto* value = get<std::string>(arguments, name);
  return value != nullptr ? *value : kNone;
}
const Names& names(const Arguments& arguments, std::string_view name) {
  static const Names kNone;
  const Names* value = get<Names>(arguments, name);
  return value != nullptr ? *value : kNone;
}
const Pairs& pairs(const Arguments& arguments, std::string_view name) {
  static const Pairs kNone;
  const Pairs* value = get<Pairs>(arguments, name);
  return value != nullptr ? *value : kNone;
}

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::flag: return "flag";
    case Kind::number: return "number";
    case Kind::text: return "text";
    case Kind::names: return "list of text";
    case Kind::pairs: return "map of text";
  }
  return "unknown";
}

const char* name_of(Right right) {
  switch (right) {
    case Right::create: return "create";
    case Right::destroy: return "destroy";
    case Right::snapshot: return "snapshot";
    case Right::clone: return "clone";
    case Right::promote: return "promote";
    case Right::rollback: return "rollback";
    case Right::rename: return "rename";
    case Right::bookmark: return "bookmark";
    case Right::hold: return "hold";
    case Right::release: return "release";
    case Right::configure: return "configure";
    case Right::serve: return "serve";
  }
  return "unknown";
}

std::string usage(const Row& row) {
  std::string line(row.name);
  for (const Argument& each : row.arguments) {
    std::string shown(each.name);
    if (each.position < 0) shown.append("=").append(name_of(each.kind));
    line += each.required ? " " + shown : " [" + shown + "]";
  }
  return line;
}

Attempt<Arguments> bind(const Row& row, std::vector<Value> positional, Arguments named) {
  Arguments bound;
  for (size_t i = 0; i < positional.size(); ++i) {
    const auto place =
        std::find_if(row.arguments.begin(), row.arguments.end(),
                     [i](const Argument& each) { return each.position == static_cast<int>(i); });
    if (place == row.arguments.end()) return misuse(row, "too many arguments");
    if (!named.emplace(std::string(place->name), std::move(positional[i])).second) {
      return misuse(row, "argument '" + std::string(place->name) + "' is given twice");
    }
  }
  for (const Argument& each : row.arguments) {
    const auto place = named.find(each.name);
    if (place == named.end()) {
      if (each.required) {
        return misuse(row, "argument '" + std::string(each.name) + "' is missing");
      }
      if (each.fallback.empty()) continue;
      auto fallback = converted(Value(std::string(each.fallback)), each.kind);
      CHECK(fallback.has_value());
      bound.emplace(std::string(each.name), *std::move(fallback));
      continue;
    }
    auto value = converted(std::move(place->second), each.kind);
    if (!value) {
      return misuse(row,
                    "argument '" + std::string(each.name) + "' must be a " + name_of(each.kind));
    }
    bound.emplace(std::string(each.name), *std::move(value));
    named.erase(place);
  }
  if (!named.empty()) return misuse(row, "there is no argument '" + named.begin()->first + "'");
  return bound;
}

std::string command_text(const Row& row, const Arguments& arguments) {
  std::string line(row.name);
  for (int position = 0;; ++position) {
    const auto place =
        std::find_if(row.arguments.begin(), row.arguments.end(),
                     [position](const Argument& each) { return each.position == position; });
    if (place == row.arguments.end()) break;
    const auto value = arguments.find(place->name);
    if (value == arguments.end()) continue;
    line += ' ';
    append_value(line, value->second);
  }
  for (const Argument& each : row.arguments) {
    const auto value = arguments.find(each.name);
    if (each.position >= 0 || value == arguments.end()) continue;
    if (const bool* set = std::get_if<bool>(&value->second); set && !*set) continue;
    line.append(" ").append(each.name).append("=");
    append_value(line, value->second);
  }
  return line;
}

std::optional<u64> parse_size(std::string_view text) {
  u64 whole = 0;
  const char* end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data(), end, whole);
  if (error != std::errc() || at == text.data()) return std::nullopt;
  double fraction = 0;
  if (at != end && *at == '.') {
    double unit = 0.1;
    for (++at; at != end && *at >= '0' && *at <= '9'; ++at, unit /= 10) {
      fraction += (*at - '0') * unit;
    }
  }
  int shift = 0;
  if (at != end) {
    const char letter = static_cast<char>(*at >= 'a' ? *at - 'a' + 'A' : *at);
    const size_t place = std::string_view("BKMGTPE").find(letter);
    if (place == std::string_view::npos) return std::nullopt;
    shift = static_cast<int>(place) * 10;
    ++at;
    const std::string_view rest(at, static_cast<size_t>(end - at));
    const bool suffix = rest.empty() || (shift > 0 && (rest == "B" || rest == "b" || rest == "iB"));
    if (!suffix) return std::nullopt;
  }
  if (fraction > 0 && shift == 0) return std::nullopt;
  if (whole > (~u64{0} >> shift)) return std::nullopt;
  const u64 high = whole << shift;
  const u64 low = static_cast<u64>(std::llround(std::ldexp(fraction, shift)));
  if (high + low < high) return std::nullopt;
  return high + low;
}

}  // namespace coppice::verb
