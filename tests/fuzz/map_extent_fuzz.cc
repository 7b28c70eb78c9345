// tests/fuzz/map_extent_fuzz.cc — a volume map's item of any bytes: the first eight are the key.
//
// Decoding refuses it, or it encodes to the same bytes, and the view of it says the same.
#include <algorithm>
#include <string>

#include "pool/volume_map.h"

using namespace coppice;
using namespace coppice::pool;

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string key(bytes.substr(0, std::min<size_t>(8, size)));
  const std::string value(bytes.substr(key.size()));
  const auto extent = decode_extent(key, value);
  const auto view = view_extent(key, value);
  CHECK(extent.has_value() == view.has_value());
  if (!extent) return 0;
  CHECK(extent->count == extent->crcs.size() && extent->count >= 1 &&
        extent->count <= kExtentBlocksMax);
  CHECK(view->lba == extent->lba && view->addr == extent->addr && view->birth == extent->birth &&
        view->count == extent->count);
  for (u32 i = 0; i < view->count; ++i) CHECK(view->crc(i) == extent->crcs[i]);
  std::string again;
  encode_extent(*extent, again);
  CHECK(again == value && map_key(extent->lba) == key);
  return 0;
}
