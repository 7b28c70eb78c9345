#include "cli/prog_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <chrono>

#include "bpf/interpreter.h"
#include "bpf/program_array.h"
#include "bpf/standard_types.h"
#include "cli/hex_bytes.h"
#include "cli/object_file.h"
#include "cli/prog_check.h"

namespace coppice::cli {
namespace {

constexpr size_t kDataMax = 64 << 20;

// The number of the program that is meant.
Attempt<size_t> choose(const bpf::Object& object, const RunOptions& options) {
  const auto programs = object.programs();
  if (programs.empty())
    return refuse(
        fmt::format("'{}' has no programs: a program is a function that is not static, "
                    "in a section of its own",
                    options.object));
  if (options.program.empty()) {
    if (programs.size() == 1) return 0;
    std::string names;
    for (const auto& each : programs) names += (names.empty() ? "" : ", ") + each.name;
    return misuse(fmt::format("'{}' has several programs: say --program with one of {}",
                              options.object, names));
  }
  const auto at = std::ranges::find(programs, options.program, &bpf::ObjectProgram::name);
  if (at == programs.end())
    return refuse(fmt::format("'{}' has no program '{}'", options.object, options.program));
  return static_cast<size_t>(at - programs.begin());
}

Attempt<std::vector<std::byte>> read_data(const std::string& data) {
  const bool digits = std::ranges::all_of(
      data, [](unsigned char each) { return std::isxdigit(each) != 0 || std::isspace(each) != 0; });
  return digits ? bytes_of_digits(data, "--data") : read_file(data, kDataMax);
}

// A program with what it needs to run: the maps, and those that its tail calls lead to.
struct Bed {
  const bpf::HelperTable& helpers;
  std::vector<std::unique_ptr<bpf::Map>> owned = {};
  std::vector<bpf::Map*> maps = {};
  std::vector<std::unique_ptr<bpf::Code>> codes = {};  // By number; null: not bound.
};

Attempt<const bpf::Code*> bind(const bpf::Object& object, size_t number, Bed& bed) {
  std::unique_ptr<bpf::Code>& code = bed.codes[number];
  if (code == nullptr) {
    TRY(bpf::Code bound, bpf::Code::bind(object.programs()[number].program,
                                         {.helpers = bed.helpers, .maps = bed.maps}));
    code = std::make_unique<bpf::Code>(std::move(bound));
  }
  return code.get();
}

Attempt<> make_bed(const bpf::Object& object, Bed& bed) {
  TRY(bed.owned, bpf::make_maps(object, 1));
  for (const auto& each : bed.owned) bed.maps.push_back(each.get());
  bed.codes.resize(object.programs().size());
  for (size_t i = 0; i < bed.maps.size(); ++i) {
    for (const auto& entry : object.maps()[i].entries) {
      TRY(const bpf::Code* code, bind(object, entry.program, bed));
      static_cast<bpf::ProgramArray*>(bed.maps[i])->set(entry.index, code);
    }
  }
  return {};
}

// What a program of a type finds at r1, and all that it may reach there.
class Context {
 public:
  // Null: the program is of no type, and gets the data as they are.
  Context(const bpf::ProgramType* type, std::vector<std::byte> data) : data_(std::move(data)) {
    const bool is_buffer = type != nullptr && type->name == "buffer";
    const bool is_probe = type != nullptr && type->name == "probe";
    if (is_probe) data_.resize(kProbeBytes);
    const u64 begin = data_.empty() ? 0 : reinterpret_cast<u64>(data_.data());
    if (!data_.empty())
      regions_.push_back({.base = begin, .size = data_.size(), .writable = !is_probe});
    if (is_buffer) {
      buffer_ = {.data = data_.data(), .data_end = data_.data() + data_.size()};
      regions_.push_back({.base = reinterpret_cast<u64>(&buffer_), .size = sizeof buffer_});
    }
    r1_ = is_buffer ? reinterpret_cast<u64>(&buffer_) : begin;
    r2_ = type == nullptr ? data_.size() : 0;
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  bpf::Outcome run(bpf::Machine& machine, const bpf::Code& code) const {
    return machine.run_checked(code, regions_, r1_, r2_);
  }

 private:
  static constexpr size_t kProbeBytes = 64;
  std::vector<std::byte> data_;
  bpf::BufferContext buffer_;
  std::vector<bpf::Region> regions_;
  u64 r1_ = 0, r2_ = 0;
};

}  // namespace

// Nothing has proved the program safe, so every access of every run is checked.
Attempt<> run_object(const RunOptions& options) {
  TRY(const bpf::Object object, read_object_file(options.object, options.btf, {.own_types = true}));
  TRY(const size_t number, choose(object, options));
  const bpf::ObjectProgram& program = object.programs()[number];
  TRY(auto data, read_data(options.data));
  const bpf::StandardTypes types;
  const bpf::ProgramType* type = types.of_section(program.section);
  if (!options.type.empty()) {
    TRY(type, type_of(types, program, options.type));
  }
  Bed bed{.helpers = type != nullptr ? *type->helpers : *types.buffer().helpers};
  TRY_VOID(make_bed(object, bed));
  TRY(const bpf::Code* code, bind(object, number, bed));
  bpf::Machine machine({.budget = kRunBudget,
                        .log = [](std::string_view line) { fmt::print(stderr, "{}\n", line); }});
  const Context context(type, std::move(data));
  u64 r0 = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (u64 i = 0; i < options.repeat; ++i) {
    TRY(r0, bpf::result_of(context.run(machine, *code)));
  }
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - begin;
  fmt::print("r0 {} ({:#x})\n", r0, r0);
  fmt::print("{:.1f} ns a run ({} run{}, interpreted, each access checked)\n",
             taken.count() / static_cast<double>(options.repeat), options.repeat,
             options.repeat == 1 ? "" : "s");
  return {};
}

}  // namespace coppice::cli
