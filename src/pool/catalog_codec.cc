#include "pool/catalog_codec.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "base/check.h"
#include "base/endian.h"
#include "pool/record_bytes.h"

namespace coppice::pool {
namespace {

constexpr u64 kCounterMax = u64{1} << 63;  // Beyond it no counter was ever driven.
constexpr size_t kCountBytes = 2;          // Part 0 begins with the number of parts.
static_assert(3 * kHistoryTextBytesMax + kHistoryEffectsBytesMax + 1024 <= kRecordBytesMax);

std::string_view cut(std::string_view text, size_t most = kHistoryTextBytesMax) {
  return text.substr(0, most);
}

}  // namespace

bool is_record_name(std::string_view name) {
  if (name.empty() || name.size() > kComponentBytesMax) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return static_cast<u8>(c) >= 0x20 && c != '/' && c != '@' && c != '#' && c != 0x7f;
  });
}

std::string record_key(Table table, u64 id, std::string_view name) {
  std::string key(9 + name.size(), '\0');
  key[0] = static_cast<char>(table);
  store_be(reinterpret_cast<std::byte*>(key.data() + 1), id);
  if (!name.empty()) std::memcpy(key.data() + 9, name.data(), name.size());
  return key;
}

std::string part_key(std::string_view record_key, size_t part) {
  CHECK(part < kPartsMax);
  std::string key(record_key);
  key.push_back(static_cast<char>(part >> 8));
  key.push_back(static_cast<char>(part & 0xff));
  return key;
}

std::string history_key(u64 sequence) { return part_key(record_key(Table::history, sequence), 0); }
std::string history_end() { return {static_cast<char>(static_cast<u8>(Table::history) + 1)}; }

std::vector<StoredItem> store_record(std::string_view record_key, std::string_view bytes) {
  CHECK(bytes.size() <= kRecordBytesMax);
  const size_t parts = std::max<size_t>(1, divide_up(bytes.size() + kCountBytes, kPartBytes));
  CHECK(parts <= kPartsMax);
  std::vector<StoredItem> items;
  items.reserve(parts);
  for (size_t part = 0; part < parts; ++part) {
    std::string value;
    if (part == 0) {
      value.push_back(static_cast<char>(parts & 0xff));
      value.push_back(static_cast<char>(parts >> 8));
    }
    const size_t length = std::min(bytes.size(), kPartBytes - value.size());
    value.append(bytes.substr(0, length));
    bytes.remove_prefix(length);
    items.push_back({part_key(record_key, part), std::move(value)});
  }
  CHECK(bytes.empty());
  return items;
}

Result<std::optional<RecordAssembler::Record>> RecordAssembler::feed(std::string_view key,
                                                                     std::string_view value) {
  const auto bad = [](const char* why) { return fail(Errc::corrupt, "read the catalog", why); };
  if (key.size() < 11) return bad("a key is too short");
  const size_t part = static_cast<u8>(key[key.size() - 2]) << 8 | static_cast<u8>(key.back());
  const std::string_view record = key.substr(0, key.size() - 2);
  if (parts_ == 0) {
    if (part != 0 || value.size() < kCountBytes) return bad("a record's first part is missing");
    parts_ = static_cast<u8>(value[0]) | static_cast<u8>(value[1]) << 8;
    if (parts_ == 0 || parts_ > kPartsMax) {
      parts_ = 0;
      return bad("a record has an impossible number of parts");
    }
    key_ = record;
    seen_ = 0;
    bytes_.clear();
    value.remove_prefix(kCountBytes);
  } else if (record != key_ || part != seen_) {
    return bad("a record's parts are not complete");
  }
  bytes_.append(value);
  if (++seen_ < parts_) return std::optional<Record>{};

  Record done;
  done.table = static_cast<Table>(static_cast<u8>(key_[0]));
  done.id = load_be<u64>(reinterpret_cast<const std::byte*>(key_.data() + 1));
  done.name = key_.substr(9);
  done.bytes = std::move(bytes_);
  done.parts = parts_;
  parts_ = 0;
  bytes_ = {};
  return std::optional<Record>(std::move(done));
}

Result<> RecordAssembler::finish() const {
  if (parts_ == 0) return {};
  return fail(Errc::corrupt, "read the catalog", "the last record is not complete");
}

std::string encode(const CatalogHeader& header) {
  Encoder out;
  out.put(header.root);
  out.put(header.next_id);
  out.put(header.history_next);
  return out.take();
}

