// verb/verb.h — the one table of administrative verbs.
//
// Theory. A verb is a row: its arguments, the right it needs, `check` and `sync`. Both work out the
// same plan from the same view and refuse for the same reasons; check throws the plan away, sync
// carries it out on the transaction. So check tells the truth by construction: what it answers is
// what sync would answer at that point, after the transaction's own earlier changes. Neither waits,
// reads a disk or looks at a clock: everything they need is in the view and in Facts. A refused
// sync has changed nothing. What must happen outside the pool once the transaction is durable is
// returned as effects; nothing happens before that.
#pragma once

#include <expected>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "pool/catalog.h"
#include "pool/pool.h"

namespace coppice::verb {

using Names = std::vector<std::string>;
using Pairs = std::map<std::string, std::string>;
using Value = std::variant<bool, u64, std::string, Names, Pairs>;
using Arguments = std::map<std::string, Value, std::less<>>;

// Why nothing was done. `message` is one line: what was tried, on what, why, and what to do.
struct Refusal {
  int error = 0;  // errno, the one zfs gives where it has one.
  std::string message;
  std::vector<std::string>
      details;  // Of promote: conflicting snapshot names; of others: what stands in the way.
  friend bool operator==(const Refusal&, const Refusal&) = default;
};
template <class T = void>
using Attempt = std::expected<T, Refusal>;

enum class Kind : u8 {
  flag,
  number,
  text,
  names,
  pairs
};  // The alternatives of Value, in its order.
const char* name_of(Kind kind);

struct Argument {
  std::string_view name;
  Kind kind = Kind::text;
  int position = -1;  // -1: by name only.
  bool required = false;
  std::string_view fallback;  // The default, as text; empty: absent, false, none.
  std::string_view summary;
};

// What a caller must be allowed to do to the object that the verb names.
enum class Right : u8 {
  create,
  destroy,
  snapshot,
  clone,
  promote,
  rollback,
  rename,
  bookmark,
  hold,
  release,
  configure,
  serve
};
const char* name_of(Right right);

// An export that runs now, pinned or not.
struct RunningExport {
  pool::DatasetId dataset{};
  pool::SnapshotId snapshot{};  // 0: the live volume.
  pool::ExportSpec spec;
  bool pinned = true;
};

// A map of a loaded object: links of one object and instance share it.
struct MapName {
  std::string_view object;
  std::string_view instance;
  std::string_view map;
};

// What verbs must know that is not in the catalog. Tests fake it.
class Facts {
 public:
  virtual ~Facts() = default;
  virtual u64 now_s() const = 0;  // Unix time.
  virtual u64 available_bytes()
      const = 0;  // Free in the pool for users' data: the reserve is taken off.
  virtual bool in_use(pool::DatasetId id) const = 0;
  virtual bool in_use(pool::SnapshotId id) const = 0;
  virtual std::vector<RunningExport> exports_of(
      pool::DatasetId id) const = 0;                             // Of its snapshots as well.
  virtual bool listening(const std::string& address) const = 0;  // Or a socket for it is at hand.
  // Verified and compiled, so that it can be linked at once; nameless. None: nobody has loaded it.
  virtual std::optional<pool::SharedValue<pool::StoredObject>> loaded_object(
      std::string_view hash) const = 0;
  // What it holds now. None: there is no such map, or none whose contents can be kept.
  virtual std::optional<pool::MapEntries> map_entries(const MapName& map) const = 0;
  virtual const std::string& caller() const = 0;  // On whose behalf: "uid=0, pid=17".
};

// To be brought about by the host once the transaction is durable, in order.
struct StartExport {
  pool::DatasetId dataset{};
  pool::SnapshotId snapshot{};  // 0: the live volume.
  std::string name;             // Full name of the volume or snapshot: the export's name.
  pool::ExportSpec spec;
  bool pinned = true;  // In the catalog; else it ends with its last holder.
};
struct StopExport {
  pool::DatasetId dataset{};
  pool::SnapshotId snapshot{};
  std::string name;
  pool::ExportSpec spec;
};
struct RenameExport {  // The same running exports, under a new name.
  pool::DatasetId dataset{};
  pool::SnapshotId snapshot{};
  std::string old_name;
  std::string new_name;
};
struct SetReadOnly {  // Property readonly changed for a volume with running exports.
  pool::DatasetId dataset{};
  std::string name;
  bool read_only = false;
};
// The links of a dataset may not be what they were, or other datasets have moved in or out below
// them. However many of these there are, the host brings all about at once.
struct LinksChanged {
  pool::DatasetId dataset{};  // May be gone.
  std::string name;
};
using Effect = std::variant<StartExport, StopExport, RenameExport, SetReadOnly, LinksChanged>;

// What a sync did, for people and for dry runs. Full names, in the order of doing.
struct Report {
  std::vector<std::string> created;
  std::vector<std::string> destroyed;
  std::vector<std::string> deferred;  // Snapshots marked to go with their last hold or clone.
  std::vector<std::string>
      changed;         // Datasets and snapshots otherwise changed; of a rename the new names.
  std::string target;  // rollback: the snapshot gone back to.
};

struct Changes {
  Report report;
  std::vector<Effect> effects;
};

class Ledger;

class Context {
 public:
  // `ledger`: one that follows the transaction, for many verbs in it; null: each works out its own.
  Context(pool::Transaction& transaction, const Facts& facts, Ledger* ledger = nullptr)
      : transaction_(&transaction), facts_(&facts), ledger_(ledger) {}
  const pool::CatalogView& view() const { return *transaction_; }
  const Facts& facts() const { return *facts_; }
  pool::Transaction& transaction() { return *transaction_; }
  Ledger* ledger() const { return ledger_; }

 private:
  pool::Transaction* transaction_;
  const Facts* facts_;
  Ledger* ledger_;
};

struct Row {
  std::string_view name;
  std::string_view summary;
  std::span<const Argument> arguments;
  Right right;
  std::optional<Refusal> (*check)(const Context& context, const Arguments& arguments);
  // Appends to `changes`. Refused: transaction and `changes` are as they were.
  std::optional<Refusal> (*sync)(Context& context, const Arguments& arguments, Changes& changes);
};

std::span<const Row> table();  // In name order.
const Row* find(std::string_view name);

// "destroy NAME [recursive=flag] ...": for error messages and manuals.
std::string usage(const Row& row);

// Puts positional and named values in their places and into their kinds (a text for names is a list
// of one, text for a number may be "64G", for a flag "true", "on", "yes", "1"...). EINVAL with the
// usage: unknown name, wrong kind, missing, given twice. check and sync accept only arguments that
// went through here.
Attempt<Arguments> bind(const Row& row, std::vector<Value> positional, Arguments named);

// "create tank/v size=1073741824": one line, for history and traces.
std::string command_text(const Row& row, const Arguments& arguments);

// Appends text as command lines show it: in quotes if it is not plain.
void append_quoted(std::string& line, std::string_view text);

// Before commit: a StartExport gets the name that its volume has in the end, after renames in the
// same transaction.
void settle_names(const pool::CatalogView& view, std::vector<Effect>& effects);

// "64G" -> bytes: digits with an optional fraction and K M G T P E (of 1024), with or without B or
// iB.
std::optional<u64> parse_size(std::string_view text);

}  // namespace coppice::verb
