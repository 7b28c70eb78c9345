#include "pool/uberblock.h"

#include <algorithm>
#include <optional>

#include "base/crc32c.h"
#include "base/endian.h"
#include "io/aligned.h"
#include "pool/node.h"
#include "pool/space.h"

namespace coppice::pool {
namespace {
constexpr u64 kMagic = 0x6c6f6f5063706f43;  // "CopcPool"
constexpr u64 kKnownIncompatible = 0;
constexpr u64 kKnownReadOnlyCompatible = 0;
constexpr size_t kCrcAt = kBlock - 4;
static_assert(kSecondRingBlock >= kUberblockSlots);
static_assert(kSecondRingBlock + kUberblockSlots <= kLabelBlocks);

void put_ptr(Writer& out, const NodePtr& ptr) {
  std::byte bytes[kNodePtrBytes];
  encode(ptr, bytes);
  out.bytes(bytes);
}
}  // namespace

void encode(const Uberblock& uberblock, std::span<std::byte> block) {
  CHECK(block.size() == kBlock);
  CHECK(uberblock.name.size() <= kPoolNameMax);
  std::memset(block.data(), 0, block.size());
  Writer out(block.first(kCrcAt));
  out.put<u64>(kMagic);
  out.put<u32>(kFormatVersion);
  out.put<u32>(0);
  out.put<u64>(uberblock.features.compatible);
  out.put<u64>(uberblock.features.read_only_compatible);
  out.put<u64>(uberblock.features.incompatible);
  out.put<u64>(uberblock.guid);
  out.put<u64>(raw(uberblock.txg));
  out.put<u64>(uberblock.time_s);
  out.put<u64>(uberblock.device_blocks);
  out.put<u64>(uberblock.space_sum);
  out.put<u64>(uberblock.metadata_blocks);
  put_ptr(out, uberblock.catalog);
  put_ptr(out, uberblock.dead_index);
  for (const LogHead& head : uberblock.logs) {
    out.put<u64>(raw(head.addr));
    out.put<u64>(head.sequence);
  }
  out.put<u16>(static_cast<u16>(uberblock.name.size()));
  out.bytes(std::as_bytes(std::span(uberblock.name)));
  store_le<u32>(block.data() + kCrcAt, crc32c(block.first(kCrcAt)));
}

Result<Uberblock> decode_uberblock(std::span<const std::byte> block) {
  CHECK(block.size() == kBlock);
  Reader in(block.first(kCrcAt));
  if (in.get<u64>() != kMagic) return fail(Errc::invalid, "read the pool's label");
  const u32 version = in.get<u32>();
  if (load_le<u32>(block.data() + kCrcAt) != crc32c(block.first(kCrcAt)))
    return fail(Errc::corrupt, "read the pool's label");
  if (version > kFormatVersion)
    return fail(Errc::unsupported, "open the pool",
                "its format is version " + std::to_string(version) + ", this program knows up to " +
                    std::to_string(kFormatVersion) + "; open it with a newer coppice");
  in.skip(4);
  Uberblock uberblock;
  uberblock.features.compatible = in.get<u64>();
  uberblock.features.read_only_compatible = in.get<u64>();
  uberblock.features.incompatible = in.get<u64>();
  const u64 unknown = (uberblock.features.incompatible & ~kKnownIncompatible) |
                      (uberblock.features.read_only_compatible & ~kKnownReadOnlyCompatible);
  if (unknown != 0)
    return fail(Errc::unsupported, "open the pool",
                "it uses features this program does not know (bits " + std::to_string(unknown) +
                    "); open it with a newer coppice");
  uberblock.guid = in.get<u64>();
  uberblock.txg = Txg(in.get<u64>());
  uberblock.time_s = in.get<u64>();
  uberblock.device_blocks = in.get<u64>();
  uberblock.space_sum = in.get<u64>();
  uberblock.metadata_blocks = in.get<u64>();
  uberblock.catalog = decode_node_ptr(in.bytes(kNodePtrBytes).data());
  uberblock.dead_index = decode_node_ptr(in.bytes(kNodePtrBytes).data());
  for (LogHead& head : uberblock.logs) {
    head.addr = BlockAddr(in.get<u64>());
    head.sequence = in.get<u64>();
  }
  const u16 length = in.get<u16>();
  const auto name = in.bytes(length);
  const auto plausible = [](const NodePtr& ptr) { return ptr.empty() || well_formed(ptr); };
  if (!in.good() || length > kPoolNameMax || raw(uberblock.txg) == 0 ||
      !plausible(uberblock.catalog) || !plausible(uberblock.dead_index))
    return fail(Errc::corrupt, "read the pool's label");
  uberblock.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
  return uberblock;
}

Task<> write_uberblock(io::Disk& disk, const Uberblock& uberblock) {
  AlignedBuffer block(kBlock);
  encode(uberblock, block.span());
  const u64 slot = raw(uberblock.txg) % kUberblockSlots;
  const std::span<const std::byte> part = block.span();
  const io::Disk::Parts parts(&part, 1);
  Task<> first = disk.write(slot * kBlock, parts);
  co_await ok(std::move(first));
  Task<> second = disk.write((kSecondRingBlock + slot) * kBlock, parts);
  co_await ok(std::move(second));
  co_return {};
}

namespace {

// All at once, or, where the device cannot, block by block: those it cannot read stay zeroed, as if
// they had never been written. io: it can read none.
Task<> read_label(io::Disk& disk, std::span<std::byte> label) {
  Task<> reading = disk.read(0, label);
  if (Result<> whole = co_await std::move(reading); whole) co_return {};
  std::memset(label.data(), 0, label.size());
  Result<> failed;
  u64 good = 0;
  for (u64 at = 0; at < kLabelBlocks; ++at) {
    Task<> one = disk.read(at * kBlock, label.subspan(at * kBlock, kBlock));
    Result<> result = co_await std::move(one);
    good += result.has_value();
    if (!result) failed = std::move(result);
  }
  if (good == 0) co_return failed;
  co_return {};
}

}  // namespace

Task<Uberblock> read_uberblock(io::Disk& disk) {
  if (disk.size_bytes() < kLabelBlocks * kBlock)
    co_return fail(Errc::invalid, "read the pool's label", "it is too small to be a pool");
  AlignedBuffer label(kLabelBlocks * kBlock);
  Task<> reading = read_label(disk, label.span());
  co_await ok(std::move(reading));
  std::optional<Uberblock> best;
  Error worst{
      Errc::invalid, "read the pool's label", 0, "it is not a pool: no label of one was found", {}};
  for (u64 at = 0; at < kLabelBlocks; ++at) {
    Result<Uberblock> each = decode_uberblock(label.span().subspan(at * kBlock, kBlock));
    if (each) {
      if (!best || each->txg > best->txg) best = std::move(*each);
    } else if (each.error().code == Errc::unsupported) {
      co_return std::unexpected(std::move(each).error());
    } else if (each.error().code == Errc::corrupt) {
      worst = {Errc::corrupt,
               "read the pool's label",
               0,
               "every copy of its label is damaged; restore the pool from a backup",
               {}};
    }
  }
  if (!best) co_return std::unexpected(worst);
  co_return std::move(*best);
}

}  // namespace coppice::pool
