#include "sim/media.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace coppice::sim {

using io::kDiskBlock;

Media::Media(u64 size_bytes, u64 seed) : size_bytes_(size_bytes), prng_(seed) {
  CHECK(size_bytes % kDiskBlock == 0);
}

bool Media::strikes(u32 one_in, u64 offset) {
  if (one_in == 0 || offset < faults.begin || offset >= faults.end) return false;
  if (!prng_.chance(1, one_in)) return false;
  ++counters_.faults;
  return true;
}

const Media::Block& Media::at(u64 index) const {
  static const Block kZeroes;
  const auto found = current_.find(index);
  return found != current_.end() ? found->second : kZeroes;
}

void Media::set(u64 index, Block block) {
  if (block == nullptr) {
    current_.erase(index);
  } else {
    current_[index] = std::move(block);
  }
}

Media::Dirty& Media::dirty(u64 index) {
  const auto [found, fresh] = dirty_.try_emplace(index);
  if (fresh) found->second.durable = at(index);
  return found->second;
}

// Each sector is that of one or of the other.
Media::Block Media::mixed(const Block& one, const Block& other) {
  auto content = std::make_shared<Content>();
  for (u64 i = 0; i < kSectorsPerBlock; ++i) {
    const Block& from = prng_.chance(1, 2) ? one : other;
    if (from != nullptr) std::memcpy(&(*content)[i * kSector], &(*from)[i * kSector], kSector);
  }
  return content;
}

u64 Media::begin_write(u64 offset, io::Disk::Parts parts) {
  const u64 request = ++requests_;
  ++counters_.writes;
  u64 index = offset / kDiskBlock;
  for (const auto part : parts) {
    counters_.bytes_written += part.size();
    for (size_t at = 0; at < part.size(); at += kDiskBlock, ++index) {
      auto content = std::make_shared<Content>();
      std::memcpy(content->data(), &part[at], kDiskBlock);
      dirty(index).versions.push_back({.request = request, .block = std::move(content)});
    }
  }
  return request;
}

void Media::complete(u64 index, Version& version) {
  CHECK(version.completed == 0);
  version.completed = ++completed_;
  const u64 offset = index * kDiskBlock;
  if (strikes(faults.misdirected_one_in, offset)) {
    // The block keeps what it had, and another one gets this.
    const u64 elsewhere = prng_.below(size_bytes_ / kDiskBlock);
    Dirty& victim = dirty(elsewhere);
    if (elsewhere != index) {
      victim.versions.push_back({version.request, ++completed_, false, version.block});
      set(elsewhere, version.block);
    }
    version.block = at(index);
    return;
  }
  if (strikes(faults.stale_one_in, offset)) {
    auto content = std::make_shared<Content>(*version.block);
    const u64 sector = prng_.below(kSectorsPerBlock) * kSector;
    const Block& old = at(index);
    if (old != nullptr) std::memcpy(&(*content)[sector], &(*old)[sector], kSector);
    if (old == nullptr) std::memset(&(*content)[sector], 0, kSector);
    version.block = std::move(content);
  }
  set(index, version.block);
}

Result<> Media::end_write(u64 request, u64 offset, u64 length) {
  const bool outside = offset + length > size_bytes_;
  u64 grown = 0;  // Blocks that were holes so far.
  for (u64 index = offset / kDiskBlock; index < (offset + length) / kDiskBlock; ++index) {
    grown += at(index) == nullptr;
  }
  const bool full = grown > 0 && used_bytes() + grown * kDiskBlock > faults.space_max_bytes;
  const bool refused = full || strikes(faults.no_space_one_in, offset);
  const bool broken = outside || strikes(faults.write_error_one_in, offset);
  for (u64 index = offset / kDiskBlock; index < (offset + length) / kDiskBlock; ++index) {
    Dirty& block = dirty_.at(index);
    const auto version = std::ranges::find(block.versions, request, &Version::request);
    CHECK(version != block.versions.end());
    if (refused || outside) {
      block.versions.erase(version);
      if (block.versions.empty()) dirty_.erase(index);
    } else if (broken) {
      version->lost = true;
      version->completed = ++completed_;
      version->block = mixed(at(index), version->block);
      set(index, version->block);
    } else {
      complete(index, *version);
    }
  }
  if (refused) return fail(Errc::no_space, "writing to the simulated disk", ENOSPC);
  if (broken) return fail(Errc::io, "writing to the simulated disk", EIO);
  return {};
}

Result<> Media::read(u64 offset, std::span<std::byte> into) {
  ++counters_.reads;
  counters_.bytes_read += into.size();
  if (offset + into.size() > size_bytes_ || strikes(faults.read_error_one_in, offset)) {
    return fail(Errc::io, "reading from the simulated disk", EIO);
  }
  if (!into.empty() && strikes(faults.bit_rot_one_in, offset)) {
    rot(offset + prng_.below(into.size()));
  }
  peek(offset, into);
  // Who reads what is being written may see any mixture of sectors.
  auto found = dirty_.lower_bound(offset / kDiskBlock);
  for (; found != dirty_.end() && found->first < (offset + into.size()) / kDiskBlock; ++found) {
    for (const Version& version : found->second.versions) {
      if (version.completed != 0) continue;
      const Block seen = mixed(at(found->first), version.block);
      std::memcpy(&into[found->first * kDiskBlock - offset], seen->data(), kDiskBlock);
    }
  }
  return {};
}

