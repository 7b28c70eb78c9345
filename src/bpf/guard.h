// bpf/guard.h — what a checked run may touch: every access and every argument is held against it.
#pragma once

#include <span>
#include <vector>

#include "bpf/code.h"

namespace coppice::bpf {

struct Region {
  u64 base = 0;
  u64 size = 0;
  bool writable = false;
};

class Guard {
 public:
  Guard(std::span<const Region> regions, u64 context) : regions_(regions), context_(context) {}

  void use_maps_of(const Code& code) { code_ = &code; }
  void set_stack(Region stack) { stack_ = stack; }  // The frames in use, lowest first.
  void set_keys(Region keys) { keys_ = keys; }      // Copies of keys that callbacks are given.
  bool reaches(u64 address, u64 size, bool write) const;

  // The argument of `helper` that `registers` (r0 to r10) get wrong: 1 to 5. 0: they are right.
  int wrong_argument(const Helper& helper, const u64* registers) const;
  // Takes down what the call took and gave. False: too many records are reserved at a time.
  bool note_call(const Helper& helper, const u64* arguments, u64 r0);
  const std::vector<Region>& records() const { return records_; }  // Reserved, not yet let go.

 private:
  bool argument_fits(const Helper& helper, int index, const u64* registers) const;
  const Map* map_before(const Helper& helper, int index, const u64* registers) const;
  Map* find_map(u64 address) const;

  std::span<const Region> regions_;
  u64 context_;
  Region stack_, keys_;
  const Code* code_ = nullptr;
  std::vector<Region> records_;
};

}  // namespace coppice::bpf
