// tests/fuzz/catalog_record_fuzz.cc — catalog records of any bytes, one at a time and as a whole
// catalog.
//
// The first byte chooses. Below 7, and from 8 to 10: the rest is one record of that kind; what
// decodes encodes to the same bytes. Else the rest is a stored catalog, as items of key length,
// key, value length, value; what loads can be walked, changed and stored again, and loads once
// more.
#include <map>
#include <string>

#include "base/endian.h"
#include "pool/catalog.h"
#include "pool/catalog_codec.h"

using namespace coppice;
using namespace coppice::pool;

namespace {

template <class Record>
void same_again(const Result<Record>& record, std::string_view bytes) {
  if (record) CHECK(encode(*record) == bytes);
}

void one_record(u8 kind, std::string_view bytes) {
  switch (kind) {
    case 0: same_again(decode_header(bytes), bytes); break;
    case 1: same_again(decode_dataset(5, bytes), bytes); break;
    case 2: same_again(decode_volume_state(bytes), bytes); break;
    case 3: same_again(decode_snapshot(5, bytes), bytes); break;
    case 4: same_again(decode_bookmark(5, "mark", bytes), bytes); break;
    case 5: same_again(decode_job(5, bytes), bytes); break;
    case 8: same_again(decode_links(bytes), bytes); break;
    case 9: same_again(decode_contents(bytes), bytes); break;
    case 10: same_again(decode_object(std::string(kObjectHashBytes, '0'), bytes), bytes); break;
    default: same_again(decode_history(5, bytes), bytes); break;
  }
}

size_t walk(const CatalogView& view) {
  size_t seen = 0;
  std::vector<DatasetId> open{view.root()};
  while (!open.empty()) {
    const DatasetId id = open.back();
    open.pop_back();
    ++seen;
    CHECK(find_dataset(view, full_name(view, id)) == id);
    const std::vector<SnapshotId> snapshots = view.snapshots(id);
    CHECK(snapshots.size() == view.snapshot_count(id));
    for (SnapshotId snapshot : snapshots) {
      CHECK(find_snapshot(view, full_name(view, snapshot)) == snapshot);
      for (DatasetId clone : view.clones(snapshot)) CHECK(view.dataset(clone)->origin == snapshot);
    }
    for (const std::string& name : view.bookmarks(id)) CHECK(view.bookmark(id, name) != nullptr);
    for (const PinnedLink& link : view.dataset(id)->links) {
      CHECK(find_link(view, link.name)->id == link.id);
      CHECK(view.linked(link.object) && view.object(link.object) != nullptr);
    }
    for (DatasetId child : view.children(id)) open.push_back(child);
  }
  return seen;
}

void whole_catalog(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  Catalog catalog;
  std::map<std::string, std::string> stored;
  while (reader.remaining() > 0) {
    const auto key = reader.bytes(reader.get<u16>());
    const auto value = reader.bytes(reader.get<u16>());
    if (!reader.good()) return;
    const std::string_view key_text(reinterpret_cast<const char*>(key.data()), key.size());
    const std::string_view value_text(reinterpret_cast<const char*>(value.data()), value.size());
    if (!stored.emplace(key_text, value_text).second) return;  // A tree has each key once.
  }
  for (const auto& [key, value] : stored) {
    if (!catalog.load(key, value)) return;
  }
  if (!catalog.finish_load()) return;
  const size_t datasets = walk(catalog);

  auto transaction = catalog.begin();
  for (SnapshotId id : transaction->snapshots(transaction->root())) {
    if (transaction->clones(id).empty()) transaction->erase_snapshot(id);
  }
  Dataset root = *transaction->dataset(transaction->root());
  if (!root.links.empty()) root.links.erase(root.links.begin());
  if (well_formed(root.links)) transaction->edit_dataset(root.id, std::move(root));
  for (const std::string& hash : transaction->objects()) {
    if (!transaction->linked(hash)) transaction->erase_object(hash);
  }
  Dataset group;
  group.parent = transaction->root();
  group.name = "fresh";
  if (raw(transaction->child(group.parent, group.name)) == 0) transaction->new_dataset(group);
  CHECK(walk(*transaction) <= datasets + 1);
  catalog.accept(std::move(transaction));
  for (Catalog::StoredChange& change : catalog.take_changes()) {
    if (change.value) {
      stored[change.key] = *std::move(change.value);
    } else {
      stored.erase(change.key);
    }
  }
  Catalog again;
  for (const auto& [key, value] : stored) CHECK(again.load(key, value));
  CHECK(again.finish_load());
  CHECK(walk(again) == walk(catalog));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
  if (data[0] != 7 && data[0] <= 10) {
    one_record(data[0], {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  } else {
    whole_catalog(bytes);
  }
  return 0;
}