Result<CatalogHeader> decode_header(std::string_view bytes) {
  Decoder in(bytes);
  CatalogHeader header;
  header.root = in.get<DatasetId>();
  header.next_id = in.get<u64>();
  header.history_next = in.get<u64>();
  in.require(raw(header.root) != 0 && raw(header.root) < header.next_id);
  in.require(header.next_id < kCounterMax && header.history_next < kCounterMax);
  return in.done(header, "read the catalog's header");
}

std::string encode(const Dataset& dataset) {
  Encoder out;
  out.put(dataset.parent);
  out.text(dataset.name);
  out.put(dataset.type);
  out.put(dataset.createtxg);
  out.put(dataset.creation_s);
  out.put(dataset.guid);
  out.put(dataset.origin);
  out.put(dataset.volsize_bytes);
  out.texts(dataset.properties);
  out.put(static_cast<u32>(dataset.exports.size()));
  for (const ExportSpec& spec : dataset.exports) {
    out.text(spec.protocol);
    out.text(spec.address);
    out.put(static_cast<u8>(spec.read_only));
    out.put(spec.snapshot);
  }
  return out.take();
}

Result<Dataset> decode_dataset(u64 id, std::string_view bytes) {
  Decoder in(bytes);
  Dataset dataset;
  dataset.id = DatasetId(id);
  dataset.parent = in.get<DatasetId>();
  dataset.name = in.text();
  dataset.type = in.get<DatasetType>();
  dataset.createtxg = in.get<Txg>();
  dataset.creation_s = in.get<u64>();
  dataset.guid = in.get<u64>();
  dataset.origin = in.get<SnapshotId>();
  dataset.volsize_bytes = in.get<u64>();
  dataset.properties = in.texts();
  for (u32 left = in.count(17); left > 0 && in.good(); --left) {
    ExportSpec spec;
    spec.protocol = in.text();
    spec.address = in.text();
    spec.read_only = in.flag();
    spec.snapshot = in.get<SnapshotId>();
    dataset.exports.push_back(std::move(spec));
  }
  const bool group = dataset.type == DatasetType::group;
  in.require(id != 0 && is_record_name(dataset.name));
  in.require(group || dataset.type == DatasetType::volume);
  in.require(!group || (raw(dataset.origin) == 0 && dataset.volsize_bytes == 0));
  return in.done(std::move(dataset), "read a dataset's record");
}

std::string encode(const VolumeState& state) {
  Encoder out;
  out.tree(state.live);
  out.put(state.written_blocks);
  out.put(state.inherited_blocks);
  out.put(state.dead_blocks);
  out.put(state.inherited_dead_blocks);
  out.put(state.origin_txg);
  out.put(state.last_snapshot);
  out.put(static_cast<u32>(state.dead.size()));
  for (const Slice& slice : state.dead) out.slice(slice);
  return out.take();
}

Result<VolumeState> decode_volume_state(std::string_view bytes) {
  Decoder in(bytes);
  VolumeState state;
  state.live = in.tree();
  state.written_blocks = in.get<u64>();
  state.inherited_blocks = in.get<u64>();
  state.dead_blocks = in.get<u64>();
  state.inherited_dead_blocks = in.get<u64>();
  state.origin_txg = in.get<Txg>();
  state.last_snapshot = in.get<Txg>();
  const u32 slices = in.count(24);
  state.dead.reserve(slices);
  for (u32 i = 0; i < slices && in.good(); ++i) {
    state.dead.push_back(in.slice());
    in.require(i == 0 || state.dead[i - 1].upto <= state.dead[i].after);
  }
  return in.done(std::move(state), "read a volume's state");
}

std::string encode(const Snapshot& snapshot) {
  Encoder out;
  out.put(snapshot.dataset);
  out.text(snapshot.name);
  out.put(snapshot.createtxg);
  out.put(snapshot.creation_s);
  out.put(snapshot.guid);
  out.put(snapshot.volsize_bytes);
  out.put(static_cast<u8>(snapshot.defer_destroy));
  out.put(static_cast<u32>(snapshot.holds.size()));
  for (const auto& [tag, time_s] : snapshot.holds) {
    out.text(tag);
    out.put(time_s);
  }
  out.texts(snapshot.properties);
  out.tree(snapshot.tree);
  out.put(snapshot.written_blocks);
  return out.take();
}

