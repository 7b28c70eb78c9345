// cli/connection.h — a conversation with the daemon: calls, answers, and descriptors that ride on
// them.
//
// Theory. The daemon's objects end with their last holder, so a Connection and the capabilities
// taken from it are what keeps an unpinned export alive. Every method answers with a value or a
// refusal (schema/coppice.capnp); ask() turns the second, and everything that goes wrong below it,
// into a Failure. Nothing here throws.
#pragma once

#include <capnp/rpc-twoparty.h>
#include <fmt/format.h>
#include <kj/async-io.h>
#include <kj/io.h>

#include <memory>
#include <string>
#include <string_view>

#include "cli/failure.h"
#include "schema/coppice.capnp.h"

namespace coppice::cli {

inline constexpr u32 kDescriptorsPerMessageMax = 4;

// --socket, else $COPPICE_SOCKET, else the place for root, or for other users if there is none of
// root's.
std::string default_socket_path();

class Connection {
 public:
  // Connects, and checks that the daemon speaks this program's protocol.
  static Attempt<std::unique_ptr<Connection>> open(const std::string& path);
  ~Connection();

  schema::Host::Client& host() { return host_; }
  const std::string& daemon_version() const { return daemon_version_; }

  // Sends a request and waits. The response holds the value, and stays alive as long as it is kept.
  template <class Parameters, class Results>
  Attempt<capnp::Response<Results>> ask(capnp::Request<Parameters, Results>&& request) {
    try {
      return take(request.send());  // To send what is too large throws.
    } catch (const kj::Exception& exception) {
      return std::unexpected(failure_of(exception));
    }
  }
  // The same for a request that was sent already: others may have been sent to its result since,
  // and need not wait for it.
  template <class Results>
  Attempt<capnp::Response<Results>> take(capnp::RemotePromise<Results>&& sent);

  capnp::RemotePromise<schema::Answer<schema::Pool>> send_for_pool(std::string_view name);
  Attempt<schema::Pool::Client> pool(std::string_view name);
  // The object behind a full name "tank/v" or "tank/v@s".
  Attempt<schema::Dataset::Client> dataset(const std::string& name);
  Attempt<schema::Snapshot::Client> snapshot(const std::string& name);

  // A copy of the descriptor that an object of the daemon's carries.
  Attempt<kj::AutoCloseFd> descriptor_of(capnp::Capability::Client carrier);

  // Waits, and meanwhile notices that the daemon has gone.
  Attempt<> sleep(u64 milliseconds);
  // Waits for SIGINT, SIGTERM or the end of the connection, and for what else is asked for. Call
  // catch_signals() first.
  enum class Woken : u8 { by_signal, by_daemon, by_descriptor, by_time };
  struct Else {
    int readable = -1;     // A descriptor; it is the caller's.
    u64 milliseconds = 0;  // 0: however long.
  };
  Woken wait_for_end() { return wait_for_end({}); }
  Woken wait_for_end(const Else& other);
  static void catch_signals();  // Before open(): both signals then wake wait_for_end() alone.

 private:
  explicit Connection(kj::AutoCloseFd fd, std::string path);
  Failure failure_of(const kj::Exception& exception) const;

  std::string path_;
  kj::AsyncIoContext io_;
  kj::Own<kj::AsyncCapabilityStream> stream_;
  capnp::TwoPartyVatNetwork network_;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc_;
  schema::Host::Client host_;
  std::string daemon_version_;
};

// An object of ours that carries nothing but a descriptor. The daemon's half of it is its own copy.
schema::File::Client carry_file(kj::AutoCloseFd fd);
schema::ListenSocket::Client carry_socket(kj::AutoCloseFd fd);
schema::LinkHandle::Client carry_handle(kj::AutoCloseFd fd);

// "tank" of "tank/vm@s".
std::string_view pool_part(std::string_view name);

// Its message, and the first of the names that are in the way.
std::string line_of(schema::Refusal::Reader refusal);

template <class Results>
Attempt<capnp::Response<Results>> Connection::take(capnp::RemotePromise<Results>&& sent) {
  try {
    capnp::Response<Results> response = sent.wait(io_.waitScope);
    if constexpr (requires { response.hasRefusal(); }) {
      if (response.hasRefusal()) {
        return refuse(line_of(response.getRefusal()), response.getRefusal().getErrno());
      }
    }
    return response;
  } catch (const kj::Exception& exception) {
    return std::unexpected(failure_of(exception));
  }
}

}  // namespace coppice::cli
