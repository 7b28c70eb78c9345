// cap/server.h — Server: RPC connections over Unix sockets, each with its peer's credentials.
//
// Theory. Whoever can connect may call: the socket's mode is the gate (0600). A connection gets a
// bootstrap object of its own, made for its peer, so that what it does is recorded as that peer's.
// When the last holder of a connection's other end is gone, the connection and every capability it
// held die with it. What a peer can make us keep is bounded: connections, the size of a message,
// the words of calls under way, descriptors per message.
#pragma once

#include <capnp/capability.h>
#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cap/descriptor.h"

namespace coppice::cap {

struct Peer {
  u32 uid = 0;
  u32 pid = 0;
  std::string text() const;  // "uid=0, pid=17"
};

struct ServerLimits {
  size_t connections_max = 256;         // More are closed at once.
  u32 descriptors_per_message_max = 2;  // Further ones are closed by the transport.
  // Of a message, in either direction: 64 MiB. The result of a channel program has up to a million
  // values of seven words.
  u64 message_words_max = 8 << 20;
  int nesting_max = 32;
  u64 flow_words_max = 4 << 20;  // Of one connection's calls under way: then we stop reading.
};

class Server {
 public:
  using Bootstrap = std::function<capnp::Capability::Client(const Peer& peer)>;
  Server(kj::AsyncIoContext& io, Bootstrap bootstrap, ServerLimits limits = {});
  Server(const Server&) = delete;
  ~Server() noexcept;

  void listen(Fd listening);  // Accepts on it until stop().
  void serve(Fd connection);  // One that is connected already.
  void stop();                // No new connections.
  void disconnect_all();      // Drops every capability they hold.
  size_t connections() const { return connections_.size(); }
  const ServerLimits& limits() const { return limits_; }

 private:
  struct Connection;
  void accept_loop(kj::ConnectionReceiver& receiver);
  void start(kj::Own<kj::AsyncCapabilityStream> stream);

  struct Failure final : kj::TaskSet::ErrorHandler {
    void taskFailed(kj::Exception&&) override {}  // A broken connection: it is gone, that is all.
  };

  kj::AsyncIoContext& io_;
  Bootstrap bootstrap_;
  ServerLimits limits_;
  Failure failure_;
  std::list<std::unique_ptr<Connection>> connections_;
  std::vector<kj::Own<kj::ConnectionReceiver>> receivers_;
  kj::Own<kj::TaskSet> endings_;  // One a connection.
  kj::Own<kj::TaskSet> accepting_;
};

// A listening Unix socket at `path`, which only its owner may connect to. A socket that nobody
// listens on any more is replaced. busy: somebody does. exists: there is something else at the
// path.
Result<Fd> listen_at(const std::string& path);
// The sockets that systemd opened for us; empty if it did not start us.
Result<std::vector<Fd>> sockets_of_systemd();

}  // namespace coppice::cap
