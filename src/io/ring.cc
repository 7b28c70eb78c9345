#include "io/ring.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/check.h"

namespace coppice::io {

Ring::~Ring() {
  CHECK(in_flight_ == 0);
  if (open_) io_uring_queue_exit(&ring_);
}

Result<> Ring::open() {
  CHECK(!open_);
  // From the best to what any kernel takes. A ring of one issuer is made disabled, because the
  // thread that enables it is the one that may use it.
  constexpr unsigned kDeferred = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                 IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                                 IORING_SETUP_R_DISABLED;
  constexpr unsigned kCooperative = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
  int error = 0;
  for (const unsigned flags : {kDeferred, kCooperative, 0u}) {
    io_uring_params params{};
    params.flags = flags | IORING_SETUP_CQSIZE;
    params.cq_entries = kCompletionsMax;
    error = -io_uring_queue_init_params(kSubmissionsMax, &ring_, &params);
    if (error == EINVAL) continue;
    if (error != 0) break;
    constexpr unsigned kNeeded = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
    if ((params.features & kNeeded) != kNeeded) {
      io_uring_queue_exit(&ring_);
      return fail(Errc::unsupported, "creating an io_uring", std::string("the kernel is too old"));
    }
    open_ = true;
    disabled_ = (flags & IORING_SETUP_R_DISABLED) != 0;
    return {};
  }
  return fail(Errc::unsupported, "creating an io_uring", error);
}

Result<> Ring::enable() {
  CHECK(open_);
  if (disabled_) {
    // The library declares io_uring_enable_rings(), but its 2.3 does not export it.
    const auto result =
        ::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    if (result < 0) return fail(Errc::unsupported, "enabling an io_uring", errno);
    disabled_ = false;
  }
  // Spares the kernel a look-up in each call; where it is refused, nothing else changes.
  (void)io_uring_register_ring_fd(&ring_);
  return {};
}

bool Ring::push(Completion& completion) {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) return false;
  completion.prepare(completion, *sqe);
  io_uring_sqe_set_data(sqe, &completion);
  return true;
}

void Ring::enqueue(Completion& completion) {
  CHECK(completion.prepare != nullptr && completion.complete != nullptr);
  ++in_flight_;
  ++unsubmitted_;
  completion.link = nullptr;
  if (first_ == nullptr && push(completion)) return;
  *last_ = &completion;
  last_ = &completion.link;
}

void Ring::cancel(Completion& completion) {
  struct Cancel final : Completion {
    Completion* target = nullptr;
  };
  // The kernel compares addresses only, so the target may be gone by the time it looks. It looks
  // before it sees any later request, whatever its address.
  auto* request = new Cancel;
  request->target = &completion;
  request->prepare = [](Completion& self, io_uring_sqe& sqe) {
    io_uring_prep_cancel(&sqe, static_cast<Cancel&>(self).target, 0);
  };
  request->complete = [](Completion& self) { delete &static_cast<Cancel&>(self); };
  enqueue(*request);
}

void Ring::refill() {
  while (first_ != nullptr) {
    Completion* const next = first_->link;
    if (!push(*first_)) return;
    first_ = next;
    if (first_ == nullptr) last_ = &first_;
  }
}

void Ring::submit() {
  do {
    refill();
    const int taken = io_uring_submit_and_get_events(&ring_);
    if (taken < 0) {
      // Out of memory for now, or completions must be reaped first: the next turn tries again.
      CHECK(taken == -EAGAIN || taken == -EBUSY || taken == -EINTR || taken == -ENOMEM);
      return;
    }
    CHECK(static_cast<size_t>(taken) <= unsubmitted_);
    unsubmitted_ -= static_cast<size_t>(taken);
    if (taken == 0) return;
  } while (first_ != nullptr);
}

void Ring::wait(std::optional<u64> timeout_ns) {
  if (first_ != nullptr) return submit();  // More than one call takes: see what comes back first.
  __kernel_timespec time{};
  if (timeout_ns) {
    time.tv_sec = static_cast<i64>(*timeout_ns / 1'000'000'000);
    time.tv_nsec = static_cast<i64>(*timeout_ns % 1'000'000'000);
  }
  io_uring_cqe* cqe = nullptr;
  const int taken =
      io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, timeout_ns ? &time : nullptr, nullptr);
  CHECK(taken >= 0 || taken == -ETIME || taken == -EINTR || taken == -EAGAIN || taken == -EBUSY ||
        taken == -ENOMEM);
  // An error of the wait may hide how many were taken: the queue itself knows.
  unsubmitted_ = io_uring_sq_ready(&ring_);
}

Completion* Ring::reap() {
  Completion* first = nullptr;
  Completion** last = &first;
  unsigned head = 0;
  unsigned count = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    auto* completion = static_cast<Completion*>(io_uring_cqe_get_data(cqe));
    completion->res = cqe->res;
    completion->link = nullptr;
    *last = completion;
    last = &completion->link;
    ++count;
  }
  io_uring_cq_advance(&ring_, count);
  CHECK(count <= in_flight_);
  in_flight_ -= count;
  return first;
}

}  // namespace coppice::io
