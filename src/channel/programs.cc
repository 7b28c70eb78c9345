#include "channel/programs.h"

#include <cerrno>

#include "channel/run.h"
#include "trace/point.h"

namespace coppice::channel {
namespace {
constexpr u64 kWatchNs = 250'000'000;

Task<> await_end(std::unique_ptr<Interpreter> interpreter) {
  Task<Interpreter::Exit> waiting = interpreter->wait();
  (void)co_await std::move(waiting);
  interpreter.reset();  // Now: the frame of a task that has ended may stay for a while.
  co_return {};
}

}  // namespace

Programs::Programs(Interpreters& interpreters, rt::Executor& sync, Limits limits)
    : interpreters_(interpreters), sync_(sync), limits_(limits) {}

Programs::~Programs() { CHECK((runs_.empty() && !watching_) || rt::Abandon::active()); }

Task<Outcome> Programs::run(ProgramId id, pool::Pool& pool, const verb::Host& host, Program program,
                            Observer* observer) {
  Run run(*this, id, pool, host, std::move(program), observer);
  if (closed_ || runs_.size() >= limits_.programs_max) {
    run.outcome.error = EAGAIN;
    run.outcome.message =
        closed_ ? "the daemon is ending"
                : std::to_string(limits_.programs_max) + " programs run or wait; try again later";
    co_return std::move(run.outcome);
  }
  const bool added = runs_.emplace(id, &run).second;
  CHECK(added);
  if (!watching_) background_.spawn(watch());
  Task<> working = run.work();
  (void)co_await std::move(working);
  if (trace::on(trace::Point::program_end)) [[unlikely]]
    run.fire_end();
  runs_.erase(id);
  if (runs_.empty()) idle_.pulse();
  co_return std::move(run.outcome);
}

bool Programs::kill(ProgramId id, std::string why) {
  const auto place = runs_.find(id);
  return place != runs_.end() && place->second->kill(EINTR, std::move(why));
}

std::vector<ProgramView> Programs::views() const {
  std::vector<ProgramView> views;
  views.reserve(runs_.size());
  for (const auto& [id, run] : runs_) views.push_back(run->view());
  return views;
}

Task<> Programs::watch() {
  watching_ = true;
  while (!runs_.empty()) {
    co_await rt::sleep_for(sync_, kWatchNs);
    const u64 now_ns = sync_.now_ns();
    for (const auto& [id, run] : runs_) run->watch(now_ns);
  }
  watching_ = false;
  co_return {};
}

// How long it takes a process to end is no concern of its program's.
void Programs::see_off(std::unique_ptr<Interpreter> interpreter) {
  interpreter->kill();
  background_.spawn(await_end(std::move(interpreter)));
}

Task<> Programs::close() {
  closed_ = true;
  for (const auto& [id, run] : runs_) run->kill(EINTR, "the daemon is ending");
  while (!runs_.empty()) co_await idle_.wait();
  Task<> joining = background_.join();
  co_return co_await std::move(joining);
}

}  // namespace coppice::channel
