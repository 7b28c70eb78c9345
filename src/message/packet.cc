#include "message/packet.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace coppice::message {

int send_packet(int socket, std::span<const std::byte> packet, int descriptor, int flags) {
  iovec part{.iov_base = const_cast<std::byte*>(packet.data()), .iov_len = packet.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (descriptor >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &header, flags | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return errno;
  return sent == static_cast<ssize_t>(packet.size()) ? 0 : EPIPE;
}

msghdr& PacketReceiver::prepare(std::span<std::byte> into) {
  part_ = {.iov_base = into.data(), .iov_len = into.size()};
  header_ = {};
  header_.msg_iov = &part_;
  header_.msg_iovlen = 1;
  header_.msg_control = control_;
  header_.msg_controllen = sizeof control_;
  return header_;
}

int PacketReceiver::take_descriptor() {
  int taken = -1;
  for (cmsghdr* each = CMSG_FIRSTHDR(&header_); each != nullptr;
       each = CMSG_NXTHDR(&header_, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(each) + i * sizeof(int), sizeof(int));
      if (taken < 0) {
        taken = descriptor;
      } else {
        ::close(descriptor);
      }
    }
  }
  header_.msg_controllen = 0;  // Taken once.
  return taken;
}

}  // namespace coppice::message
