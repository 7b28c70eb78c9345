#include "blocks.h"

#include <fmt/format.h>

#include "base/check.h"

namespace coppice::simtest {
namespace {

constexpr size_t kPruneAt = 8;  // Versions of a block beyond which old ones are dropped.

// The part of block `index` that [offset, offset + length) covers.
struct Part {
  u32 begin;
  u32 end;
};
Part part_of(u64 index, u64 offset, u64 length) {
  const u64 start = index * kBlock;
  const u64 from = std::max(offset, start);
  const u64 until = std::min(offset + length, start + kBlock);
  return {static_cast<u32>(from - start), static_cast<u32>(until - start)};
}

// Calls see(block index, first byte in it, bytes) for each block of a range; the first complaint
// ends it.
template <class See>
std::string each_block(u64 offset, std::span<const std::byte> bytes, See see) {
  while (!bytes.empty()) {
    const u32 begin = offset % kBlock;
    const size_t count = std::min<size_t>(bytes.size(), kBlock - begin);
    if (std::string wrong = see(offset / kBlock, begin, bytes.first(count)); !wrong.empty()) {
      return wrong;
    }
    offset += count;
    bytes = bytes.subspan(count);
  }
  return {};
}

std::vector<Moments::Span> merged(std::vector<Moments::Span> spans) {
  std::ranges::sort(spans, {}, &Moments::Span::from);
  std::vector<Moments::Span> result;
  for (const Moments::Span& span : spans) {
    if (!result.empty() && result.back().until >= span.from) {
      result.back().until = std::max(result.back().until, span.until);
    } else {
      result.push_back(span);
    }
  }
  return result;
}

// Byte ranges of the blocks in an ordered map, neighbours joined up to a limit.
template <class Map>
std::vector<std::pair<u64, u64>> ranges_of(const Map& blocks, u64 size_bytes) {
  static constexpr u64 kRangeMax = 64 * kBlock;
  std::vector<std::pair<u64, u64>> result;
  for (const auto& [index, unused] : blocks) {
    const u64 start = index * kBlock;
    if (start >= size_bytes) continue;
    const u64 length = std::min<u64>(kBlock, size_bytes - start);
    if (!result.empty() && result.back().first + result.back().second == start &&
        result.back().second < kRangeMax) {
      result.back().second += length;
    } else {
      result.emplace_back(start, length);
    }
  }
  return result;
}

}  // namespace

void Moments::narrow(const std::vector<Span>& allowed) {
  std::vector<Span> result;
  for (const Span& mine : spans) {
    for (const Span& other : allowed) {
      const Span both{std::max(mine.from, other.from), std::min(mine.until, other.until)};
      if (both.from < both.until) result.push_back(both);
    }
  }
  spans = std::move(result);
}

std::string Frozen::see(u64 offset, std::span<const std::byte> bytes, Moments& cut) {
  return each_block(offset, bytes, [&](u64 index, u32 begin, std::span<const std::byte> part) {
    return see_block(index, begin, part, cut);
  });
}

std::string Frozen::see_block(u64 index, u32 begin, std::span<const std::byte> bytes,
                              Moments& cut) {
  const auto found = blocks_.find(index);
  if (found == blocks_.end()) {
    if (Content().matches(index, begin, bytes)) return {};
    return fmt::format("snapshot, block {}: never written, yet reads {}", index,
                       describe_bytes(index, begin, bytes));
  }
  auto& candidates = found->second;
  std::vector<Candidate> seen;
  std::vector<Moments::Span> when;
  for (const Candidate& candidate : candidates) {
    if (!candidate.content.matches(index, begin, bytes)) continue;
    seen.push_back(candidate);
    when.insert(when.end(), candidate.spans.begin(), candidate.spans.end());
  }
  if (seen.empty()) {
    std::string text = fmt::format("snapshot, block {}: reads {}; expected", index,
                                   describe_bytes(index, begin, bytes));
    for (const Candidate& candidate : candidates) text += " {" + candidate.content.describe() + "}";
    return text;
  }
  if (candidates.size() == 1) return {};
  cut.narrow(merged(std::move(when)));
  if (cut.spans.empty()) {
    return fmt::format("snapshot, block {}: reads {}, which fits no one moment with the rest of it",
                       index, describe_bytes(index, begin, bytes));
  }
  if (seen.size() == 1) --open_;
  candidates = std::move(seen);
  return {};
}

std::vector<std::pair<u64, u64>> Frozen::ranges() const { return ranges_of(blocks_, size_bytes_); }
std::vector<std::pair<u64, u64>> Blocks::ranges() const { return ranges_of(blocks_, size_bytes_); }

Blocks::Blocks(const Frozen& origin, Stamp now) : size_bytes_(origin.size_bytes_) {
  CHECK(origin.settled());
  for (const auto& [index, candidates] : origin.blocks_) {
    blocks_[index].versions.push_back({.content = candidates.at(0).content, .from = now});
  }
}

void Blocks::resize(u64 size_bytes) {
  CHECK(idle());
  if (size_bytes < size_bytes_) {
    blocks_.erase(blocks_.lower_bound((size_bytes + kBlock - 1) / kBlock), blocks_.end());
  }
  size_bytes_ = size_bytes;
}

bool Blocks::crowded(u64 offset, u64 length) const {
  if (length == 0) return false;
  auto each = blocks_.lower_bound(offset / kBlock);
  for (; each != blocks_.end() && each->first * kBlock < offset + length; ++each) {
    if (each->second.pending.size() >= kInFlightPerBlockMax) return true;
  }
  u64 covering = 0;  // A block that is not modelled yet is covered by at most these.
  for (const auto& [id, change] : in_flight_) {
    covering += change.offset < offset + length && offset < change.offset + change.length;
  }
  return covering >= kInFlightPerBlockMax;
}

Blocks::Block& Blocks::block(u64 index) {
  const auto [found, fresh] = blocks_.try_emplace(index);
  Block& block = found->second;
  if (!fresh) return block;
  block.versions.push_back({});
  for (const auto& [id, change] : in_flight_) {
    const bool covers =
        change.offset < (index + 1) * kBlock && index * kBlock < change.offset + change.length;
    if (covers && change.writes == 0) add(block, index, change, change.begun);
  }
  return block;
}

// All orders in which `change` and the others in flight may come to lie.
void Blocks::add(Block& block, u64 index, const Change& change, Stamp now) {
  const auto apply = [&](const Version& onto, const Change& what) {
    const Part part = part_of(index, what.offset, what.length);
    Version result{.content = onto.content.with(part.begin, part.end, what.writes), .from = now};
    result.includes = onto.includes;
    result.includes.insert(what.id);
    return result;
  };
  std::vector<Version> fresh;
  for (const Version& version : block.versions) {
    if (version.live()) fresh.push_back(apply(version, change));
  }
  block.pending.push_back(change.id);
  while (!fresh.empty()) {
    Version version = std::move(fresh.back());
    fresh.pop_back();
    const bool known = std::ranges::any_of(block.versions, [&](const Version& other) {
      return other.live() && other.content == version.content && other.includes == version.includes;
    });
    if (known) continue;
    for (const u64 id : block.pending) {
      if (version.includes.contains(id)) continue;
      const auto other = in_flight_.find(id);
      fresh.push_back(apply(version, id == change.id ? change : other->second));
    }
    block.versions.push_back(std::move(version));
  }
}

void Blocks::begin(const Change& change) {
  CHECK(change.length > 0 && change.offset + change.length <= size_bytes_);
  const u64 first = change.offset / kBlock;
  const u64 last = (change.offset + change.length - 1) / kBlock;
  if (change.writes != 0) {
    for (u64 index = first; index <= last; ++index) {
      Block& target = block(index);
      prune(target);
      add(target, index, change, change.begun);
    }
  } else {  // Zeroing what was never written changes nothing.
    for (auto each = blocks_.lower_bound(first); each != blocks_.end() && each->first <= last;
         ++each) {
      prune(each->second);
      add(each->second, each->first, change, change.begun);
    }
  }
  in_flight_.emplace(change.id, change);
}

void Blocks::end(u64 id, bool good, Stamp now) {
  const auto found = in_flight_.find(id);
  CHECK(found != in_flight_.end());
  const Change change = found->second;
  in_flight_.erase(found);
  const u64 last = (change.offset + change.length - 1) / kBlock;
  auto each = blocks_.lower_bound(change.offset / kBlock);
  for (; each != blocks_.end() && each->first <= last; ++each) {
    Block& block = each->second;
    if (std::erase(block.pending, id) == 0) continue;
    std::vector<Version> kept;
    for (Version& version : block.versions) {
      if (!version.includes.contains(id)) {
        if (good && version.live()) version.until = now;
        if (good && change.fua) version.lost = true;
      } else if (version.live()) {
        version.includes.erase(id);
      }
      const bool twin = version.live() && std::ranges::any_of(kept, [&](const Version& other) {
                          return other.live() && other.content == version.content &&
                                 other.includes == version.includes;
                        });
      if (!twin && version.from < version.until) kept.push_back(std::move(version));
    }
    block.versions = std::move(kept);
  }
}

void Blocks::durable(Stamp since, Stamp floor) {
  durable_ = std::max(durable_, since);
  floor_ = std::max(floor_, floor);
}

void Blocks::prune(Block& block) const {
  if (keep_all_ || block.versions.size() < kPruneAt) return;
  std::erase_if(block.versions, [&](const Version& version) {
    return version.until <= floor_ && (version.lost || version.until <= durable_);
  });
}

std::string Blocks::wrong(const Block& block, u64 index, u32 begin,
                          std::span<const std::byte> bytes, const char* when) const {
  std::string text = fmt::format("block {}, byte {} on, {}: reads {}; expected one of", index,
                                 begin, when, describe_bytes(index, begin, bytes));
  for (const Version& version : block.versions) {
    text += fmt::format(" {{{}; {}..{}{}}}", version.content.describe(), version.from,
                        version.live() ? std::string("now") : std::to_string(version.until),
                        version.lost ? ", superseded" : "");
  }
  return text;
}

std::string Blocks::see(u64 offset, std::span<const std::byte> bytes, Stamp since, Stamp now) {
  return each_block(offset, bytes, [&](u64 index, u32 begin, std::span<const std::byte> part) {
    const auto found = blocks_.find(index);
    if (found == blocks_.end()) {
      if (Content().matches(index, begin, part)) return std::string();
      return fmt::format("block {}: never written, yet reads {}", index,
                         describe_bytes(index, begin, part));
    }
    Block& block = found->second;
    bool possible = false, steady = block.pending.empty();
    for (const Version& version : block.versions) {
      if (version.until <= since) continue;
      steady = steady && version.live() && version.from <= since;
      possible = possible || version.content.matches(index, begin, part);
    }
    if (!possible)
      return wrong(block, index, begin, part, fmt::format("read since {}", since).c_str());
    // Nothing changed while this was read: what a failed write left open is decided now.
    for (Version& version : block.versions) {
      if (steady && version.live() && !version.content.matches(index, begin, part)) {
        version.until = now;
      }
    }
    return std::string();
  });
}

void Blocks::crash() {
  in_flight_.clear();
  for (auto& [index, block] : blocks_) {
    std::vector<Version> kept;
    for (Version& version : block.versions) {
      const bool survives = keep_all_ || (!version.lost && version.until > durable_);
      const bool known = std::ranges::any_of(
          kept, [&](const Version& other) { return other.content == version.content; });
      if (survives && !known) kept.push_back({.content = std::move(version.content)});
    }
    CHECK(!kept.empty());
    block.versions = std::move(kept);
    block.pending.clear();
  }
}

std::string Blocks::pin(u64 offset, std::span<const std::byte> bytes) {
  return each_block(offset, bytes, [&](u64 index, u32 begin, std::span<const std::byte> part) {
    const auto found = blocks_.find(index);
    if (found == blocks_.end()) {
      if (Content().matches(index, begin, part)) return std::string();
      return fmt::format("block {}: never written, yet reads {} after recovery", index,
                         describe_bytes(index, begin, part));
    }
    std::vector<Version> kept;
    for (const Version& version : found->second.versions) {
      if (version.live() && version.content.matches(index, begin, part)) kept.push_back(version);
    }
    if (kept.empty()) return wrong(found->second, index, begin, part, "after recovery");
    if (!keep_all_) found->second.versions = std::move(kept);
    return std::string();
  });
}

bool Blocks::may_be_zero(u64 offset, u64 length, Stamp since) const {
  auto each = blocks_.lower_bound(divide_up(offset, kBlock));
  for (; each != blocks_.end() && (each->first + 1) * kBlock <= offset + length; ++each) {
    const bool zero = std::ranges::any_of(each->second.versions, [&](const Version& version) {
      return version.until > since && version.content.zero();
    });
    if (!zero) return false;
  }
  return true;
}

Frozen Blocks::freeze(Stamp asked, Stamp answered) const {
  Frozen frozen;
  frozen.size_bytes_ = size_bytes_;
  for (const auto& [index, block] : blocks_) {
    std::vector<Frozen::Candidate> candidates;
    for (const Version& version : block.versions) {
      const Moments::Span span{std::max(version.from, asked), std::min(version.until, answered)};
      if (span.from >= span.until) continue;
      const auto known =
          std::ranges::find(candidates, version.content, &Frozen::Candidate::content);
      if (known != candidates.end()) {
        known->spans.push_back(span);
        known->spans = merged(std::move(known->spans));
      } else {
        candidates.push_back({version.content, {span}});
      }
    }
    CHECK(!candidates.empty());
    if (candidates.size() == 1 && candidates[0].content.zero()) continue;
    frozen.open_ += candidates.size() > 1;
    frozen.blocks_.emplace(index, std::move(candidates));
  }
  return frozen;
}

}  // namespace coppice::simtest
