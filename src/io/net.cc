#include "io/net.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace coppice::io {
namespace {

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

std::unexpected<Error> failed(const char* what, int error) {
  const bool gone = error == EPIPE || error == ECONNRESET || error == ENOTCONN || error == EBADF ||
                    error == ESHUTDOWN || error == ETIMEDOUT;
  return fail(gone ? Errc::closed : Errc::io, what, error);
}

// Marks a direction as in use for as long as a call takes, however it ends.
class Busy {
 public:
  explicit Busy(bool& flag) : flag_(flag) {
    CHECK(!flag_);
    flag_ = true;
  }
  Busy(const Busy&) = delete;
  ~Busy() { flag_ = false; }

 private:
  bool& flag_;
};

// Waits until a descriptor is ready. Needed only for those that somebody made non-blocking: on them
// the ring's operations do not wait either.
struct Ready {
  int fd;
  unsigned events;
  void operator()(io_uring_sqe& sqe) const { io_uring_prep_poll_add(&sqe, fd, events); }
};

// Walks over the parts of a send in groups of iovecs.
template <size_t kMax>
class Vectors {
 public:
  explicit Vectors(Socket::Parts parts) : parts_(parts) { fill(); }
  bool done() const { return count_ == 0; }
  msghdr* message() { return &message_; }
  void advance(size_t bytes) {
    while (count_ > 0 && bytes >= message_.msg_iov->iov_len) {
      bytes -= message_.msg_iov->iov_len;
      ++message_.msg_iov;
      message_.msg_iovlen = --count_;
    }
    if (count_ == 0) {
      CHECK(bytes == 0);
      return fill();
    }
    message_.msg_iov->iov_base = static_cast<std::byte*>(message_.msg_iov->iov_base) + bytes;
    message_.msg_iov->iov_len -= bytes;
  }

 private:
  void fill() {
    for (; !parts_.empty() && count_ < kMax; parts_ = parts_.subspan(1)) {
      const auto part = parts_.front();
      if (!part.empty()) vectors_[count_++] = {const_cast<std::byte*>(part.data()), part.size()};
    }
    message_.msg_iov = vectors_.data();
    message_.msg_iovlen = count_;
  }

  Socket::Parts parts_;
  size_t count_ = 0;
  std::array<iovec, kMax> vectors_;
  msghdr message_{};
};

}  // namespace

RingSocket::~RingSocket() {
  CHECK(!receiving_ && !sending_);
  if (fd_ >= 0) ::close(fd_);
}

Task<size_t> RingSocket::receive(std::span<std::byte> into) {
  CHECK(!into.empty());
  Busy busy(receiving_);
  bool direct =
      options_.direct_receive == Try::always || (options_.direct_receive == Try::adaptive && full_);
  for (;;) {
    int res = -EAGAIN;
    if (direct) {
      const ssize_t got = ::recv(fd_, into.data(), into.size(), MSG_DONTWAIT);
      res = got >= 0 ? static_cast<int>(got) : -errno;
    }
    if (would_block(-res)) {
      const auto prepare = [fd = fd_, into](io_uring_sqe& sqe) {
        io_uring_prep_recv(&sqe, fd, into.data(), into.size(), 0);
      };
      res = co_await reactor_.submit(prepare);
      direct = false;
    }
    if (would_block(-res)) co_await reactor_.submit(Ready{fd_, POLLIN});
    if (res == -EINTR || would_block(-res)) continue;
    full_ = res > 0 && static_cast<size_t>(res) == into.size();
    if (res < 0) co_return failed("receiving from a peer", -res);
    co_return static_cast<size_t>(res);
  }
}

Task<> RingSocket::send(Parts parts) {
  Busy busy(sending_);
  Vectors<kVectorsMax> vectors(parts);
  bool direct = options_.direct_send;
  while (!vectors.done()) {
    int res = -EAGAIN;
    if (direct) {
      const ssize_t sent = ::sendmsg(fd_, vectors.message(), MSG_NOSIGNAL | MSG_DONTWAIT);
      res = sent >= 0 ? static_cast<int>(sent) : -errno;
    }
    if (would_block(-res)) {
      const auto prepare = [fd = fd_, message = vectors.message()](io_uring_sqe& sqe) {
        io_uring_prep_sendmsg(&sqe, fd, message, MSG_NOSIGNAL | MSG_WAITALL);
      };
      res = co_await reactor_.submit(prepare);
      direct = false;  // The peer is slow: let the ring do the rest.
    }
    if (would_block(-res)) co_await reactor_.submit(Ready{fd_, POLLOUT});
    if (res == -EINTR || would_block(-res)) continue;
    if (res < 0) co_return failed("sending to a peer", -res);
    vectors.advance(static_cast<size_t>(res));
  }
  co_return {};
}

void RingSocket::shutdown() {
  if (fd_ >= 0) (void)::shutdown(fd_, SHUT_RDWR);
}

int RingSocket::release_fd() {
  CHECK(!receiving_ && !sending_);
  return std::exchange(fd_, -1);
}

Listener::~Listener() {
  CHECK(accepting_ == nullptr);
  if (fd_ >= 0) ::close(fd_);
}

Task<int> Listener::accept() {
  for (;;) {
    if (stopped_) co_return fail(Errc::cancelled, "waiting for a connection");
    const auto prepare = [fd = fd_](io_uring_sqe& sqe) {
      io_uring_prep_accept(&sqe, fd, nullptr, nullptr, SOCK_CLOEXEC);
    };
    CHECK(accepting_ == nullptr);
    const int res = co_await reactor_.submit(prepare, &accepting_);
    if (res >= 0) {
      // Replies are whole and small: waiting to fill a segment only delays them. Not TCP: no
      // matter.
      const int on = 1;
      (void)::setsockopt(res, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      co_return res;
    }
    if (res == -EAGAIN && !stopped_) {
      co_await reactor_.submit(Ready{fd_, POLLIN}, &accepting_);
    }
    if (res == -ECANCELED || res == -EINTR || res == -EAGAIN || res == -ECONNABORTED) continue;
    const bool scarce = res == -EMFILE || res == -ENFILE || res == -ENOBUFS || res == -ENOMEM;
    co_return fail(scarce ? Errc::again : Errc::io, "waiting for a connection", -res);
  }
}

void Listener::stop() {
  if (std::exchange(stopped_, true)) return;
  if (accepting_ != nullptr) reactor_.cancel(*accepting_);
}

int Listener::release_fd() {
  CHECK(stopped_ && accepting_ == nullptr);
  return std::exchange(fd_, -1);
}

}  // namespace coppice::io
