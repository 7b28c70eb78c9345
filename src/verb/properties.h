// verb/properties.h — the properties of datasets, snapshots and bookmarks: what there is, and their
// values.
//
// Theory. One table says what each native property is. A Reader answers one request: it works out
// the accounts of all datasets once, bottom up, when first asked for one, and asks the pool for
// what only the dead index knows (`used` of snapshots) once per dataset. Values and sources are
// those of `zfs get`.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pool/pool.h"
#include "verb/verb.h"

namespace coppice::verb {

// What a property may belong to; ored together in Property::applies.
inline constexpr u8 kGroup = 1, kVolume = 2, kSnapshot = 4, kBookmark = 8;
inline constexpr u8 kDatasets = kGroup | kVolume;

enum class PropertyType : u8 { text, bytes, count, time, choice, flag };  // flag: on or off.

struct Property {
  std::string_view name;
  PropertyType type;
  bool settable;
  bool inheritable;
  u8 applies;
  std::string_view
      values;  // As `zfs get` shows it: "<size>", "on | off", "<size> | none", "<date>".
  std::string_view summary;
  std::string_view column;  // The heading in `list`: "REFER", "AVAIL", ...
};
std::span<const Property> properties();  // In the order of `zfs get all`.
const Property* find_property(
    std::string_view name);  // Also by zfs's short names: avail, refer, volsize...
bool is_user_property(std::string_view name);  // module:name.
inline constexpr size_t kPropertyNameMax = 255;
inline constexpr size_t kPropertyValueMax = 8192;

enum class Source : u8 { none, local, by_default, inherited, temporary };
struct PropertyValue {
  std::string raw;    // As with -p: numbers in full.
  std::string shown;  // For people: 1.50G, a date.
  Source source = Source::none;
  std::string inherited_from;
  std::string source_text() const;  // "-", "local", "default", "inherited from tank/a".
};

// What a name names: a dataset, one of its snapshots, or one of its bookmarks.
struct Target {
  pool::DatasetId dataset{};
  pool::SnapshotId snapshot{};
  std::string bookmark;
  bool is_dataset() const { return raw(snapshot) == 0 && bookmark.empty(); }
};
Attempt<Target> find_target(const pool::CatalogView& view,
                            std::string_view name);  // ENOENT, EINVAL.
std::string full_name(const pool::CatalogView& view, const Target& target);
u8 kind_of(const pool::CatalogView& view, const Target& target);  // kGroup...kBookmark.

// The accounts of a dataset, in bytes.
struct Accounts {
  u64 used = 0;  // Of it and everything below, with reservations not yet taken up.
  u64 available = 0;
  u64 referenced = 0;
  u64 used_by_dataset = 0, used_by_snapshots = 0, used_by_children = 0;
  u64 logical_used = 0;  // Of it and everything below; live data only.
  u64 logical_referenced = 0;
  u64 snapshots = 0;  // How many, of it and everything below.
};

class Reader {
 public:
  // The view must not change while value() is used; across the waits of get() and prepare() it may.
  // `pool` null: `used` of snapshots and written@ are not known (shown as 0).
  // `ledger`: one that follows the view's transaction; null: its own.
  Reader(const pool::CatalogView& view, const Facts& facts, pool::Pool* pool,
         Ledger* ledger = nullptr);
  ~Reader();

  // The value; nothing if the target has none of that name. EINVAL: no such property.
  Task<Attempt<std::optional<PropertyValue>>> get(Target target, std::string name);
  // All native properties of the target, then user properties by name.
  Task<std::vector<std::pair<std::string, PropertyValue>>> get_all(Target target);

  // For lists: once prepared for the datasets whose snapshots (or whom) the list shows and for the
  // names it asks for, value() needs no waiting and makes no copies but its result.
  Task<> prepare(std::vector<Target> targets, std::vector<std::string> names);
  Attempt<std::optional<PropertyValue>> value(const Target& target, std::string_view name) const;
  const Accounts& accounts(pool::DatasetId id) const;
  void forget();  // The view has changed: work the accounts out again.

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// 1536 -> "1.50K", as zfs writes sizes.
std::string human_bytes(u64 bytes);
// "Sat Nov 21 10:05 2026" in UTC.
std::string human_time(u64 unix_s);

// The effective value of an inheritable native or user property, and the dataset it comes from (0:
// default).
struct Effective {
  std::string value;
  pool::DatasetId from{};
};
std::optional<Effective> effective_property(const pool::CatalogView& view, pool::DatasetId id,
                                            std::string_view name);
bool read_only(const pool::CatalogView& view, pool::DatasetId id);  // Itself or inherited.

}  // namespace coppice::verb
