#include "script.h"

#include <fmt/format.h>

namespace coppice::simtest {
namespace {

constexpr u64 kVolumeBytes = 8 * kBlock;
constexpr const char* kVolume = "tank/v";
constexpr const char* kSecond = "tank/w";
constexpr const char* kClone = "tank/c";

Plan plan_for(const std::string& script, u64 seed, u64 crash_at, bool kill) {
  Plan plan;
  plan.seed = seed;
  plan.media_bytes = 16_MiB;
  plan.lanes = 2;
  plan.lives = 2;
  plan.group_ns = 5'000'000'000;
  plan.dirty_bytes_max = 64_MiB;
  plan.cache_bytes = 1_MiB;
  plan.node_cache_bytes = 1_MiB;
  plan.in_flight_max = 1;
  plan.kill = kill ? 100 : 0;
  plan.script = script;
  plan.crash_at = crash_at;
  return plan;
}

AdminOp op_of(Verb verb, std::string name, std::string other = {}) {
  AdminOp op;
  op.verb = verb;
  op.names.push_back(std::move(name));
  op.other = std::move(other);
  return op;
}

}  // namespace

u64 script_count(size_t length) {
  u64 count = 1;
  for (size_t i = 0; i < length; ++i) count *= kAlphabetSize;
  return count;
}

std::string script_of(u64 index, size_t length) {
  std::string script;
  for (size_t i = 0; i < length; ++i, index /= kAlphabetSize) {
    script += kAlphabet[index % kAlphabetSize];
  }
  return script;
}

Outcome run_script(const std::string& script, const MakeSubject& make, u64 seed,
                   const History::Print& print) {
  Outcome outcome;
  auto* whole = new History(plan_for(script, seed, kForever, false), *make().release(),
                            print);  // Left behind, as its coroutines are.
  outcome.violation = whole->run();
  add(outcome.counts, whole->counts());
  const u64 requests = whole->script_requests();
  for (u64 at = 0; at <= requests && outcome.violation.empty(); ++at) {
    for (const bool kill : {false, true}) {
      auto* cut = new History(plan_for(script, seed, at, kill), *make().release(), print);
      const std::string violation = cut->run();
      add(outcome.counts, cut->counts());
      if (violation.empty()) continue;
      outcome.violation = fmt::format("script {} with {} at request {} of {}: {}", script,
                                      kill ? "kill -9" : "power loss", at, requests, violation);
      break;
    }
  }
  // Once more with a crash behind the last request, and another during the recovery from it.
  const u64 recovery = whole->recovery_requests();
  for (u64 at = 0; at <= recovery && outcome.violation.empty(); ++at) {
    Plan plan = plan_for(script, seed + at, kForever, at % 2 == 1);
    plan.recovery_crash_at = at;
    plan.lives = 3;
    auto* cut = new History(plan, *make().release(), print);
    const std::string violation = cut->run();
    add(outcome.counts, cut->counts());
    if (!violation.empty()) {
      outcome.violation =
          fmt::format("script {} with a crash at request {} of {} of the recovery: {}", script, at,
                      recovery, violation);
    }
  }
  return outcome;
}

Task<> History::write_now(const char* path, u64 offset, u64 length, bool zero, bool discard,
                          bool fua) {
  const u64 id = world_.find_dataset(path);
  if (id == 0) co_return {};  // An earlier letter destroyed it.
  auto opened = co_await ok(device(id));
  Change change;
  change.id = ++ids_;
  change.writes = zero ? 0 : change.id;
  change.offset = offset;
  change.length = length;
  change.fua = fua;
  blk::WriteOptions options;
  options.fua = fua;
  auto done = co_await this->change(id, *opened, change, options, discard);
  (void)done;
  co_return {};
}

Task<> History::administrate_now(AdminOp op) {
  auto calm = co_await close_all();
  (void)calm;
  std::vector<AdminOp> ops;
  ops.push_back(std::move(op));
  auto done = co_await administrate(std::move(ops), {});
  (void)done;
  co_return {};
}

Task<> History::play_letter(char letter) {
  const std::string snapshot =
      fmt::format("{}@{}", kVolume, letter == 'S' ? fresh_name("s") : "s1");
  switch (letter) {
    case 'W': return write_now(kVolume, 0, 2 * kBlock, false, false, false);
    case 'w': return write_now(kVolume, 100, kBlock, false, false, false);
    case 'U': return write_now(kVolume, 3 * kBlock, kBlock, false, false, true);
    case 'Z': return write_now(kVolume, 0, kBlock, true, false, false);
    case 'z': return write_now(kVolume, kBlock / 2, 2 * kBlock, true, false, true);
    case 'D': return write_now(kVolume, 10, kVolumeBytes - 10, true, true, false);
    case 'N': return write_now(kClone, kBlock, kBlock, false, false, false);
    case 'Y': return sync();
    case 'S': return administrate_now(op_of(Verb::snapshot, snapshot));
    case 'C': return administrate_now(op_of(Verb::clone, snapshot, "tank/" + fresh_name("k")));
    case 'P': return administrate_now(op_of(Verb::promote, kClone));
    case 'R': return administrate_now(op_of(Verb::rollback, snapshot));
    case 'X': return administrate_now(op_of(Verb::destroy, kClone));
    default: return flush_now(kVolume);
  }
}

Task<> History::flush_now(const char* path) {
  const u64 id = world_.find_dataset(path);
  auto opened = co_await ok(device(id));
  auto done = co_await flush(id, *opened);
  (void)done;
  co_return {};
}

// Two volumes, flushed blocks, a snapshot, a clone; then the script.
Task<> History::play() {
  if (life_ > 0) co_return {};
  AdminOp first = op_of(Verb::create_volume, kVolume);
  first.size = kVolumeBytes;
  AdminOp second = op_of(Verb::create_volume, kSecond);
  second.size = kVolumeBytes;
  AdminOp snap = op_of(Verb::snapshot, std::string(kVolume) + "@s1");
  AdminOp clone = op_of(Verb::clone, std::string(kVolume) + "@s1", kClone);
  auto done = co_await administrate_now(std::move(first));
  done = co_await administrate_now(std::move(second));
  done = co_await write_now(kVolume, 0, 5 * kBlock, false, false, false);
  done = co_await administrate_now(std::move(snap));
  done = co_await administrate_now(std::move(clone));
  done = co_await write_now(kVolume, kBlock, kBlock, false, false, false);
  done = co_await sync();
  const u64 before = disk_requests_;
  if (plan_.crash_at != kForever) crash_at_ = before + plan_.crash_at;
  for (const char letter : plan_.script) {
    done = co_await play_letter(letter);
  }
  script_requests_ = disk_requests_ - before;
  co_return {};
}

}  // namespace coppice::simtest
