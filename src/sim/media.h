// sim/media.h — the platters of a simulated disk: what survives a power cut, and what may not.
//
// Theory. Reads see `current`. A block that changed since the last good flush is also in `dirty`:
// its durable content, and every version written since, completed or in flight. A flush makes
// durable the versions that had completed before it began. power_loss() lets every 512-byte sector
// of a dirty block independently be the durable one or that of any version, which is torn, lost and
// reordered writes in one rule. Block contents are immutable and shared, so copying Media is cheap:
// copy it and cut the copy's power with other seeds to explore one moment many ways.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "base/prng.h"
#include "io/disk.h"

namespace coppice::sim {

inline constexpr u64 kSector = 512;  // What a real disk writes wholly or not at all.
inline constexpr u64 kSectorsPerBlock = io::kDiskBlock / kSector;

// All faults are off by default. `*_one_in` n: every request (or written block) fails with chance
// 1/n.
struct Faults {
  u32 read_error_one_in = 0;
  u32 write_error_one_in = 0;     // Part of it may have been written.
  u32 flush_error_one_in = 0;     // What was not durable may never be, whatever a later flush says.
  u32 no_space_one_in = 0;        // A write that is refused whole.
  u32 bit_rot_one_in = 0;         // A read finds, and leaves, one bit flipped.
  u32 misdirected_one_in = 0;     // A written block lands on another one.
  u32 stale_one_in = 0;           // A written block is acknowledged, and one sector of it is lost.
  u64 space_max_bytes = ~u64{0};  // Blocks in use beyond this: no_space, as on a full file system.
  u64 begin = 0;                  // Only requests and blocks that begin in [begin, end) are hit.
  u64 end = ~u64{0};
};

struct Op {
  enum Kind : u8 { read, write, flush, punch } kind;
  u64 offset = 0;
  u64 length = 0;
};

struct Counters {
  u64 reads = 0;
  u64 writes = 0;
  u64 flushes = 0;
  u64 punches = 0;
  u64 bytes_read = 0;
  u64 bytes_written = 0;
  u64 bytes_punched = 0;
  u64 faults = 0;  // How many faults struck.
};

class Media {
 public:
  Media(u64 size_bytes, u64 seed);

  u64 size_bytes() const { return size_bytes_; }
  void resize(u64 size_bytes) { size_bytes_ = size_bytes; }  // The file grew, or was truncated.
  u64 used_bytes() const { return current_.size() * io::kDiskBlock; }
  const Counters& counters() const { return counters_; }
  Faults faults;
  std::function<void(const Op&)> observer;  // Told of every request as it is made.

  // The volatile cache is lost as described above; every Disk made before now has no power any
  // more.
  void power_loss();
  // The process was killed: the cache keeps what had completed, and what was in flight has happened
  // or not, sector by sector. Every Disk made before now is of no use any more, as above.
  void process_loss();
  u64 epoch() const { return epoch_; }  // How often either was lost.
  void reseed(u64 seed) { prng_ = Prng(seed); }

  // By hand, for tests; at once, and durable. peek() reads without cost or fault.
  void corrupt(u64 offset, u64 length);  // Flips at least one bit of every sector touched.
  void overwrite(u64 offset, std::span<const std::byte> bytes);
  void peek(u64 offset, std::span<std::byte> into) const;

 private:
  friend class Disk;
  using Content = std::array<std::byte, io::kDiskBlock>;
  using Block = std::shared_ptr<const Content>;  // Null: zeroes.
  struct Version {
    u64 request = 0;
    u64 completed = 0;  // Order of completion; 0: in flight.
    bool lost = false;  // A flush does not make it durable.
    Block block = nullptr;
  };
  struct Dirty {
    Block durable;
    std::vector<Version> versions;
  };

  u64 begin_write(u64 offset, io::Disk::Parts parts);  // The request's number.
  Result<> end_write(u64 request, u64 offset, u64 length);
  Result<> read(u64 offset, std::span<std::byte> into);
  u64 begin_flush() const { return completed_; }
  Result<> end_flush(u64 completed_max);
  void punch(u64 offset, u64 length);
  u64 delay_ns(Op::Kind kind);

  bool strikes(u32 one_in, u64 offset);
  const Block& at(u64 index) const;
  void set(u64 index, Block block);
  Dirty& dirty(u64 index);
  void complete(u64 index, Version& version);
  Block mixed(const Block& one, const Block& other);
  void rot(u64 offset);

  u64 size_bytes_;
  Prng prng_;
  u64 epoch_ = 0;
  u64 requests_ = 0;
  u64 completed_ = 0;
  Counters counters_;
  std::map<u64, Block> current_;  // By block number; ordered, so that a seed is one history.
  std::map<u64, Dirty> dirty_;
};

}  // namespace coppice::sim
