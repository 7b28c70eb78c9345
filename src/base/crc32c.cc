#include "base/crc32c.h"

#include <isa-l.h>

#include <algorithm>

namespace coppice {

u32 crc32c(std::span<const std::byte> bytes, u32 seed) {
  constexpr size_t kPieceMax = size_t{1} << 30;  // The library takes an int.
  u32 crc = ~seed;
  while (!bytes.empty()) {
    const size_t length = std::min(bytes.size(), kPieceMax);
    // The library reads only, but its signature forgot to say so.
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
    crc = ::crc32_iscsi(data, static_cast<int>(length), crc);
    bytes = bytes.subspan(length);
  }
  return ~crc;
}

}  // namespace coppice
