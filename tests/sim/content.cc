#include "content.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace coppice::simtest {
namespace {

constexpr u64 kScatter = 0x9e3779b97f4a7c15;  // Odd, so that a word tells its write.

constexpr u64 inverse(u64 odd) {
  u64 result = odd;
  for (int i = 0; i < 6; ++i) result *= 2 - odd * result;
  return result;
}
static_assert(kScatter * inverse(kScatter) == 1);

u64 word_at(WriteId id, u64 word_index) { return (id * kScatter) ^ word_index; }

}  // namespace

void put_bytes(WriteId id, u64 offset, std::span<std::byte> into) {
  if (id == 0) {
    std::ranges::fill(into, std::byte{0});
    return;
  }
  size_t done = 0;
  while (done < into.size()) {
    const u64 at = offset + done;
    const u64 word = word_at(id, at / 8);
    const size_t skip = at % 8;
    const size_t count = std::min(8 - skip, into.size() - done);
    std::memcpy(&into[done], reinterpret_cast<const std::byte*>(&word) + skip, count);
    done += count;
  }
}

Content Content::with(u32 begin, u32 end, WriteId id) const {
  Content result;
  result.pieces_.clear();
  const auto put = [&](u32 upto, WriteId by) {
    auto& pieces = result.pieces_;
    if (!pieces.empty() && (pieces.back().end >= upto || pieces.back().id == by)) {
      pieces.back().end = std::max(pieces.back().end, upto);
    } else if (upto > 0) {
      pieces.push_back({upto, by});
    }
  };
  for (const Piece& piece : pieces_) {
    put(std::min(piece.end, begin), piece.id);
    if (piece.end >= begin && end > begin) put(end, id);
    if (piece.end > end) put(piece.end, piece.id);
  }
  return result;
}

bool Content::matches(u64 block, u32 begin, std::span<const std::byte> bytes) const {
  std::byte expected[kBlock];
  const u32 end = begin + static_cast<u32>(bytes.size());
  u32 at = begin;
  for (const Piece& piece : pieces_) {
    const u32 upto = std::min(piece.end, end);
    if (upto <= at) continue;
    put_bytes(piece.id, block * kBlock + at, std::span(expected + (at - begin), upto - at));
    at = upto;
  }
  return std::memcmp(expected, bytes.data(), bytes.size()) == 0;
}

std::string Content::describe() const {
  std::string text;
  u32 begin = 0;
  for (const Piece& piece : pieces_) {
    text += piece.id == 0 ? fmt::format("[{},{}) zero ", begin, piece.end)
                          : fmt::format("[{},{}) write {} ", begin, piece.end, piece.id);
    begin = piece.end;
  }
  text.pop_back();
  return text;
}

std::string describe_bytes(u64 block, u32 begin, std::span<const std::byte> bytes) {
  std::string text;
  WriteId last = ~u64{0};
  int changes = 0;
  for (size_t at = (8 - begin % 8) % 8; at + 8 <= bytes.size(); at += 8) {
    u64 word;
    std::memcpy(&word, &bytes[at], 8);
    const u64 index = (block * kBlock + begin + at) / 8;
    const WriteId id = word == 0 ? 0 : (word ^ index) * inverse(kScatter);
    if (id == last) continue;
    last = id;
    if (++changes > 6) return text + "...";
    text += id == 0               ? fmt::format("from {}: zero ", begin + at)
            : id < (u64{1} << 32) ? fmt::format("from {}: write {} ", begin + at, id)
                                  : fmt::format("from {}: {:#x} ", begin + at, word);
  }
  if (!text.empty()) text.pop_back();
  return text;
}

}  // namespace coppice::simtest
