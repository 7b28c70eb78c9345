// cli/command.h — the commands of the program: their words, flags and help, and what each runs.
//
// Theory. A family of commands (command_*.cc) adds its words to a CommandLine: flags fill a struct
// of options that the command's action holds. Parsing only chooses the action; run() of program.h
// carries it out, so that what makes no sense is refused before the daemon is asked. Completion
// walks the same words.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/connection.h"
#include "cli/failure.h"
#include "cli/table.h"

namespace coppice::cli {

// What an action works with: the daemon, once it is needed.
class Session {
 public:
  explicit Session(std::string socket_path) : socket_path_(std::move(socket_path)) {}
  const std::string& socket_path() const { return socket_path_; }
  Attempt<Connection*> connect();

 private:
  std::string socket_path_;
  std::unique_ptr<Connection> connection_;
};

using Action = std::function<Attempt<>(Session&)>;

struct Word {
  std::string name;
  std::string summary;  // One line, in `--help` of the command above.
  std::string example;  // Shown under the command's own help.
  std::string group = {};
};

class CommandLine {
 public:
  CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  CLI::App& root() { return root_; }
  CLI::App& add(CLI::App& parent, Word word);
  void runs(CLI::App& command, Action action);

  // An action and the session it runs in; or the exit code, everything having been said.
  struct Chosen {
    Action action;
    std::string socket_path;
  };
  std::expected<Chosen, int> parse(std::vector<std::string> words);

 private:
  CLI::App root_;
  std::string socket_path_;
  Action action_;
};

// Flags that many commands share.
CLI::Option* add_text(CLI::App& command, const std::string& flags, std::string& into,
                      const std::string& value_name, const std::string& summary);
CLI::Option* add_texts(CLI::App& command, const std::string& flags, std::vector<std::string>& into,
                       const std::string& value_name, const std::string& summary);
CLI::Option* add_name(CLI::App& command, const std::string& position, std::string& into,
                      const std::string& summary);
CLI::Option* add_names(CLI::App& command, const std::string& position,
                       std::vector<std::string>& into, const std::string& summary);
void add_table_flags(CLI::App& command, Format& format);
void add_json_flag(CLI::App& command, Format& format);

// "a,b" of one or several -o.
std::vector<std::string> split(const std::vector<std::string>& lists, char separator);

// What the families bring.
void add_pool_commands(CommandLine& line);
void add_dataset_commands(CommandLine& line);
void add_snapshot_commands(CommandLine& line);
void add_property_commands(CommandLine& line);
void add_list_commands(CommandLine& line);
void add_export_commands(CommandLine& line);
void add_status_commands(CommandLine& line);
void add_history_command(CommandLine& line);
void add_program_commands(CommandLine& line);
void add_prog_commands(CommandLine& line);
void add_link_commands(CommandLine& line);
void add_map_commands(CommandLine& line);
void add_trace_commands(CommandLine& line);
void add_completion_commands(CommandLine& line);

// What follows POOL SCRIPT of `coppice program` is the program's, dashes and all: says so to the
// parser.
std::vector<std::string> end_options_of_program(std::vector<std::string> words);

// `coppice complete WORDS...`: what the last word can become, one candidate a line.
Attempt<std::string> complete(CommandLine& line, const std::vector<std::string>& words);

}  // namespace coppice::cli
