// cli/command_prog.cc — prog: eBPF programs, run here and now without the daemon, or loaded into a
// pool.
#include <fmt/format.h>

#include <cstdio>
#include <optional>
#include <vector>

#include "bpf/core_helpers.h"
#include "bpf/interpreter.h"
#include "bpf/native/compiler.h"
#include "cli/command.h"
#include "cli/hex_bytes.h"
#include "cli/object_file.h"
#include "cli/prog_bench.h"
#include "cli/prog_check.h"
#include "cli/prog_dump.h"
#include "cli/prog_load.h"
#include "cli/prog_run.h"

namespace coppice::cli {
namespace {

constexpr size_t kTextMax = 4 * bpf::kSlotsMax * bpf::kSlotBytes;  // Of standard input.

struct Wishes {
  bool raw = false;
  bool interpret = false;
  bool jit = false;
  bool unverified = false;
  RunOptions run;
};

// As machine code, with nothing checked; nothing if there is none, which was said then.
std::optional<u64> run_native(const bpf::Program& program, const bpf::Code& code,
                              bpf::Machine& machine, std::span<const std::byte> memory) {
  bpf::Compiler compiler({.helper = bpf::default_jit()});
  const auto native = compiler.compile(program, code);
  if (!native) {
    fmt::print(stderr, "coppice: {}; the program is interpreted\n", describe(native.error()));
    return std::nullopt;
  }
  return machine.run(*native, memory.empty() ? 0 : reinterpret_cast<u64>(memory.data()),
                     memory.size());
}

// The program of standard input, unverified and therefore checked at each step. r1 is the memory
// (0 if there is none), r2 its size.
Attempt<> run_raw(const Wishes& wishes) {
  TRY(auto memory, bytes_of_digits(wishes.run.object, "HEXMEM"));
  TRY(const auto input, read_file("-", kTextMax));
  const std::string text(reinterpret_cast<const char*>(input.data()), input.size());
  TRY(const auto bytes, bytes_of_digits(text, "the program on standard input"));
  TRY(const bpf::Program program, bpf::Program::read(bytes));
  bpf::HelperTable helpers;
  bpf::add_core_helpers(helpers);
  TRY(const bpf::Code code, bpf::Code::bind(program, {.helpers = helpers}));
  bpf::Machine machine({.budget = kRunBudget,
                        .log = [](std::string_view line) { fmt::print(stderr, "{}\n", line); }});
  std::optional<u64> r0;
  if (wishes.jit) r0 = run_native(program, code, machine, memory);
  if (!r0) {
    const u64 address = memory.empty() ? 0 : reinterpret_cast<u64>(memory.data());
    const bpf::Region region{.base = address, .size = memory.size(), .writable = true};
    const std::span<const bpf::Region> regions(&region, memory.empty() ? 0 : 1);
    TRY(r0, bpf::result_of(machine.run_checked(code, regions, address, memory.size())));
  }
  fmt::print("{:x}\n", *r0);
  return {};
}

void add_check_command(CommandLine& line, CLI::App& prog) {
  auto wishes = std::make_shared<CheckWishes>();
  CLI::App& check =
      line.add(prog, {.name = "check",
                      .summary = "Prove the programs of an object safe, or say why they are not",
                      .example = "coppice prog check filter.o"});
  check.add_option("OBJECT", wishes->object, "An object file of clang's; - is standard input")
      ->required();
  check.add_option("--type", wishes->type,
                   "What the programs are: buffer or probe (else their section says it)");
  check.add_option("--program", wishes->program, "This program only");
  check.add_option(
      "--btf", wishes->btf,
      "The host's types: BTF, or an ELF file with it (else they are the object's own)");
  check.add_flag("--log", wishes->log,
                 "Print what is known before each instruction, on every path");
  check.add_flag("--json", wishes->json, "Print verdicts for other programs to read");
  line.runs(check, [wishes](Session&) { return check_object(*wishes); });
}

// With --raw the word that follows is memory, not an object.
Attempt<> run_as_wished(const Wishes& wishes) {
  RunOptions run = wishes.run;
  if (!wishes.raw) {
    if (run.object.empty())
      return misuse("say which object to run, or --raw for bytecode on standard input");
    if (wishes.unverified)
      return misuse("--no-verify is for --raw only: programs of objects are always verified");
    if (wishes.jit) run.engine = Engine::jit;
    if (wishes.interpret) run.engine = Engine::interpret;
    return run_object(run);
  }
  if (!run.program.empty() || !run.data.empty() || !run.type.empty() || !run.btf.empty() ||
      run.repeat != 1)
    return misuse(
        "--raw runs bytes once; --program, --type, --data, --btf and --repeat are for objects");
  return run_raw(wishes);
}

void add_run_options(CLI::App& command, RunOptions& run) {
  add_text(command, "--program", run.program, "NAME", "Which one, if the object has several");
  add_text(command, "--type", run.type, "TYPE",
           "What the program is: buffer or probe (else its section says it)");
  add_text(command, "--data", run.data, "HEX|FILE", "The buffer's bytes, or the probe's numbers");
  add_text(command, "--btf", run.btf, "FILE",
           "The host's types: BTF, or an ELF file with it (else they are the object's own)");
}

void add_run_command(CommandLine& line, CLI::App& prog) {
  auto wishes = std::make_shared<Wishes>();
  CLI::App& run = line.add(
      prog, {.name = "run",
             .summary = "Run a program of an object, or bytecode, and print what it returns",
             .example = "coppice prog run filter.o --program count --data 0a0b --repeat 1000\n"
                        "  echo b700000007000000 9500000000000000 | coppice prog run --raw"});
  run.add_option("OBJECT", wishes->run.object,
                 "An object file of clang's; - is standard input. With --raw: bytes in hexadecimal "
                 "that the program finds at r1, and their number in r2");
  run.add_flag("--raw", wishes->raw,
               "The program is bytes in hexadecimal on standard input, and r0 is printed so");
  auto* interpret = run.add_flag("--interpret", wishes->interpret,
                                 "Run it in the interpreter (with --raw the default)");
  run.add_flag("--jit", wishes->jit,
               "Run it as machine code or not at all. With --raw nothing is checked then, and what "
               "the program does wrong can crash this")
      ->excludes(interpret);
  run.add_flag("--no-verify", wishes->unverified, "With --raw only, where it goes without saying");
  add_run_options(run, wishes->run);
  run.add_option("--repeat", wishes->run.repeat, "Runs, on the same data; the time is their mean")
      ->check(CLI::Range(u64{1}, u64{1'000'000'000}))
      ->type_name("N");
  line.runs(run, [wishes](Session&) { return run_as_wished(*wishes); });
}

void add_bench_command(CommandLine& line, CLI::App& prog) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App& bench = line.add(
      prog, {.name = "bench",
             .summary = "Time how a program is verified, compiled and run, in both engines",
             .example = "coppice prog bench filter.o --data 0a0b"});
  bench.add_option("OBJECT", options->run.object, "An object file of clang's; - is standard input")
      ->required();
  add_run_options(bench, options->run);
  bench.add_option("--seconds", options->seconds, "How long each engine runs (1)")
      ->check(CLI::Range(0.01, 60.0))
      ->type_name("S");
  bench.add_flag("--json", options->json, "Print the figures for other programs to read");
  line.runs(bench, [options](Session&) { return bench_object(*options); });
}

void add_dump_command(CommandLine& line, CLI::App& prog) {
  auto options = std::make_shared<DumpOptions>();
  CLI::App& dump =
      line.add(prog, {.name = "dump",
                      .summary = "Show an object's maps, and its bytecode below its source",
                      .example = "coppice prog dump filter.o --program count"});
  dump.add_option("OBJECT", options->object, "An object file of clang's; - is standard input")
      ->required();
  add_text(dump, "--program", options->program, "NAME", "Only this one and the maps it uses");
  add_text(dump, "--btf", options->btf, "FILE",
           "The host's types: BTF, or an ELF file with it (else they are the object's own)");
  add_text(dump, "--type", options->type, "TYPE",
           "With --jit, what the program is: buffer or probe (else its section says it)");
  dump.add_flag("--jit", options->jit, "Show the machine code instead, of one program");
  dump.add_flag("--json", options->json, "Print it for other programs to read");
  line.runs(dump, [options](Session&) { return dump_object(*options); });
}

void add_load_command(CommandLine& line, CLI::App& prog) {
  auto wishes = std::make_shared<LoadWishes>();
  CLI::App& load =
      line.add(prog, {.name = "load",
                      .summary = "Put an object into a pool under a name, for links to come",
                      .example = "coppice prog load tank rate_limit slow --set iops=100"});
  add_name(load, "POOL", wishes->pool, "Where it is kept");
  add_name(load, "OBJECT", wishes->object.file,
           "An object file of clang's, or the name of one that ships");
  add_name(load, "NEWNAME", wishes->name, "What it is called there");
  add_texts(load, "--set", wishes->object.settings, "VARIABLE=VALUE",
            "A global variable of the object, before it is verified (repeatable)");
  load.add_flag("--json", wishes->json, "Print JSON");
  line.runs(load, [wishes](Session& session) { return load_object(session, *wishes); });
}

void add_unload_command(CommandLine& line, CLI::App& prog) {
  auto wishes = std::make_shared<LoadWishes>();
  CLI::App& unload = line.add(
      prog, {.name = "unload",
             .summary = "Take an object's name away; without links it leaves the pool, too",
             .example = "coppice prog unload tank slow"});
  add_name(unload, "POOL", wishes->pool, "Where it is kept");
  add_name(unload, "OBJECTNAME", wishes->name, "What it is called there");
  line.runs(unload, [wishes](Session& session) { return unload_object(session, *wishes); });
}

}  // namespace

void add_prog_commands(CommandLine& line) {
  CLI::App& prog = line.add(
      line.root(),
      {.name = "prog",
       .summary = "Check, show and run eBPF programs without the daemon; load them into a pool",
       .example = {},
       .group = "Programs"});
  prog.require_subcommand(1);
  add_check_command(line, prog);
  add_dump_command(line, prog);
  add_run_command(line, prog);
  add_bench_command(line, prog);
  add_load_command(line, prog);
  add_unload_command(line, prog);
}

}  // namespace coppice::cli
