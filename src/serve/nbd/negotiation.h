// serve/nbd/negotiation.h — Lobby: clients that have connected and not yet chosen an export.
#pragma once

#include <list>

#include "io/socket.h"
#include "serve/nbd/server.h"

namespace coppice::serve::nbd {

// One a listening socket, on that socket's executor. Outlives its negotiate() tasks and its Seats.
class Lobby {
 public:
  Lobby(rt::Executor& home, Directory& directory, const Limits& limits);
  Lobby(const Lobby&) = delete;
  ~Lobby();

  // Fixed-newstyle negotiation, up to the client's choice of an export. Errors end the connection:
  // closed (the client left), timed_out, too_big (the lobby is full), invalid (not an NBD client,
  // or one that broke the protocol).
  // `directory`: what this client is shown in place of the lobby's; outlives the task. Or null.
  Task<Negotiated> negotiate(io::Socket& socket, Directory* directory = nullptr);

  void shutdown();   // Cuts off all who are here, and whoever comes later.
  Task<> drained();  // After shutdown() and the end of all negotiate() tasks: no timer is left.

  size_t negotiating() const { return visitors_.size(); }
  size_t connected() const { return seats_taken_; }

 private:
  friend class Seat;
  friend class Negotiation;
  struct Visitor {
    io::Socket& socket;
    u64 due_ns;
    bool overdue = false;
  };
  struct Tick : rt::Job {
    Lobby* lobby = nullptr;
    bool posted = false;
    std::coroutine_handle<> waiter{};  // Of drained().
  };
  void watch();  // Posts the tick, if somebody is here to watch.
  void tick();
  Seat take_seat();  // Empty if all are taken.

  rt::Executor& home_;
  Directory& directory_;
  const Limits limits_;
  std::list<Visitor> visitors_;  // By arrival, hence by due_ns.
  size_t seats_taken_ = 0;
  bool closed_ = false;
  Tick tick_;
};

}  // namespace coppice::serve::nbd
