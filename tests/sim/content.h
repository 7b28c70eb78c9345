// content.h — what a 4 KiB block holds, said in terms of the writes that made it.
//
// Every byte a history writes is a function of the write's number and the byte's place, so a
// block's content is a list of "up to here by write N" pieces, and a wrong block can be told by
// whose bytes it has.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/types.h"

namespace coppice::simtest {

inline constexpr u32 kBlock = 4096;
using WriteId = u64;  // 0: zeroes.

// The bytes that write `id` puts at [offset, offset + into.size()) of its volume.
void put_bytes(WriteId id, u64 offset, std::span<std::byte> into);

class Content {
 public:
  Content() : Content(0) {}  // Zeroes.
  explicit Content(WriteId id) : pieces_{{kBlock, id}} {}
  // The same with [begin, end) of the block overwritten.
  Content with(u32 begin, u32 end, WriteId id) const;
  // `bytes` is a part of block number `block`, from byte `begin` of it on.
  bool matches(u64 block, u32 begin, std::span<const std::byte> bytes) const;
  bool zero() const { return pieces_.size() == 1 && pieces_[0].id == 0; }
  std::string describe() const;
  friend bool operator==(const Content&, const Content&) = default;

 private:
  struct Piece {
    u32 end;
    WriteId id;
    friend bool operator==(const Piece&, const Piece&) = default;
  };
  std::vector<Piece> pieces_;  // Ascending; the last one ends at kBlock; neighbours differ.
};

// Whose bytes these are: for messages.
std::string describe_bytes(u64 block, u32 begin, std::span<const std::byte> bytes);

}  // namespace coppice::simtest
