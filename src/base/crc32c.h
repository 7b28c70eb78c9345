// base/crc32c.h — CRC-32C (Castagnoli) of bytes, in hardware.
#pragma once

#include <span>

#include "base/types.h"

namespace coppice {

// crc32c("123456789") is 0xE3069283. A long input may come in pieces: crc32c(b, crc32c(a)) is that
// of ab.
u32 crc32c(std::span<const std::byte> bytes, u32 seed = 0);

}  // namespace coppice
