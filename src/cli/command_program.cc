// cli/command_program.cc — program: many verbs as one transaction, written in Lua.
#include "cli/channel_program.h"
#include "cli/command.h"

#include <algorithm>
#include <optional>
#include <string_view>

namespace coppice::cli {
namespace {

struct Wishes {
  ProgramOptions options;
  std::optional<u64> kill;
  std::string check;
};

Attempt<> kill_program(Session& session, u64 id) {
  TRY(Connection * connection, session.connect());
  auto request = connection->host().killProgramRequest();
  request.setId(id);
  TRY_VOID(connection->ask(kj::mv(request)));
  return {};
}

Attempt<> carry_out(Session& session, const Wishes& wishes) {
  const ProgramOptions& options = wishes.options;
  const bool runs = !options.pool.empty();
  if ((wishes.kill ? 1 : 0) + (wishes.check.empty() ? 0 : 1) + (runs ? 1 : 0) != 1)
    return misuse("either POOL and SCRIPT, or --kill ID, or --check SCRIPT");
  if (wishes.kill) return kill_program(session, *wishes.kill);
  if (!wishes.check.empty()) return check_program(wishes.check);
  if (options.script.empty()) return misuse("SCRIPT is missing: the program's file, or -");
  if (options.yes && !options.explain) return misuse("--yes agrees to what --explain shows");
  return run_program(session, options);
}

}  // namespace

void add_program_commands(CommandLine& line) {
  auto wishes = std::make_shared<Wishes>();
  ProgramOptions& options = wishes->options;
  CLI::App& command = line.add(
      line.root(), {.name = "program",
                    .summary = "Run a Lua program as one transaction, wholly or not at all",
                    .example = "coppice program -n tank rotate.lua tank/vms daily 7",
                    .group = "Programs"});
  command.add_option("POOL", options.pool, "The pool that the program may see and change");
  command.add_option("SCRIPT", options.script, "The program's file, or - for standard input");
  command.add_option("ARG", options.arguments, "What the program gets as argv");
  command.add_flag("-n", options.read_only,
                   "Read-only: pool.sync is refused, and what pool.try does is thrown away");
  command.add_flag("-j", options.json, "Print what the program returns as JSON");
  add_text(
      command, "-t", options.instructions, "INSTRUCTIONS",
      "At most so many Lua instructions (by default 10 million, and no more than 100 million)");
  add_text(command, "-m", options.memory, "BYTES",
           "At most so much memory (by default 10M, and no more than 100M)");
  command.add_flag("--trace", options.trace, "Print every verb as it happens");
  command.add_flag("--explain", options.explain,
                   "Before the commit, print what changes and ask; with -n only print");
  command.add_flag("--yes", options.yes, "With --explain: do not ask");
  command.add_option("--kill", wishes->kill, "End the running program of this number")
      ->type_name("ID");
  add_text(command, "--check", wishes->check, "SCRIPT",
           "Look for mistakes in a program without running it (needs luacheck)");
  line.runs(command, [wishes](Session& session) { return carry_out(session, *wishes); });
}

std::vector<std::string> end_options_of_program(std::vector<std::string> words) {
  constexpr std::string_view kTakeValue[] = {"-t", "-m", "--kill", "--check", "--socket"};
  const auto takes_value = [&](const std::string& word) {
    return std::ranges::find(kTakeValue, word) != std::end(kTakeValue);
  };
  bool program = false;
  size_t operands = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") return words;
    if (takes_value(word)) {
      ++i;
    } else if (word.size() < 2 || word.front() != '-') {
      if (!program && word != "program") return words;
      if (program && ++operands == 2) {
        words.insert(words.begin() + static_cast<std::ptrdiff_t>(i) + 1, "--");
        return words;
      }
      program = true;
    }
  }
  return words;
}

}  // namespace coppice::cli
