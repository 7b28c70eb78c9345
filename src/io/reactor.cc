#include "io/reactor.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "trace/point.h"

namespace coppice::io {
namespace {
constexpr int kLooksPerClock = 16;  // When polling: reading the clock costs more than a look.
}  // namespace

thread_local const Reactor* Reactor::current_ = nullptr;

Result<std::unique_ptr<Reactor>> Reactor::create(Options options) {
  std::unique_ptr<Reactor> reactor(new Reactor(std::move(options)));
  TRY_VOID(reactor->ring_.open());
  reactor->wake_fd_ = ::eventfd(0, EFD_CLOEXEC);
  if (reactor->wake_fd_ < 0) return fail(Errc::io, "making an eventfd", errno);
  return reactor;
}

Reactor::~Reactor() {
  if (thread_.joinable()) {
    stop();
    join();
  }
  CHECK(first_ == nullptr && mailbox_.load() == nullptr);
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

void Reactor::start() {
  CHECK(!thread_.joinable());
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), options_.name.substr(0, 15).c_str());
    if (options_.nice > 0)
      ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), options_.nice);
    run();
  });
}

void Reactor::join() {
  CHECK(thread_.joinable());
  thread_.join();
}

void Reactor::stop() {
  stop_.store(true, std::memory_order_release);
  write_wake();
}

u64 Reactor::now_ns() const {
  return static_cast<u64>(std::chrono::steady_clock::now().time_since_epoch().count());
}
u64 Reactor::wall_ns() const {
  return static_cast<u64>(std::chrono::system_clock::now().time_since_epoch().count());
}

void Reactor::append(rt::Job& job) {
  job.link = nullptr;
  *last_ = &job;
  last_ = &job.link;
}

void Reactor::post(rt::Job& job) {
  CHECK(job.run != nullptr);
  if (is_current()) return append(job);
  rt::Job* top = mailbox_.load(std::memory_order_relaxed);
  do {
    job.link = top;
  } while (!mailbox_.compare_exchange_weak(top, &job, std::memory_order_seq_cst,
                                           std::memory_order_relaxed));
  if (trace::on(trace::Point::mailbox_post)) [[unlikely]]
    trace::fire(trace::Point::mailbox_post, {this, &job, top == nullptr});
  // `job` may have run already. Whoever found the mailbox empty wakes; the others came after him.
  if (top == nullptr && sleeping_.load(std::memory_order_seq_cst) &&
      sleeping_.exchange(false, std::memory_order_seq_cst)) {
    write_wake();
  }
}

void Reactor::post_at(u64 due_ns, rt::Job& job) {
  CHECK(is_current() && job.run != nullptr);
  job.due_ns = due_ns;
  timers_.push({due_ns, timers_set_++, &job});
}

void Reactor::enqueue(Completion& completion) {
  CHECK(is_current());
  ring_.enqueue(completion);
}

void Reactor::cancel(Completion& completion) {
  CHECK(is_current());
  ring_.cancel(completion);
}

void Reactor::write_wake() {
  const u64 one = 1;
  CHECK(::write(wake_fd_, &one, sizeof one) == sizeof one);
}

void Reactor::arm_wake() {
  wake_.reactor = this;
  wake_.prepare = [](Completion& self, io_uring_sqe& sqe) {
    auto& wake = static_cast<Wake&>(self);
    io_uring_prep_read(&sqe, wake.reactor->wake_fd_, &wake.count, sizeof wake.count, 0);
  };
  wake_.complete = [](Completion& self) {
    Reactor& reactor = *static_cast<Wake&>(self).reactor;
    ++reactor.counters_.wakes;
    // stop() writes after it has said so: either this sees it, or another write is still to come.
    if (!reactor.stopping()) reactor.arm_wake();
  };
  ring_.enqueue(wake_);
}

void Reactor::run() {
  CHECK(current_ == nullptr);
  current_ = this;
  const auto enabled = ring_.enable();
  CHECK(enabled.has_value());
  arm_wake();
  do turn();
  while (!stopping() || ring_.in_flight() > 0 || first_ != nullptr ||
         mailbox_.load(std::memory_order_acquire) != nullptr);
  timers_ = {};
  current_ = nullptr;
}

