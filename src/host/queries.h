// host/queries.h — what clients ask about a pool: reports, history, lists. All on the sync lane.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/refusal.h"
#include "host/site.h"
#include "verb/properties.h"

namespace coppice::host {

struct PoolReport {
  std::string name;
  pool::PoolStats stats;
  pool::ScrubStatus scrub;
  u64 datasets = 0, snapshots = 0;
  u32 exports = 0;
  u32 transactions = 0;  // Under way or waiting; programs not counted.
};
Task<Attempt<PoolReport>> report_pool(Site& site);

struct VolumeReport {
  std::string name;
  u32 connections = 0;
  pool::VolumeStats stats;
};
Task<Attempt<std::vector<VolumeReport>>> report_exported_volumes(Site& site);

inline constexpr u32 kHistoryMax = 1000;
Task<Attempt<std::vector<pool::HistoryRecord>>> read_history(Site& site, u64 from, u32 count_max);

enum class ScrubOrder : u8 { start, pause, cancel };
Task<Attempt<>> order_scrub(Site& site, ScrubOrder order);
Task<Attempt<pool::ScrubStatus>> scrub_status(Site& site);
Task<Attempt<>> sync_pool(Site& site);
Task<Attempt<PoolReport>> grow_pool(Site& site, PoolFile* file, Lanes& lanes);
Task<Attempt<std::vector<std::string>>> check_pool(Site& site);

// --- Targets. ENOENT, EINVAL.
Task<Attempt<verb::Target>> find_target(Site& site, std::string name);
// The same thing now, wherever it has been moved and whatever it is called: ENOENT once it is
// destroyed.
Attempt<verb::Target> refresh(const pool::CatalogView& view, verb::Target target);

struct TargetReport {
  std::string name;
  u8 kind = 0;  // verb::kGroup ... kSnapshot.
  u64 guid = 0;
  u64 id = 0;
  u64 volsize_bytes = 0;
};
Task<Attempt<TargetReport>> report_target(Site& site, verb::Target target);
Task<Attempt<pool::VolumeStats>> report_volume(Site& site, verb::Target target);
using Hold = std::pair<std::string, u64>;
Task<Attempt<std::vector<Hold>>> read_holds(Site& site, verb::Target target);

// --- Properties.
using NamedValue = std::pair<std::string, verb::PropertyValue>;
// `names` empty: all that apply. A named one that does not apply has the value "-".
Task<Attempt<std::vector<NamedValue>>> read_properties(Site& site, verb::Target target,
                                                       std::vector<std::string> names);

struct ListQuery {
  std::vector<std::string> roots;  // Empty: the whole pool.
  bool recursive = false;
  u32 depth_max = 0;  // 0: all.
  u8 kinds = 0;       // 0: datasets, and roots of any kind.
  std::vector<std::string> properties;
};
struct ListRow {
  std::string name;
  u8 kind = 0;
  std::vector<NamedValue> values;  // Names are empty if the query named them.
};

// One list under way. Made, used and destroyed while its pool is open, one call at a time.
class ListWalk {
 public:
  ListWalk(Site& site, ListQuery query);
  ListWalk(const ListWalk&) = delete;
  Task<Attempt<>> begin();
  Task<Attempt<std::vector<ListRow>>> next(u32 count_max);

 private:
  Attempt<> add_root(const std::string& name);
  void add_dataset(pool::DatasetId id, u32 level);
  void add_below(pool::DatasetId id, u32 level);
  bool wanted(u8 kind) const { return (kinds_ & kind) != 0; }
  Task<Attempt<ListRow>> full_row(const verb::Target& target);
  Attempt<ListRow> row(const verb::Target& target);

  Site& site_;
  ListQuery query_;
  u8 kinds_ = 0;
  std::vector<verb::Target> targets_;  // What was there when it began.
  size_t next_ = 0;
  std::unique_ptr<verb::PoolFacts> facts_;
  std::unique_ptr<verb::Reader> reader_;
};

Task<Attempt<std::unique_ptr<ListWalk>>> begin_list(Site& site, ListQuery query);

}  // namespace coppice::host
