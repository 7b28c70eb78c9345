#include "cli/hex_bytes.h"

#include <fmt/format.h>

#include <cstring>

namespace coppice::cli {
namespace {

int digit_of(char each) {
  if (each >= '0' && each <= '9') return each - '0';
  if (each >= 'a' && each <= 'f') return each - 'a' + 10;
  if (each >= 'A' && each <= 'F') return each - 'A' + 10;
  return -1;
}

}  // namespace

Attempt<std::vector<std::byte>> bytes_of_digits(const std::string& text, const std::string& where) {
  std::vector<std::byte> bytes;
  int high = -1;
  for (const char each : text) {
    const int digit = digit_of(each);
    const bool space = std::strchr(" \t\r\n", each) != nullptr && each != 0;
    if (space && high < 0) continue;
    if (digit < 0)
      return misuse(fmt::format("{}: byte {} is not two hexadecimal digits", where, bytes.size()));
    if (high < 0) {
      high = digit;
    } else {
      bytes.push_back(static_cast<std::byte>(high << 4 | digit));
      high = -1;
    }
  }
  if (high >= 0) return misuse(fmt::format("{}: the last byte has one digit only", where));
  return bytes;
}

}  // namespace coppice::cli
