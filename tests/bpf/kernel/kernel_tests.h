// kernel_tests.h — the kernel's own tests of its verifier, as prepare.py laid them out.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "bpf/verify/verifier.h"
#include "kernel_host.h"

namespace coppice::bpf {

struct KernelTest {
  std::string name = {};  // The file, and in it the function or what the array is described with.
  KernelType type = KernelType::socket;
  bool accept = true;  // What a privileged user's kernel does with it.
  bool strict_alignment = false;
  std::string message =
      {};  // What the kernel says of one that it refuses, as far as that is tested.

  std::string unreadable = {};  // Why there is no program, if there is none.
  std::optional<Program> program = {};
  std::vector<MapView> maps = {};
  // Of those made from C.
  const Btf* btf = nullptr;
  std::span<const Function> functions = {};
  std::span<const Line> lines = {};
};

class KernelTests {
 public:
  // Those of the types that are scored.
  static Result<KernelTests> read(const std::string& folder);
  KernelTests(KernelTests&&) = default;

  std::span<const KernelTest> tests() const { return tests_; }

 private:
  KernelTests() = default;
  Result<> read_arrays(const std::string& path);
  Result<> read_object(const std::string& path, const std::string& name);

  std::vector<KernelTest> tests_;
  std::deque<Object> objects_;  // What tests have views into; one for each program.
};

}  // namespace coppice::bpf