void Reactor::turn() {
  ++counters_.turns;
  if (trace::on(trace::Point::reactor_turn)) [[unlikely]]
    trace::fire(trace::Point::reactor_turn, {this, counters_.turns, counters_.jobs});
  run_completions();
  take_mailbox();
  fire_timers();
  run_jobs();
  if (first_ != nullptr || mailbox_.load(std::memory_order_relaxed) != nullptr) {
    if (ring_.wants_submit()) ring_.submit();
  } else if (ring_.in_flight() > 0 && !poll_for_work()) {
    sleep();
  }
}

void Reactor::run_completions() {
  Completion* each = ring_.reap();
  while (each != nullptr) {
    Completion* const next = each->link;
    ++counters_.completions;
    each->complete(*each);
    each = next;
  }
}

void Reactor::take_mailbox() {
  if (mailbox_.load(std::memory_order_relaxed) == nullptr) return;
  rt::Job* each = mailbox_.exchange(nullptr, std::memory_order_seq_cst);
  rt::Job* oldest = nullptr;  // The stack upside down.
  while (each != nullptr) {
    rt::Job* const next = each->link;
    each->link = oldest;
    oldest = each;
    each = next;
  }
  while (oldest != nullptr) {
    rt::Job* const next = oldest->link;
    append(*oldest);
    oldest = next;
  }
}

void Reactor::fire_timers() {
  if (timers_.empty()) return;
  const u64 now = now_ns();
  while (!timers_.empty() && timers_.top().due_ns <= now) {
    append(*timers_.top().job);
    timers_.pop();
  }
}

// Those that were there: what they post has its turn after the kernel's completions, so a task that
// yields lets everything else go first.
void Reactor::run_jobs() {
  rt::Job** const end = last_;
  bool more = first_ != nullptr;
  for (u64 count = 0; more && count < kJobsPerTurn; ++count) {
    rt::Job& job = *first_;
    more = &job.link != end;
    first_ = job.link;
    if (first_ == nullptr) last_ = &first_;
    ++counters_.jobs;
    job.run(job);
  }
}

// While this looks, posters need no system call.
bool Reactor::poll_for_work() {
  if (options_.poll_ns == 0 || stopping() || !lookout_.worthwhile()) return false;
  if (ring_.wants_submit()) ring_.submit();
  const u64 start = now_ns();
  u64 until = start + options_.poll_ns;
  if (!timers_.empty()) until = std::min(until, timers_.top().due_ns);
  do {
    for (int look = 0; look < kLooksPerClock; ++look) {
      if (mailbox_.load(std::memory_order_relaxed) != nullptr || ring_.has_completions()) {
        if (ring_.wants_submit()) ring_.submit();
        lookout_.found();
        return true;
      }
      __builtin_ia32_pause();
    }
  } while (now_ns() < until);
  lookout_.in_vain();
  return false;
}

void Reactor::sleep() {
  std::optional<u64> timeout_ns;
  if (!timers_.empty()) {
    const u64 now = now_ns();
    const u64 due = timers_.top().due_ns;
    timeout_ns = due > now ? due - now : 0;
  }
  sleeping_.store(true, std::memory_order_seq_cst);
  if (mailbox_.load(std::memory_order_seq_cst) != nullptr) {
    if (ring_.wants_submit()) ring_.submit();
  } else {
    ++counters_.sleeps;
    if (trace::on(trace::Point::reactor_sleep)) [[unlikely]]
      trace::fire(trace::Point::reactor_sleep, {this, timeout_ns.value_or(~u64{0})});
    ring_.wait(timeout_ns);
    if (trace::on(trace::Point::reactor_wake)) [[unlikely]]
      trace::fire(trace::Point::reactor_wake, {this, counters_.turns});
  }
  sleeping_.store(false, std::memory_order_relaxed);
}

}  // namespace coppice::io