Result<> Media::end_flush(u64 completed_max) {
  ++counters_.flushes;
  const bool broken = strikes(faults.flush_error_one_in, faults.begin);
  for (auto each = dirty_.begin(); each != dirty_.end();) {
    Dirty& block = each->second;
    u64 newest = 0;
    for (Version& version : block.versions) {
      if (version.completed == 0 || version.completed > completed_max) continue;
      if (broken) version.lost = version.lost || prng_.chance(1, 2);
      if (broken || version.lost || version.completed < newest) continue;
      newest = version.completed;
      block.durable = version.block;
    }
    // A lost version stays possible until a later one is durable.
    std::erase_if(block.versions, [&](const Version& version) {
      return version.completed != 0 && version.completed <= newest;
    });
    each = block.versions.empty() ? dirty_.erase(each) : std::next(each);
  }
  if (broken) return fail(Errc::io, "flushing the simulated disk", EIO);
  return {};
}

void Media::punch(u64 offset, u64 length) {
  ++counters_.punches;
  counters_.bytes_punched += length;
  const u64 request = ++requests_;
  for (u64 index = offset / kDiskBlock; index < (offset + length) / kDiskBlock; ++index) {
    if (at(index) == nullptr || prng_.chance(1, 2)) continue;
    dirty(index).versions.push_back({.request = request, .completed = ++completed_});
    set(index, nullptr);
  }
}

void Media::power_loss() {
  ++epoch_;
  for (auto& [index, block] : dirty_) {
    auto content = std::make_shared<Content>();
    for (u64 i = 0; i < kSectorsPerBlock; ++i) {
      const u64 choice = prng_.below(block.versions.size() + 1);
      const Block& from = choice == 0 ? block.durable : block.versions[choice - 1].block;
      if (from != nullptr) std::memcpy(&(*content)[i * kSector], &(*from)[i * kSector], kSector);
    }
    set(index, std::move(content));
  }
  dirty_.clear();
}

void Media::process_loss() {
  ++epoch_;
  for (auto& [index, block] : dirty_) {
    for (Version& version : block.versions) {
      if (version.completed != 0) continue;
      version.block = mixed(at(index), version.block);
      version.completed = ++completed_;
      set(index, version.block);
    }
  }
}

void Media::rot(u64 offset) {
  const u64 index = offset / kDiskBlock;
  const auto flip = [&](const Block& block) {
    auto content =
        block != nullptr ? std::make_shared<Content>(*block) : std::make_shared<Content>();
    (*content)[offset % kDiskBlock] ^= std::byte{1} << (offset / 7 % 8);
    return Block(std::move(content));
  };
  set(index, flip(at(index)));
  const auto found = dirty_.find(index);
  if (found == dirty_.end()) return;
  found->second.durable = flip(found->second.durable);
  for (Version& version : found->second.versions) version.block = flip(version.block);
}

void Media::corrupt(u64 offset, u64 length) {
  CHECK(length > 0 && offset + length <= size_bytes_);
  const u64 end = offset + length;
  for (u64 at = offset; at < end; at = round_down(at, kSector) + kSector) {
    const u64 sector_end = std::min(end, round_down(at, kSector) + kSector);
    rot(at + prng_.below(sector_end - at));
  }
}

void Media::overwrite(u64 offset, std::span<const std::byte> bytes) {
  CHECK(offset + bytes.size() <= size_bytes_);
  while (!bytes.empty()) {
    const u64 index = offset / kDiskBlock;
    const size_t length = std::min<u64>(bytes.size(), kDiskBlock - offset % kDiskBlock);
    auto content = std::make_shared<Content>();
    if (const Block& old = at(index)) *content = *old;
    std::memcpy(&(*content)[offset % kDiskBlock], bytes.data(), length);
    dirty_.erase(index);
    set(index, std::move(content));
    offset += length;
    bytes = bytes.subspan(length);
  }
}

void Media::peek(u64 offset, std::span<std::byte> into) const {
  while (!into.empty()) {
    const size_t length = std::min<u64>(into.size(), kDiskBlock - offset % kDiskBlock);
    const Block& block = at(offset / kDiskBlock);
    if (block != nullptr) std::memcpy(into.data(), &(*block)[offset % kDiskBlock], length);
    if (block == nullptr) std::memset(into.data(), 0, length);
    offset += length;
    into = into.subspan(length);
  }
}

// Most requests take about as long as on an SSD; a few straggle, so that order is shuffled widely.
u64 Media::delay_ns(Op::Kind kind) {
  const u64 straggle = prng_.chance(1, 16) ? 20 : 1;
  switch (kind) {
    case Op::read: return straggle * prng_.between(20'000, 120'000);
    case Op::write: return straggle * prng_.between(10'000, 200'000);
    case Op::punch: return straggle * prng_.between(10'000, 200'000);
    case Op::flush: return straggle * prng_.between(100'000, 1'000'000);
  }
  return 0;
}

}  // namespace coppice::sim
