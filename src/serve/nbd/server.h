// serve/nbd/server.h — what an NBD server needs from its host, and what it promises in return.
//
// Theory. A connection has two lives. In the first (negotiation.h) it lives on the reactor of the
// listening socket: a Lobby, which bounds the number and the time of such clients, talks options
// with the client until it has chosen an export, and yields a Negotiated. In the second
// (transmission.h) it lives on the executor of the export's device: serve_transmission() answers
// requests until the client leaves. Nothing of the first is still running when the second begins,
// so in between the host may take the socket's descriptor (Socket::release_fd) and wrap it again on
// the device's reactor; bytes that the client sent early travel in Negotiated::leftover. All told,
// a host's task for one client, at home:
//
//   auto negotiated = co_await lobby.negotiate(socket);
//   ...if the device lives elsewhere, wrap socket.release_fd() there...
//   co_await rt::call(home, there, serve_transmission(there_socket, *negotiated, limits));
//
// A Negotiated, and with it the Attachment and the seat in the Lobby, belongs to `home`: destroy it
// there. Its Attachment is the lease on the export; the Device may be used until it is destroyed.
//
// Ending a client from outside: shutdown() of its socket, on the socket's reactor. Both tasks then
// end soon, after the requests that are under way; neither ever leaves a request of the device
// behind.
//
// Devices: all connections to one name get the same Device (or views of one volume), since we
// promise the client (MULTI_CONN) that a flush on one connection covers the writes completed on
// all.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/types.h"
#include "blk/device.h"
#include "rt/task.h"

namespace coppice::serve::nbd {

// Whatever a client can make grow has its limit here or, if nobody would want to set it, beside its
// use.
struct Limits {
  size_t negotiations_max = 128;        // More clients at once that have no export yet are cut off.
  size_t connections_max = 4096;        // More clients with an export: refused, may ask again.
  u64 negotiation_ns = 10'000'000'000;  // A client that has no export by then is cut off.
  u32 options_max = 1024;               // Of one client.
  u32 option_bytes_max = 64_KiB;        // Longer ones are refused and skipped.
  u32 name_bytes_max = 4096;
  size_t exports_listed_max = 65536;  // A longer list is refused.
  u32 requests_in_flight_max = 256;   // Of one connection: at the limit we stop reading from it.
  u64 bytes_in_flight_max = 64_MiB;   // Likewise; payloads of requests and replies, until sent.
  u32 request_bytes_max = 32_MiB;     // Payload of one request.
  u32 skip_bytes_max = 64_MiB;  // A refused payload up to here is skipped; a longer one cuts off.
};

struct ExportName {
  std::string name;
  std::string description;  // For people; may be empty.
};

// Fixed when the client attaches.
struct ExportInfo {
  std::string name;  // The full one, also if the client asked for the default export.
  std::string description;
  u64 size_bytes = 0;
  bool read_only = false;
};

// One client's lease on an export. Made and destroyed at the Lobby's executor; device() is used on
// the device's own.
class Attachment {
 public:
  virtual ~Attachment() = default;
  virtual const ExportInfo& info() const = 0;
  virtual blk::Device& device() = 0;
};

// The exports behind one listening socket. Called at the Lobby's executor.
class Directory {
 public:
  virtual ~Directory() = default;
  virtual Task<std::vector<ExportName>> list() = 0;
  // Errors, as the client sees them: not_found -> ERR_UNKNOWN; denied, busy, too_big (too many
  // clients of this export) -> ERR_POLICY; closed, cancelled -> ERR_SHUTDOWN; the rest ->
  // ERR_UNKNOWN with its text.
  virtual Task<std::unique_ptr<Attachment>> open(std::string name) = 0;
};

// What one connection has done so far.
struct Counters {
  u64 reads = 0, writes = 0, flushes = 0, trims = 0, zeroes = 0, caches = 0, statuses = 0;
  u64 bytes_read = 0, bytes_written = 0;
  u64 errors = 0;    // Requests answered with one.
  u64 receives = 0;  // Calls to the socket.
  u64 sends = 0;
};

class Lobby;

// A place among the connections that a Lobby admits; given back by the destructor.
class Seat {
 public:
  Seat() = default;
  explicit Seat(Lobby* lobby) : lobby_(lobby) {}
  Seat(Seat&& other) noexcept : lobby_(std::exchange(other.lobby_, nullptr)) {}
  Seat& operator=(Seat&& other) noexcept {
    std::swap(lobby_, other.lobby_);
    return *this;
  }
  ~Seat();
  explicit operator bool() const { return lobby_ != nullptr; }

 private:
  Lobby* lobby_ = nullptr;
};

// A client that has chosen its export.
struct Negotiated {
  Seat seat;
  std::unique_ptr<Attachment> attachment;
  bool structured = false;          // Replies may be structured; those to reads must be.
  bool allocation_context = false;  // base:allocation was chosen.
  std::vector<std::byte> leftover;  // What the client sent after its choice.
  Counters counters;
};

}  // namespace coppice::serve::nbd
