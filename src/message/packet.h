// message/packet.h — a packet of the nursery's socket: a message, on which a descriptor may ride.
#pragma once

#include <sys/socket.h>

#include <span>

#include "base/types.h"

namespace coppice::message {

// 0, or the errno. Of `descriptor` the receiver gets a copy; -1: none goes along. `flags` as
// sendmsg() has them.
int send_packet(int socket, std::span<const std::byte> packet, int descriptor = -1, int flags = 0);

// What recvmsg() is given, again for each packet, and what it leaves.
class PacketReceiver {
 public:
  PacketReceiver() = default;
  PacketReceiver(const PacketReceiver&) = delete;
  // Both `into` and this must stay where they are until the kernel is done.
  msghdr& prepare(std::span<std::byte> into);
  // -1: none came. Of several, which nobody honest sends, all but the first are closed.
  int take_descriptor();
  bool whole() const { return (header_.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0; }

 private:
  iovec part_{};
  msghdr header_{};
  alignas(cmsghdr) char control_[CMSG_SPACE(4 * sizeof(int))];
};

}  // namespace coppice::message
