// Reading and writing the bitmaps of a Space.
#include <utility>

#include "io/aligned.h"
#include "pool/mutant.h"
#include "pool/space_region.h"
#include "rt/scope.h"

namespace coppice::pool {
namespace {
constexpr size_t kRegionsInFlight = 64;
}  // namespace

Task<> Space::State::write_region(io::Disk& disk, u64 index, Txg txg) {
  Region& region = regions[index];
  AlignedBuffer block(kBlock);
  encode_slot(pool, index, txg, region.used, region.own_bits().used, block.data());
  const u8 slot = region.slot ^ 1;
  const std::span<const std::byte> part = block.span();
  const u64 offset = (first_block_of(index) + slot) * kBlock;
  co_await ok(disk.write(offset, io::Disk::Parts(&part, 1)));
  if (raw(region.slot_txg) != 0) sum -= slot_mix(index, region.slot_txg, region.slot_crc);
  region.slot = slot;
  region.slot_txg = txg;
  region.slot_crc = stored_crc(block.data());
  sum += slot_mix(index, txg, region.slot_crc);
  co_return {};
}

Task<u64> Space::write(io::Disk& disk, Txg txg) {
  CHECK(raw(txg) > 0);
  State& state = *state_;
  rt::Scope scope;
  for (u64 index = 0; index < state.regions.size(); ++index) {
    Region& region = state.regions[index];
    if (!region.changed) continue;
    CHECK(region.slot_txg < txg);
    region.changed = false;
    scope.spawn(state.write_region(disk, index, txg));
    if (scope.running() >= kRegionsInFlight) co_await ok(scope.join());
  }
  co_await ok(scope.join());
  co_return state.sum;
}

// Takes the younger of the two slots that are not from after `txg`.
Task<> Space::State::load_region(io::Disk& disk, u64 index, Txg txg) {
  Region& region = regions[index];
  AlignedBuffer blocks(2 * kBlock);
  co_await ok(disk.read(first_block_of(index) * kBlock, blocks.span()));
  auto bits = std::make_unique<Region::Bits>();
  for (u8 slot = 0; slot < 2; ++slot) {
    RegionBits& read = bits->busy;
    const auto header =
        decode_slot(pool, index, region.data_blocks, blocks.data() + slot * kBlock, read);
    if (!header) continue;
    if (header->txg > txg) {
      // Of a group that a crash undid. Written over by the next group, lest it seems to count
      // later.
      region.changed = true;
      continue;
    }
    if (raw(header->txg) == 0 || header->txg <= region.slot_txg) continue;
    region.slot = slot;
    region.slot_txg = header->txg;
    region.slot_crc = header->crc;
    region.used = header->used;
    bits->used = read;
  }
  if (raw(region.slot_txg) == 0) co_return {};  // All free, as it was when the pool was made.
  bits->busy = bits->used;
  region.busy = region.used;
  region.longest = region.free();
  region.bits = std::move(bits);
  used += region.used;
  busy += region.used;
  sum += slot_mix(index, region.slot_txg, region.slot_crc);
  co_return {};
}

Task<std::unique_ptr<Space>> Space::load(io::Disk& disk, u64 device_blocks, Txg txg, u64 sum,
                                         u64 pool_guid) {
  std::unique_ptr<Space> space = make(device_blocks, pool_guid);
  State& state = *space->state_;
  if (device_blocks > disk.size_bytes() / kBlock)
    co_return fail(Errc::corrupt, "read the space bitmaps: the device is smaller than the pool");
  {
    rt::Scope scope;
    for (u64 index = 0; index < state.regions.size(); ++index) {
      scope.spawn(state.load_region(disk, index, txg));
      if (scope.running() >= kRegionsInFlight) co_await ok(scope.join());
    }
    co_await ok(scope.join());
  }
  if (state.sum != sum && !mutant(Mutant::space_sum_ignored))
    co_return fail(Errc::corrupt, "read the space bitmaps: one is missing or stale");
  co_return std::move(space);
}

}  // namespace coppice::pool
