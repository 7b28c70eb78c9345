// cli/command_pool.cc — pool: make, open, close, grow, sync and check pools.
#include <sys/stat.h>
#include <unistd.h>

#include "cli/address.h"
#include "cli/command.h"
#include "cli/pool_file.h"
#include "cli/pool_report.h"
#include "cli/scrub.h"
#include "cli/size.h"

namespace coppice::cli {
namespace {

// --- create, open, close ---

struct CreateOptions {
  std::string name, file, size;
  bool force = false;
};

Attempt<> create(Session& session, const CreateOptions& options) {
  NewPoolFile wanted{.path = options.file, .size_bytes = {}, .force = options.force};
  if (!options.size.empty()) {
    const Result<u64> size = parse_size(options.size);
    if (!size) return misuse(describe(size.error()));
    wanted.size_bytes = *size;
  }
  TRY(Connection * connection, session.connect());  // Before a file is made for nothing.
  Result<PoolFile> file = make_pool_file(std::move(wanted));
  if (!file)
    return refuse(fmt::format("cannot create pool '{}': {}", options.name, describe(file.error())));
  auto request = connection->host().createPoolRequest();
  request.setFile(carry_file(kj::mv(file->fd)));
  request.setName(options.name.c_str());
  request.setForce(options.force);
  const auto response = connection->ask(kj::mv(request));
  if (response) return {};
  abandon(*file);
  return refuse(fmt::format("cannot create pool '{}': {}", options.name, response.error().message));
}

void add_create(CommandLine& line, CLI::App& pool) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App& command =
      line.add(pool, {.name = "create",
                      .summary = "Make a pool in a file or block device, and open it",
                      .example = "coppice pool create tank /srv/tank.pool --size 64G"});
  add_name(command, "POOL", options->name, "The new pool's name");
  add_name(command, "FILE", options->file, "Its file or block device");
  add_text(command, "--size", options->size, "SIZE",
           "Give the file this size; makes it if there is none");
  command.add_flag("-f,--force", options->force, "Overwrite what the file holds");
  line.runs(command, [options](Session& session) { return create(session, *options); });
}

struct OpenOptions {
  std::string file, name;
};

Attempt<> open(Session& session, const OpenOptions& options) {
  TRY(Connection * connection, session.connect());
  Result<PoolFile> file = open_pool_file(options.file);
  if (!file) return refuse(describe(file.error()));
  auto request = connection->host().openPoolRequest();
  request.setFile(carry_file(kj::mv(file->fd)));
  request.setName(options.name.c_str());
  const auto response = connection->ask(kj::mv(request));
  if (response) return {};
  // The daemon was given a descriptor and does not know the file's name.
  return refuse(
      fmt::format("cannot open the pool in '{}': {}", options.file, response.error().message));
}

void add_open(CommandLine& line, CLI::App& pool) {
  auto options = std::make_shared<OpenOptions>();
  CLI::App& command = line.add(pool, {.name = "open",
                                      .summary = "Open the pool in a file or block device",
                                      .example = "coppice pool open /srv/tank.pool"});
  add_name(command, "FILE", options->file, "The pool's file or block device");
  add_text(command, "--name", options->name, "POOL", "Refuse a pool that is called otherwise");
  line.runs(command, [options](Session& session) { return open(session, *options); });
}

struct CloseOptions {
  std::string name;
  bool force = false;
};

Attempt<> close(Session& session, const CloseOptions& options) {
  TRY(Connection * connection, session.connect());
  TRY(auto pool, connection->pool(options.name));
  TRY(const auto exports, connection->ask(connection->host().exportsRequest()));
  auto request = pool.closeRequest();
  request.setForce(options.force);
  const auto closed = connection->ask(kj::mv(request));
  if (!closed) {
    return refuse(fmt::format("cannot close pool '{}': {}", options.name, closed.error().message));
  }
  for (auto each : exports.getValue()) {
    if (pool_part(each.getName().cStr()) != options.name) continue;
    remove_dead_socket(each.getSpec().getAddress().cStr());
  }
  return {};
}

void add_close(CommandLine& line, CLI::App& pool) {
  auto options = std::make_shared<CloseOptions>();
  CLI::App& command = line.add(pool, {.name = "close",
                                      .summary = "Commit everything and close a pool",
                                      .example = "coppice pool close tank"});
  add_name(command, "POOL", options->name, "An open pool");
  command.add_flag("-f,--force", options->force, "Disconnect the clients of its exports");
  line.runs(command, [options](Session& session) { return close(session, *options); });
}

// --- list, status ---

struct ReportOptions {
  std::vector<std::string> names;
  Format format;
};

void add_reports(CommandLine& line, CLI::App& pool) {
  auto listed = std::make_shared<ReportOptions>();
  CLI::App& list = line.add(pool, {.name = "list",
                                   .summary = "List the open pools and their space",
                                   .example = "coppice pool list"});
  add_names(list, "POOL", listed->names, "Only these");
  add_table_flags(list, listed->format);
  line.runs(list, [listed](Session& session) -> Attempt<> {
    TRY(Connection * connection, session.connect());
    TRY(const auto statuses, pool_statuses(*connection, listed->names));
    print(pool_table(statuses), listed->format);
    return {};
  });

  auto shown = std::make_shared<ReportOptions>();
  CLI::App& status =
      line.add(pool, {.name = "status",
                      .summary = "Show the health, scrub, errors and caches of a pool",
                      .example = "coppice pool status tank"});
  add_names(status, "POOL", shown->names, "Only these; none: all");
  add_json_flag(status, shown->format);
  line.runs(status, [shown](Session& session) -> Attempt<> {
    TRY(Connection * connection, session.connect());
    TRY(const auto statuses, pool_statuses(*connection, shown->names));
    print_pool_status(statuses, shown->format.json, shown->names.size() == 1);
    return {};
  });
}

// --- scrub, sync, grow, check ---

void add_scrub(CommandLine& line, CLI::App& pool) {
  auto options = std::make_shared<ScrubOptions>();
  CLI::App& command =
      line.add(pool, {.name = "scrub",
                      .summary = "Read and check everything in a pool, in the background",
                      .example = "coppice pool scrub -w tank"});
  add_name(command, "POOL", options->pool, "An open pool");
  CLI::Option* wait = command.add_flag("-w,--wait", options->wait,
                                       "Wait for the end; fails if anything is damaged");
  CLI::Option* pause =
      command.add_flag("-p,--pause", options->pause, "Pause; scrub again to continue");
  CLI::Option* stop =
      command.add_flag("-s,--stop", options->stop, "Stop, and forget how far it came");
  pause->excludes(wait)->excludes(stop);
  stop->excludes(wait);
  line.runs(command, [options](Session& session) -> Attempt<> {
    TRY(Connection * connection, session.connect());
    return scrub(*connection, *options);
  });
}

void add_sync(CommandLine& line, CLI::App& pool) {
  auto names = std::make_shared<std::vector<std::string>>();
  CLI::App& command = line.add(pool, {.name = "sync",
                                      .summary = "Make everything written so far durable",
                                      .example = "coppice pool sync tank"});
  add_names(command, "POOL", *names, "Only these; none: all");
  line.runs(command, [names](Session& session) -> Attempt<> {
    TRY(Connection * connection, session.connect());
    TRY(const auto statuses, pool_statuses(*connection, *names));
    for (const PoolReport& each : statuses) {
      TRY(auto pool, connection->pool(each.name));
      TRY_VOID(connection->ask(pool.syncRequest()));
    }
    return {};
  });
}

void add_grow(CommandLine& line, CLI::App& pool) {
  auto name = std::make_shared<std::string>();
  CLI::App& command =
      line.add(pool, {.name = "grow",
                      .summary = "Take in what a pool's file or device has grown by",
                      .example = "truncate -s 128G /srv/tank.pool && coppice pool grow tank"});
  add_name(command, "POOL", *name, "An open pool");
  line.runs(command, [name](Session& session) -> Attempt<> {
    TRY(Connection * connection, session.connect());
    TRY(auto pool, connection->pool(*name));
    TRY(const auto before, connection->ask(pool.statusRequest()));
    TRY(const auto after, connection->ask(pool.growRequest()));
    const u64 from = before.getValue().getStats().getTotalBytes();
    const u64 to = after.getValue().getStats().getTotalBytes();
    if (from == to) {
      fmt::print("{}: nothing to take in, the size is {}\n", *name, show_bytes(to));
    } else {
      fmt::print("{}: grown from {} to {}\n", *name, show_bytes(from), show_bytes(to));
    }
    return {};
  });
}

void add_check(CommandLine& line, CLI::App& pool) {
  auto options = std::make_shared<ReportOptions>();
  options->names.emplace_back();
  CLI::App& command = line.add(
      pool, {.name = "check",
             .summary = "Compare everything a pool keeps with its accounts (it must be at rest)",
             .example = "coppice pool check tank"});
  add_name(command, "POOL", options->names.front(), "An open pool with no exports");
  add_json_flag(command, options->format);
  line.runs(command, [options](Session& session) -> Attempt<> {
    const std::string& name = options->names.front();
    TRY(Connection * connection, session.connect());
    TRY(auto pool, connection->pool(name));
    TRY(const auto response, connection->ask(pool.checkRequest()));
    Table table{.columns = {{.name = "contradiction"}}, .rows = {}};
    for (auto each : response.getValue()) table.rows.push_back({Cell::text(each.cStr())});
    Format format = options->format;
    format.headers = false;
    print(table, format);
    if (table.rows.empty()) return {};
    return refuse(
        fmt::format("pool '{}' contradicts itself in {} places (keep its file for a report)", name,
                    table.rows.size()));
  });
}

}  // namespace

void add_pool_commands(CommandLine& line) {
  CLI::App& pool = line.add(line.root(), {.name = "pool",
                                          .summary = "Make, open, close and examine pools",
                                          .example = {},
                                          .group = "Pools"});
  pool.require_subcommand(1);
  add_create(line, pool);
  add_open(line, pool);
  add_close(line, pool);
  add_reports(line, pool);
  add_scrub(line, pool);
  add_sync(line, pool);
  add_grow(line, pool);
  add_check(line, pool);
}

}  // namespace coppice::cli
