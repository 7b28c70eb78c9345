#include "channel/nursery.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

#include "io/net.h"
#include "verb/verb.h"

namespace coppice::channel {
namespace {

constexpr const char* kStarting = "start an interpreter";
constexpr const char* kGone = "the interpreter's nursery is gone: restart coppiced";
// A page of rows and its question fit, so that neither side waits for the other to read.
constexpr int kBufferBytes = 512 * 1024;

}  // namespace

// ------------------------------------------------------------------ one process

class Nursery::Process final : public Interpreter {
 public:
  Process(Nursery& nursery, Child& child, int socket)
      : nursery_(nursery),
        child_(child),
        socket_(nursery.reactor_, socket,
                {.direct_receive = io::RingSocket::Try::always, .direct_send = true}) {}
  ~Process() override {
    kill();
    const InterpreterLimits limits = child_.limits;
    nursery_.forget(child_.id);
    if (used_) nursery_.want_spare(limits);
  }
  // For its one program.
  void use() {
    CHECK(!used_);
    used_ = true;
  }
  bool over() const { return child_.ended; }
  bool fit_for(InterpreterLimits limits) const { return !over() && child_.limits == limits; }
  io::Socket& socket() override { return socket_; }
  void kill() override {
    if (child_.pidfd >= 0 && !child_.ended)
      (void)::syscall(SYS_pidfd_send_signal, child_.pidfd, SIGKILL, nullptr, 0);
    socket_.shutdown();
  }
  Task<Exit> wait() override { return nursery_.wait_for(child_); }
  u64 cpu_ns() const override {
    clockid_t clock{};
    timespec time{};
    // Until it has ended, nobody else has its number.
    if (child_.ended || ::clock_getcpuclockid(static_cast<pid_t>(pid()), &clock) != 0 ||
        ::clock_gettime(clock, &time) != 0)
      return 0;
    return static_cast<u64>(time.tv_sec) * 1'000'000'000 + static_cast<u64>(time.tv_nsec);
  }
  u32 pid() const override { return child_.started.pid; }

