// Hostile bytes on the control socket: the connection may end, the daemon goes on, and nothing
// leaks.
//
// The daemon is whole: real threads, and a pool in a file without a name. The input is what one
// client writes; it is preceded by nothing, so a seed begins with the bootstrap message.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

#include "host/testing/bed.h"

namespace {

using coppice::host::testing::Bed;
using coppice::host::testing::Carrier;
using coppice::host::testing::Client;

constexpr size_t kInputMax = 64 * 1024;

// With a pool in it, so that there is something to reach.
class Daemon {
 public:
  Daemon() {
    Client client = bed_.client();
    auto request = client.host().createPoolRequest();
    request.setFile(kj::heap<Carrier<coppice::schema::File>>(
        coppice::host::testing::empty_file(coppice::u64{64} << 20)));
    request.setName("tank");
    CHECK(!bed_.ask(request).hasRefusal());
  }
  Bed& bed() { return bed_; }

 private:
  Bed bed_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Daemon daemon;
  Bed& bed = daemon.bed();
  if (size > kInputMax) return 0;
  const int client = bed.connect();
  // Less than a socket's buffer, so this does not wait for the daemon.
  const ssize_t sent = send(client, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  CHECK(sent >= 0 || size == 0 || errno == EPIPE || errno == EAGAIN);
  shutdown(client, SHUT_WR);
  for (int turns = 0; turns < 4; ++turns) bed.io.waitScope.poll();
  close(client);
  // It sees that the client has gone, whatever the client made it do.
  CHECK(bed.eventually([&] { return bed.server().connections() == 0; }));
  bed.daemon().loop().idle().wait(bed.io.waitScope);
  return 0;
}
