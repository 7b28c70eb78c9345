// cli/command_property.cc — set and inherit.
#include <algorithm>

#include "cli/command.h"
#include "cli/verbs.h"

namespace coppice::cli {
namespace {

// --- set ---

Attempt<> set(Session& session, const std::vector<std::string>& words) {
  // A name has no '=', so the first word without one begins the names.
  const auto first_name = std::ranges::find_if(
      words, [](const std::string& word) { return word.find('=') == word.npos; });
  if (first_name == words.begin())
    return misuse(fmt::format("'{}' is not of the form PROP=VALUE", words.front()));
  if (first_name == words.end()) return misuse("no dataset is named after the properties");
  TRY(const auto properties, parse_settings({words.begin(), first_name}));
  const std::vector<std::string> names(first_name, words.end());
  TRY(const std::string pool, one_pool(names));
  TRY(Connection * connection, session.connect());
  TRY_VOID(invoke(*connection, pool,
                  {.verb = "set", .arguments = {{"names", names}, {"properties", properties}}}));
  return {};
}

void add_set(CommandLine& line) {
  auto words = std::make_shared<std::vector<std::string>>();
  CLI::App& command =
      line.add(line.root(), {.name = "set",
                             .summary = "Set properties: native ones, or your own (module:name)",
                             .example = "coppice set quota=100G ops:owner=ann tank/vms",
                             .group = "Properties"});
  add_names(command, "PROP=VALUE...NAME", *words, "Properties, then the datasets to set them on")
      ->required();
  line.runs(command, [words](Session& session) { return set(session, *words); });
}

// --- inherit ---

struct InheritOptions {
  std::string property;
  std::vector<std::string> names;
  bool recursive = false;
};

Attempt<> inherit(Session& session, const InheritOptions& options) {
  TRY(const std::string pool, one_pool(options.names));
  nlohmann::ordered_json arguments = {{"names", options.names}, {"property", options.property}};
  if (options.recursive) arguments["recursive"] = true;
  TRY(Connection * connection, session.connect());
  TRY_VOID(invoke(*connection, pool, {.verb = "inherit", .arguments = std::move(arguments)}));
  return {};
}

void add_inherit(CommandLine& line) {
  auto options = std::make_shared<InheritOptions>();
  CLI::App& command = line.add(
      line.root(), {.name = "inherit",
                    .summary = "Forget a property's local value, so that it is inherited again",
                    .example = "coppice inherit -r ops:owner tank/vms",
                    .group = "Properties"});
  add_name(command, "PROPERTY", options->property, "A property");
  add_names(command, "NAME", options->names, "Datasets or snapshots")->required();
  command.add_flag("-r", options->recursive, "And of all below");
  line.runs(command, [options](Session& session) { return inherit(session, *options); });
}

}  // namespace

void add_property_commands(CommandLine& line) {
  add_set(line);
  add_inherit(line);
}

}  // namespace coppice::cli
