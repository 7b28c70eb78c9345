#include "cli/size.h"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <charconv>
#include <ctime>

#include "base/check.h"

namespace coppice::cli {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::string_view kUnits = "KMGTPE";
constexpr size_t kFractionDigitsMax = 15;

Result<u64> unit_factor(std::string_view unit) {
  if (unit.empty()) return 1;
  const char first = static_cast<char>(std::toupper(static_cast<unsigned char>(unit.front())));
  std::string rest;
  for (char each : unit.substr(1)) {
    rest += static_cast<char>(std::tolower(static_cast<unsigned char>(each)));
  }
  if (first == 'B' && rest.empty()) return 1;
  const size_t power = kUnits.find(first);
  if (power == kUnits.npos || !(rest.empty() || rest == "b" || rest == "ib")) {
    return fail(Errc::invalid, "cannot read the size",
                fmt::format("unknown unit '{}' (use K, M, G, T, P or E)", unit));
  }
  return u64{1} << (10 * (power + 1));
}

bool is_digit(char each) { return each >= '0' && each <= '9'; }

// `number` in at most five characters, scaled by 1024. The exact multiples lose their fraction.
std::string show_scaled(u64 number, std::string_view none) {
  size_t power = 0;
  for (u64 rest = number; rest >= 1024; rest /= 1024) ++power;
  if (power == 0) return fmt::format("{}{}", number, none);
  const u64 factor = u64{1} << (10 * power);
  if (number % factor == 0) return fmt::format("{}{}", number / factor, kUnits[power - 1]);
  const double value = static_cast<double>(number) / static_cast<double>(factor);
  for (int digits = 2; digits > 0; --digits) {
    std::string text = fmt::format("{:.{}f}{}", value, digits, kUnits[power - 1]);
    if (text.size() <= 5) return text;
  }
  return fmt::format("{:.0f}{}", value, kUnits[power - 1]);
}

}  // namespace

Result<u64> parse_size(std::string_view text) {
  constexpr const char* kWhat = "cannot read the size";
  size_t at = 0;
  Wide whole = 0;
  while (at < text.size() && is_digit(text[at])) {
    whole = whole * 10 + static_cast<unsigned>(text[at++] - '0');
    if (whole > ~u64{0}) return fail(Errc::invalid, kWhat, fmt::format("'{}' is too large", text));
  }
  const bool has_digits = at > 0;
  Wide fraction = 0, scale = 1;
  if (has_digits && at < text.size() && text[at] == '.') {
    const size_t begin = ++at;
    while (at < text.size() && is_digit(text[at]) && at - begin < kFractionDigitsMax) {
      fraction = fraction * 10 + static_cast<unsigned>(text[at++] - '0');
      scale *= 10;
    }
  }
  if (!has_digits) {
    return fail(Errc::invalid, kWhat, fmt::format("'{}' is not a size such as 64G", text));
  }
  TRY(const u64 factor, unit_factor(text.substr(at)));
  if (fraction * factor % scale != 0 && factor == 1) {
    return fail(Errc::invalid, kWhat, fmt::format("'{}' is not a whole number of bytes", text));
  }
  const Wide bytes = whole * factor + fraction * factor / scale;
  if (bytes > ~u64{0}) return fail(Errc::invalid, kWhat, fmt::format("'{}' is too large", text));
  return static_cast<u64>(bytes);
}

Result<u64> parse_duration(std::string_view text) {
  constexpr const char* kWhat = "cannot read the duration";
  constexpr std::pair<std::string_view, u64> kDurations[] = {{"ns", 1},
                                                             {"us", 1'000},
                                                             {"ms", 1'000'000},
                                                             {"s", 1'000'000'000},
                                                             {"m", 60'000'000'000},
                                                             {"h", 3'600'000'000'000}};
  u64 number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, text.data() + text.size());
  for (const auto& [name, factor] : kDurations) {
    if (error != std::errc{} || unit != name || number == 0) continue;
    if (number > ~u64{0} / factor) break;
    return number * factor;
  }
  return fail(Errc::invalid, kWhat,
              fmt::format("'{}' is not a duration such as 500us, 10ms, 2s, 5m or 1h", text));
}

u64 saturate(double number) {
  constexpr double kTooLarge = 18446744073709551616.0;  // 2^64
  if (!(number > 0)) return 0;                          // NaN too.
  return number < kTooLarge ? static_cast<u64>(number) : ~u64{0};
}

std::string show_bytes(u64 bytes) { return show_scaled(bytes, "B"); }
std::string show_count(u64 count) { return show_scaled(count, ""); }

std::string show_nanoseconds(u64 nanoseconds) {
  if (nanoseconds < 1000) return fmt::format("{}ns", nanoseconds);
  double value = static_cast<double>(nanoseconds) / 1000;
  const char* unit = "us";
  if (value >= 1000) value /= 1000, unit = "ms";
  if (value >= 1000) value /= 1000, unit = "s";
  return fmt::format("{:.{}f}{}", value, value < 10 ? 2 : value < 100 ? 1 : 0, unit);
}

std::string show_time(u64 unix_s) {
  const std::time_t time = static_cast<std::time_t>(unix_s);
  std::tm parts{};
  if (::localtime_r(&time, &parts) == nullptr) return std::to_string(unix_s);
  std::array<char, 64> text;
  const size_t length = std::strftime(text.data(), text.size(), "%a %b %e %H:%M %Y", &parts);
  return {text.data(), length};
}

std::string show_duration(u64 seconds) {
  const u64 days = seconds / 86400, hours = seconds / 3600 % 24, minutes = seconds / 60 % 60;
  if (days > 0) {
    return fmt::format("{} day{} {:02}:{:02}:{:02}", days, days == 1 ? "" : "s", hours, minutes,
                       seconds % 60);
  }
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, seconds % 60);
  return fmt::format("{}:{:02}", minutes, seconds % 60);
}

}  // namespace coppice::cli
