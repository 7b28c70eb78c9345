// hook/types.h — the hook points there are, and what programs on each may see, say and call.
//
// Theory. The headers in include/coppice/bpf/ are the only truth. Compiled to BTF they are part of
// the daemon, and everything is read off them: where a context's fields lie, which of them a
// program may write (their tags), what CO-RE relocates against. A program's hook is its section:
// "volume.submit", "tracepoint/io_complete", ... What a program may rely on is its tier: the least
// of its hook's and of the helpers that it calls.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/object/btf.h"
#include "bpf/program_type.h"
#include "trace/point.h"

namespace coppice::hook {

enum class Hook : u8 { submit, complete, admin, connect, timer, tracepoint };

using Tier = trace::Tier;
const char* name_of(Tier tier);

// Bit i stands for result i of a program; of results above 31 there is none.
using Results = u32;
inline constexpr Results kAllResults = ~Results{0};

struct PointType {
  Hook hook = Hook::submit;
  std::string name;  // The section: "volume.submit".
  Tier tier = Tier::stable;
  bpf::ProgramType type;
  std::vector<std::string> results;  // By number: "pass", "deny", ...
  Results goes_on = kAllResults;     // By default.
  u64 instructions_max = 0;          // One run may execute so many at most.
  trace::Point tracepoint{};         // Of a tracepoint.

  bool on_volumes() const { return hook == Hook::submit || hook == Hook::complete; }
  // Timers and tracepoints are the daemon's, not some dataset's.
  bool of_daemon() const { return hook == Hook::timer || hook == Hook::tracepoint; }
};

class Types {
 public:
  // `btf`: the host's types. invalid: a context that is not in it.
  static Result<std::unique_ptr<Types>> make(std::span<const std::byte> btf);
  Types(const Types&) = delete;
  Types& operator=(const Types&) = delete;

  const bpf::Btf& btf() const { return btf_; }
  std::span<const PointType> all() const { return points_; }
  // Null: it names none. A section is the point's name, or that and "/..." behind it.
  const PointType* of_section(std::string_view section) const;

 private:
  explicit Types(bpf::Btf btf) : btf_(std::move(btf)) {}
  Result<> add(PointType point, std::string_view context, const bpf::HelperTable& helpers);
  Result<> add_tracepoints();

  bpf::Btf btf_;
  // For hooks on requests and verbs, for reads to be answered, for texts, for all of memory.
  bpf::HelperTable core_, submit_, texts_, probing_;
  std::vector<PointType> points_;
};

// A structure of the host's BTF as a context: tagged fields are writable, or bound a packet.
Result<bpf::Layout> layout_of(const bpf::Btf& btf, std::string_view structure);

}  // namespace coppice::hook
