// pool/mutant.h — deliberate bugs, so that a test can prove that the tests would find them.
//
// Theory. Each Mutant names one mistake that an engine of this kind is prone to. The engine asks
// mutant(...) at the place where it could make it. In every build but the mutant test's the answer
// is the constant false, and the mistake is not even in the binary. With COPPICE_MUTANTS the test
// chooses one at a time, before it starts a pool.
#pragma once

#include "base/types.h"

namespace coppice::pool {

enum class Mutant : u8 {
  none,
  skip_flush_before_uberblock,  // The uberblock may reach the disk before what it names.
  skip_flush_of_log,            // FLUSH answers once the log record is written, not durable.
  free_one_group_early,  // Space is reused while a crash can still recover a group that names it.
  replay_trusts_bad_record,       // Replay takes a record whose data does not match its checksum.
  replay_ignores_zeroes,          // Replay forgets logged zeroes and discards.
  snapshot_misses_closing_group,  // A snapshot has the map before the group's writes were merged.
  ack_before_barrier,     // A write is acknowledged, yet may land on the far side of a closing
                          // barrier.
  dead_index_off_by_one,  // A block that died in the very group of a snapshot is freed with it, or
                          // kept.
  clone_frees_origin_blocks,  // What a clone overwrites is freed though its origin still shows it.
  rollback_keeps_dead_entries,    // Blocks revived by a rollback stay in the dead index.
  promote_moves_too_much,         // Deaths after the origin move along with a promotion.
  discard_forgets_partial_block,  // The unaligned ends of a discarded range keep their old bytes.
  rmw_loses_neighbour,            // A write smaller than a block zeroes the rest of it.
  log_reuses_live_block,          // Space that a valid log record points at is handed out again.
  checksum_not_verified,          // What was read is passed on unchecked.
  space_sum_ignored,              // A stale space bitmap passes for the current one.
};
inline constexpr u8 kMutantCount = 17;

inline const char* name_of(Mutant mutant) {
  static constexpr const char* kNames[kMutantCount] = {
      "none",
      "skip_flush_before_uberblock",
      "skip_flush_of_log",
      "free_one_group_early",
      "replay_trusts_bad_record",
      "replay_ignores_zeroes",
      "snapshot_misses_closing_group",
      "ack_before_barrier",
      "dead_index_off_by_one",
      "clone_frees_origin_blocks",
      "rollback_keeps_dead_entries",
      "promote_moves_too_much",
      "discard_forgets_partial_block",
      "rmw_loses_neighbour",
      "log_reuses_live_block",
      "checksum_not_verified",
      "space_sum_ignored",
  };
  return kNames[static_cast<u8>(mutant)];
}

#ifdef COPPICE_MUTANTS
inline Mutant active_mutant = Mutant::none;  // Set by the mutant test alone, while no pool is open.
inline bool mutant(Mutant which) { return active_mutant == which; }
#else
constexpr bool mutant(Mutant) { return false; }
#endif

}  // namespace coppice::pool
