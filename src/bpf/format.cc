#include "bpf/format.h"

#include <cerrno>
#include <cstdio>

namespace coppice::bpf {
namespace {

struct Conversion {
  std::string flags;  // With the width.
  bool wide = false;
  char letter = 0;
};

// Reads what follows a '%'; false: it is none that we know.
bool parse(std::string_view pattern, size_t& at, Conversion& into) {
  constexpr size_t kWidthDigits = 3;
  while (at < pattern.size() && std::string_view("-+ #0").contains(pattern[at]))
    into.flags += pattern[at++];
  size_t digits = 0;
  while (at < pattern.size() && pattern[at] >= '0' && pattern[at] <= '9') {
    if (++digits > kWidthDigits) return false;
    into.flags += pattern[at++];
  }
  while (at < pattern.size() && pattern[at] == 'l') {
    into.wide = true;
    ++at;
  }
  if (at == pattern.size() || into.flags.size() > 16) return false;
  into.letter = pattern[at++];
  return std::string_view("diuxXocps").contains(into.letter);
}

std::string text_at(u64 address, const std::function<bool(u64)>& may_read) {
  std::string text;
  while (address != 0 && text.size() < kFormattedMax && may_read(address)) {
    const char each = *reinterpret_cast<const char*>(address++);
    if (each == 0) break;
    text += each;
  }
  return text;
}

std::string convert(const Conversion& how, u64 value, const std::function<bool(u64)>& may_read) {
  char buffer[1100];
  const std::string start = "%" + how.flags;
  switch (how.letter) {
    case 's': {
      const std::string text = text_at(value, may_read);
      if (how.flags.empty()) return text;
      std::snprintf(buffer, sizeof buffer, (start + "s").c_str(), text.c_str());
      return buffer;
    }
    case 'c': return std::string(1, static_cast<char>(value));
    case 'p':
      std::snprintf(buffer, sizeof buffer, "%016llx", static_cast<unsigned long long>(value));
      return buffer;
    case 'd':
    case 'i': {
      const i64 number = how.wide ? static_cast<i64>(value) : static_cast<i32>(value);
      std::snprintf(buffer, sizeof buffer, (start + "lld").c_str(), static_cast<long long>(number));
      return buffer;
    }
    default: break;
  }
  const u64 number = how.wide ? value : static_cast<u32>(value);
  std::snprintf(buffer, sizeof buffer, (start + "ll" + how.letter).c_str(),
                static_cast<unsigned long long>(number));
  return buffer;
}

}  // namespace

int format(std::string_view pattern, std::span<const u64> values,
           const std::function<bool(u64)>& may_read, std::string& text) {
  size_t used = 0;
  for (size_t at = 0; at < pattern.size();) {
    const char each = pattern[at++];
    if (each != '%') {
      text += each;
      continue;
    }
    if (at < pattern.size() && pattern[at] == '%') {
      text += '%';
      ++at;
      continue;
    }
    Conversion how;
    if (!parse(pattern, at, how) || used == values.size()) return -EINVAL;
    text += convert(how, values[used++], may_read);
    if (text.size() > kFormattedMax) text.resize(kFormattedMax);
  }
  return 0;
}

}  // namespace coppice::bpf
