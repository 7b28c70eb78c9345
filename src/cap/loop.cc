#include "cap/loop.h"

#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace coppice::cap {
namespace {

u64 clock_ns(clockid_t clock) {
  timespec time{};
  CHECK(clock_gettime(clock, &time) == 0);
  return static_cast<u64>(time.tv_sec) * 1'000'000'000 + static_cast<u64>(time.tv_nsec);
}

kj::AutoCloseFd make_wake() {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  CHECK(fd >= 0);  // At start-up: without it there is no daemon.
  return kj::AutoCloseFd(fd);
}

}  // namespace

Loop::Loop(kj::AsyncIoContext& io)
    : io_(io),
      wake_(make_wake()),
      wake_observer_(io.unixEventPort, wake_.get(), kj::UnixEventPort::FdObserver::OBSERVE_READ),
      tasks_(failure_) {
  tasks_.add(pump());
}

Loop::~Loop() noexcept {
  CHECK(running_ == 0);
  CHECK(posted_.load() == nullptr);
}

void Loop::post(rt::Job& job) {
  rt::Job* newest = posted_.load(std::memory_order_relaxed);
  do {
    job.link = newest;
  } while (!posted_.compare_exchange_weak(newest, &job, std::memory_order_release,
                                          std::memory_order_relaxed));
  if (newest != nullptr) return;  // Whoever found it empty wakes the loop.
  const u64 one = 1;
  const ssize_t written = write(wake_.get(), &one, sizeof one);
  CHECK(written == sizeof one || errno == EAGAIN);  // EAGAIN: it is awake as it is.
}

void Loop::post_at(u64 due_ns, rt::Job& job) { tasks_.add(wait_until(due_ns, job)); }

kj::Promise<void> Loop::wait_until(u64 due_ns, rt::Job& job) {
  const u64 now = now_ns();
  if (now >= due_ns) {
    post(job);
    return kj::READY_NOW;
  }
  return io_.provider->getTimer()
      .afterDelay((due_ns - now) * kj::NANOSECONDS)
      .then([this, due_ns, &job] { return wait_until(due_ns, job); });
}

u64 Loop::now_ns() const { return clock_ns(CLOCK_MONOTONIC); }
u64 Loop::wall_ns() const { return clock_ns(CLOCK_REALTIME); }

kj::Promise<void> Loop::pump() {
  u64 count = 0;
  while (read(wake_.get(), &count, sizeof count) > 0) {}
  run_jobs();
  return wake_observer_.whenBecomesReadable().then([this] { return pump(); });
}

void Loop::run_jobs() {
  rt::Job* newest = posted_.exchange(nullptr, std::memory_order_acquire);
  rt::Job* oldest = nullptr;
  while (newest != nullptr) {
    rt::Job* older = newest->link;
    newest->link = oldest;
    oldest = newest;
    newest = older;
  }
  while (oldest != nullptr) {
    rt::Job* next = oldest->link;  // Running it may free it.
    oldest->run(*oldest);
    oldest = next;
  }
}

void Loop::ended() {
  CHECK(running_ > 0);
  if (--running_ > 0) return;
  KJ_IF_MAYBE (waiter, idle_) {
    (*waiter)->fulfill();
    idle_ = nullptr;
  }
}

kj::Promise<void> Loop::idle() {
  if (running_ == 0) return kj::READY_NOW;
  auto pair = kj::newPromiseAndFulfiller<void>();
  idle_ = kj::mv(pair.fulfiller);
  return kj::mv(pair.promise);
}

void Loop::Failure::taskFailed(kj::Exception&& exception) {
  // The pump cannot go on: without it no task would ever come back.
  std::fprintf(stderr, "coppiced: event loop: %s\n", exception.getDescription().cStr());
  std::abort();
}

}  // namespace coppice::cap
