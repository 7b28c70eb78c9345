#include "sim/scheduler.h"

#include <algorithm>
#include <cstdio>

#include "rt/abandon.h"

namespace coppice::sim {

void Executor::post(rt::Job& job) { scheduler_.enqueue(*this, job); }
void Executor::post_at(u64 due_ns, rt::Job& job) {
  if (rt::Abandon::active()) return;
  job.due_ns = due_ns;
  scheduler_.timers_.push({due_ns, scheduler_.timers_set_++, this, &job});
}
u64 Executor::now_ns() const { return scheduler_.now_ns_; }
u64 Executor::wall_ns() const { return Scheduler::kEpochNs + scheduler_.now_ns_; }

Scheduler::~Scheduler() { CHECK((ready_.empty() && timers_.empty()) || rt::Abandon::active()); }

Executor& Scheduler::make_executor() {
  executors_.push_back(std::make_unique<Executor>(*this));
  return *executors_.back();
}

void Scheduler::enqueue(Executor& executor, rt::Job& job, bool first) {
  if (rt::Abandon::active()) return;  // A destructor's parting word: nobody is left to hear it.
  CHECK(job.run != nullptr);
  job.link = nullptr;
  if (executor.first_ == nullptr) {
    ready_.push_back(&executor);
  } else if (first) {
    job.link = executor.first_;
    executor.first_ = &job;
    return;
  }
  *executor.last_ = &job;
  executor.last_ = &job.link;
}

void Scheduler::fire_timers() {
  if (timers_.empty() || timers_.top().due_ns > now_ns_) return;
  std::vector<Timer> due;
  for (; !timers_.empty() && timers_.top().due_ns <= now_ns_; timers_.pop())
    due.push_back(timers_.top());
  const bool overtake = prng_.chance(1, 2);
  if (overtake) std::ranges::reverse(due);  // The earliest comes first, even so.
  for (const Timer& timer : due) enqueue(*timer.executor, *timer.job, overtake);
}

bool Scheduler::step() {
  CHECK(!rt::Abandon::active());
  if (ready_.empty() && !timers_.empty()) now_ns_ = std::max(now_ns_, timers_.top().due_ns);
  fire_timers();
  if (ready_.empty()) return false;
  ++steps_;
  now_ns_ += kStepNs;
  const size_t index = prng_.below(ready_.size());
  Executor& executor = *ready_[index];
  rt::Job& job = *executor.first_;
  executor.first_ = job.link;
  if (executor.first_ == nullptr) {
    executor.last_ = &executor.first_;
    ready_[index] = ready_.back();
    ready_.pop_back();
  }
  job.run(job);
  return true;
}

void Scheduler::must_step(u64 count) {
  if (count >= kStepsMax) {
    std::fprintf(stderr, "simulation: the task did not finish within %llu steps: a live lock?\n",
                 static_cast<unsigned long long>(count));
  } else if (step()) {
    return;
  } else {
    std::fprintf(stderr,
                 "simulation: deadlock after %llu steps at %llu ns: the task waits, but no job is "
                 "queued and no timer is set\n",
                 static_cast<unsigned long long>(steps_), static_cast<unsigned long long>(now_ns_));
  }
  std::abort();
}

bool Scheduler::run_steps(u64 count) {
  for (; count > 0; --count) {
    if (!step()) return false;
  }
  return true;
}

void Scheduler::run_until_idle() {
  for (u64 count = 0; !ready_.empty() || !timers_.empty(); ++count) must_step(count);
}

void Scheduler::run_for(u64 ns) {
  const u64 until = now_ns_ + ns;
  while (now_ns_ < until) {
    if (ready_.empty() && (timers_.empty() || timers_.top().due_ns > until)) {
      now_ns_ = until;
      return;
    }
    step();
  }
}

void Scheduler::abandon() {
  for (Executor* executor : ready_) {
    executor->first_ = nullptr;
    executor->last_ = &executor->first_;
  }
  ready_.clear();
  timers_ = {};
  starts_.clear();
}

}  // namespace coppice::sim
