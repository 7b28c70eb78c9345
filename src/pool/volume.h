// pool/volume.h — one volume, or one snapshot, as a block device on its lane.
//
// Theory. Newest first, a block's content is in the open overlay, the closing overlay, or the map.
// Writes go to the open overlay whole, in one step, after everything that had to be waited for: so
// a write lies in one group. A write of part of a block needs the rest of it first; whoever changes
// that block meanwhile makes the waiting write look again (Partial). Reads of the map may be
// overtaken by commits that free and reuse what they look at; such a read fails its checksum, finds
// the map changed, and starts again. A snapshot's view is a Volume that is frozen: it has overlays,
// but nothing is ever put into them.
#pragma once

#include <list>
#include <memory>
#include <vector>

#include "blk/device.h"
#include "pool/lane.h"
#include "pool/mutant.h"
#include "pool/overlay.h"

namespace coppice::pool {

// One request more.
void count(IoStats& stats, u64 bytes, u64 ns, bool ok);

class Volume final : public blk::Device {
 public:
  Volume(IoLane& lane, const VolumeUpdate& update, bool frozen);
  ~Volume() override;

  // blk::Device.
  rt::Executor& executor() override { return lane_.executor(); }
  u64 size_bytes() const override { return size_bytes_; }
  bool read_only() const override { return frozen_ || read_only_; }
  Task<> read(u64 offset, std::span<std::byte> into) override;
  Task<> write(u64 offset, std::span<const std::byte> from, blk::WriteOptions options) override;
  Task<> zero(u64 offset, u64 length, blk::WriteOptions options) override;
  Task<> discard(u64 offset, u64 length, blk::WriteOptions options) override;
  Task<> flush() override;
  Task<std::vector<blk::Extent>> extents(u64 offset, u64 length, size_t count_max) override;
  Task<> prefetch(u64 offset, u64 length) override;

  // For the lane.
  DatasetId id() const { return id_; }
  void update(const VolumeUpdate& update);
  void shrink_to(u64 size_bytes) { size_bytes_ = std::min(size_bytes_, size_bytes); }
  void apply_logged(const LogSection& section);
  Overlay& open() { return *open_; }
  Overlay* closing() { return closing_.get(); }
  bool dirty() const { return closing_ || !open_->empty(); }
  void flip();  // open -> closing.
  void set_merged(NodePtr root) { merged_ = root; }
  void finish();                     // The closing group is durable: merged becomes current.
  std::vector<Dropped> left_behind;  // What merged does not name any more.
  bool closing_written = false;  // Every block of closing() has an address and is on the device.
  u32 holders = 0;
  NodePtr root() const { return root_; }
  VolumeStats stats;

 private:
  friend struct TraceTypes;
  struct Partial;  // A write of part of a block that waits for the rest of it.
  struct Miss;     // A stretch of blocks to be read from the device.

  // volume_read.cc
  Task<> read_consistent(u64 offset, std::span<std::byte> into);
  Task<> read_once(u64 offset, std::span<std::byte> into, bool last_try, bool& stale);
  bool from_overlays(u64 lba, size_t skip, std::span<std::byte> into, std::vector<Miss>& misses);
  void from_extent(const ExtentView& extent, u64 lba, size_t skip, std::span<std::byte> into,
                   std::vector<Miss>& misses);
  Task<> read_miss(Miss& miss, bool last_try, bool& stale);
  static void add_miss(std::vector<Miss>& misses, Miss miss);
  Result<> damaged(const char* what, BlockAddr addr);

  // volume_write.cc
  Result<> admit(u64 offset, u64 length, bool writing) const;
  Task<> change(u64 offset, u64 length, const std::byte* from, blk::WriteOptions options);
  Task<> charge(u64 blocks);
  Task<> fill(std::list<Partial>& partials);
  bool ready(const Partial& partial);
  void put_full(u64 lba, const std::byte* from);
  void put_part(const Partial& partial, const std::byte* from);
  Task<> zero_blocks(BlockRange range);
  Task<u64> chunk_end(BlockRange range);
  Task<> acknowledge(bool fua);
  void touched(BlockRange range);
  void store(u64 lba, PageRef page);

  IoLane& lane_;
  const DatasetId id_;
  const bool frozen_;
  u64 size_bytes_;
  bool read_only_;
  i64 quota_blocks_;
  i64 reserved_blocks_;
  NodePtr root_;    // The committed map.
  NodePtr merged_;  // With the closing group merged in.
  std::unique_ptr<Overlay> open_;
  std::unique_ptr<Overlay> closing_;
  std::list<Partial*> waiting_;  // Partials whose rest is being read.
};

}  // namespace coppice::pool
