#include "host/running_programs.h"

#include <fmt/format.h>

#include <cstring>

#include "host/apply.h"

namespace coppice::host {
namespace {

// --- On the sync lane ---

Task<bool> kill_there(channel::Programs& programs, channel::ProgramId id, std::string why) {
  co_return programs.kill(id, std::move(why));
}

Task<std::vector<channel::ProgramView>> views_there(channel::Programs& programs) {
  co_return programs.views();
}

Task<Attempt<channel::Outcome>> run_there(Site& site, channel::Programs& programs,
                                          channel::ProgramId id, channel::Program program,
                                          channel::Observer* observer) {
  const bool sync = program.sync;
  auto running = programs.run(id, site.pool(), site, std::move(program), observer);
  auto outcome = co_await ok(std::move(running));
  if (sync && outcome.error == 0 && !outcome.effects.empty()) {
    auto effects = std::move(outcome.effects);
    co_await ok(bring_about_program(site, std::move(effects)));
  }
  co_return outcome;
}

const char* errno_name(int error) {
  const char* name = error == 0 ? "" : strerrorname_np(error);
  return name != nullptr ? name : "";
}

}  // namespace

// --- The observer -------------------------------------------------------------------------------

// One call to the client under way. Its answer resumes whoever waits in a job of its own, because
// that destroys the promise which would otherwise be the caller.
struct RemoteObserver::Question : Counted, rt::Job {
  explicit Question(cap::Loop& l) : loop(l) {}
  void finish(bool yes) {
    if (done) return;
    done = true;
    go = yes;
    self = Ref<Question>(this);
    run = [](rt::Job& job) {
      const Ref<Question> keep = std::move(static_cast<Question&>(job).self);
      keep->answered.pulse();
    };
    loop.post(*this);
  }
  cap::Loop& loop;
  rt::Event answered;
  Ref<Question> self;  // While its job is queued.
  bool done = false;
  bool go = false;
};

Task<bool> RemoteObserver::answer_to(kj::Promise<bool> answer) {
  if (abandoned_) co_return false;
  CHECK(asked_ == nullptr);  // A program asks one thing at a time.
  const Ref<Question> question(new Question(loop_));
  asked_ = question.get();
  auto waiting = answer
                     .then([question](bool yes) { question->finish(yes); },
                           [question](kj::Exception&&) { question->finish(false); })
                     .eagerlyEvaluate(nullptr);
  while (!question->done || question->self) co_await question->answered.wait();
  asked_ = nullptr;
  co_return question->go;
}

Task<bool> RemoteObserver::tell(channel::VerbEvent event) {
  auto request = client_.sawRequest();
  auto to = request.initEvent();
  to.setNumber(event.number);
  to.setMode(std::string(event.mode));
  to.setCommand(event.command);
  to.setErrno(event.error);
  to.setErrnoName(errno_name(event.error));
  to.setMessage(event.message);
  to.setElapsedNs(event.elapsed_ns);
  auto answering = answer_to(request.send().then([](auto&&) { return true; }));
  const bool told = co_await ok(std::move(answering));
  co_return told;
}

Task<bool> RemoteObserver::ask(std::string effects) {
  auto request = client_.agreeRequest();
  request.setEffects(effects);
  auto answering = answer_to(request.send().then([](auto&& response) { return response.getGo(); }));
  const bool go = co_await ok(std::move(answering));
  co_return go;
}

Task<> RemoteObserver::saw(channel::VerbEvent event) {
  auto telling = tell(std::move(event));
  auto calling = rt::call(sync_, loop_, std::move(telling));
  const bool told = co_await ok(std::move(calling));
  (void)told;  // Who does not listen is about to be killed.
  co_return {};
}

Task<bool> RemoteObserver::agree(std::string effects) {
  auto asking = ask(std::move(effects));
  auto calling = rt::call(sync_, loop_, std::move(asking));
  const bool go = co_await ok(std::move(calling));
  co_return go;
}

void RemoteObserver::abandon() {
  abandoned_ = true;
  if (asked_ != nullptr) asked_->finish(false);
}

// --- Programs -----------------------------------------------------------------------------------

Task<> RunningPrograms::run(Daemon& daemon, Ref<ProgramRun> run, channel::Program program) {
  auto work =
      run_there(*run->pool->site, *programs_, run->id, std::move(program), run->observer.get());
  auto running = daemon.in_pool(run->pool, std::move(work));
  run->result = co_await std::move(running);
  run->ended = true;
  runs_.erase(run->id);
  co_return {};
}

Task<Attempt<Ref<ProgramRun>>> RunningPrograms::start(Daemon& daemon, Ref<OpenPool> pool,
                                                      channel::Program program,
                                                      std::unique_ptr<RemoteObserver> observer) {
  if (programs_ == nullptr)
    co_return refused(ENOTSUP, fmt::format("cannot run '{}': {}", program.name, why_not_));
  if (program.source.size() > message::kSourceBytesMax)
    co_return refused(E2BIG, fmt::format("cannot run '{}': a program has at most {} bytes",
                                         program.name, message::kSourceBytesMax));
  if (runs_.size() >= programs_->limits().programs_max)
    co_return refused(EAGAIN,
                      fmt::format("cannot run '{}': {} programs run or wait, which is the limit",
                                  program.name, runs_.size()));
  const channel::ProgramId id = programs_->next_id();
  if (pool->closing || !pool->site)
    co_return refused(ENOENT, "the pool " + pool->name + " is closed: open it again");
  Ref<ProgramRun> started(new ProgramRun());
  started->id = id;
  started->pool = pool;
  started->observer = std::move(observer);
  runs_.emplace(id, started);
  // The promise must not hold what it is a member of: its own callback would destroy it.
  started->done =
      loop_.start(run(daemon, started, std::move(program))).then([](Result<>) {}).fork();
  co_return started;
}

Task<bool> RunningPrograms::kill(channel::ProgramId id, std::string why) {
  const auto found = runs_.find(id);
  if (found == runs_.end()) co_return false;
  if (found->second->observer) found->second->observer->abandon();
  auto killing = kill_there(*programs_, id, std::move(why));
  auto calling = rt::call(loop_, sync_, std::move(killing));
  const bool killed = co_await ok(std::move(calling));
  co_return killed;
}

Task<> RunningPrograms::kill_all(Ref<OpenPool> pool, std::string why) {
  std::vector<channel::ProgramId> ids;
  for (const auto& [id, run] : runs_)
    if (run->pool.get() == pool.get()) ids.push_back(id);
  for (const channel::ProgramId id : ids) {
    auto killing = kill(id, why);
    const bool killed = co_await ok(std::move(killing));
    (void)killed;  // Or it ended by itself meanwhile.
  }
  co_return {};
}

size_t RunningPrograms::running_in(const OpenPool& pool) const {
  size_t count = 0;
  for (const auto& [id, run] : runs_) count += run->pool.get() == &pool ? 1 : 0;
  return count;
}

Task<std::vector<channel::ProgramView>> RunningPrograms::views() {
  if (programs_ == nullptr) co_return std::vector<channel::ProgramView>{};
  auto asking = views_there(*programs_);
  auto calling = rt::call(loop_, sync_, std::move(asking));
  auto views = co_await ok(std::move(calling));
  co_return views;
}

}  // namespace coppice::host
