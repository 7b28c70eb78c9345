#include "host/nbd_listener.h"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>

#include "serve/nbd/transmission.h"

namespace coppice::host {
namespace {

constexpr u64 kAcceptPauseNs = 100'000'000;  // After accept() failed for want of descriptors.

// Brings a lease home: the volume's handle, and the place in the table.
struct Farewell : rt::Job {
  Exports& exports;
  u64 number;
  std::unique_ptr<pool::Pool::Handle> handle;
  Farewell(Exports& e, u64 n, std::unique_ptr<pool::Pool::Handle> h)
      : exports(e), number(n), handle(std::move(h)) {
    run = [](rt::Job& job) {
      auto& self = static_cast<Farewell&>(job);
      self.handle.reset();
      self.exports.leave(self.number);
      delete &self;
    };
  }
};

Peer peer_of(int fd) {
  Peer peer;
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return peer;
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (address.ss_family == AF_UNIX &&
      getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
    peer.uid = credentials.uid;
    peer.pid = static_cast<u32>(credentials.pid);
    peer.text = fmt::format("uid={}, pid={}", peer.uid, peer.pid);
    return peer;
  }
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (getnameinfo(reinterpret_cast<sockaddr*>(&address), length, host, sizeof host, port,
                  sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
    peer.text = fmt::format("{}:{}", host, port);
  return peer;
}

// The exports, as one client sees them: whoever asks is known.
class Visitor final : public serve::nbd::Directory {
 public:
  Visitor(NbdListener& listener, Peer peer) : listener_(listener), peer_(std::move(peer)) {}
  Task<std::vector<serve::nbd::ExportName>> list() override { return listener_.list(); }
  Task<std::unique_ptr<serve::nbd::Attachment>> open(std::string name) override {
    return listener_.open_for(std::move(name), peer_);
  }

 private:
  NbdListener& listener_;
  Peer peer_;
};

// Errors that say no more than that the client went.
bool is_goodbye(const Error& error) {
  return error.code == Errc::closed || error.code == Errc::cancelled;
}

}  // namespace

Lease::Lease(Exports& exports, rt::Executor& sync, Exports::Client& client,
             std::unique_ptr<pool::Pool::Handle> handle, serve::nbd::ExportInfo info)
    : exports_(exports),
      sync_(sync),
      client_(client),
      handle_(std::move(handle)),
      guard_(handle_->device()),
      info_(std::move(info)) {}

Lease::~Lease() { sync_.post(*new Farewell(exports_, client_.number, std::move(handle_))); }

void Lease::begin_hooks() {
  hooked_.emplace(
      *client_.lane->hooks, unhooked(),
      hook::HookedDevice::Who{
          .volume = client_.volume, .client = client_.number, .doomed = &client_.doomed});
}

NbdListener::NbdListener(Lanes& lanes, IoLane& home, Exports& exports, std::string address,
                         std::function<void(std::string)> log)
    : lanes_(lanes),
      home_(home),
      exports_(exports),
      address_(std::move(address)),
      log_(std::move(log)),
      lobby_(*home.reactor, *this, limits_) {}

Task<> NbdListener::start(cap::Fd socket) {
  CHECK(socket);
  if (listener_ != nullptr) listener_->stop();
  auto listener = std::make_unique<io::Listener>(*home_.reactor, socket.release());
  listener_ = listener.get();
  scope_.spawn(accept_all(std::move(listener)));
  co_return {};
}

Task<> NbdListener::stop() {
  if (listener_ != nullptr) listener_->stop();
  lobby_.shutdown();
  auto joined = co_await scope_.join();
  (void)joined;  // Each task has told its own troubles.
  auto drained = co_await lobby_.drained();
  CHECK(drained.has_value() && listener_ == nullptr);
  co_return {};
}

Task<ListenerView> NbdListener::view() {
  ListenerView view;
  view.address = address_;
  view.connections = static_cast<u32>(lobby_.connected());
  view.accepted = accepted_;
  co_return view;
}

Task<> NbdListener::accept_all(std::unique_ptr<io::Listener> listener) {
  while (true) {
    auto fd = co_await listener->accept();
    if (fd) {
      ++accepted_;
      scope_.spawn(serve(*fd));
      continue;
    }
    if (fd.error().code == Errc::again) {
      co_await rt::sleep_for(*home_.reactor, kAcceptPauseNs);
      continue;
    }
    if (!is_goodbye(fd.error())) log_(fmt::format("{}: {}", address_, describe(fd.error())));
    if (listener_ == listener.get()) listener_ = nullptr;
    listener.reset();
    co_return {};
  }
}

Task<> NbdListener::serve(int fd) {
  auto socket = std::make_unique<io::RingSocket>(*home_.reactor, fd);
  Visitor visitor(*this, peer_of(fd));
  auto negotiated = co_await lobby_.negotiate(*socket, &visitor);
  if (!negotiated) co_return {};  // Whoever cannot say what it wants has not been a client.
  IoLane& lane = *static_cast<Lease&>(*negotiated->attachment).client().lane;
  if (&lane == &home_) {
    auto served = co_await serve_here(*socket, *negotiated);
    if (!served && !is_goodbye(served.error()))
      log_(fmt::format("{}: a client: {}", address_, describe(served.error())));
    co_return {};
  }
  const int moving = socket->release_fd();
  socket.reset();
  auto there = serve_there(lane, moving, *negotiated);
  auto served = co_await rt::call(*home_.reactor, *lane.reactor, std::move(there));
  if (!served && !is_goodbye(served.error()))
    log_(fmt::format("{}: a client: {}", address_, describe(served.error())));
  co_return {};
}

Task<> NbdListener::serve_there(IoLane& lane, int fd, serve::nbd::Negotiated& negotiated) {
  io::RingSocket socket(*lane.reactor, fd);
  auto served = co_await serve_here(socket, negotiated);
  co_return served;
}

// On the lane of the client's device.
Task<> NbdListener::serve_here(io::Socket& socket, serve::nbd::Negotiated& negotiated) {
  Exports::Client& client = static_cast<Lease&>(*negotiated.attachment).client();
  IoLane& lane = *client.lane;
  lane.clients.emplace(client.number, &socket);
  if (client.doomed) socket.shutdown();  // It was cut off before we knew its socket.
  auto& lease = static_cast<Lease&>(*negotiated.attachment);
  lease.begin_hooks();
  serve::nbd::Limits limits = limits_;
  limits.requests_in_flight_max = std::min(limits.requests_in_flight_max, client.requests_max);
  limits.bytes_in_flight_max = std::min(limits.bytes_in_flight_max, client.bytes_max);
  auto served = co_await serve::nbd::serve_transmission(socket, negotiated, limits);
  lease.end_hooks();
  lane.clients.erase(client.number);
  co_return served;
}

Task<std::vector<serve::nbd::ExportName>> NbdListener::list() {
  auto ask = exports_.names_at(address_);
  auto names = co_await rt::call(*home_.reactor, lanes_.sync(), std::move(ask));
  co_return names;
}

Task<std::unique_ptr<serve::nbd::Attachment>> NbdListener::open(std::string name) {
  return open_for(std::move(name), {});
}

Task<std::unique_ptr<serve::nbd::Attachment>> NbdListener::open_for(std::string name, Peer peer) {
  auto ask = exports_.attach(address_, std::move(name), std::move(peer));
  auto attached = co_await rt::call(*home_.reactor, lanes_.sync(), std::move(ask));
  co_return attached;
}

}  // namespace coppice::host
