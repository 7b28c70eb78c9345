// bench/bpf_kernel.h — the same programs in the kernel, if it lets us: loaded with bpf(2), run by
// BPF_PROG_TEST_RUN.
#pragma once

#include <memory>
#include <vector>

#include "bpf/object/object.h"

namespace coppice::bpf {

class KernelPeer {
 public:
  // Null: bpf(2) is not allowed here, or the kernel refuses the maps.
  static std::unique_ptr<KernelPeer> make(const Object& object);
  KernelPeer(const KernelPeer&) = delete;
  KernelPeer& operator=(const KernelPeer&) = delete;
  ~KernelPeer();

  bool fill(size_t map, const void* key, const void* value);
  // A descriptor of the loaded program; negative: it was refused.
  int load(const ObjectProgram& program);
  // Nanoseconds a run, as the kernel measures them; negative: it cannot be run.
  double run(int program, u32 repeat);

 private:
  KernelPeer() = default;
  std::vector<int> maps_, programs_;
};

}  // namespace coppice::bpf
