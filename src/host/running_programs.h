// host/running_programs.h — channel programs under way, as the main thread knows them.
//
// Theory. A program runs on the sync lane (channel::Programs); whoever asked for it, and may watch
// it, is a client of the main thread. A ProgramRun joins the two. It is listed from the moment it
// has an id until it has ended, so that it can be killed in between: by its client, by the client's
// death, by an operator, by the closing of its pool. A client that watches and does not answer
// would hold the program, and with it the pool's turn: killing takes its observer away first.
#pragma once

#include <kj/async.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ref.h"
#include "channel/programs.h"
#include "host/daemon.h"
#include "host/refusal.h"
#include "schema/coppice.capnp.h"

namespace coppice::host {

// The client's observer, asked from the sync lane. Made and destroyed on the main thread.
class RemoteObserver final : public channel::Observer {
 public:
  struct Wishes {
    bool traces = false;
    bool decides = false;
  };
  RemoteObserver(cap::Loop& loop, rt::Executor& sync, schema::ProgramObserver::Client client,
                 Wishes wishes)
      : loop_(loop), sync_(sync), client_(kj::mv(client)), wishes_(wishes) {}

  ~RemoteObserver() noexcept override {}  // NOLINT: the client's destructor says it may throw.

  bool traces() const override { return wishes_.traces; }
  bool decides() const override { return wishes_.decides; }
  Task<> saw(channel::VerbEvent event) override;
  Task<bool> agree(std::string effects) override;
  void abandon();  // Main thread: what waits for an answer gets none, and agrees to nothing.

 private:
  struct Question;
  Task<bool> tell(channel::VerbEvent event);
  Task<bool> ask(std::string effects);
  Task<bool> answer_to(kj::Promise<bool> answer);

  cap::Loop& loop_;
  rt::Executor& sync_;
  schema::ProgramObserver::Client client_;
  Wishes wishes_;
  Question* asked_ = nullptr;  // Main thread, like the rest.
  bool abandoned_ = false;
};

struct ProgramRun : Counted {
  ~ProgramRun() noexcept {}  // NOLINT: as above.
  channel::ProgramId id = 0;
  Ref<OpenPool> pool;
  std::unique_ptr<RemoteObserver> observer;  // Null: nobody watches.
  bool ended = false;
  Result<Attempt<channel::Outcome>> result = fail(Errc::again, "run a program");
  kj::Maybe<kj::ForkedPromise<void>> done;
};

class RunningPrograms {
 public:
  RunningPrograms(cap::Loop& loop, rt::Executor& sync) : loop_(loop), sync_(sync) {}
  ~RunningPrograms() { CHECK(runs_.empty()); }

  // From then on programs can run. Until then they are refused with `why_not`.
  void use(channel::Programs& programs) { programs_ = &programs; }
  void refuse(std::string why_not) { why_not_ = std::move(why_not); }

  // Starts it; the run's promise is fulfilled once it has ended.
  Task<Attempt<Ref<ProgramRun>>> start(Daemon& daemon, Ref<OpenPool> pool, channel::Program program,
                                       std::unique_ptr<RemoteObserver> observer);
  Task<bool> kill(channel::ProgramId id, std::string why);  // False: there is none.
  Task<> kill_all(Ref<OpenPool> pool, std::string why);
  size_t running_in(const OpenPool& pool) const;
  Task<std::vector<channel::ProgramView>> views();
  u64 now_ns() const { return sync_.now_ns(); }

 private:
  Task<> run(Daemon& daemon, Ref<ProgramRun> run, channel::Program program);

  cap::Loop& loop_;
  rt::Executor& sync_;
  channel::Programs* programs_ = nullptr;
  std::string why_not_ = "this daemon runs no programs";
  std::map<channel::ProgramId, Ref<ProgramRun>> runs_;
};

}  // namespace coppice::host
