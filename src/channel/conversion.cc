#include "channel/conversion.h"

#include <array>
#include <cmath>
#include <utility>

namespace coppice::channel {
namespace {

using message::Value;
constexpr double kWholeMax = 9007199254740992;  // 2^53: up to here a double holds every integer.

// As a property's value or an item of a list is written.
std::optional<std::string> text_of(const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value.data)) return *text;
  if (const i64* integer = std::get_if<i64>(&value.data)) return std::to_string(*integer);
  if (const bool* flag = std::get_if<bool>(&value.data)) return *flag ? "on" : "off";
  return std::nullopt;
}

// Else why not.
std::expected<verb::Value, std::string> converted(Value value) {
  if (const bool* flag = std::get_if<bool>(&value.data)) return verb::Value(*flag);
  if (const i64* integer = std::get_if<i64>(&value.data)) {
    if (*integer < 0) return std::unexpected("is negative");
    return verb::Value(static_cast<u64>(*integer));
  }
  if (const double* real = std::get_if<double>(&value.data)) {
    if (!(*real >= 0 && *real <= kWholeMax) || *real != std::floor(*real))
      return std::unexpected("is no whole number");
    return verb::Value(static_cast<u64>(*real));
  }
  if (auto* text = std::get_if<std::string>(&value.data)) return verb::Value(std::move(*text));
  if (const auto* list = std::get_if<message::List>(&value.data)) {
    verb::Names names;
    names.reserve(list->size());
    for (const Value& each : *list) {
      auto text = text_of(each);
      if (!text) return std::unexpected("has something in its list that is no text");
      names.push_back(*std::move(text));
    }
    return verb::Value(std::move(names));
  }
  if (const auto* record = std::get_if<message::Record>(&value.data)) {
    verb::Pairs pairs;
    for (const auto& [name, each] : *record) {
      auto text = text_of(each);
      if (!text) return std::unexpected("has a value in its map that is no text");
      pairs.insert_or_assign(name, *std::move(text));
    }
    return verb::Value(std::move(pairs));
  }
  return std::unexpected("is nil");
}

std::unexpected<std::string> misuse(const verb::Row& row, const std::string& why) {
  return std::unexpected(std::string(row.name) + ": " + why + "; usage: " + verb::usage(row));
}

}  // namespace

std::expected<verb::Arguments, std::string> bind(const verb::Row& row, message::List positional,
                                                 message::Record named) {
  std::vector<verb::Value> values;
  values.reserve(positional.size());
  for (Value& each : positional) {
    auto value = converted(std::move(each));
    if (!value) {
      return misuse(row, "argument " + std::to_string(values.size() + 1) + " " + value.error());
    }
    values.push_back(*std::move(value));
  }
  verb::Arguments by_name;
  for (auto& [name, each] : named) {
    if (each.is_nil()) continue;  // As if it were not there.
    auto value = converted(std::move(each));
    if (!value) return misuse(row, "argument '" + name + "' " + value.error());
    if (!by_name.emplace(name, *std::move(value)).second)
      return misuse(row, "argument '" + name + "' is given twice");
  }
  auto bound = verb::bind(row, std::move(values), std::move(by_name));
  if (!bound) return std::unexpected(std::move(bound).error().message);
  return *std::move(bound);
}

bool is_outside(std::string_view name, std::string_view pool) {
  const std::string_view first = name.substr(0, name.find_first_of("/@#"));
  return !first.empty() && first != pool;
}

const std::string* name_outside(const verb::Arguments& arguments, std::string_view pool) {
  static constexpr std::array<std::string_view, 7> kNames = {
      "name", "names", "snapshot", "snapshots", "source", "target", "redirects"};
  for (std::string_view argument : kNames) {
    const auto place = arguments.find(argument);
    if (place == arguments.end()) continue;
    if (const auto* one = std::get_if<std::string>(&place->second)) {
      if (is_outside(*one, pool)) return one;
    } else if (const auto* many = std::get_if<verb::Names>(&place->second)) {
      for (const std::string& each : *many)
        if (is_outside(each, pool)) return &each;
    }
  }
  return nullptr;
}

}  // namespace coppice::channel
