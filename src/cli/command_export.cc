// cli/command_export.cc — export, unexport, exports: serving volumes and snapshots as block
// devices.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "cli/address.h"
#include "cli/command.h"

namespace coppice::cli {
namespace {

// --- export ---

struct ExportOptions {
  std::string name, address;
  bool read_only = false;
  bool pinned = true;
  Format format;
};

Attempt<Address> address_of(const Session& session, const std::string& text) {
  const std::string beside =
      (std::filesystem::path(session.socket_path()).parent_path() / "nbd.sock").string();
  const Result<Address> address = parse_address(text.empty() ? "unix:" + beside : text);
  if (!address) return misuse(describe(address.error()));
  return *address;
}

template <class Request>
void describe_export(Request& request, const ExportOptions& options, const Address& address) {
  auto spec = request.initSpec();
  spec.setProtocol("nbd");
  spec.setAddress(address.text().c_str());
  spec.setReadOnly(options.read_only);
  request.setPinned(options.pinned);
}

// `exported`: a Dataset or a Snapshot. `listener` null: on a socket that the daemon already has.
template <class Exported>
Attempt<schema::Export::Client> start(Connection& connection, Exported exported,
                                      const ExportOptions& options, const Address& address,
                                      Listener* listener) {
  auto request = exported.exportRequest();
  describe_export(request, options, address);
  if (listener != nullptr) request.setSocket(carry_socket(kj::mv(listener->fd)));
  TRY(auto response, connection.ask(kj::mv(request)));
  return response.getValue();
}

struct Started {
  schema::Export::Client capability;
  Address address;
  bool bound = false;  // By us: on a socket of our own.
};

// Whoever bound a Unix socket removes its path.
void remove_bound(const Address& address) {
  if (address.family == Address::Family::local) ::unlink(address.path.c_str());
}

template <class Exported>
Attempt<Started> start_somewhere(Connection& connection, Exported exported,
                                 const ExportOptions& options, Address address) {
  const bool port_open = address.family == Address::Family::tcp && address.port == "0";
  if (!port_open) {
    auto shared = start(connection, exported, options, address, nullptr);
    if (shared)
      return Started{.capability = *shared, .address = std::move(address), .bound = false};
    if (shared.error().error != ENOENT) return std::unexpected(shared.error());
  }
  Result<Listener> listener = listen_at(std::move(address));
  if (!listener) {
    return refuse(fmt::format("cannot export '{}': {}", options.name, describe(listener.error())));
  }
  auto own = start(connection, exported, options, listener->address, &*listener);
  if (own) return Started{.capability = *own, .address = listener->address, .bound = true};
  remove_bound(listener->address);
  return std::unexpected(own.error());
}

void print_started(const ExportOptions& options, const Address& address) {
  const std::string uri = address.nbd_uri(options.name);
  if (options.format.json) {
    const nlohmann::ordered_json shown = {{"name", options.name},
                                          {"uri", uri},
                                          {"address", address.text()},
                                          {"read_only", options.read_only},
                                          {"pinned", options.pinned}};
    fmt::print("{}\n", shown.dump(2));
  } else {
    fmt::print("{}\n", uri);
  }
  std::fflush(stdout);  // Whoever started us in the background waits for this line.
}

// An unpinned export lives as long as this process holds it.
Attempt<> stay(Connection& connection, Started started, const ExportOptions& options) {
  if (connection.wait_for_end() == Connection::Woken::by_daemon) {
    return refuse(fmt::format("the export of '{}' ended with the daemon", options.name));
  }
  auto request = started.capability.unexportRequest();
  request.setForce(true);
  const auto ended = connection.ask(kj::mv(request));
  if (ended) {
    for (auto each : ended->getValue().getClosed()) {
      if (started.bound && started.address.text() == each.cStr()) {
        remove_bound(started.address);
      } else {
        remove_dead_socket(each.cStr());
      }
    }
  } else if (ended.error().error != ENOENT) {
    return std::unexpected(ended.error());
  }
  return {};
}

Attempt<> export_it(Session& session, const ExportOptions& options) {
  TRY(const Address address, address_of(session, options.address));
  if (!options.pinned) Connection::catch_signals();
  TRY(Connection * connection, session.connect());
  const auto start_one = [&]() -> Attempt<Started> {
    if (options.name.find('@') != std::string::npos) {
      TRY(auto snapshot, connection->snapshot(options.name));
      return start_somewhere(*connection, snapshot, options, address);
    }
    TRY(auto dataset, connection->dataset(options.name));
    return start_somewhere(*connection, dataset, options, address);
  };
  TRY(auto started, start_one());
  print_started(options, started.address);
  return options.pinned ? Attempt<>{} : stay(*connection, std::move(started), options);
}

void add_export(CommandLine& line) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App& command =
      line.add(line.root(), {.name = "export",
                             .summary = "Serve a volume or snapshot over NBD; prints its URI",
                             .example = "coppice export tank/vm --nbd unix:/run/vm.sock",
                             .group = "Serving"});
  add_name(command, "NAME", options->name, "A volume, or a snapshot of one (read-only)");
  add_text(command, "--nbd", options->address, "ADDRESS",
           "unix:PATH or tcp:HOST:PORT (default: nbd.sock beside the control socket)");
  command.add_flag("--read-only", options->read_only, "Refuse writes");
  CLI::Option* pin = command.add_flag_callback(
      "--pin", [options] { options->pinned = true; },
      "Bring it back after a restart (the default)");
  command
      .add_flag_callback(
          "--no-pin", [options] { options->pinned = false; },
          "Stay in the foreground; the export ends with this command")
      ->excludes(pin);
  add_json_flag(command, options->format);
  line.runs(command, [options](Session& session) { return export_it(session, *options); });
}

// --- unexport ---

struct UnexportOptions {
  std::string name, address;
  bool force = false;
};

template <class Exported>
Attempt<> stop(Connection& connection, Exported exported, const UnexportOptions& options,
               const std::string& address) {
  auto request = exported.unexportRequest();
  request.setAddress(address.c_str());
  request.setForce(options.force);
  TRY(const auto response, connection.ask(kj::mv(request)));
  for (auto each : response.getValue().getClosed()) remove_dead_socket(each.cStr());
  return {};
}

Attempt<> unexport(Session& session, const UnexportOptions& options) {
  std::string address;
  if (!options.address.empty()) {
    TRY(const Address parsed, address_of(session, options.address));
    address = parsed.text();
  }
  TRY(Connection * connection, session.connect());
  if (options.name.find('@') != std::string::npos) {
    TRY(auto snapshot, connection->snapshot(options.name));
    return stop(*connection, snapshot, options, address);
  }
  TRY(auto dataset, connection->dataset(options.name));
  return stop(*connection, dataset, options, address);
}

void add_unexport(CommandLine& line) {
  auto options = std::make_shared<UnexportOptions>();
  CLI::App& command = line.add(line.root(), {.name = "unexport",
                                             .summary = "End the exports of a volume or snapshot",
                                             .example = "coppice unexport --force tank/vm",
                                             .group = "Serving"});
  add_name(command, "NAME", options->name, "What is exported");
  add_text(command, "--nbd", options->address, "ADDRESS", "Only the export at this address");
  command.add_flag("-f,--force", options->force, "Disconnect its clients");
  line.runs(command, [options](Session& session) { return unexport(session, *options); });
}

// --- exports ---

Attempt<> exports(Session& session, const Format& format) {
  TRY(Connection * connection, session.connect());
  TRY(const auto response, connection->ask(connection->host().exportsRequest()));
  Table table{.columns = {{.name = "name"},
                          {.name = "size", .right = true},
                          {.name = "mode"},
                          {.name = "pinned"},
                          {.name = "clients", .right = true},
                          {.name = "state"},
                          {.name = "uri"}},
              .rows = {}};
  for (auto each : response.getValue()) {
    const std::string problem = each.getProblem().cStr();
    table.rows.push_back(
        {Cell::text(each.getName().cStr()), Cell::bytes(each.getVolsize()),
         Cell::text(each.getSpec().getReadOnly() ? "ro" : "rw"),
         Cell::text(each.getPinned() ? "yes" : "no"), Cell::exact(each.getConnections()),
         Cell::text(each.getRunning() ? "running"
                    : problem.empty() ? "stopped"
                                      : "stopped: " + problem),
         Cell::text(each.getUri().size() > 0 ? each.getUri().cStr()
                                             : each.getSpec().getAddress().cStr())});
  }
  print(table, format);
  return {};
}

void add_exports(CommandLine& line) {
  auto format = std::make_shared<Format>();
  CLI::App& command =
      line.add(line.root(), {.name = "exports",
                             .summary = "List what is exported, where, and to how many clients",
                             .example = "coppice exports --json",
                             .group = "Serving"});
  add_table_flags(command, *format);
  line.runs(command, [format](Session& session) { return exports(session, *format); });
}

}  // namespace

void add_export_commands(CommandLine& line) {
  add_export(line);
  add_unexport(line);
  add_exports(line);
}

}  // namespace coppice::cli
