#include "host/queries.h"

#include <fmt/format.h>

#include <algorithm>

namespace coppice::host {
namespace {

Refused gone(std::string_view what) {
  return refused(ENOENT, fmt::format("{} was destroyed", what));
}

constexpr size_t kHistoryPiece = 16;     // Records read at once.
constexpr size_t kHistoryBytes = 8_MiB;  // About as much in one answer.

struct Counts {
  u64 datasets = 0, snapshots = 0;
};
Counts count_datasets(const pool::CatalogView& view) {
  Counts counts;
  std::vector<pool::DatasetId> front{view.root()};
  while (!front.empty()) {
    const pool::DatasetId id = front.back();
    front.pop_back();
    ++counts.datasets;
    counts.snapshots += view.snapshot_count(id);
    for (const pool::DatasetId child : view.children(id)) front.push_back(child);
  }
  return counts;
}

}  // namespace

// --- The pool
// -------------------------------------------------------------------------------------

Task<Attempt<PoolReport>> report_pool(Site& site) {
  PoolReport report;
  report.stats = co_await ok(site.pool().stats());
  report.name = site.pool().name();
  report.scrub = site.pool().scrub_status();
  const Counts counts = count_datasets(site.pool().catalog());
  report.datasets = counts.datasets;
  report.snapshots = counts.snapshots;
  report.exports = static_cast<u32>(site.exports().views(&site).size());
  report.transactions = site.pending();
  co_return report;
}

Task<Attempt<std::vector<VolumeReport>>> report_exported_volumes(Site& site) {
  std::vector<VolumeReport> reports;
  const auto views = site.exports().views(&site);
  for (const auto& view : views) {
    if (raw(view.volume) == 0) continue;
    if (!reports.empty() && reports.back().name == view.name) {  // At another address too.
      reports.back().connections += view.connections;
      continue;
    }
    auto stats = co_await site.pool().volume_stats(view.volume);
    if (!stats) continue;  // Destroyed meanwhile.
    reports.push_back({.name = view.name, .connections = view.connections, .stats = *stats});
  }
  co_return reports;
}

Task<Attempt<std::vector<pool::HistoryRecord>>> read_history(Site& site, u64 from, u32 count_max) {
  const u32 count = count_max == 0 ? kHistoryMax : std::min(count_max, kHistoryMax);
  // A program's record may be large: no more of them than an answer should hold, but one at least.
  std::vector<pool::HistoryRecord> records;
  size_t bytes = 0;
  while (records.size() < count && bytes < kHistoryBytes) {
    const size_t wanted = std::min<size_t>(count - records.size(), kHistoryPiece);
    auto piece = co_await ok(site.pool().history(from, wanted));
    for (auto& record : piece) {
      from = record.sequence + 1;
      bytes += record.command.size() + record.effects.size();
      records.push_back(std::move(record));
    }
    if (piece.size() < wanted) break;
  }
  co_return records;
}

Task<Attempt<>> order_scrub(Site& site, ScrubOrder order) {
  switch (order) {
    case ScrubOrder::start: co_await ok(site.pool().scrub_start()); break;
    case ScrubOrder::pause:
      if (site.pool().scrub_status().state != pool::ScrubStatus::State::running)
        co_return refused(ENOENT, "pause the scrub: none is running");
      site.pool().scrub_pause();
      break;
    case ScrubOrder::cancel: co_await ok(site.pool().scrub_cancel()); break;
  }
  co_return Attempt<>{};
}

Task<Attempt<pool::ScrubStatus>> scrub_status(Site& site) { co_return site.pool().scrub_status(); }

Task<Attempt<>> sync_pool(Site& site) {
  co_await ok(site.pool().sync());
  co_return Attempt<>{};
}

Task<Attempt<PoolReport>> grow_pool(Site& site, PoolFile* file, Lanes& lanes) {
  if (file != nullptr) co_await ok(file->refresh(lanes));  // Null in tests.
  co_await ok(site.pool().grow());
  auto report = co_await report_pool(site);
  co_return report;
}

Task<Attempt<std::vector<std::string>>> check_pool(Site& site) {
  const auto views = site.exports().views(&site);
  for (const auto& view : views)
    if (view.connections > 0)
      co_return refused(
          EBUSY, fmt::format("check the pool: {} has clients; disconnect them first", view.name));
  auto contradictions = co_await ok(site.pool().check());
  co_return contradictions;
}

// --- Targets
// --------------------------------------------------------------------------------------

Task<Attempt<verb::Target>> find_target(Site& site, std::string name) {
  co_return verb::find_target(site.pool().catalog(), name);
}

Attempt<verb::Target> refresh(const pool::CatalogView& view, verb::Target target) {
  if (raw(target.snapshot) != 0) {
    const pool::Snapshot* snapshot = view.snapshot(target.snapshot);
    if (snapshot == nullptr)
      return std::unexpected(verb::Refusal{ENOENT, "the snapshot was destroyed", {}});
    target.dataset = snapshot->dataset;
  } else if (view.dataset(target.dataset) == nullptr) {
    return std::unexpected(verb::Refusal{ENOENT, "the dataset was destroyed", {}});
  }
  return target;
}

Task<Attempt<TargetReport>> report_target(Site& site, verb::Target target) {
  const pool::CatalogView& view = site.pool().catalog();
  const auto now = refresh(view, target);
  if (!now) co_return refused(now.error());
  TargetReport report;
  report.name = verb::full_name(view, *now);
  report.kind = verb::kind_of(view, *now);
  if (const pool::Snapshot* snapshot = view.snapshot(now->snapshot)) {
    report.guid = snapshot->guid;
    report.id = raw(snapshot->id);
    report.volsize_bytes = snapshot->volsize_bytes;
  } else if (const pool::Dataset* dataset = view.dataset(now->dataset)) {
    report.guid = dataset->guid;
    report.id = raw(dataset->id);
    report.volsize_bytes = dataset->volsize_bytes;
  }
  co_return report;
}

Task<Attempt<pool::VolumeStats>> report_volume(Site& site, verb::Target target) {
  const pool::Dataset* dataset = site.pool().catalog().dataset(target.dataset);
  if (dataset == nullptr) co_return gone("the dataset");
  if (dataset->type != pool::DatasetType::volume)
    co_return refused(EINVAL, "a group has no statistics: ask its volumes");
  auto stats = co_await ok(site.pool().volume_stats(target.dataset));
  co_return stats;
}

Task<Attempt<std::vector<Hold>>> read_holds(Site& site, verb::Target target) {
  const pool::Snapshot* snapshot = site.pool().catalog().snapshot(target.snapshot);
  if (snapshot == nullptr) co_return gone("the snapshot");
  co_return std::vector<Hold>(snapshot->holds.begin(), snapshot->holds.end());
}

// --- Properties
// -----------------------------------------------------------------------------------

Task<Attempt<std::vector<NamedValue>>> read_properties(Site& site, verb::Target target,
                                                       std::vector<std::string> names) {
  const pool::CatalogView& view = site.pool().catalog();
  const auto now = refresh(view, std::move(target));
  if (!now) co_return refused(now.error());
  const verb::PoolFacts facts(site.pool(), site, static_cast<u64>(time(nullptr)));
  verb::Reader reader(view, facts, &site.pool());
  if (names.empty()) {
    auto all = co_await ok(reader.get_all(*now));
    co_return all;
  }
  std::vector<NamedValue> values;
  for (const std::string& name : names) {
    auto value = co_await ok(reader.get(*now, name));
    if (!value) co_return refused(value.error());
    const verb::Property* native = verb::find_property(name);
    values.emplace_back(
        native != nullptr ? std::string(native->name) : name,
        value->value_or(verb::PropertyValue{.raw = "-", .shown = "-", .inherited_from = ""}));
  }
  co_return values;
}

}  // namespace coppice::host
