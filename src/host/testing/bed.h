// host/testing/bed.h — a whole daemon in the test's own process, and clients of it over socket
// pairs.
#pragma once

#include <capnp/rpc-twoparty.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <list>
#include <memory>
#include <string>

#include "cap/server.h"
#include "host/rpc.h"

namespace coppice::host::testing {

template <class Interface>
class Carrier final : public Interface::Server {
 public:
  explicit Carrier(cap::Fd fd) : fd_(std::move(fd)) {}
  kj::Maybe<int> getFd() override { return fd_.get(); }

 private:
  cap::Fd fd_;
};

struct Client {
  kj::Own<kj::AsyncCapabilityStream> stream;
  capnp::TwoPartyVatNetwork network;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc;
  Client(kj::AsyncIoContext& io, int fd)
      : stream(io.lowLevelProvider->wrapUnixSocketFd(kj::AutoCloseFd(fd))),
        network(*stream, 2, capnp::rpc::twoparty::Side::CLIENT),
        rpc(capnp::makeRpcClient(network)) {}
  schema::Host::Client host() {
    capnp::MallocMessageBuilder message;
    auto vat = message.initRoot<capnp::rpc::twoparty::VatId>();
    vat.setSide(capnp::rpc::twoparty::Side::SERVER);
    return rpc.bootstrap(vat).castAs<schema::Host>();
  }
};

class Bed {
 public:
  Bed() {
    auto made = Lanes::create(2);
    CHECK(made.has_value());
    lanes_ = *std::move(made);
    loop_ = std::make_unique<cap::Loop>(io);
    daemon_ = std::make_unique<Daemon>(
        *loop_, *lanes_,
        Settings{.cache_bytes = 16_MiB, .dirty_bytes_max = 32_MiB, .version = "test"},
        [](const std::string&) {});
    server_ = std::make_unique<cap::Server>(io, [this](const cap::Peer& peer) {
      return capnp::Capability::Client(
          make_host({.daemon = daemon_.get(), .who = peer.text(), .server = server_.get()}));
    });
  }
  ~Bed() noexcept {
    server_->disconnect_all();
    loop_->idle().wait(io.waitScope);
    CHECK(loop_->start(daemon_->shutdown()).wait(io.waitScope).has_value());
    daemon_.reset();
  }

  Daemon& daemon() { return *daemon_; }
  cap::Server& server() { return *server_; }
  int connect() {
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    server_->serve(cap::Fd(ends[0]));
    return ends[1];
  }
  Client client() { return Client(io, connect()); }
  void settle() {  // Lets what is at hand be done.
    for (int i = 0; i < 20; ++i) pause();
  }
  template <class Condition>
  bool eventually(Condition condition) {
    for (int i = 0; i < 5000 && !condition(); ++i) pause();
    return condition();
  }
  void pause() { io.provider->getTimer().afterDelay(2 * kj::MILLISECONDS).wait(io.waitScope); }
  template <class Request>
  auto ask(Request&& request) {
    return request.send().wait(io.waitScope);
  }

  kj::AsyncIoContext io = kj::setupAsyncIo();

 private:
  std::unique_ptr<Lanes> lanes_;
  std::unique_ptr<cap::Loop> loop_;
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<cap::Server> server_;
};

inline cap::Fd empty_file(u64 size_bytes) {
  cap::Fd fd(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  CHECK(fd && ftruncate(fd.get(), static_cast<off_t>(size_bytes)) == 0);
  return fd;
}
inline cap::Fd duplicate(const cap::Fd& fd) { return cap::Fd(fcntl(fd.get(), F_DUPFD_CLOEXEC, 3)); }

}  // namespace coppice::host::testing
