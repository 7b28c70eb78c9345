// host/wire.h — between what the daemon knows and what goes over the wire.
#pragma once

#include <string>
#include <vector>

#include "cap/answer.h"
#include "host/apply.h"
#include "host/queries.h"
#include "schema/coppice.capnp.h"

namespace coppice::host {

// --- Out
void write_refusal(schema::Refusal::Builder to, const verb::Refusal& refusal);
void write(schema::PoolStats::Builder to, const pool::PoolStats& stats);
void write(schema::ScrubStatus::Builder to, const pool::ScrubStatus& status);
void write(schema::VolumeStats::Builder to, const pool::VolumeStats& stats);
void write(schema::HistoryRecord::Builder to, const pool::HistoryRecord& record);
void write(schema::ExportInfo::Builder to, const ExportView& view);
void write(schema::ExportSpec::Builder to, const pool::ExportSpec& spec);
void write(schema::UnexportReport::Builder to, const StopReport& report);
void write(schema::DatasetInfo::Builder to, const TargetReport& report);
void write(schema::PropertyValue::Builder to, const NamedValue& value);
void write(schema::DestroyReport::Builder to, const Applied& applied);
void write(schema::Value::Builder to, const Applied& applied);
void write(schema::PropertyInfo::Builder to, const verb::Property& property);
void write(schema::VerbInfo::Builder to, const verb::Row& row);
schema::DatasetType type_of(u8 kind);
void write_texts(capnp::List<capnp::Text>::Builder to, const std::vector<std::string>& texts);

// --- In. What does not make sense is refused; strings have no NUL within.
Attempt<verb::Arguments> read_arguments(capnp::List<schema::Field>::Reader from);
verb::Pairs read_settings(capnp::List<schema::Setting>::Reader from);
std::vector<std::string> read_texts(capnp::List<capnp::Text>::Reader from);
pool::ExportSpec read_spec(schema::ExportSpec::Reader from);
u8 read_kinds(capnp::List<schema::DatasetType>::Reader from);
inline std::string read_text(capnp::Text::Reader from) { return {from.begin(), from.size()}; }

}  // namespace coppice::host
