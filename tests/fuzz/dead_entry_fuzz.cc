// tests/fuzz/dead_entry_fuzz.cc — a dead index's item of any bytes: the first 32 are the key.
//
// Decoding refuses it, or it encodes to the same key and value.
#include <algorithm>
#include <string>

#include "pool/dead_index.h"

using namespace coppice;
using namespace coppice::pool;

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string key(bytes.substr(0, std::min<size_t>(32, size)));
  const std::string value(bytes.substr(key.size()));
  const auto entry = decode_dead(key, value);
  if (!entry) return 0;
  CHECK(entry->run.count > 0 && raw(entry->run.start) != 0);
  CHECK(dead_key(entry->segment, entry->death, entry->birth, entry->run.start) == key);
  DeadChanges changes;
  changes.add(*entry);
  const auto sorted = changes.sorted();
  CHECK(sorted.size() == 1 && sorted[0].key == key && sorted[0].value == value);
  return 0;
}
