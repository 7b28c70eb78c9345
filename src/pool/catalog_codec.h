// pool/catalog_codec.h — the stored form of catalog records.
//
// A record's name in storage is its table, then its id (big-endian) or its owner's id and a name,
// then a part number: a record of more than kPartBytes lies in several items side by side. So keys
// sort by table, then id, then part. Records are little-endian and begin with a version. Decoders
// believe nothing: what they return has been checked in form, but whether records agree with each
// other is Catalog::finish_load's question.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "pool/node_store.h"
#include "pool/records.h"

namespace coppice::pool {

enum class Table : u8 {
  header = 1,  // One record, id 0.
  dataset = 2,
  volume_state = 3,
  snapshot = 4,
  bookmark = 5,  // Dataset's id and the bookmark's name.
  job = 6,
  value = 7,       // Id 0 and the value's name.
  links = 8,       // Of the dataset with that id; no record: it has none.
  contents = 9,    // Dataset's id and the link's name; no record: nothing is kept.
  object = 10,     // Id 0 and the object's hash.
  history = 0x80,  // Last, so that loading stops before it.
};

inline constexpr size_t kPartBytes = 3000;
inline constexpr size_t kPartsMax =
    0x1fff;  // Below any character of a name, so that keys sort by name.
inline constexpr size_t kRecordBytesMax = kPartBytes * kPartsMax - 2;
inline constexpr size_t kComponentBytesMax = 255;
inline constexpr size_t kHistoryTextBytesMax = 1_MiB;      // Of who, command and result each,
inline constexpr size_t kHistoryEffectsBytesMax = 20_MiB;  // and of effects; the rest is cut off.
static_assert(kPartBytes <= kValueBytesMax);
static_assert(1 + 8 + kComponentBytesMax + 2 <= kKeyBytesMax);

// What may be the name of a dataset, a snapshot, a bookmark, a link or an object.
bool is_record_name(std::string_view name);

// The key but for the part number.
std::string record_key(Table table, u64 id, std::string_view name = {});
std::string part_key(std::string_view record_key, size_t part);

// The history is not loaded: its items lie in [history_key(0), history_end()).
std::string history_key(u64 sequence);  // The first item of that record: a place to start reading.
std::string history_end();

struct StoredItem {
  std::string key;
  std::string value;
};
// The items that store a record. `bytes` is at most kRecordBytesMax.
std::vector<StoredItem> store_record(std::string_view record_key, std::string_view bytes);

// Puts the items of records together again: feed it all items of a range in order of keys.
class RecordAssembler {
 public:
  struct Record {
    Table table{};
    u64 id = 0;
    std::string name;
    std::string bytes;
    size_t parts = 0;
  };
  // The record that this item completes, if it does. corrupt: a key that is none, a part out of
  // turn.
  Result<std::optional<Record>> feed(std::string_view key, std::string_view value);
  Result<> finish() const;  // corrupt: a record's last parts are missing.

 private:
  std::string key_;
  std::string bytes_;
  size_t parts_ = 0;  // Expected; 0: not within a record.
  size_t seen_ = 0;
};

struct CatalogHeader {
  DatasetId root{};
  u64 next_id = 1;
  u64 history_next = 1;
  friend bool operator==(const CatalogHeader&, const CatalogHeader&) = default;
};

std::string encode(const CatalogHeader& header);
std::string encode(const Dataset& dataset);
std::string encode(const VolumeState& state);
std::string encode(const Snapshot& snapshot);
std::string encode(const Bookmark& bookmark);
std::string encode(const Job& job);
std::string encode(const PinnedLinks& links);  // Without what their maps hold.
std::string encode(const MapContents& contents);
std::string encode(const StoredObject& object);
std::string encode(const HistoryRecord& record);  // Long texts are cut so that it fits.

// corrupt, or unsupported (a version from a newer Coppice). What the key says is not repeated in
// the record.
Result<CatalogHeader> decode_header(std::string_view bytes);
Result<Dataset> decode_dataset(u64 id, std::string_view bytes);
Result<VolumeState> decode_volume_state(std::string_view bytes);
Result<Snapshot> decode_snapshot(u64 id, std::string_view bytes);
Result<Bookmark> decode_bookmark(u64 dataset, std::string name, std::string_view bytes);
Result<Job> decode_job(u64 id, std::string_view bytes);
Result<PinnedLinks> decode_links(std::string_view bytes);     // At least one; contents are empty.
Result<MapContents> decode_contents(std::string_view bytes);  // Not empty.
Result<StoredObject> decode_object(std::string hash, std::string_view bytes);
Result<HistoryRecord> decode_history(u64 sequence, std::string_view bytes);

}  // namespace coppice::pool
