// blocks.h — the oracle of content: what each block of a volume may read as, now and after a crash.
//
// Theory. Time is a count of events (Stamp). A change (write, zero, discard) is in flight from
// begin() to end(). Of each block the model keeps its versions: contents that were possible, from
// when until when. A version that is possible now is live; it says which of the changes in flight
// it has in it. begin() adds the versions with the change in every order with the others in flight;
// a good end() ends those without it; a failed one leaves both kinds.
//   A read may see what was possible at some time between its begin and end.
//   A crash may leave any version that was still possible when the last good flush was asked for,
//   or later; a
// FUA write rules out, once it was answered, the versions without it.
//   A snapshot is the state at one moment between its asking and its answer: a Cut, shared by all
//   blocks of all volumes
// that were snapshotted together. Each block seen in it narrows the moments down; none left is a
// contradiction.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "content.h"

namespace coppice::simtest {

using Stamp = u64;
inline constexpr Stamp kForever = ~u64{0};

struct Change {
  u64 id = 0;  // Of this request: unique.
  u64 offset = 0;
  u64 length = 0;
  WriteId writes = 0;  // 0: zeroes.
  bool fua = false;
  Stamp begun = 0;
};

// Moments at which something may have happened: disjoint, ascending, [from, until).
struct Moments {
  struct Span {
    Stamp from = 0;
    Stamp until = kForever;
  };
  std::vector<Span> spans;
  void narrow(const std::vector<Span>& allowed);  // Both ascending.
};

class Blocks;

// A snapshot's content.
class Frozen {
 public:
  Frozen() = default;
  u64 size_bytes() const { return size_bytes_; }
  bool settled() const { return open_ == 0; }  // Nothing is left to be found out.
  // Sees part of the snapshot. The answer is empty, or what is wrong.
  std::string see(u64 offset, std::span<const std::byte> bytes, Moments& cut);
  // Byte ranges worth reading: those that were ever written.
  std::vector<std::pair<u64, u64>> ranges() const;
  size_t block_count() const { return blocks_.size(); }

 private:
  friend class Blocks;
  struct Candidate {
    Content content{};
    std::vector<Moments::Span> spans{};
  };
  std::string see_block(u64 block, u32 begin, std::span<const std::byte> bytes, Moments& cut);
  u64 size_bytes_ = 0;
  size_t open_ = 0;  // Blocks with more than one candidate.
  std::map<u64, std::vector<Candidate>> blocks_;
};

class Blocks {
 public:
  static constexpr size_t kInFlightPerBlockMax = 4;  // The versions grow with its factorial.

  Blocks() = default;
  explicit Blocks(u64 size_bytes) : size_bytes_(size_bytes) {}
  Blocks(const Frozen& origin,
         Stamp now);  // A clone, or what a rollback leaves. Settled ones only.

  u64 size_bytes() const { return size_bytes_; }
  void resize(u64 size_bytes);

  bool crowded(u64 offset, u64 length) const;
  void begin(const Change& change);
  void end(u64 id, bool good, Stamp now);
  // What was answered before `since` survives every crash from now on. No read or snapshot in
  // flight began before `floor`.
  void durable(Stamp since, Stamp floor);
  // A read of [offset, ...) that began at `since` and ends now. Empty, or what is wrong.
  std::string see(u64 offset, std::span<const std::byte> bytes, Stamp since, Stamp now);
  // Nothing is in flight any more; each block is one of those that may survive.
  void crash();
  // After a crash: the block was seen as this, and stays it whatever crash comes. Empty, or what is
  // wrong.
  std::string pin(u64 offset, std::span<const std::byte> bytes);
  bool may_be_zero(u64 offset, u64 length, Stamp since) const;
  bool idle() const { return in_flight_.empty(); }

  Frozen freeze(Stamp asked, Stamp answered) const;
  std::vector<std::pair<u64, u64>> ranges() const;
  void forget_nothing() {
    keep_all_ = true;
  }  // For faults that may bring back anything ever written.

 private:
  struct Version {
    Content content{};
    Stamp from = 0;
    Stamp until = kForever;
    std::set<u64> includes{};  // Changes in flight when it came up that it has in it.
    bool lost = false;         // No crash can leave it.
    bool live() const { return until == kForever; }
  };
  struct Block {
    std::vector<u64> pending;
    std::vector<Version> versions;
  };
  Block& block(u64 index);
  void add(Block& block, u64 index, const Change& change, Stamp now);
  void prune(Block& block) const;
  std::string wrong(const Block& block, u64 index, u32 begin, std::span<const std::byte> bytes,
                    const char* when) const;

  u64 size_bytes_ = 0;
  std::map<u64, Block> blocks_;  // Absent: zeroes since ever.
  std::map<u64, Change> in_flight_;
  Stamp durable_ = 0;
  Stamp floor_ = 0;
  bool keep_all_ = false;
};

}  // namespace coppice::simtest
