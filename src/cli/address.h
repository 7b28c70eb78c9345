// cli/address.h — where an export listens: unix:PATH or tcp:HOST:PORT, and the socket the daemon is
// given.
#pragma once

#include <kj/io.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace coppice::cli {

inline constexpr std::string_view kNbdPort = "10809";

struct Address {
  enum class Family : u8 { local, tcp };
  Family family = Family::local;
  std::string path;  // Of a Unix socket, absolute.
  std::string host;  // Of TCP; "" or "*": every address of this machine.
  std::string port;

  // As the catalog keeps it and the daemon binds it again: "unix:/run/x.sock", "tcp:[::1]:10809",
  // "tcp:*:10809".
  std::string text() const;
  // What an NBD client is told.
  std::string nbd_uri(std::string_view export_name) const;
  friend bool operator==(const Address&, const Address&) = default;
};

// Relative paths become absolute. The port of TCP may be left out.
Result<Address> parse_address(std::string_view text);

// A percent-encoded text, for a URI. What is in `keep` stays, and so do letters, digits and "-._~".
std::string percent_encode(std::string_view text, std::string_view keep);

struct Listener {
  kj::AutoCloseFd fd;
  Address address;  // With the port the kernel chose, if 0 was asked for.
};
// Binds and listens. A Unix socket that nobody answers on is replaced; one that answers is busy,
// and a path that is no socket exists.
Result<Listener> listen_at(Address address);

// Removes the path of "unix:PATH" if it is a socket that nobody answers on; in doubt, nothing.
void remove_dead_socket(std::string_view address);

// Connects to a Unix socket.
Result<kj::AutoCloseFd> connect_to(const std::string& path);

}  // namespace coppice::cli
