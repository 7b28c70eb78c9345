// serve/nbd/connection.h — one client in transmission: parses requests, runs them, gathers replies.
//
// Theory. Three things run side by side on the device's executor. The reader (run()) fills a
// receive buffer and starts every request that lies in it. Requests are tasks of the device; one
// that ends at once is answered on the spot, one that ends later queues itself and posts a single
// job per turn, which answers all that ended in it. The sender sends what has been answered, one
// batch at a time; while it waits for the socket, the next batch grows. So the cost of a system
// call is shared by as many requests as the client keeps in flight, and no request waits for one
// that it need not wait for.
//
// A request counts as in flight from its parsing until its reply is sent. At a limit the reader
// stops reading; whatever frees something wakes it. It is woken by a posted job, never on the spot,
// since it may end the connection and with it the object that woke it.
//
// The end: the reader stops (goodbye, end of stream, nonsense, error); then the requests under way
// are waited for, their replies sent if the socket still takes them, and only then does run()
// return.
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "serve/nbd/buffers.h"
#include "serve/nbd/outbox.h"
#include "serve/nbd/server.h"

namespace coppice::serve::nbd {

class Connection;

// One request under way.
struct Request {
  explicit Request(Connection& c) : connection(c) {}
  Connection& connection;
  wire::Request header{};
  u64 weight = 0;  // Bytes, as counted against the limit.
  std::optional<Task<>> task;
  Buffer buffer;                       // The payload: of a large write, or of the reply.
  Ref<ReceiveBuffer> held;             // Where the payload of a small write lies.
  std::span<const std::byte> payload;  // Of a write: in `held` or in `buffer`.
  std::span<const std::byte> reply;    // In `buffer`; empty: a simple reply without payload.
  std::optional<u64> error_offset;     // Where on the device it failed, if that is known.
  bool done = false;
  Request* link = nullptr;
};

class Connection {
 public:
  Connection(io::Socket& socket, Negotiated& negotiated, const Limits& limits);
  Connection(const Connection&) = delete;
  ~Connection();
  Task<> run();

 private:
  friend struct TraceTypes;
  // Reading: connection.cc.
  enum class Parsed { request, incomplete, full, end };
  Task<> read_requests();
  Result<Parsed> parse_one();
  Result<Parsed> parse_write(const wire::Request& header);
  Task<> gather();
  Task<> receive_more();
  Task<> receive_large_write();
  Task<> skip_payload();
  bool has_room(const wire::Request& header) const;
  Request& admit(const wire::Request& header);
  void release(Request& request);
  void recycle(Request& request);

  // Running: commands.cc.
  struct Refusal {
    wire::Status status = wire::Status::ok;
    const char* message = "";
    explicit operator bool() const { return status != wire::Status::ok; }
  };
  Refusal check(const wire::Request& header) const;
  Refusal check_flags(const wire::Request& header) const;
  u64 weight_of(const wire::Request& header) const;
  void execute(Request& request);
  Task<> command(Request& request);
  Task<> read(Request& request);
  Task<> read_sparse(Request& request);
  Task<> read_part(Request& request, u64 offset, std::span<std::byte> into);
  Task<> block_status(Request& request);
  void start(Request& request, Task<> task);
  static std::coroutine_handle<> task_done(PromiseBase& promise);
  void finish(Request& request);
  void succeed(Request& request);
  void refuse(Request& request, wire::Status status, std::string_view message);

  // Sending and waking: connection.cc.
  void send_replies();
  Task<> sender();
  void turn();
  void wake();
  bool idle() const;

  struct Turn : rt::Job {
    Connection* connection = nullptr;
    bool posted = false;
  };
  struct Parking : rt::Job {  // The reader's place to wait for a wake().
    std::coroutine_handle<> waiter{};
    bool posted = false;
  };
  struct Parked {
    Parking& parking;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) noexcept {
      CHECK(!parking.waiter);
      parking.waiter = handle;
    }
    void await_resume() const noexcept {}
  };
  Parked parked() { return {parking_}; }

  io::Socket& socket_;
  Negotiated& negotiated_;
  Counters& counters_;
  blk::Device& device_;
  rt::Executor& executor_;
  const Limits limits_;
  const bool structured_;

  BufferPool pool_;  // Outlives every Buffer below.
  Inbox inbox_;
  size_t wanted_ = 0;               // Bytes of inbox_ that the next request needs to be parsed.
  u64 parsed_ = 0;                  // Requests since the last receive,
  u64 parsed_bytes_ = 0;            // and their payloads.
  u64 skip_left_ = 0;               // Of a refused payload.
  Request* large_write_ = nullptr;  // Its payload is being received.

  std::deque<Request> requests_;  // All there ever were; at most requests_in_flight_max.
  Request* free_requests_ = nullptr;
  Request* starting_ = nullptr;
  u32 running_ = 0;                 // Started and not finished.
  Outbox::Weight in_flight_;        // Running, or answered and not sent.
  Request* ended_first_ = nullptr;  // Ended later than at once, not answered yet.
  Request** ended_last_ = &ended_first_;

  Outbox outbox_;
  std::optional<Task<>> sender_;
  bool sending_ = false;
  bool broken_ = false;  // The socket takes no more.
  Turn turn_;
  Parking parking_;
};

}  // namespace coppice::serve::nbd
