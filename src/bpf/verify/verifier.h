// bpf/verify/verifier.h — proves that a program is safe to run, or says why it is not.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bpf/facts.h"
#include "bpf/map.h"
#include "bpf/object/object.h"
#include "bpf/program.h"
#include "bpf/program_type.h"
#include "bpf/verify/claims.h"
#include "bpf/verify/refusal.h"

namespace coppice::bpf {

// What the verifier knows of a map that the program names by its index.
struct MapView {
  MapSpec spec = {};
  bool read_only = false;                    // Programs may not write it.
  bool frozen = false;                       // Its contents stay as they are...
  std::span<const std::byte> contents = {};  // ... so programs may be judged by them.
  std::string refused = {};                  // Why programs may not use it, if they may not.
};

// Of each map of the object, in their order.
std::vector<MapView> views_of(const Object& object);

struct VerifyInput {
  const Program& program;
  const ProgramType& type;
  std::span<const MapView> maps = {};
  const Btf* btf = nullptr;                  // Of the object: signatures of global functions.
  const Btf* host_btf = nullptr;             // Of structures that the context points to.
  std::span<const Function> functions = {};  // By slot.
  std::span<const Line> lines = {};
};

struct VerifyOptions {
  u64 instructions_max = 1'000'000;  // Walked on all paths together.
  bool log = false;                  // Take down every state: `Verdict::log`.
  // Take down what is known at each instruction, for the oracle (bpf/verify/claims.h).
  bool claims = false;
};

struct VerifyCost {
  u64 instructions = 0;  // Walked.
  u64 states = 0;        // Kept to compare with.
  u64 states_peak = 0;
  u32 stack_bytes = 0;  // Of all frames in use at a time.
  // The most instructions that one run executes; ~0: so many or more. None: the program may hand
  // over to others (tail calls), of which nothing is known here. A run passes each step that was
  // walked at most once, but in a callback, where that is once in each round.
  std::optional<u64> bound = 0;
};

struct Verdict {
  std::optional<Refusal> refusal;  // None: the program is safe.
  Facts facts;
  Claims claims;
  VerifyCost cost;
  std::string log;
  bool accepted() const { return !refusal.has_value(); }
};

// `input` outlives the verdict. Any thread; no global state.
Verdict verify(const VerifyInput& input, const VerifyOptions& options = {});

}  // namespace coppice::bpf
