// bpf/program_array.h — where a tail call goes. Set by the host only, which keeps what it sets
// alive until the entry is another and every run that began before has ended.
#pragma once

#include <atomic>
#include <vector>

#include "base/check.h"
#include "bpf/code.h"
#include "bpf/native/native.h"

namespace coppice::bpf {

class ProgramArray final : public Map {
 public:
  // A program, with its machine code if it has some; both null: there is none.
  struct Entry {
    const Code* code = nullptr;
    const Native* native = nullptr;
  };
  static Result<std::unique_ptr<Map>> make(MapSpec spec) {
    return std::unique_ptr<Map>(new ProgramArray(std::move(spec)));
  }
  const MapSpec& spec() const override { return spec_; }
  Entry at(u32 index) const {
    if (index >= entries_.size()) return {};
    const u64 word = entries_[index].load(std::memory_order_acquire);
    if ((word & kNative) == 0) return {.code = reinterpret_cast<const Code*>(word)};
    const auto* native = reinterpret_cast<const Native*>(word - kNative);
    return {.code = &native->code(), .native = native};
  }
  void set(u32 index, const Code* code) { set_word(index, reinterpret_cast<u64>(code)); }
  void set(u32 index, const Native* native) {
    set_word(index, reinterpret_cast<u64>(native) + kNative);
  }
  void clear(u32 index) { set_word(index, 0); }

 private:
  static constexpr u64 kNative = 1;  // In a word: it points to a Native. One word is set at once.
  static_assert(alignof(Code) > kNative && alignof(Native) > kNative);

  explicit ProgramArray(MapSpec spec) : spec_(std::move(spec)), entries_(spec_.max_entries) {}
  void set_word(u32 index, u64 word) {
    CHECK(index < entries_.size());
    entries_[index].store(word, std::memory_order_release);
  }
  MapSpec spec_;
  std::vector<std::atomic<u64>> entries_;
};

}  // namespace coppice::bpf
