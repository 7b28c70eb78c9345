#include "io/net.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "base/prng.h"
#include "io/block_on.h"
#include "rt/scope.h"

namespace coppice::io {
namespace {

constexpr RingSocket::Options kModes[] = {
    {.direct_receive = RingSocket::Try::adaptive, .direct_send = true},
    {.direct_receive = RingSocket::Try::never, .direct_send = false},
    {.direct_receive = RingSocket::Try::always, .direct_send = true},
};

class NetTest : public testing::Test {
 protected:
  void SetUp() override {
    auto reactor = Reactor::create({});
    ASSERT_TRUE(reactor);
    reactor_ = *std::move(reactor);
    reactor_->start();
  }
  // Two ends of one connection.
  void connect(RingSocket::Options options, int flags = 0) {
    int ends[2];
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0, ends) == 0);
    near_ = std::make_unique<RingSocket>(*reactor_, ends[0], options);
    far_ = std::make_unique<RingSocket>(*reactor_, ends[1], options);
  }
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<RingSocket> near_;
  std::unique_ptr<RingSocket> far_;
};

Task<> send_all(Socket& socket, std::span<const std::byte> bytes, u64 seed) {
  Prng prng(seed);
  while (!bytes.empty()) {
    std::vector<std::span<const std::byte>> parts;  // Some of them empty, some sends of very many.
    for (u64 i = prng.below(100); i > 0 && !bytes.empty(); --i) {
      const size_t length = std::min<size_t>(bytes.size(), prng.below(4) * prng.below(20'000));
      parts.push_back(bytes.first(length));
      bytes = bytes.subspan(length);
    }
    co_await ok(socket.send(parts));
  }
  co_return {};
}
Task<> receive_all(Socket& socket, std::span<std::byte> into, u64 seed) {
  Prng prng(seed);
  while (!into.empty()) {
    const size_t length = std::min<size_t>(into.size(), 1 + prng.below(100'000));
    const size_t got = co_await ok(socket.receive(into.first(length)));
    if (got == 0) co_return fail(Errc::closed, "receiving all");
    into = into.subspan(got);
  }
  co_return {};
}
Task<> echo(Socket& one, Socket& other, std::span<const std::byte> out, std::span<std::byte> in) {
  rt::Scope scope;
  scope.spawn(send_all(one, out, 1));
  scope.spawn(receive_all(other, in, 2));
  co_return co_await scope.join();
}
TEST_F(NetTest, AStreamArrivesWholeInEveryMode) {
  for (int flags : {0, int{SOCK_NONBLOCK}}) {
    for (const auto& mode : kModes) {
      SCOPED_TRACE(flags);
      connect(mode, flags);
      std::vector<std::byte> out(2_MiB + 13);
      Prng prng(3);
      for (auto& each : out) each = static_cast<std::byte>(prng.next());
      std::vector<std::byte> in(out.size());
      const auto result = block_on(*reactor_, echo(*near_, *far_, out, in));
      ASSERT_TRUE(result) << describe(result.error());
      EXPECT_EQ(in, out);
    }
  }
}

Task<size_t> receive_some(Socket& socket) {
  std::vector<std::byte> buffer(100);
  co_return co_await socket.receive(buffer);
}
Task<> send_some(Socket& socket, size_t length) {
  std::vector<std::byte> buffer(length);
  const std::span<const std::byte> part(buffer);
  co_return co_await socket.send(Socket::Parts(&part, 1));
}
TEST_F(NetTest, ThePeersEndIsTheEnd) {
  for (const auto& mode : kModes) {
    connect(mode);
    ASSERT_TRUE(block_on(*reactor_, send_some(*far_, 10)));
    far_.reset();
    EXPECT_EQ(*block_on(*reactor_, receive_some(*near_)), 10u);
    EXPECT_EQ(*block_on(*reactor_, receive_some(*near_)), 0u);
    EXPECT_EQ(block_on(*reactor_, send_some(*near_, 10)).error().code, Errc::closed);
  }
}

Task<> shut_down_soon(Reactor& reactor, Socket& socket) {
  co_await rt::sleep_for(reactor, 5'000'000);
  socket.shutdown();
  socket.shutdown();
  co_return {};
}
Task<> expect_end(Socket& socket) {
  auto got = co_await receive_some(socket);
  if (got && *got > 0) co_return fail(Errc::io, "expecting the end");
  co_return {};
}
Task<> expect_closed(Socket& socket) {
  auto sent = co_await send_some(socket, 16_MiB);  // More than any socket buffers.
  if (sent || sent.error().code != Errc::closed) co_return fail(Errc::io, "expecting an error");
  co_return {};
}
Task<> shut_down_both(Reactor& reactor, Socket& socket) {
  rt::Scope scope;
  scope.spawn(expect_end(socket));
  scope.spawn(expect_closed(socket));
  scope.spawn(shut_down_soon(reactor, socket));
  co_return co_await scope.join();
}
TEST_F(NetTest, ShutdownEndsWhatIsUnderWay) {
  for (int flags : {0, int{SOCK_NONBLOCK}}) {
    for (const auto& mode : kModes) {
      SCOPED_TRACE(flags);
      connect(mode, flags);
      const auto result = block_on(*reactor_, shut_down_both(*reactor_, *near_));
      EXPECT_TRUE(result) << describe(result.error());
    }
  }
}

TEST_F(NetTest, TheDescriptorCanMoveOn) {
  connect({});
  const int fd = near_->release_fd();
  EXPECT_GE(fd, 0);
  EXPECT_EQ(near_->release_fd(), -1);
  near_ = std::make_unique<RingSocket>(*reactor_, fd);
  ASSERT_TRUE(block_on(*reactor_, send_some(*far_, 10)));
  EXPECT_EQ(*block_on(*reactor_, receive_some(*near_)), 10u);
}

int listening_socket(sockaddr_in& address, int flags) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  CHECK(::bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0);
  CHECK(::listen(fd, 16) == 0);
  CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return fd;
}
Task<> accept_some(Reactor& reactor, Listener& listener, int count) {
  for (int i = 0; i < count; ++i) {
    const int fd = co_await ok(listener.accept());
    RingSocket socket(reactor, fd);
    co_await ok(send_some(socket, 1));
  }
  co_return {};
}
Task<> stop_soon(Reactor& reactor, Listener& listener) {
  co_await rt::sleep_for(reactor, 5'000'000);
  listener.stop();
  listener.stop();
  co_return {};
}
Task<> accept_until_stopped(Reactor& reactor, Listener& listener) {
  rt::Scope scope;
  scope.spawn(stop_soon(reactor, listener));
  auto accepted = co_await listener.accept();
  co_await ok(scope.join());
  if (accepted || accepted.error().code != Errc::cancelled) co_return fail(Errc::io, "stopping");
  auto again = co_await listener.accept();
  if (again || again.error().code != Errc::cancelled) co_return fail(Errc::io, "stopping again");
  co_return {};
}
TEST_F(NetTest, AListenerAcceptsUntilItIsStopped) {
  for (int flags : {0, int{SOCK_NONBLOCK}}) {
    SCOPED_TRACE(flags);
    sockaddr_in address;
    Listener listener(*reactor_, listening_socket(address, flags));
    std::thread clients([&] {
      for (int i = 0; i < 3; ++i) {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        char byte;
        CHECK(::recv(fd, &byte, 1, 0) == 1);
        ::close(fd);
      }
    });
    const auto accepted = block_on(*reactor_, accept_some(*reactor_, listener, 3));
    EXPECT_TRUE(accepted) << describe(accepted.error());
    clients.join();
    const auto stopped = block_on(*reactor_, accept_until_stopped(*reactor_, listener));
    EXPECT_TRUE(stopped) << describe(stopped.error());
    const int fd = listener.release_fd();
    EXPECT_GE(fd, 0);
    ::close(fd);
  }
}

}  // namespace
}  // namespace coppice::io
