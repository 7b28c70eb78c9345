#include "cli/address.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/check.h"

namespace coppice::cli {
namespace {

constexpr const char* kParse = "cannot read the address";
constexpr const char* kListen = "cannot listen";
constexpr int kBacklog = 128;

bool is_port(std::string_view text) {
  u32 port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() && port <= 65535;
}

Result<Address> parse_tcp(std::string_view text) {
  Address address{.family = Address::Family::tcp, .path = {}, .host = {}, .port = {}};
  std::string_view rest = text;
  if (rest.starts_with('[')) {
    const size_t close = rest.find(']');
    if (close == rest.npos) {
      return fail(Errc::invalid, kParse, fmt::format("'{}' lacks a ']'", text));
    }
    address.host = rest.substr(1, close - 1);
    rest.remove_prefix(close + 1);
  } else {
    const size_t colon = rest.find(':');
    if (colon != rest.npos && rest.find(':', colon + 1) != rest.npos) {
      return fail(Errc::invalid, kParse,
                  fmt::format("put the IPv6 address in brackets: tcp:[{}]:{}", text, kNbdPort));
    }
    address.host = rest.substr(0, colon);
    rest.remove_prefix(std::min(colon, rest.size()));
  }
  if (address.host == "*") address.host.clear();
  if (rest.empty()) {
    address.port = kNbdPort;
  } else {
    if (rest.front() != ':' || !is_port(rest.substr(1))) {
      return fail(Errc::invalid, kParse,
                  fmt::format("'tcp:{}' has no port from 0 to 65535 (tcp:HOST:PORT)", text));
    }
    address.port = rest.substr(1);
  }
  return address;
}

Result<sockaddr_un> socket_name(const std::string& path, const char* what) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof name.sun_path) {
    return fail(Errc::too_big, what,
                fmt::format("'{}': the path of a Unix socket has 1 to {} bytes", path,
                            sizeof name.sun_path - 1));
  }
  path.copy(name.sun_path, path.size());
  return name;
}

std::unexpected<Error> fail_at(const Address& address, const char* what, int sys) {
  auto failed = fail(sys == EADDRINUSE ? Errc::busy : Errc::io, what, sys);
  failed.error().detail = address.text();
  return failed;
}

// Makes way for a new socket: removes one that a dead process left behind, and nothing else.
Result<> clear_stale(const Address& address) {
  struct stat status{};
  if (::lstat(address.path.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return fail_at(address, kListen, errno);
  }
  if (!S_ISSOCK(status.st_mode)) {
    return fail(Errc::exists, kListen,
                fmt::format("'{}' exists and is no socket (choose another path)", address.path));
  }
  const Result<kj::AutoCloseFd> answer = connect_to(address.path);
  if (answer) {
    return fail(Errc::busy, kListen,
                fmt::format("another process answers on '{}' (choose another path)", address.path));
  }
  if (answer.error().sys != ECONNREFUSED) return std::unexpected(answer.error());
  if (::unlink(address.path.c_str()) != 0 && errno != ENOENT) {
    return fail_at(address, kListen, errno);
  }
  return {};
}

Result<Listener> listen_local(Address address) {
  TRY(const sockaddr_un name, socket_name(address.path, kListen));
  TRY_VOID(clear_stale(address));
  const int raw = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (raw < 0) return fail_at(address, kListen, errno);
  kj::AutoCloseFd fd(raw);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    return fail_at(address, kListen, errno);
  }
  return Listener{.fd = kj::mv(fd), .address = std::move(address)};
}

std::string port_of(int fd) {
  sockaddr_storage name{};
  socklen_t length = sizeof name;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) return {};
  const in_port_t port = name.ss_family == AF_INET6
                             ? reinterpret_cast<const sockaddr_in6&>(name).sin6_port
                             : reinterpret_cast<const sockaddr_in&>(name).sin_port;
  return std::to_string(ntohs(port));
}

Result<Listener> listen_tcp(Address address) {
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                                  address.port.c_str(), &hints, &found);
  if (error != 0) {
    return fail(Errc::not_found, kListen,
                fmt::format("{}: {}", address.text(), ::gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
  int sys = EADDRNOTAVAIL;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    const int raw = ::socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, each->ai_protocol);
    if (raw < 0) {
      sys = errno;
      continue;
    }
    kj::AutoCloseFd fd(raw);
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(fd.get(), each->ai_addr, each->ai_addrlen) == 0 &&
        ::listen(fd.get(), kBacklog) == 0) {
      address.port = port_of(fd.get());
      return Listener{.fd = kj::mv(fd), .address = std::move(address)};
    }
    sys = errno;
  }
  return fail_at(address, kListen, sys);
}

}  // namespace

std::string Address::text() const {
  if (family == Family::local) return "unix:" + path;
  if (host.find(':') != host.npos) return fmt::format("tcp:[{}]:{}", host, port);
  return fmt::format("tcp:{}:{}", host.empty() ? "*" : host, port);
}

std::string percent_encode(std::string_view text, std::string_view keep) {
  constexpr std::string_view kKept =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string encoded;
  for (char each : text) {
    if (kKept.find(each) != kKept.npos || keep.find(each) != keep.npos) {
      encoded += each;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(each));
    }
  }
  return encoded;
}

std::string Address::nbd_uri(std::string_view export_name) const {
  const std::string name = percent_encode(export_name, "/@");
  if (family == Family::local) {
    return fmt::format("nbd+unix:///{}?socket={}", name, percent_encode(path, "/"));
  }
  std::string shown = host;
  if (host.empty() || host == "0.0.0.0" || host == "::") {
    shown = "localhost";  // It listens everywhere; this much of everywhere is certain.
  } else if (host.find(':') != host.npos) {
    shown = "[" + host + "]";
  }
  return fmt::format("nbd://{}{}/{}", shown, port == kNbdPort ? "" : ":" + port, name);
}

Result<Address> parse_address(std::string_view text) {
  if (text.starts_with("tcp:")) return parse_tcp(text.substr(4));
  if (!text.starts_with("unix:")) {
    return fail(Errc::invalid, kParse,
                fmt::format("'{}' is neither unix:PATH nor tcp:HOST:PORT", text));
  }
  const std::string_view path = text.substr(5);
  if (path.empty()) return fail(Errc::invalid, kParse, "'unix:' has no path");
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return fail(Errc::io, kParse, error.value());
  Address address{.family = Address::Family::local,
                  .path = absolute.lexically_normal().string(),
                  .host = {},
                  .port = {}};
  TRY_VOID(socket_name(address.path, kParse));
  return address;
}

Result<kj::AutoCloseFd> connect_to(const std::string& path) {
  constexpr const char* kWhat = "cannot connect";
  TRY(const sockaddr_un name, socket_name(path, kWhat));
  const int raw = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (raw < 0) return fail(Errc::io, kWhat, errno);
  kj::AutoCloseFd fd(raw);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
    auto failed = fail(errno == EACCES ? Errc::denied : Errc::not_found, kWhat, errno);
    failed.error().detail = path;
    return failed;
  }
  return fd;
}

void remove_dead_socket(std::string_view text) {
  const Result<Address> address = parse_address(text);
  if (!address || address->family != Address::Family::local) return;
  // A path that is no socket, or one in use, is none of ours: that it stays is no failure.
  [[maybe_unused]] const Result<> cleared = clear_stale(*address);
}

Result<Listener> listen_at(Address address) {
  return address.family == Address::Family::local ? listen_local(std::move(address))
                                                  : listen_tcp(std::move(address));
}

}  // namespace coppice::cli
