#include "cli/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/check.h"

namespace coppice::cli {
namespace {

// CLI11's help, less its words about types and counts, which say nothing to a person.
class Help final : public CLI::Formatter {
 public:
  Help() {
    column_width(26);
    label("Positionals", "Operands");
    label("SUBCOMMAND", "COMMAND");
  }
  std::string make_subcommand(const CLI::App* command) const override {  // Without its aliases.
    std::stringstream out;
    CLI::detail::format_help(out, command->get_name(), command->get_description(), column_width_);
    return out.str();
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_positional() && !option->nonpositional()) return {};
    return option->get_type_size() == 0 ? "" : " " + option->get_type_name();
  }
  std::string make_usage(const CLI::App* app, std::string name) const override {
    const CLI::App* above = app->get_parent();
    for (; above != nullptr && name.empty(); above = above->get_parent()) name = above->get_name();
    return CLI::Formatter::make_usage(app, name);
  }
};

const CLI::App& deepest(const CLI::App& root) {
  const CLI::App* app = &root;
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  return *app;
}

std::string words_to(const CLI::App& app) {
  return app.get_parent() == nullptr ? app.get_name()
                                     : words_to(*app.get_parent()) + " " + app.get_name();
}

// What is wrong with the words, in one line.
std::string problem_of(const CLI::App& app, const CLI::Error& error) {
  if (app.get_require_subcommand_min() > 0 && app.get_subcommands().empty()) {
    // With fallthrough, what a command does not know is left to its parent.
    for (const CLI::App* each = &app; each != nullptr; each = each->get_parent()) {
      const std::vector<std::string> words = each->remaining();
      if (!words.empty())
        return fmt::format("there is no command '{} {}'", words_to(app), words.front());
    }
    return "a command is missing";
  }
  std::string text = error.what();
  for (char& each : text) {
    if (each == '\n') each = ' ';
  }
  return text;
}

}  // namespace

Attempt<Connection*> Session::connect() {
  if (connection_ == nullptr) {
    auto opened = Connection::open(socket_path_);
    if (!opened) return std::unexpected(std::move(opened).error());
    connection_ = *std::move(opened);
  }
  return connection_.get();
}

CommandLine::CommandLine()
    : root_("Administers the pools, volumes and exports of coppiced.", "coppice"),
      socket_path_(default_socket_path()) {
  root_.formatter(std::make_shared<Help>());
  root_.set_help_flag("-h,--help", "Show this help");
  root_.require_subcommand(1);
  root_.set_version_flag("--version", "coppice " COPPICE_VERSION, "Show the version");
  add_text(root_, "--socket", socket_path_, "PATH",
           "The daemon's control socket (else $COPPICE_SOCKET, else /run/coppice/coppice.sock)");
  root_.footer(
      "'coppice COMMAND --help' explains a command. Sizes take K M G T P E (of 1024).\n"
      "Exit status: 0 done, 1 refused or failed, 2 wrong usage.");
  add_pool_commands(*this);
  add_dataset_commands(*this);
  add_snapshot_commands(*this);
  add_property_commands(*this);
  add_list_commands(*this);
  add_export_commands(*this);
  add_status_commands(*this);
  add_program_commands(*this);
  add_prog_commands(*this);
  add_link_commands(*this);
  add_map_commands(*this);
  add_trace_commands(*this);
  add_completion_commands(*this);
}

CLI::App& CommandLine::add(CLI::App& parent, Word word) {
  CLI::App* command = parent.add_subcommand(word.name, word.summary);
  command->fallthrough();  // --socket may stand behind the command as well.
  if (!word.group.empty()) command->group(word.group);
  if (!word.example.empty()) command->footer("Example:\n  " + word.example);
  return *command;
}

void CommandLine::runs(CLI::App& command, Action action) {
  command.callback([this, &command, action = std::move(action)] {
    if (command.get_subcommands().empty()) action_ = action;  // Else that one's was chosen.
  });
}

std::expected<CommandLine::Chosen, int> CommandLine::parse(std::vector<std::string> words) {
  words = end_options_of_program(std::move(words));
  std::ranges::reverse(words);  // CLI11 takes them from the back.
  try {
    root_.parse(std::move(words));
  } catch (const CLI::Success& wish) {  // --help, --version
    return std::unexpected(root_.exit(wish));
  } catch (const CLI::Error& error) {
    const CLI::App& app = deepest(root_);
    fmt::print(stderr, "coppice: {} (see '{} --help')\n", problem_of(app, error), words_to(app));
    return std::unexpected(kExitUsage);
  }
  CHECK(action_ != nullptr);
  return Chosen{.action = action_, .socket_path = socket_path_};
}

CLI::Option* add_text(CLI::App& command, const std::string& flags, std::string& into,
                      const std::string& value_name, const std::string& summary) {
  return command.add_option(flags, into, summary)->type_name(value_name);
}

CLI::Option* add_texts(CLI::App& command, const std::string& flags, std::vector<std::string>& into,
                       const std::string& value_name, const std::string& summary) {
  // One value each time: what follows is a name.
  return command.add_option(flags, into, summary)->type_name(value_name)->allow_extra_args(false);
}

CLI::Option* add_name(CLI::App& command, const std::string& position, std::string& into,
                      const std::string& summary) {
  return command.add_option(position, into, summary)->required();
}

CLI::Option* add_names(CLI::App& command, const std::string& position,
                       std::vector<std::string>& into, const std::string& summary) {
  return command.add_option(position, into, summary);
}

void add_table_flags(CLI::App& command, Format& format) {
  command.add_flag_callback(
      "-H", [&format] { format.headers = false; },
      "For scripts: no headers, one tab between columns");
  command.add_flag("-p", format.exact, "Exact numbers: bytes and Unix seconds");
  add_json_flag(command, format);
}

void add_json_flag(CLI::App& command, Format& format) {
  command.add_flag("--json", format.json, "Print JSON");
}

std::vector<std::string> split(const std::vector<std::string>& lists, char separator) {
  std::vector<std::string> parts;
  for (const std::string& list : lists) {
    size_t begin = 0;
    while (true) {
      const size_t end = list.find(separator, begin);
      if (end != begin && begin < list.size()) parts.push_back(list.substr(begin, end - begin));
      if (end == list.npos) break;
      begin = end + 1;
    }
  }
  return parts;
}

}  // namespace coppice::cli
