// verb/admin.h — runs verbs on a pool: one transaction, committed with its history record.
//
// Theory. An invocation is a verb with its arguments. run_many() applies its invocations in order
// to one transaction: if any is refused, nothing happened. When an Outcome without refusal comes
// back, the changes are durable and the effects are the caller's to bring about. Runs on the pool's
// sync lane.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pool/pool.h"
#include "rt/executor.h"
#include "verb/verb.h"

namespace coppice::verb {

struct Invocation {
  std::string verb;
  Arguments arguments;   // By name; bound (verb.h) by run().
  std::string caller;    // For the history: "uid=0, pid=17".
  bool dry_run = false;  // Applied to the transaction, reported, thrown away. Not recorded.
  std::string offered_address{};  // Of `export`: a socket for it is at hand.
};

struct Outcome {
  std::optional<Refusal> refusal;  // Then nothing was changed.
  size_t refused_at = 0;           // Which of run_many's invocations was refused.
  Report report;
  std::vector<Effect> effects;  // Durable by now, so the caller brings them about, in order.
  pool::Txg txg{};  // The group that made it durable; 0 if nothing was changed or in a dry run.
  u64 reclaim_bytes = 0;  // Dry run: the space that this would free.
};

// May forbid verbs: asked before each one's sync, and before a check is answered. On the sync lane.
class Gate {
 public:
  struct Question {
    const Row& row;
    const Arguments& arguments;  // Bound.
    const std::string& caller;   // "uid=0, pid=17".
    bool in_program = false;     // A channel program's, else a command's.
    bool dry_run = false;        // It will not be committed.
  };
  virtual ~Gate() = default;
  virtual std::optional<Refusal> admit(const Question& question) = 0;
};

// What verbs ask of the daemon that has the pool open. On the sync lane.
class Host {
 public:
  virtual ~Host() = default;
  virtual std::vector<RunningExport> exports_of(pool::DatasetId id) const = 0;
  virtual bool listening(const std::string& address) const = 0;
  // As in Facts. A host without programs has neither.
  virtual std::optional<pool::SharedValue<pool::StoredObject>> loaded_object(
      std::string_view) const {
    return std::nullopt;
  }
  virtual std::optional<pool::MapEntries> map_entries(const MapName&) const { return std::nullopt; }
  virtual Gate* gate() const { return nullptr; }  // Null: everything is admitted.
};

// Who has verbs done.
struct Asker {
  std::string caller = {};           // "uid=0, pid=17".
  std::string offered_address = {};  // A socket for it came along.
};

// The facts of an open pool, with its space as it was when they were made.
class PoolFacts final : public Facts {
 public:
  PoolFacts(const pool::Pool& pool, const Host& host, u64 now_s, Asker asker = {});
  u64 now_s() const override { return now_s_; }
  u64 available_bytes() const override { return available_bytes_; }
  bool in_use(pool::DatasetId id) const override { return pool_.in_use(id); }
  bool in_use(pool::SnapshotId id) const override { return pool_.in_use(id); }
  std::vector<RunningExport> exports_of(pool::DatasetId id) const override {
    return host_.exports_of(id);
  }
  bool listening(const std::string& address) const override {
    return host_.listening(address) || (!address.empty() && address == asker_.offered_address);
  }
  std::optional<pool::SharedValue<pool::StoredObject>> loaded_object(
      std::string_view hash) const override {
    return host_.loaded_object(hash);
  }
  std::optional<pool::MapEntries> map_entries(const MapName& map) const override {
    return host_.map_entries(map);
  }
  const std::string& caller() const override { return asker_.caller; }

 private:
  const pool::Pool& pool_;
  const Host& host_;
  u64 now_s_;
  u64 available_bytes_;
  Asker asker_;
};

// No more than this many invocations in one run_many().
inline constexpr size_t kInvocationsMax = 100'000;

class Admin {
 public:
  // `sync` is the pool's sync lane. All three outlive this.
  Admin(pool::Pool& pool, const Host& host, rt::Executor& sync)
      : pool_(pool), host_(host), sync_(sync) {}

  // Neither fails: errors of the engine come back as a Refusal too.
  Task<Outcome> run(Invocation invocation);
  // One transaction. caller and dry_run are those of the first.
  Task<Outcome> run_many(std::vector<Invocation> invocations);
  // The invocations that `plan` makes when it is their turn: nobody changes the catalog in between.
  using Plan = std::function<Attempt<std::vector<Invocation>>(const pool::CatalogView& view)>;
  Task<Outcome> run_planned(Plan plan, std::string caller, bool dry_run);

 private:
  Task<Outcome> attempt(std::vector<Invocation>& invocations);
  Task<Outcome> attempt_planned(const Plan& plan, const std::string& caller, bool dry_run);
  Task<Outcome> carry_out(pool::Pool::Session session, std::vector<Invocation>& invocations);
  pool::Pool& pool_;
  const Host& host_;
  rt::Executor& sync_;
};

// Space that the transaction's drops would free: for dry runs, on the transaction before it is
// thrown away.
Task<u64> reclaimable_bytes(pool::Pool& pool, const pool::Transaction& transaction);

Refusal refusal_of(const Error& error);

// As JSON, for HistoryRecord::effects. Long lists are cut, and say how long they were.
std::string to_json(const Changes& changes);
std::string to_json(const Arguments& arguments);
std::string to_json(std::string_view text);  // In quotes; bytes that are no UTF-8 as \u00XX.
// {"verbs": [{"verb": ..., "arguments": ...}...], "changes": ...}: what a replay needs, and what
// people ask.
std::string history_effects(const std::vector<Invocation>& invocations, const Changes& changes);

}  // namespace coppice::verb
