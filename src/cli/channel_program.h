// cli/channel_program.h — runs a channel program on the daemon and shows how it ended.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/connection.h"

namespace coppice::cli {

struct ProgramOptions {
  std::string pool;
  std::string script;  // "-": standard input.
  std::vector<std::string> arguments;
  bool read_only = false;    // -n
  bool json = false;         // -j
  std::string instructions;  // -t
  std::string memory;        // -m
  bool trace = false;
  bool explain = false;
  bool yes = false;  // Agree to what --explain shows.
};
Attempt<> run_program(Session& session, const ProgramOptions& options);

// What a program returned, as zfs(8) prints it: `    return: 'text'`, tables below their names.
std::string dump_value(const std::string& name, const nlohmann::ordered_json& value, size_t indent);
// The list of what a program is about to change, from the JSON of its effects.
std::string explain_effects(const std::string& effects);

// `coppice program --check SCRIPT`: luacheck and the table of verbs. Exits with what they find.
Attempt<> check_program(const std::string& script);

}  // namespace coppice::cli
