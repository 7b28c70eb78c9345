#include "cap/server.h"

#include <fmt/format.h>
#include <kj/io.h>
#include <sys/socket.h>

#include "base/check.h"

namespace coppice::cap {
namespace {

constexpr u64 kAcceptPauseNs =
    100'000'000;  // After accept() failed, mostly for want of descriptors.

Peer peer_of(kj::AsyncIoStream& stream) {
  ucred credentials{};
  kj::uint length = sizeof credentials;
  stream.getsockopt(SOL_SOCKET, SO_PEERCRED, &credentials, &length);
  return {.uid = credentials.uid, .pid = static_cast<u32>(credentials.pid)};
}

capnp::ReaderOptions reader_options(const ServerLimits& limits) {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = limits.message_words_max;
  options.nestingLimit = limits.nesting_max;
  return options;
}

}  // namespace

std::string Peer::text() const { return fmt::format("uid={}, pid={}", uid, pid); }

// The RPC system goes first, then what it stands on.
struct Server::Connection {
  kj::Own<kj::AsyncCapabilityStream> stream;
  capnp::TwoPartyVatNetwork network;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc;

  Connection(kj::Own<kj::AsyncCapabilityStream> s, capnp::Capability::Client bootstrap,
             const ServerLimits& limits)
      : stream(kj::mv(s)),
        network(*stream, limits.descriptors_per_message_max, capnp::rpc::twoparty::Side::SERVER,
                reader_options(limits)),
        rpc(capnp::makeRpcServer(network, kj::mv(bootstrap))) {
    rpc.setFlowLimit(limits.flow_words_max);
  }
};

Server::Server(kj::AsyncIoContext& io, Bootstrap bootstrap, ServerLimits limits)
    : io_(io),
      bootstrap_(std::move(bootstrap)),
      limits_(limits),
      endings_(kj::heap<kj::TaskSet>(failure_)),
      accepting_(kj::heap<kj::TaskSet>(failure_)) {}

Server::~Server() noexcept {
  stop();
  disconnect_all();
}

void Server::listen(Fd listening) {
  receivers_.push_back(
      io_.lowLevelProvider->wrapListenSocketFd(kj::AutoCloseFd(listening.release())));
  accept_loop(*receivers_.back());
}

void Server::accept_loop(kj::ConnectionReceiver& receiver) {
  accepting_->add(receiver.accept().then(
      [this, &receiver](kj::Own<kj::AsyncIoStream> stream) {
        start(stream.downcast<kj::AsyncCapabilityStream>());
        accept_loop(receiver);
      },
      [this, &receiver](kj::Exception&&) {
        accepting_->add(io_.provider->getTimer()
                            .afterDelay(kAcceptPauseNs * kj::NANOSECONDS)
                            .then([this, &receiver] { accept_loop(receiver); }));
      }));
}

void Server::serve(Fd connection) {
  start(io_.lowLevelProvider->wrapUnixSocketFd(kj::AutoCloseFd(connection.release())));
}

void Server::start(kj::Own<kj::AsyncCapabilityStream> stream) {
  if (connections_.size() >= limits_.connections_max) return;  // Closes it.
  KJ_IF_MAYBE (exception, kj::runCatchingExceptions([&] {
                 const Peer peer = peer_of(*stream);
                 connections_.push_back(
                     std::make_unique<Connection>(kj::mv(stream), bootstrap_(peer), limits_));
               })) {
    (void)exception;  // It left before it was served.
    return;
  }
  const auto place = std::prev(connections_.end());
  // Its end is an event of its own, never inside a call that the connection itself is making.
  endings_->add((*place)->network.onDisconnect().then(
      [this, place] { connections_.erase(place); },
      [this, place](kj::Exception&&) { connections_.erase(place); }));
}

void Server::stop() {
  accepting_ = kj::heap<kj::TaskSet>(failure_);
  receivers_.clear();
}

void Server::disconnect_all() {
  endings_ = kj::heap<kj::TaskSet>(failure_);
  connections_.clear();
}

}  // namespace coppice::cap
