// cli/command_prog.cc — prog: eBPF programs, run here and now, without the daemon.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <vector>

#include "bpf/core_helpers.h"
#include "bpf/interpreter.h"
#include "bpf/native/compiler.h"
#include "cli/command.h"
#include "cli/prog_check.h"

namespace coppice::cli {
namespace {

constexpr size_t kTextMax = 4 * bpf::kSlotsMax * bpf::kSlotBytes;  // Of standard input.
constexpr u64 kRawBudget = 100'000'000;  // Instructions: some seconds of them.

struct Wishes {
  bool raw = false;
  bool interpret = false;
  bool jit = false;
  std::string memory;
};

Attempt<std::string> read_input() {
  std::string text;
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return refuse(fmt::format("cannot read standard input: {}", std::strerror(errno)));
    if (got == 0) return text;
    text.append(buffer, static_cast<size_t>(got));
    if (text.size() > kTextMax)
      return refuse(
          fmt::format("the program on standard input has more than {} slots", bpf::kSlotsMax));
  }
}

int digit_of(char each) {
  if (each >= '0' && each <= '9') return each - '0';
  if (each >= 'a' && each <= 'f') return each - 'a' + 10;
  if (each >= 'A' && each <= 'F') return each - 'A' + 10;
  return -1;
}

// Pairs of digits, with white space between them as one likes.
Attempt<std::vector<std::byte>> bytes_of(const std::string& text, const char* where) {
  std::vector<std::byte> bytes;
  int high = -1;
  for (const char each : text) {
    const int digit = digit_of(each);
    const bool space = std::strchr(" \t\r\n", each) != nullptr && each != 0;
    if (space && high < 0) continue;
    if (digit < 0)
      return misuse(fmt::format("{}: byte {} is not two hexadecimal digits", where, bytes.size()));
    if (high < 0) {
      high = digit;
    } else {
      bytes.push_back(static_cast<std::byte>(high << 4 | digit));
      high = -1;
    }
  }
  if (high >= 0) return misuse(fmt::format("{}: the last byte has one digit only", where));
  return bytes;
}

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
  TRY(auto memory, bytes_of(wishes.memory, "HEXMEM"));
  TRY(const std::string text, read_input());
  TRY(const auto bytes, bytes_of(text, "the program on standard input"));
  TRY(const bpf::Program program, bpf::Program::read(bytes));
  bpf::HelperTable helpers;
  bpf::add_core_helpers(helpers);
  TRY(const bpf::Code code, bpf::Code::bind(program, {.helpers = helpers}));
  bpf::Machine machine({.budget = kRawBudget,
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

void add_check(CommandLine& line, CLI::App& prog) {
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
      "The host's types, for objects with CO-RE relocations: BTF, or an ELF file with it");
  check.add_flag("--log", wishes->log,
                 "Print what is known before each instruction, on every path");
  check.add_flag("--json", wishes->json, "Print verdicts for other programs to read");
  line.runs(check, [wishes](Session&) { return check_object(*wishes); });
}

}  // namespace

void add_prog_commands(CommandLine& line) {
  CLI::App& prog = line.add(line.root(), {.name = "prog",
                                          .summary = "Run eBPF programs, without the daemon",
                                          .example = {},
                                          .group = "Programs"});
  prog.require_subcommand(1);
  auto wishes = std::make_shared<Wishes>();
  CLI::App& run = line.add(
      prog, {.name = "run",
             .summary = "Run bytecode and print what it returns, in hexadecimal",
             .example = "echo b700000007000000 9500000000000000 | coppice prog run --raw"});
  run.add_flag("--raw", wishes->raw,
               "The program is bytes in hexadecimal on standard input; each access is checked")
      ->required();
  auto* interpret =
      run.add_flag("--interpret", wishes->interpret, "Run it in the interpreter (the default)");
  run.add_flag("--jit", wishes->jit,
               "Run it as machine code: nothing is checked, and what it does wrong can crash this")
      ->excludes(interpret);
  run.add_option("HEXMEM", wishes->memory,
                 "Bytes in hexadecimal that the program finds at r1, and their number in r2");
  line.runs(run, [wishes](Session&) { return run_raw(*wishes); });
  add_check(line, prog);
}

}  // namespace coppice::cli
