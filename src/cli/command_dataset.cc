// cli/command_dataset.cc — create, destroy, rename, promote, resize.
#include "cli/command.h"
#include "cli/reclaim.h"
#include "cli/scrub.h"
#include "cli/size.h"
#include "cli/verbs.h"

namespace coppice::cli {
namespace {

// --- create ---

struct CreateOptions {
  std::string name, size;
  bool parents = false;
  std::vector<std::string> settings;
};

Attempt<> create(Session& session, const CreateOptions& options) {
  TRY(auto properties, parse_settings(options.settings));
  nlohmann::ordered_json arguments = {{"name", options.name}};
  if (!options.size.empty()) {
    const Result<u64> size = parse_size(options.size);
    if (!size) return misuse(describe(size.error()));
    if (*size == 0) return misuse("a volume's size cannot be 0");
    arguments["size"] = *size;
  }
  if (!properties.empty()) arguments["properties"] = std::move(properties);
  if (options.parents) arguments["parents"] = true;
  TRY(Connection * connection, session.connect());
  TRY_VOID(
      invoke(*connection, options.name, {.verb = "create", .arguments = std::move(arguments)}));
  return {};
}

void add_create(CommandLine& line) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App& command =
      line.add(line.root(), {.name = "create",
                             .summary = "Make a volume, or a group that hands its properties down",
                             .example = "coppice create -V 20G -o readonly=off tank/vm",
                             .group = "Datasets"});
  add_name(command, "NEW", options->name, "Its full name: POOL/PATH");
  add_text(command, "-V", options->size, "SIZE", "Make a volume of this size; without it a group")
      ->check([](const std::string& text) { return std::string(text.empty() ? "no size" : ""); });
  command.add_flag("-p", options->parents, "Make missing groups above it too");
  add_texts(command, "-o", options->settings, "PROP=VALUE", "Set a property; may be repeated");
  line.runs(command, [options](Session& session) { return create(session, *options); });
}

// --- destroy ---

struct DestroyOptions {
  std::vector<std::string> names;
  bool recursive = false, clones = false, dry_run = false, deferred = false;
  bool verbose = false, parsable = false, wait = false;
};

Attempt<> destroy(Session& session, const DestroyOptions& options) {
  for (const std::string& name : options.names) {
    if (options.deferred && name.find('@') == name.npos) {
      return misuse(fmt::format("-d is for snapshots, and '{}' is none", name));
    }
  }
  TRY(const std::string pool, one_pool(options.names));
  nlohmann::ordered_json arguments = {{"names", options.names}};
  if (options.recursive) arguments["recursive"] = true;
  if (options.clones) arguments["clones"] = true;
  if (options.deferred) arguments["defer"] = true;
  TRY(Connection * connection, session.connect());
  TRY(const auto value,
      invoke(*connection, pool,
             {.verb = "destroy", .arguments = std::move(arguments), .dry_run = options.dry_run}));
  if (options.verbose || options.dry_run || options.parsable) {
    const Reclaim reclaim{.destroyed = texts_of(value, "destroyed"),
                          .deferred = texts_of(value, "deferred"),
                          .bytes = value.value("reclaimed_bytes", u64{0})};
    fmt::print("{}", tell(reclaim, {.dry_run = options.dry_run, .parsable = options.parsable}));
  }
  if (options.wait && !options.dry_run) return wait_for_freeing(*connection, pool);
  return {};
}

void add_destroy(CommandLine& line) {
  auto options = std::make_shared<DestroyOptions>();
  CLI::App& command =
      line.add(line.root(), {.name = "destroy",
                             .summary = "Destroy a dataset, snapshots of one, or a bookmark",
                             .example = "coppice destroy -n tank/vm@monday%friday,old",
                             .group = "Datasets"});
  add_names(command, "NAME", options->names,
            "NAME, NAME@SNAP[,SNAP|OLDEST%YOUNGEST]... or NAME#BOOKMARK")
      ->required();
  command.add_flag("-r", options->recursive,
                   "All below it too; of a snapshot: those of the same name below");
  command.add_flag("-R", options->clones, "And all clones of what is destroyed, wherever they are");
  command.add_flag("-n", options->dry_run, "Only show what would be destroyed and freed");
  command.add_flag("-d", options->deferred,
                   "Destroy a held or cloned snapshot once its last hold and clone are gone");
  command.add_flag("-v", options->verbose, "Show what was destroyed and freed");
  command.add_flag("-p", options->parsable,
                   "Show it for scripts: 'destroy' or 'reclaim', tab, value");
  command.add_flag("-w,--wait", options->wait,
                   "Wait until the space has been freed in the background");
  line.runs(command, [options](Session& session) { return destroy(session, *options); });
}

// --- rename ---

struct RenameOptions {
  std::string from, to;
  bool parents = false, recursive = false;
};

Attempt<> rename(Session& session, const RenameOptions& options) {
  nlohmann::ordered_json arguments = {{"name", options.from}, {"new_name", options.to}};
  // Of a snapshot, "@new" says as much as the full name.
  const size_t at = options.from.find('@');
  if (at != std::string::npos && options.to.find('@') == std::string::npos) {
    arguments["new_name"] = options.from.substr(0, at + 1) + options.to;
  } else if (at != std::string::npos && options.to.starts_with('@')) {
    arguments["new_name"] = options.from.substr(0, at) + options.to;
  }
  if (options.parents) arguments["parents"] = true;
  if (options.recursive) arguments["recursive"] = true;
  TRY(Connection * connection, session.connect());
  TRY_VOID(
      invoke(*connection, options.from, {.verb = "rename", .arguments = std::move(arguments)}));
  return {};
}

void add_rename(CommandLine& line) {
  auto options = std::make_shared<RenameOptions>();
  CLI::App& command = line.add(
      line.root(), {.name = "rename",
                    .summary = "Rename a dataset or snapshot; exports go on under the new name",
                    .example = "coppice rename -p tank/vm tank/retired/vm",
                    .group = "Datasets"});
  add_name(command, "NAME", options->from, "A dataset or snapshot");
  add_name(command, "NEW", options->to,
           "Its new full name; of a snapshot, what follows '@' suffices");
  command.add_flag("-p", options->parents, "Make missing groups above it too");
  command.add_flag("-r", options->recursive, "Rename the snapshots of this name of all below too");
  line.runs(command, [options](Session& session) { return rename(session, *options); });
}

// --- promote, resize ---

void add_promote(CommandLine& line) {
  auto name = std::make_shared<std::string>();
  CLI::App& command = line.add(
      line.root(), {.name = "promote",
                    .summary = "Make a clone the owner of its origin, so that the original can go",
                    .example = "coppice promote tank/branch",
                    .group = "Datasets"});
  add_name(command, "VOLUME", *name, "A clone");
  line.runs(command, [name](Session& session) -> Attempt<> {
    TRY(Connection * connection, session.connect());
    TRY_VOID(invoke(*connection, *name, {.verb = "promote", .arguments = {{"name", *name}}}));
    return {};
  });
}

struct ResizeOptions {
  std::string name, size;
};

void add_resize(CommandLine& line) {
  auto options = std::make_shared<ResizeOptions>();
  CLI::App& command =
      line.add(line.root(), {.name = "resize",
                             .summary = "Change a volume's size; what is cut off is forgotten",
                             .example = "coppice resize tank/vm 40G",
                             .group = "Datasets"});
  add_name(command, "VOLUME", options->name, "A volume");
  add_name(command, "SIZE", options->size, "Its new size");
  line.runs(command, [options](Session& session) -> Attempt<> {
    const Result<u64> size = parse_size(options->size);
    if (!size) return misuse(describe(size.error()));
    TRY(Connection * connection, session.connect());
    TRY_VOID(invoke(*connection, options->name,
                    {.verb = "resize", .arguments = {{"name", options->name}, {"size", *size}}}));
    return {};
  });
}

}  // namespace

void add_dataset_commands(CommandLine& line) {
  add_create(line);
  add_destroy(line);
  add_rename(line);
  add_promote(line);
  add_resize(line);
}

}  // namespace coppice::cli
