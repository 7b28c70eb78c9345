#include "host/address.h"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "cap/server.h"

namespace coppice::host {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr std::string_view kTcp = "tcp:";
constexpr int kBacklog = 128;

struct HostPort {
  std::string host;  // Empty: any.
  std::string port;
};

Result<HostPort> split(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == text.size())
    return fail(Errc::invalid, "read an address", fmt::format("tcp:{} is not tcp:HOST:PORT", text));
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host == "*") host = {};  // Every address of this machine.
  return HostPort{std::string(host), std::string(text.substr(colon + 1))};
}

Result<cap::Fd> bind_tcp(std::string_view text) {
  TRY(const HostPort where, split(text));
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int code = getaddrinfo(where.host.empty() ? nullptr : where.host.c_str(),
                               where.port.c_str(), &hints, &found);
  if (code != 0)
    return fail(Errc::invalid, "find an address",
                fmt::format("tcp:{}: {}", text, gai_strerror(code)));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
  int reason = 0;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    cap::Fd socket(::socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, each->ai_protocol));
    const int on = 1;
    if (socket && setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(socket.get(), each->ai_addr, each->ai_addrlen) == 0 &&
        listen(socket.get(), kBacklog) == 0)
      return socket;
    reason = errno;
  }
  return fail(reason == EADDRINUSE ? Errc::busy : Errc::io, "listen",
              fmt::format("tcp:{}: {}", text, std::strerror(reason)));
}

std::string encoded(std::string_view text) {
  std::string result;
  for (const char each : text) {
    const bool plain =
        std::isalnum(static_cast<unsigned char>(each)) || std::strchr("-._~/@:+", each);
    if (plain)
      result += each;
    else
      result += fmt::format("%{:02X}", static_cast<unsigned char>(each));
  }
  return result;
}

Result<cap::Fd> bind_now(const std::string& address) {
  if (address.starts_with(kUnix)) return cap::listen_at(address.substr(kUnix.size()));
  if (address.starts_with(kTcp)) return bind_tcp(std::string_view(address).substr(kTcp.size()));
  return fail(Errc::invalid, "read an address",
              address + " is neither unix:PATH nor tcp:HOST:PORT");
}

}  // namespace

Result<cap::Fd> bind_address(const std::string& address) {
  auto bound = bind_now(address);
  for (u32 tries = 1; tries < kPredecessorTries; ++tries) {
    if (bound || bound.error().code != Errc::busy) break;
    usleep(kPredecessorWaitUs);
    bound = bind_now(address);
  }
  return bound;
}

std::string nbd_uri(std::string_view address, std::string_view name) {
  if (address.starts_with(kUnix))
    return fmt::format("nbd+unix:///{}?socket={}", encoded(name),
                       encoded(address.substr(kUnix.size())));
  if (address.starts_with(kTcp)) {
    const std::string_view where = address.substr(kTcp.size());
    const bool everywhere = where.starts_with("*:");
    return fmt::format("nbd://{}{}/{}", everywhere ? "localhost" : "",
                       everywhere ? where.substr(1) : where, encoded(name));
  }
  return {};
}

}  // namespace coppice::host