 private:
  Nursery& nursery_;
  Child& child_;
  io::RingSocket socket_;
  bool used_ = false;
};

// ------------------------------------------------------------------ the nursery

Nursery::Nursery(io::Reactor& reactor, std::unique_ptr<Zygote> zygote)
    : reactor_(reactor), zygote_(std::move(zygote)) {
  CHECK(zygote_ != nullptr);
}

Nursery::~Nursery() { CHECK(children_.empty()); }

Task<> Nursery::open() {
  message::Nursery table;
  for (const verb::Row& row : verb::table())
    table.verbs.push_back({std::string(row.name), verb::usage(row)});
  Task<> sending = send(message::encode(table), -1);
  co_await ok(std::move(sending));
  scope_.spawn(listen());
  co_return {};
}

Task<> Nursery::close() {
  (void)::shutdown(zygote_->socket(), SHUT_RDWR);
  Task<> joining = scope_.join();
  const Result<> joined = co_await std::move(joining);
  spare_.reset();
  CHECK(children_.empty());
  co_return joined;
}

Task<> Nursery::send(std::vector<std::byte> packet, int descriptor) {
  for (;;) {
    const int error = message::send_packet(zygote_->socket(), packet, descriptor, MSG_DONTWAIT);
    if (error == 0) co_return {};
    if (error != EAGAIN && error != EWOULDBLOCK) co_return fail(Errc::closed, kStarting, kGone);
    const auto prepare = [fd = zygote_->socket()](io_uring_sqe& sqe) {
      io_uring_prep_poll_add(&sqe, fd, POLLOUT);
    };
    co_await reactor_.submit(prepare);
  }
}

Task<> Nursery::listen() {
  for (;;) {
    const auto prepare = [fd = zygote_->socket(),
                          header = &receiver_.prepare(packet_)](io_uring_sqe& sqe) {
      io_uring_prep_recvmsg(&sqe, fd, header, MSG_CMSG_CLOEXEC);
    };
    const int got = co_await reactor_.submit(prepare);
    if (got == -EINTR || got == -EAGAIN) continue;
    if (got <= 0) break;
    take_packet(static_cast<size_t>(got));
  }
  gone_ = true;
  for (const auto& [id, child] : children_) child->changed.pulse();
  co_return {};
}

// Whom it concerns is woken by a job of his own, so nothing here is destroyed meanwhile.
void Nursery::take_packet(size_t bytes) {
  int pidfd = receiver_.take_descriptor();
  const std::span<const std::byte> packet(packet_, bytes);
  if (const auto started = message::decode<message::Started>(packet)) {
    const auto place = children_.find(started->id);
    if (place != children_.end() && !place->second->answered) {
      Child& child = *place->second;
      child.answered = true;
      child.started = *started;
      child.pidfd = std::exchange(pidfd, -1);
      child.changed.pulse();
    }
  } else if (const auto ended = message::decode<message::Ended>(packet)) {
    const auto place = children_.find(ended->id);
    if (place != children_.end() && place->second->answered && !place->second->ended) {
      Child& child = *place->second;
      child.ended = true;
      child.exit = {.signal = ended->signal, .status = ended->status};
      child.changed.pulse();
    }
  }
  if (pidfd >= 0) ::close(pidfd);
}

Task<> Nursery::send_spawn(Child& child, int far) {
  const message::Spawn spawn{.id = child.id,
                             .cpu_ns_max = child.limits.cpu_ns_max,
                             .memory_bytes_max = child.limits.memory_bytes_max};
  Task<> sending = send(message::encode(spawn), far);
  const Result<> sent = co_await std::move(sending);
  ::close(far);
  co_return sent;
}

Task<std::unique_ptr<Interpreter>> Nursery::start(InterpreterLimits limits) {
  std::unique_ptr<Process> process;
  if (spare_ != nullptr && spare_->fit_for(limits) && !gone_) {
    process = std::move(spare_);
  } else {
    Task<std::unique_ptr<Process>> launching = launch(limits);
    process = co_await ok(std::move(launching));
  }
  process->use();
  co_return process;
}

u32 Nursery::spare_pid() const { return spare_ != nullptr && !spare_->over() ? spare_->pid() : 0; }

void Nursery::want_spare(InterpreterLimits limits) {
  if (gone_ || sparing_ || (spare_ != nullptr && spare_->fit_for(limits))) return;
  sparing_ = true;
  scope_.spawn(keep_spare(limits));
}

// If it cannot be had, the next program will say why.
Task<> Nursery::keep_spare(InterpreterLimits limits) {
  spare_.reset();
  Task<std::unique_ptr<Process>> launching = launch(limits);
  Result<std::unique_ptr<Process>> made = co_await std::move(launching);
  if (made) spare_ = *std::move(made);
  sparing_ = false;
  co_return {};
}

Task<std::unique_ptr<Nursery::Process>> Nursery::launch(InterpreterLimits limits) {
  if (gone_) co_return fail(Errc::closed, kStarting, kGone);
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    co_return fail(Errc::again, kStarting, errno);
  for (const int each : ends) {
    (void)::setsockopt(each, SOL_SOCKET, SO_SNDBUF, &kBufferBytes, sizeof kBufferBytes);
    (void)::setsockopt(each, SOL_SOCKET, SO_RCVBUF, &kBufferBytes, sizeof kBufferBytes);
  }
  auto made = std::make_unique<Child>();
  made->id = next_++;
  made->limits = limits;
  Child& child = *made;
  children_.emplace(child.id, std::move(made));
  Task<> spawning = send_spawn(child, ends[1]);
  Result<> spawned = co_await std::move(spawning);
  while (spawned && !child.answered && !gone_) {
    co_await child.changed.wait();
    co_await rt::yield(reactor_);
  }
  if (spawned && !child.answered) spawned = fail(Errc::closed, kStarting, kGone);
  if (spawned && child.started.error != 0)
    spawned = fail(Errc::again, kStarting, child.started.error);
  if (spawned && child.pidfd < 0) spawned = fail(Errc::io, kStarting, "no pidfd came with it");
  if (!spawned) {
    ::close(ends[0]);
    forget(child.id);
    co_return std::unexpected(spawned.error());
  }
  co_return std::make_unique<Process>(*this, child, ends[0]);
}

// Of a zygote that died, so did its children; but who killed them nobody tells.
Task<Interpreter::Exit> Nursery::wait_for(Child& child) {
  while (!child.ended && !gone_) {
    co_await child.changed.wait();
    co_await rt::yield(reactor_);
  }
  if (child.ended) co_return child.exit;
  const auto prepare = [fd = child.pidfd](io_uring_sqe& sqe) {
    io_uring_prep_poll_add(&sqe, fd, POLLIN);
  };
  co_await reactor_.submit(prepare);
  child.ended = true;
  co_return fail(Errc::closed, "run an interpreter", kGone);
}

void Nursery::forget(u64 id) {
  const auto place = children_.find(id);
  CHECK(place != children_.end());
  if (place->second->pidfd >= 0) ::close(place->second->pidfd);
  children_.erase(place);
}

}  // namespace coppice::channel
