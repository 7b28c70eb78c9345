#include "cli/connection.h"

#include <fcntl.h>
#include <kj/async-unix.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "cli/address.h"

namespace coppice::cli {
namespace {

constexpr const char* kRootSocket = "/run/coppice/coppice.sock";

template <class Interface>
class Carrier final : public Interface::Server {
 public:
  explicit Carrier(kj::AutoCloseFd fd) : fd_(kj::mv(fd)) {}
  kj::Maybe<int> getFd() override { return fd_.get(); }

 private:
  kj::AutoCloseFd fd_;
};

// The result of a channel program may have a million values, in twenty tables.
capnp::ReaderOptions reader_options() {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = u64{16} << 20;
  options.nestingLimit = 256;
  return options;
}

std::string reason_of(const Error& error, const std::string& path) {
  if (error.sys == ENOENT || error.sys == ECONNREFUSED) {
    return fmt::format(
        "cannot reach the daemon: nobody answers on '{}' (start coppiced, or name its socket with "
        "--socket)",
        path);
  }
  if (error.sys == EACCES || error.sys == EPERM) {
    return fmt::format(
        "cannot reach the daemon: '{}' may not be used by this user (ask as the user that runs "
        "coppiced)",
        path);
  }
  return fmt::format("cannot reach the daemon: {}", describe(error));
}

}  // namespace

std::string default_socket_path() {
  if (const char* named = std::getenv("COPPICE_SOCKET"); named != nullptr && *named != '\0') {
    return named;
  }
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (::geteuid() != 0 && runtime != nullptr && *runtime != '\0') {
    return std::string(runtime) + "/coppice/coppice.sock";
  }
  return kRootSocket;
}

std::string_view pool_part(std::string_view name) {
  return name.substr(0, name.find_first_of("/@#"));
}

schema::File::Client carry_file(kj::AutoCloseFd fd) {
  return kj::heap<Carrier<schema::File>>(kj::mv(fd));
}
schema::ListenSocket::Client carry_socket(kj::AutoCloseFd fd) {
  return kj::heap<Carrier<schema::ListenSocket>>(kj::mv(fd));
}
schema::LinkHandle::Client carry_handle(kj::AutoCloseFd fd) {
  return kj::heap<Carrier<schema::LinkHandle>>(kj::mv(fd));
}

Connection::Connection(kj::AutoCloseFd fd, std::string path)
    : path_(std::move(path)),
      io_(kj::setupAsyncIo()),
      stream_(io_.lowLevelProvider->wrapUnixSocketFd(kj::mv(fd))),
      network_(*stream_, kDescriptorsPerMessageMax, capnp::rpc::twoparty::Side::CLIENT,
               reader_options()),
      rpc_(capnp::makeRpcClient(network_)),
      host_([this] {
        capnp::MallocMessageBuilder message;
        auto vat = message.initRoot<capnp::rpc::twoparty::VatId>();
        vat.setSide(capnp::rpc::twoparty::Side::SERVER);
        return rpc_.bootstrap(vat).castAs<schema::Host>();
      }()) {}

Connection::~Connection() = default;

Attempt<std::unique_ptr<Connection>> Connection::open(const std::string& path) {
  Result<kj::AutoCloseFd> fd = connect_to(path);
  if (!fd) return refuse(reason_of(fd.error(), path));
  std::unique_ptr<Connection> connection;
  try {
    connection.reset(new Connection(kj::mv(*fd), path));
  } catch (const kj::Exception& exception) {
    return refuse(fmt::format("cannot reach the daemon on '{}': {}", path,
                              exception.getDescription().cStr()));
  }
  TRY(const auto version, connection->ask(connection->host_.versionRequest()));
  connection->daemon_version_ = version.getVersion().cStr();
  if (version.getProtocol() != schema::PROTOCOL_VERSION) {
    return refuse(fmt::format(
        "cannot speak to coppiced {}: it speaks protocol {}, and this program {} (install both "
        "from one release)",
        connection->daemon_version_, version.getProtocol(), schema::PROTOCOL_VERSION + 0));
  }
  return connection;
}

Failure Connection::failure_of(const kj::Exception& exception) const {
  if (exception.getType() == kj::Exception::Type::DISCONNECTED) {
    return Failure(
        fmt::format(
            "the daemon on '{}' ended the connection (whether the command was done is not known)",
            path_),
        kExitRefused);
  }
  std::string text = exception.getDescription().cStr();
  for (char& each : text) {
    if (each == '\n') each = ' ';
  }
  return Failure(fmt::format("the daemon on '{}' did not understand: {}", path_, text),
                 kExitRefused);
}

capnp::RemotePromise<schema::Answer<schema::Pool>> Connection::send_for_pool(
    std::string_view name) {
  auto request = host_.poolRequest();
  request.setName(std::string(pool_part(name)).c_str());
  return request.send();
}

Attempt<schema::Pool::Client> Connection::pool(std::string_view name) {
  TRY(auto response, take(send_for_pool(name)));
  return response.getValue();
}

Attempt<schema::Dataset::Client> Connection::dataset(const std::string& name) {
  TRY(auto owner, pool(name));
  auto request = owner.datasetRequest();
  request.setName(name.c_str());
  TRY(auto response, ask(kj::mv(request)));
  return response.getValue();
}

Attempt<schema::Snapshot::Client> Connection::snapshot(const std::string& name) {
  TRY(auto owner, pool(name));
  auto request = owner.snapshotRequest();
  request.setName(name.c_str());
  TRY(auto response, ask(kj::mv(request)));
  return response.getValue();
}

Attempt<> Connection::sleep(u64 milliseconds) {
  try {
    auto& timer = io_.provider->getTimer();
    auto gone = network_.onDisconnect().then([] { return true; });
    auto slept = timer.afterDelay(milliseconds * kj::MILLISECONDS).then([] { return false; });
    if (slept.exclusiveJoin(kj::mv(gone)).wait(io_.waitScope)) {
      return refuse(fmt::format("the daemon on '{}' ended the connection", path_));
    }
    return {};
  } catch (const kj::Exception& exception) {
    return std::unexpected(failure_of(exception));
  }
}

void Connection::catch_signals() {
  kj::UnixEventPort::captureSignal(SIGINT);
  kj::UnixEventPort::captureSignal(SIGTERM);
}

Connection::Woken Connection::wait_for_end(const Else& other) {
  try {
    const auto signalled = [](siginfo_t&&) { return Woken::by_signal; };
    auto woken = network_.onDisconnect().then([] { return Woken::by_daemon; });
    woken = woken.exclusiveJoin(io_.unixEventPort.onSignal(SIGINT).then(signalled));
    woken = woken.exclusiveJoin(io_.unixEventPort.onSignal(SIGTERM).then(signalled));
    if (other.milliseconds != 0) {
      woken = woken.exclusiveJoin(
          io_.provider->getTimer().afterDelay(other.milliseconds * kj::MILLISECONDS).then([] {
            return Woken::by_time;
          }));
    }
    if (other.readable < 0) return woken.wait(io_.waitScope);
    using Observer = kj::UnixEventPort::FdObserver;
    Observer observer(io_.unixEventPort, other.readable, Observer::OBSERVE_READ);
    woken = woken.exclusiveJoin(
        observer.whenBecomesReadable().then([] { return Woken::by_descriptor; }));
    return woken.wait(io_.waitScope);
  } catch (const kj::Exception&) {
    return Woken::by_daemon;
  }
}

Attempt<kj::AutoCloseFd> Connection::descriptor_of(capnp::Capability::Client carrier) {
  try {
    auto found = carrier.getFd().wait(io_.waitScope);
    KJ_IF_MAYBE (fd, found) {
      const int own = ::fcntl(*fd, F_DUPFD_CLOEXEC, 3);
      if (own >= 0) return kj::AutoCloseFd(own);
      return refuse(
          fmt::format("cannot keep a descriptor of the daemon's: {}", std::strerror(errno)));
    }
    return refuse("the daemon sent no descriptor where one was due");
  } catch (const kj::Exception& exception) {
    return std::unexpected(failure_of(exception));
  }
}

std::string line_of(schema::Refusal::Reader refusal) {
  constexpr size_t kNamesMax = 3;
  std::string line = refusal.getMessage().cStr();
  const auto details = refusal.getDetails();
  std::string names;
  for (u32 i = 0; i < details.size() && i < kNamesMax; ++i) {
    if (line.find(details[i].cStr()) != std::string::npos) continue;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", details[i].cStr());
  }
  if (names.empty()) return line;
  if (details.size() > kNamesMax) names += fmt::format(" and {} more", details.size() - kNamesMax);
  return fmt::format("{} ({})", line, names);
}

}  // namespace coppice::cli
