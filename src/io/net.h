// io/net.h — sockets and listeners behind a reactor's ring.
//
// Theory. A send first tries the system call itself: it almost always succeeds at once, and the
// peer has its answer before this turn goes on (with many requests in flight, a fifth more of them
// a second than by the ring). A receive goes to the ring, because the next bytes are mostly not
// there yet and the ring's call is the one the reactor sleeps in; but after a receive that filled
// its buffer more is likely waiting, so the next one tries directly first.
#pragma once

#include "io/reactor.h"
#include "io/socket.h"

namespace coppice::io {

class RingSocket final : public Socket {
 public:
  enum class Try : u8 { never, adaptive, always };
  struct Options {
    Try direct_receive = Try::adaptive;
    bool direct_send = true;
  };
  // Owns `fd`. Objects and calls belong to the reactor's thread, except construction.
  RingSocket(Reactor& reactor, int fd) : RingSocket(reactor, fd, Options()) {}
  RingSocket(Reactor& reactor, int fd, Options options)
      : reactor_(reactor), fd_(fd), options_(options) {}
  RingSocket(const RingSocket&) = delete;
  ~RingSocket() override;  // Nothing is under way.

  Task<size_t> receive(std::span<std::byte> into) override;
  Task<> send(Parts parts) override;
  void shutdown() override;
  int release_fd() override;

 private:
  static constexpr size_t kVectorsMax = 32;  // A send of more parts is several calls.

  Reactor& reactor_;
  int fd_;
  Options options_;
  bool full_ = false;  // The last receive filled its buffer.
  bool receiving_ = false;
  bool sending_ = false;
};

// Takes connections on a bound, listening socket.
class Listener {
 public:
  Listener(Reactor& reactor, int fd) : reactor_(reactor), fd_(fd) {}  // Owns `fd`.
  Listener(const Listener&) = delete;
  ~Listener();  // No accept() is under way.

  // A connected socket, the caller's from now on. Errors: cancelled (stopped), again (out of
  // descriptors or memory: wait a little), io. One at a time.
  Task<int> accept();
  // Own thread. accept() ends soon, and for good; the socket itself goes on queueing connections
  // for whoever else holds it.
  void stop();
  int release_fd();  // Once stopped. -1 if there is none.

 private:
  Reactor& reactor_;
  int fd_;
  bool stopped_ = false;
  Completion* accepting_ = nullptr;
};

}  // namespace coppice::io
