#include "cli/prog_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "cli/hex_bytes.h"
#include "cli/object_file.h"

namespace coppice::cli {
namespace {

constexpr size_t kDataMax = 64 << 20;

Attempt<std::vector<std::byte>> read_data(const std::string& data) {
  const bool digits = std::ranges::all_of(
      data, [](unsigned char each) { return std::isxdigit(each) != 0 || std::isspace(each) != 0; });
  return digits ? bytes_of_digits(data, "--data") : read_file(data, kDataMax);
}

}  // namespace

Attempt<Prepared> prepare_run(const RunOptions& options, Engine engine) {
  Prepared prepared;
  TRY(auto object, read_object_file(options.object, options.btf, {.own_types = true}));
  prepared.object = std::make_unique<bpf::Object>(std::move(object));
  TRY(prepared.bed, ProgBed::make(*prepared.object, options.type));
  TRY(prepared.ready, prepared.bed->prepare(options.program, engine));
  TRY(auto data, read_data(options.data));
  TRY(prepared.context, Context::make(*prepared.ready->type, std::move(data)));
  return prepared;
}

Attempt<> run_object(const RunOptions& options) {
  TRY(const Prepared prepared, prepare_run(options, options.engine));
  bpf::Machine machine({.budget = kRunBudget,
                        .log = [](std::string_view line) { fmt::print(stderr, "{}\n", line); }});
  u64 r0 = 0;
  const auto began = std::chrono::steady_clock::now();
  for (u64 i = 0; i < options.repeat; ++i) {
    TRY(r0, run_once(machine, *prepared.ready, prepared.context));
  }
  const double taken_ns = milliseconds_since(began) * 1e6;
  fmt::print("r0 {} ({:#x})\n", r0, r0);
  fmt::print("{:.1f} ns a run ({} run{}, {})\n", taken_ns / static_cast<double>(options.repeat),
             options.repeat, options.repeat == 1 ? "" : "s",
             prepared.ready->native != nullptr ? "machine code" : "interpreted");
  return {};
}

}  // namespace coppice::cli
