#include "message/packet.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace coppice::message {
namespace {

class NurseryPackets : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0); }
  void TearDown() override {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  // Bytes received; whether they were whole is in `receiver`.
  ssize_t receive(std::span<std::byte> into) {
    return ::recvmsg(ends[1], &receiver.prepare(into), MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  }
  static size_t open_descriptors() {
    size_t count = 0;
    for (int fd = 0; fd < 256; ++fd) count += ::fcntl(fd, F_GETFD) >= 0;
    return count;
  }
  int ends[2] = {-1, -1};
  PacketReceiver receiver;
  const std::array<std::byte, 3> packet{std::byte{1}, std::byte{2}, std::byte{3}};
  std::array<std::byte, 16> buffer{};
};

TEST_F(NurseryPackets, CarryTheirBytesAndADescriptorIfThereIsOne) {
  ASSERT_EQ(send_packet(ends[0], packet), 0);
  ASSERT_EQ(receive(buffer), 3);
  EXPECT_TRUE(std::ranges::equal(std::span(buffer).first(3), packet));
  EXPECT_TRUE(receiver.whole());
  EXPECT_EQ(receiver.take_descriptor(), -1);

  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  ASSERT_EQ(send_packet(ends[0], packet, pipe[1]), 0);
  ::close(pipe[1]);
  ASSERT_EQ(receive(buffer), 3);
  const int came = receiver.take_descriptor();
  ASSERT_GE(came, 0);
  EXPECT_EQ(receiver.take_descriptor(), -1);
  EXPECT_EQ(::write(came, "x", 1), 1);
  char read = 0;
  EXPECT_EQ(::read(pipe[0], &read, 1), 1);
  EXPECT_EQ(read, 'x');
  ::close(came);
  ::close(pipe[0]);
}

TEST_F(NurseryPackets, OfSeveralDescriptorsOneIsKeptAndNoneLeaks) {
  const size_t before = open_descriptors();
  for (size_t count = 1; count <= 6; ++count) {
    SCOPED_TRACE(count);
    iovec part{.iov_base = buffer.data(), .iov_len = 1};
    alignas(cmsghdr) char control[CMSG_SPACE(6 * sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (size_t i = 0; i < count; ++i)
      std::memcpy(CMSG_DATA(rights) + i * sizeof(int), &ends[0], sizeof(int));
    ASSERT_EQ(::sendmsg(ends[0], &header, 0), 1);
    std::array<std::byte, 16> into{};
    ASSERT_EQ(receive(into), 1);
    EXPECT_EQ(receiver.whole(), count <= 4);  // More than a receiver has room for.
    const int kept = receiver.take_descriptor();
    ASSERT_GE(kept, 0);
    EXPECT_EQ(open_descriptors(), before + 1);
    ::close(kept);
  }
}

TEST_F(NurseryPackets, ThatDoNotFitSayThatTheyAreNotWhole) {
  ASSERT_EQ(send_packet(ends[0], packet), 0);
  ASSERT_EQ(receive(std::span(buffer).first(2)), 2);
  EXPECT_FALSE(receiver.whole());
}

TEST_F(NurseryPackets, ToNobodyAreAnError) {
  std::array<std::byte, 4096> large{};
  int error = 0;
  for (int i = 0; i < 10'000 && error == 0; ++i)
    error = send_packet(ends[0], large, -1, MSG_DONTWAIT);
  EXPECT_EQ(error, EAGAIN);
  while (receive(buffer) > 0) {}
  ::close(ends[1]);
  EXPECT_EQ(send_packet(ends[0], packet), EPIPE);
  ends[1] = ::dup(ends[0]);
}

}  // namespace
}  // namespace coppice::message
