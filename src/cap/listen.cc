// cap/listen.cc — the control sockets: our own, and those that systemd passes.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cap/server.h"

namespace coppice::cap {
namespace {

constexpr int kBacklog = 64;
constexpr int kSystemdSocketsMax = 16;

Fd unix_socket() { return Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); }

// Whether the path is free to be bound; removes a socket that its owner left behind.
Result<> make_way(const std::string& path, const sockaddr_un& address) {
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0)
    return {};  // bind() will say what is wrong, if anything is.
  if (!S_ISSOCK(status.st_mode))
    return fail(Errc::exists, "listen", path + " exists and is no socket");
  Fd probe = unix_socket();
  const bool alive =
      connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno != ECONNREFUSED;
  if (alive) return fail(Errc::busy, "listen", "another process listens at " + path);
  if (unlink(path.c_str()) != 0 && errno != ENOENT)
    return fail(Errc::io, "remove a stale socket", errno);
  return {};
}

}  // namespace

Result<Fd> listen_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(Errc::invalid, "listen", "the path of a socket has 1 to 107 bytes: " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  TRY_VOID(make_way(path, address));

  Fd listening = unix_socket();
  if (listening.get() < 0) return fail(Errc::io, "make the control socket", errno);
  const mode_t before = umask(0177);  // Nobody else may connect, not even between bind and chmod.
  const int bound =
      bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int reason = errno;
  umask(before);
  if (bound != 0)
    return fail(reason == EACCES ? Errc::denied : Errc::io, "listen",
                path + ": " + std::strerror(reason));
  if (::listen(listening.get(), kBacklog) != 0) return fail(Errc::io, "listen", errno);
  return listening;
}

Result<std::vector<Fd>> sockets_of_systemd() {
  const int count = sd_listen_fds(/*unset_environment=*/1);
  if (count < 0) return fail(Errc::invalid, "take the sockets of systemd", -count);
  if (count > kSystemdSocketsMax) return fail(Errc::too_big, "take the sockets of systemd");
  std::vector<Fd> sockets;
  for (int i = 0; i < count; ++i) {
    Fd socket(SD_LISTEN_FDS_START + i);
    if (sd_is_socket(socket.get(), AF_UNIX, SOCK_STREAM, 1) <= 0)
      return fail(Errc::invalid, "take the sockets of systemd", "one is no listening Unix socket");
    sockets.push_back(kj::mv(socket));
  }
  return sockets;
}

}  // namespace coppice::cap