Result<Snapshot> decode_snapshot(u64 id, std::string_view bytes) {
  Decoder in(bytes);
  Snapshot snapshot;
  snapshot.id = SnapshotId(id);
  snapshot.dataset = in.get<DatasetId>();
  snapshot.name = in.text();
  snapshot.createtxg = in.get<Txg>();
  snapshot.creation_s = in.get<u64>();
  snapshot.guid = in.get<u64>();
  snapshot.volsize_bytes = in.get<u64>();
  snapshot.defer_destroy = in.flag();
  for (u32 left = in.count(12); left > 0 && in.good(); --left) {
    std::string tag = in.text();
    in.require(snapshot.holds.empty() || snapshot.holds.rbegin()->first < tag);
    snapshot.holds.emplace_hint(snapshot.holds.end(), std::move(tag), in.get<u64>());
  }
  snapshot.properties = in.texts();
  snapshot.tree = in.tree();
  snapshot.written_blocks = in.get<u64>();
  in.require(id != 0 && is_record_name(snapshot.name));
  return in.done(std::move(snapshot), "read a snapshot's record");
}

std::string encode(const Bookmark& bookmark) {
  Encoder out;
  out.put(bookmark.createtxg);
  out.put(bookmark.creation_s);
  out.put(bookmark.guid);
  return out.take();
}

Result<Bookmark> decode_bookmark(u64 dataset, std::string name, std::string_view bytes) {
  Decoder in(bytes);
  in.require(is_record_name(name));
  Bookmark bookmark;
  bookmark.dataset = DatasetId(dataset);
  bookmark.name = std::move(name);
  bookmark.createtxg = in.get<Txg>();
  bookmark.creation_s = in.get<u64>();
  bookmark.guid = in.get<u64>();
  return in.done(std::move(bookmark), "read a bookmark's record");
}

std::string encode(const Job& job) {
  Encoder out;
  out.put(static_cast<u8>(job.work.index()));
  if (const auto* free_tree = std::get_if<FreeTree>(&job.work)) {
    out.node(free_tree->root);
    out.put(free_tree->keep_upto);
    out.put(free_tree->cursor);
  } else if (const auto* prune = std::get_if<PruneDead>(&job.work)) {
    out.put(prune->dataset);
    out.put(prune->after);
    out.put(prune->upto);
    out.text(prune->cursor);
  } else {
    const auto& drop = std::get<DropDead>(job.work);
    out.slice(drop.slice);
    out.put(drop.keep_upto);
  }
  out.put(job.blocks_left);
  return out.take();
}

Result<Job> decode_job(u64 id, std::string_view bytes) {
  Decoder in(bytes);
  Job job;
  job.id = id;
  const u8 kind = in.get<u8>();
  in.require(id != 0 && kind < std::variant_size_v<decltype(job.work)>);
  if (kind == 0) {
    FreeTree work;
    work.root = in.node();
    work.keep_upto = in.get<Txg>();
    work.cursor = in.get<u64>();
    job.work = work;
  } else if (kind == 1) {
    PruneDead work;
    work.dataset = in.get<DatasetId>();
    work.after = in.get<Txg>();
    work.upto = in.get<Txg>();
    work.cursor = in.text();
    job.work = std::move(work);
  } else {
    DropDead work;
    work.slice = in.slice();
    work.keep_upto = in.get<Txg>();
    job.work = work;
  }
  job.blocks_left = in.get<u64>();
  return in.done(std::move(job), "read a job's record");
}

std::string encode(const HistoryRecord& record) {
  Encoder out;
  out.put(record.txg);
  out.put(record.time_s);
  out.put(record.elapsed_us);
  out.text(cut(record.who));
  out.text(cut(record.command));
  out.text(cut(record.result));
  out.text(cut(record.effects, kHistoryEffectsBytesMax));
  return out.take();
}

Result<HistoryRecord> decode_history(u64 sequence, std::string_view bytes) {
  Decoder in(bytes);
  HistoryRecord record;
  record.sequence = sequence;
  record.txg = in.get<Txg>();
  record.time_s = in.get<u64>();
  record.elapsed_us = in.get<u64>();
  record.who = in.text();
  record.command = in.text();
  record.result = in.text();
  record.effects = in.text();
  return in.done(std::move(record), "read a history record");
}

}  // namespace coppice::pool
