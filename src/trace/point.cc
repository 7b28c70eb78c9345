#include "trace/point.h"

#include <coppice/bpf/views.h>

#include <algorithm>
#include <array>

#include "base/check.h"

// The array, of which each element has a second name: that of a probe's semaphore.
#define COPPICE_SEMAPHORE(name, ...)                                                               \
  ".globl coppice_" #name                                                                          \
  "_semaphore\n"                                                                                   \
  "coppice_" #name                                                                                 \
  "_semaphore:\n"                                                                                  \
  ".long 0\n"
asm(".pushsection .probes, \"aw\", @progbits\n"
    ".balign 64\n"
    ".hidden coppice_trace_switches\n"
    ".globl coppice_trace_switches\n"
    "coppice_trace_switches:\n"  //
    COPPICE_STABLE_POINTS(COPPICE_SEMAPHORE)
        COPPICE_INTERNAL_POINTS(COPPICE_SEMAPHORE) ".popsection\n");
#undef COPPICE_SEMAPHORE
static_assert(sizeof(coppice::trace::Switch) == 4 && coppice::trace::Switch::is_always_lock_free);

namespace coppice::trace {
namespace {

constexpr u32 kProgram = u32{1} << 16;
constexpr u32 kProgramsMax = 0xffff;

constexpr std::array<PointInfo, kPoints> kTable = {{
#define COPPICE_STABLE(point)                                                                      \
  {.name = #point,                                                                                 \
   .tier = Tier::stable,                                                                           \
   .arguments = "struct coppice_" #point " *view",                                                 \
   .meaning = {},                                                                                  \
   .argument_count = 0,                                                                            \
   .bytes = sizeof(struct ::coppice_##point)},
#define COPPICE_INTERNAL(point, count, argument_names, sentence)                                   \
  {.name = #point,                                                                                 \
   .tier = Tier::internal,                                                                         \
   .arguments = argument_names,                                                                    \
   .meaning = sentence,                                                                            \
   .argument_count = count,                                                                        \
   .bytes = count * sizeof(u64)},
    COPPICE_STABLE_POINTS(COPPICE_STABLE) COPPICE_INTERNAL_POINTS(COPPICE_INTERNAL)
#undef COPPICE_STABLE
#undef COPPICE_INTERNAL
}};

}  // namespace

std::span<const PointInfo, kPoints> points() { return kTable; }
const PointInfo& info(Point point) { return kTable[static_cast<size_t>(point)]; }

std::optional<Point> find_point(std::string_view name) {
  const auto found = std::ranges::find(kTable, name, &PointInfo::name);
  if (found == kTable.end()) return std::nullopt;
  return static_cast<Point>(found - kTable.begin());
}

u32 programs(Point point) {
  return coppice_trace_switches[static_cast<size_t>(point)].load(std::memory_order_relaxed) >> 16;
}

void enable(Point point, int delta) {
  Switch& each = coppice_trace_switches[static_cast<size_t>(point)];
  const u32 before = each.fetch_add(static_cast<u32>(delta) * kProgram, std::memory_order_relaxed);
  const i64 after = static_cast<i64>(before >> 16) + delta;
  CHECK(after >= 0 && after <= kProgramsMax);
}

}  // namespace coppice::trace
