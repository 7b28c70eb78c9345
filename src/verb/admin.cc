#include "verb/admin.h"

#include <map>
#include <set>
#include <utility>

#include "trace/point.h"
#include "verb/refuse.h"

namespace coppice::verb {
namespace {

constexpr size_t kCommandsShown = 20;  // Of many in one history record.

// Applies the invocations in order; stops at the first that is refused. Arguments are bound on the
// way.
std::optional<Refusal> apply_all(Context& context, Gate* gate, std::vector<Invocation>& invocations,
                                 size_t& at, Changes& changes, std::string& command) {
  const std::string& caller = context.facts().caller();
  const bool dry_run = invocations.front().dry_run;
  for (at = 0; at < invocations.size(); ++at) {
    Invocation& each = invocations[at];
    const Row* row = find(each.verb);
    if (row == nullptr) return Refusal{EINVAL, "there is no verb '" + each.verb + "'", {}};
    auto bound = bind(*row, {}, std::move(each.arguments));
    if (!bound) return std::move(bound).error();
    each.arguments = *std::move(bound);
    if (at < kCommandsShown) {
      if (at > 0) command += "; ";
      command += command_text(*row, each.arguments);
    }
    if (gate != nullptr) {
      if (auto refused = gate->admit(
              {.row = *row, .arguments = each.arguments, .caller = caller, .dry_run = dry_run})) {
        return refused;
      }
    }
    auto refused = row->sync(context, each.arguments, changes);
    if (trace::on(trace::Point::verb_sync)) [[unlikely]]
      trace::fire(trace::Point::verb_sync, {row->name.data(), refused ? refused->error : 0});
    if (refused) return refused;
  }
  if (invocations.size() > kCommandsShown) {
    command += "; and " + std::to_string(invocations.size() - kCommandsShown) + " more";
  }
  settle_names(context.view(), changes.effects);
  return std::nullopt;
}

Refusal too_many() {
  return {E2BIG, "one transaction has at most " + std::to_string(kInvocationsMax) + " verbs", {}};
}

}  // namespace

Refusal refusal_of(const Error& error) {
  return {error.sys != 0 ? error.sys : errno_of(error.code), describe(error), {}};
}

PoolFacts::PoolFacts(const pool::Pool& pool, const Host& host, u64 now_s, Asker asker)
    : pool_(pool),
      host_(host),
      now_s_(now_s),
      available_bytes_(pool.available_blocks() * pool::kBlock),
      asker_(std::move(asker)) {}

Task<Outcome> Admin::run(Invocation invocation) {
  std::vector<Invocation> one;
  one.push_back(std::move(invocation));
  co_return co_await run_many(std::move(one));
}

Task<Outcome> Admin::run_many(std::vector<Invocation> invocations) {
  Outcome outcome;
  if (invocations.empty()) co_return outcome;
  if (invocations.size() > kInvocationsMax) {
    outcome.refusal = too_many();
    co_return outcome;
  }
  auto done = co_await attempt(invocations);
  if (done) co_return std::move(done);
  outcome.refusal = refusal_of(done.error());
  co_return outcome;
}

Task<Outcome> Admin::attempt(std::vector<Invocation>& invocations) {
  auto session = co_await ok(pool_.begin());
  auto outcome = co_await carry_out(std::move(session), invocations);
  co_return outcome;
}

Task<Outcome> Admin::attempt_planned(const Plan& plan, const std::string& caller, bool dry_run) {
  auto session = co_await ok(pool_.begin());
  auto planned = plan(*session.transaction);
  Outcome outcome;
  if (!planned) outcome.refusal = std::move(planned).error();
  if (!planned || planned->empty()) co_return outcome;
  if (planned->size() > kInvocationsMax) {
    outcome.refusal = too_many();
    co_return outcome;
  }
  for (Invocation& each : *planned) {
    each.caller = caller;
    each.dry_run = dry_run;
  }
  auto done = co_await carry_out(std::move(session), *planned);
  co_return done;
}

Task<Outcome> Admin::run_planned(Plan plan, std::string caller, bool dry_run) {
  auto done = co_await attempt_planned(plan, caller, dry_run);
  if (done) co_return std::move(done);
  Outcome outcome;
  outcome.refusal = refusal_of(done.error());
  co_return outcome;
}

// In the pool's turn, which `session` has.
Task<Outcome> Admin::carry_out(pool::Pool::Session session, std::vector<Invocation>& invocations) {
  const u64 started_ns = sync_.now_ns();
  const u64 now_s = sync_.wall_ns() / 1'000'000'000;
  const Invocation& first = invocations.front();
  PoolFacts facts(pool_, host_, now_s,
                  {.caller = first.caller, .offered_address = first.offered_address});
  Context context(*session.transaction, facts);
  Outcome outcome;
  Changes changes;
  std::string command;
  outcome.refusal =
      apply_all(context, host_.gate(), invocations, outcome.refused_at, changes, command);
  if (outcome.refusal) co_return outcome;
  if (invocations.front().dry_run) {
    outcome.reclaim_bytes = co_await ok(reclaimable_bytes(pool_, *session.transaction));
    outcome.report = std::move(changes.report);
    outcome.effects = std::move(changes.effects);
    co_return outcome;
  }
  if (!session.transaction->empty()) {
    pool::HistoryRecord record;
    record.time_s = now_s;
    record.elapsed_us = (sync_.now_ns() - started_ns) / 1000;
    record.who = invocations.front().caller;
    record.command = std::move(command);
    record.result = "ok";
    record.effects = history_effects(invocations, changes);
    auto committed = co_await pool_.commit(std::move(session), std::move(record));
    if (!committed) co_return std::unexpected(committed.error());
    outcome.txg = *committed;
  }
  outcome.report = std::move(changes.report);
  outcome.effects = std::move(changes.effects);
  co_return outcome;
}

Task<u64> reclaimable_bytes(pool::Pool& pool, const pool::Transaction& transaction) {
  std::set<pool::DatasetId> volumes;
  std::map<pool::DatasetId, std::vector<pool::SnapshotId>> snapshots;
  for (const pool::TreeOp& op : transaction.tree_ops()) {
    if (const auto* volume = std::get_if<pool::DropVolume>(&op)) {
      volumes.insert(volume->dataset);
    } else if (const auto* drop = std::get_if<pool::DropSnapshot>(&op)) {
      const pool::Snapshot* known = pool.catalog().snapshot(drop->snapshot);
      if (known == nullptr || known->dataset != drop->dataset) continue;  // Made here.
      snapshots[drop->dataset].push_back(drop->snapshot);
    }
  }
  u64 blocks = 0;
  for (pool::DatasetId id : volumes) {
    const pool::VolumeState* state = pool.catalog().volume_state(id);
    if (state == nullptr) continue;
    blocks += state->live.referenced_blocks - state->inherited_blocks + state->dead_blocks;
    snapshots.erase(id);
  }
  for (auto& [id, dropped] : snapshots) {
    if (pool.catalog().volume_state(id) == nullptr) continue;
    auto freed = co_await pool.reclaimable_blocks(id, std::move(dropped));
    if (!freed) co_return std::unexpected(freed.error());
    blocks += *freed;
  }
  co_return blocks* pool::kBlock;
}

}  // namespace coppice::verb
