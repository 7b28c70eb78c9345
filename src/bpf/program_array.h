// bpf/program_array.h — where a tail call goes. Set by the host only, which keeps what it sets
// alive until the entry is another and every run that began before has ended.
#pragma once

#include <atomic>
#include <vector>

#include "base/check.h"
#include "bpf/code.h"

namespace coppice::bpf {

class ProgramArray final : public Map {
 public:
  static Result<std::unique_ptr<Map>> make(MapSpec spec) {
    return std::unique_ptr<Map>(new ProgramArray(std::move(spec)));
  }
  const MapSpec& spec() const override { return spec_; }
  const Code* at(u32 index) const {
    return index < entries_.size() ? entries_[index].load(std::memory_order_acquire) : nullptr;
  }
  void set(u32 index, const Code* code) {
    CHECK(index < entries_.size());
    entries_[index].store(code, std::memory_order_release);
  }

 private:
  explicit ProgramArray(MapSpec spec) : spec_(std::move(spec)), entries_(spec_.max_entries) {}
  MapSpec spec_;
  std::vector<std::atomic<const Code*>> entries_;
};

}  // namespace coppice::bpf
