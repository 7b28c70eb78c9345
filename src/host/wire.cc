#include "host/wire.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "host/address.h"

namespace coppice::host {
namespace {

constexpr size_t kNamesMax = 10'000;  // Of one report.

u64 bytes_of(u64 blocks) { return blocks * pool::kBlock; }

// The closest name for an errno that a verb chose.
const char* code_of(int error) {
  switch (error) {
    case ENOENT: return name_of(Errc::not_found);
    case EEXIST: return name_of(Errc::exists);
    case EBUSY: return name_of(Errc::busy);
    case ENOSPC: return name_of(Errc::no_space);
    case EDQUOT: return name_of(Errc::quota);
    case EROFS: return name_of(Errc::read_only);
    case EPERM:
    case EACCES: return name_of(Errc::denied);
    case ENOTSUP: return name_of(Errc::unsupported);
    case E2BIG:
    case ENAMETOOLONG: return name_of(Errc::too_big);
    case EAGAIN: return name_of(Errc::again);
    case EIO: return name_of(Errc::io);
    case EPIPE: return name_of(Errc::closed);
    default: return name_of(Errc::invalid);
  }
}

void write(schema::IoStats::Builder to, const pool::IoStats& stats) {
  to.setOperations(stats.operations);
  to.setBytes(stats.bytes);
  to.setErrors(stats.errors);
  to.setLatencyNsTotal(stats.latency.total_ns);
  auto buckets = to.initLatencyBuckets(std::size(stats.latency.buckets));
  for (u32 i = 0; i < buckets.size(); ++i) buckets.set(i, stats.latency.buckets[i]);
}

// A list of names as a field of a record.
void write_names(schema::Field::Builder to, const char* name,
                 const std::vector<std::string>& names) {
  to.setName(name);
  const u32 count = static_cast<u32>(std::min(names.size(), kNamesMax));
  auto list = to.initValue().initList(count);
  for (u32 i = 0; i < count; ++i) list[i].setText(names[i]);
}

schema::PropertyInfo::Kind kind_of(verb::PropertyType type) {
  using Kind = schema::PropertyInfo::Kind;
  switch (type) {
    case verb::PropertyType::bytes: return Kind::SIZE;
    case verb::PropertyType::count: return Kind::NUMBER;
    case verb::PropertyType::time: return Kind::TIME;
    case verb::PropertyType::flag: return Kind::FLAG;
    default: return Kind::TEXT;
  }
}

Attempt<verb::Value> read_value(schema::Value::Reader from) {
  switch (from.which()) {
    case schema::Value::FLAG: return verb::Value(from.getFlag());
    case schema::Value::NUMBER: return verb::Value(u64{from.getNumber()});
    case schema::Value::TEXT: return verb::Value(read_text(from.getText()));
    case schema::Value::LIST: {
      verb::Names names;
      for (const auto each : from.getList()) {
        if (!each.isText()) return std::unexpected(verb::Refusal{EINVAL, "a list holds texts", {}});
        names.push_back(read_text(each.getText()));
      }
      return verb::Value(std::move(names));
    }
    case schema::Value::RECORD: {
      verb::Pairs pairs;
      for (const auto each : from.getRecord()) {
        if (!each.getValue().isText())
          return std::unexpected(verb::Refusal{EINVAL, "a record holds texts", {}});
        pairs.emplace(read_text(each.getName()), read_text(each.getValue().getText()));
      }
      return verb::Value(std::move(pairs));
    }
    default: return std::unexpected(verb::Refusal{EINVAL, "an argument has no value", {}});
  }
}

}  // namespace

void write_texts(capnp::List<capnp::Text>::Builder to, const std::vector<std::string>& texts) {
  for (u32 i = 0; i < to.size(); ++i) to.set(i, texts[i]);
}

void write_refusal(schema::Refusal::Builder to, const verb::Refusal& refusal) {
  to.setErrno(refusal.error);
  to.setCode(code_of(refusal.error));
  to.setMessage(refusal.message);
  write_texts(to.initDetails(static_cast<u32>(std::min(refusal.details.size(), cap::kDetailsMax))),
              refusal.details);
}

void write(schema::PoolStats::Builder to, const pool::PoolStats& stats) {
  to.setDeviceBytes(bytes_of(stats.device_blocks));
  to.setTotalBytes(bytes_of(stats.total_blocks));
  to.setUsedBytes(bytes_of(stats.used_blocks));
  to.setFreeBytes(bytes_of(stats.free_blocks));
  to.setDyingBytes(bytes_of(stats.dying_blocks));
  to.setMetadataBytes(bytes_of(stats.metadata_blocks));
  to.setFreeingBytes(bytes_of(stats.freeing_blocks));
  to.setReserveBytes(bytes_of(stats.reserve_blocks));
  to.setDirtyBytes(stats.dirty_bytes);
  to.setUserBytesWritten(stats.user_bytes_written);
  to.setDeviceBytesWritten(stats.device_bytes_written);
  to.setDeviceBytesRead(stats.device_bytes_read);
  to.setBlockCacheHits(stats.block_cache_hits);
  to.setBlockCacheMisses(stats.block_cache_misses);
  to.setBlockCacheBytes(stats.block_cache_bytes);
  to.setNodeCacheHits(stats.node_cache_hits);
  to.setNodeCacheMisses(stats.node_cache_misses);
  to.setNodeCacheBytes(stats.node_cache_bytes);
  to.setGroups(stats.groups);
  to.setGroupNsLast(stats.group_ns_last);
  to.setGroupNsMax(stats.group_ns_max);
  to.setGroupNsTotal(stats.group_ns_total);
  to.setLogRecords(stats.log_records);
  to.setLogReplayed(stats.log_replayed);
  to.setChecksumErrors(stats.checksum_errors);
  to.setIoErrors(stats.io_errors);
  to.setTxg(raw(stats.txg));
}

void write(schema::ScrubStatus::Builder to, const pool::ScrubStatus& status) {
  to.setState(static_cast<schema::ScrubStatus::State>(status.state));
  to.setExaminedBytes(bytes_of(status.examined_blocks));
  to.setToExamineBytes(bytes_of(status.to_examine_blocks));
  to.setErrors(status.errors);
  to.setStartedS(status.started_s);
  to.setEndedS(status.ended_s);
  write_texts(to.initDamaged(static_cast<u32>(std::min(status.damaged.size(), pool::kDamagedMax))),
              status.damaged);
}
static_assert(static_cast<int>(schema::ScrubStatus::State::FINISHED) ==
              static_cast<int>(pool::ScrubStatus::State::finished));

void write(schema::VolumeStats::Builder to, const pool::VolumeStats& stats) {
  write(to.initRead(), stats.read);
  write(to.initWrite(), stats.write);
  write(to.initFlush(), stats.flush);
  write(to.initDiscard(), stats.discard);
  to.setChecksumErrors(stats.checksum_errors);
}

void write(schema::HistoryRecord::Builder to, const pool::HistoryRecord& record) {
  to.setSequence(record.sequence);
  to.setTxg(raw(record.txg));
  to.setTimeS(record.time_s);
  to.setElapsedUs(record.elapsed_us);
  to.setWho(record.who);
  to.setCommand(record.command);
  to.setResult(record.result);
  to.setEffects(record.effects);
}

void write(schema::ExportSpec::Builder to, const pool::ExportSpec& spec) {
  to.setProtocol(spec.protocol);
  to.setAddress(spec.address);
  to.setReadOnly(spec.read_only);
}

void write(schema::ExportInfo::Builder to, const ExportView& view) {
  to.setName(view.name);
  write(to.initSpec(), view.spec);
  to.setPinned(view.pinned);
  to.setRunning(view.running);
  to.setProblem(view.problem);
  to.setVolsize(view.volsize_bytes);
  to.setConnections(view.connections);
  to.setUri(nbd_uri(view.spec.address, view.name));
}

void write(schema::UnexportReport::Builder to, const StopReport& report) {
  auto ended = to.initEnded(static_cast<u32>(report.ended.size()));
  for (u32 i = 0; i < ended.size(); ++i) write(ended[i], report.ended[i]);
  write_texts(to.initClosed(static_cast<u32>(report.closed.size())), report.closed);
}

schema::DatasetType type_of(u8 kind) {
  switch (kind) {
    case verb::kGroup: return schema::DatasetType::GROUP;
    case verb::kVolume: return schema::DatasetType::VOLUME;
    case verb::kSnapshot: return schema::DatasetType::SNAPSHOT;
    default: return schema::DatasetType::BOOKMARK;
  }
}

void write(schema::DatasetInfo::Builder to, const TargetReport& report) {
  to.setName(report.name);
  to.setType(type_of(report.kind));
  to.setGuid(report.guid);
  to.setId(report.id);
  to.setVolsize(report.volsize_bytes);
}

void write(schema::PropertyValue::Builder to, const NamedValue& value) {
  using Source = schema::PropertyValue::Source;
  if (!value.first.empty()) to.setName(value.first);
  to.setValue(value.second.raw);
  switch (value.second.source) {
    case verb::Source::by_default: to.setSource(Source::DEFAULT); break;
    case verb::Source::local: to.setSource(Source::LOCAL); break;
    case verb::Source::inherited:
      to.setSource(Source::INHERITED);
      to.setInheritedFrom(value.second.inherited_from);
      break;
    default: to.setSource(Source::NONE); break;
  }
}

void write(schema::DestroyReport::Builder to, const Applied& applied) {
  const auto& names = applied.report.destroyed;
  write_texts(to.initDestroyed(static_cast<u32>(std::min(names.size(), kNamesMax))), names);
  to.setCount(names.size());
  to.setReclaimedBytes(applied.reclaim_bytes);
}

void write(schema::Value::Builder to, const Applied& applied) {
  auto record = to.initRecord(6);
  write_names(record[0], "created", applied.report.created);
  write_names(record[1], "destroyed", applied.report.destroyed);
  write_names(record[2], "deferred", applied.report.deferred);
  write_names(record[3], "changed", applied.report.changed);
  record[4].setName("target");
  record[4].initValue().setText(applied.report.target);
  record[5].setName("reclaimed_bytes");
  record[5].initValue().setNumber(applied.reclaim_bytes);
}

void write(schema::PropertyInfo::Builder to, const verb::Property& property) {
  to.setName(std::string(property.name));
  to.setKind(kind_of(property.type));
  to.setSettable(property.settable);
  to.setInheritable(property.inheritable);
  to.setValues(std::string(property.values));
  to.setDescription(std::string(property.summary));
  to.setColumn(std::string(property.column));
  std::vector<schema::DatasetType> types;
  for (const u8 kind : {verb::kGroup, verb::kVolume, verb::kSnapshot, verb::kBookmark})
    if (property.applies & kind) types.push_back(type_of(kind));
  auto list = to.initAppliesTo(static_cast<u32>(types.size()));
  for (u32 i = 0; i < list.size(); ++i) list.set(i, types[i]);
}

void write(schema::VerbInfo::Builder to, const verb::Row& row) {
  to.setName(std::string(row.name));
  to.setDescription(std::string(row.summary));
  auto arguments = to.initArguments(static_cast<u32>(row.arguments.size()));
  for (u32 i = 0; i < arguments.size(); ++i) {
    const verb::Argument& argument = row.arguments[i];
    arguments[i].setName(std::string(argument.name));
    arguments[i].setType(verb::name_of(argument.kind));
    arguments[i].setRequired(argument.required);
    arguments[i].setDescription(std::string(argument.summary));
  }
}

Attempt<verb::Arguments> read_arguments(capnp::List<schema::Field>::Reader from) {
  verb::Arguments arguments;
  for (const auto field : from) {
    auto value = read_value(field.getValue());
    if (!value) {
      value.error().message = read_text(field.getName()) + ": " + value.error().message;
      return std::unexpected(value.error());
    }
    if (!arguments.emplace(read_text(field.getName()), *std::move(value)).second)
      return std::unexpected(
          verb::Refusal{EINVAL, read_text(field.getName()) + " is given twice", {}});
  }
  return arguments;
}

verb::Pairs read_settings(capnp::List<schema::Setting>::Reader from) {
  verb::Pairs pairs;
  for (const auto each : from)
    pairs.insert_or_assign(read_text(each.getName()), read_text(each.getValue()));
  return pairs;
}

std::vector<std::string> read_texts(capnp::List<capnp::Text>::Reader from) {
  std::vector<std::string> texts;
  for (const auto each : from) texts.push_back(read_text(each));
  return texts;
}

pool::ExportSpec read_spec(schema::ExportSpec::Reader from) {
  return {.protocol = read_text(from.getProtocol()),
          .address = read_text(from.getAddress()),
          .read_only = from.getReadOnly(),
          .snapshot = {}};
}

u8 read_kinds(capnp::List<schema::DatasetType>::Reader from) {
  u8 kinds = 0;
  for (const auto each : from) {
    switch (each) {
      case schema::DatasetType::GROUP: kinds |= verb::kGroup; break;
      case schema::DatasetType::VOLUME: kinds |= verb::kVolume; break;
      case schema::DatasetType::SNAPSHOT: kinds |= verb::kSnapshot; break;
      case schema::DatasetType::BOOKMARK: kinds |= verb::kBookmark; break;
    }
  }
  return kinds;
}

}  // namespace coppice::host
