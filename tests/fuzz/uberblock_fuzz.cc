// tests/fuzz/uberblock_fuzz.cc — a label block of any bytes.
//
// The input is the block's beginning. With an odd first byte the block is signed, so that the
// fuzzer gets past the checksum. Decoding refuses it, or encoding the result gives an equal
// uberblock.
#include <cstring>
#include <vector>

#include "base/crc32c.h"
#include "base/endian.h"
#include "pool/uberblock.h"

using namespace coppice;
using namespace coppice::pool;

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
  if (size == 0 || size > kBlock) return 0;
  std::vector<std::byte> block(kBlock);
  std::memcpy(block.data(), data + 1, size - 1);
  if (data[0] % 2 != 0)
    store_le<u32>(&block[kBlock - 4], crc32c(std::span(block).first(kBlock - 4)));
  const auto decoded = decode_uberblock(block);
  if (!decoded) {
    CHECK(!describe(decoded.error()).empty());
    return 0;
  }
  CHECK(raw(decoded->txg) != 0 && decoded->name.size() <= kPoolNameMax);
  std::vector<std::byte> again(kBlock);
  encode(*decoded, again);
  const auto twice = decode_uberblock(again);
  CHECK(twice && *twice == *decoded);
  return 0;
}
