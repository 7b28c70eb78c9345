// host/rpc.h — the objects that clients talk to.
//
// Theory. An object holds who calls (its connection's peer), the pool and an id, never a pointer
// into a pool: what it named may be gone by the next call, and then the call is refused. Every
// method starts a task that owns all it needs, for the object may die with its connection while the
// task is under way. Only an Export that is not pinned does something when it dies: it ends what it
// stands for.
#pragma once

#include <string>

#include "cap/server.h"
#include "host/daemon.h"
#include "host/holders.h"
#include "host/running_programs.h"
#include "host/wire.h"
#include "schema/coppice.capnp.h"

namespace coppice::host {

struct Caller {
  Daemon* daemon;
  std::string who;                      // For the history: "uid=0, pid=17".
  const cap::Server* server = nullptr;  // For `status`; null in tests.
};

schema::Host::Client make_host(Caller caller);
schema::Pool::Client make_pool(Caller caller, Ref<OpenPool> pool);
schema::Dataset::Client make_dataset(Caller caller, Ref<OpenPool> pool, pool::DatasetId id);
schema::Snapshot::Client make_snapshot(Caller caller, Ref<OpenPool> pool, pool::SnapshotId id);
schema::Export::Client make_export(Caller caller, Ref<OpenPool> pool, ExportId id, bool pinned);
schema::Cursor::Client make_cursor(Caller caller, Ref<OpenPool> pool,
                                   std::unique_ptr<ListWalk> walk);

// Pool.startProgram.
using StartProgramContext =
    capnp::CallContext<schema::Pool::StartProgramParams, schema::Answer<schema::Program>>;
kj::Promise<void> start_program(Caller& caller, const Ref<OpenPool>& pool,
                                StartProgramContext context);
Task<Attempt<>> kill_program(Daemon& daemon, channel::ProgramId id, std::string why);
void write(schema::ProgramInfo::Builder to, const channel::ProgramView& view, u64 now_ns);

inline constexpr size_t kCursorsMax = 64;  // Of the daemon.
size_t open_cursors();

// The report of a pool with what only the main thread knows.
void write(schema::PoolStatus::Builder to, const OpenPool& pool, const PoolReport& report);

// Runs the task and writes its value with `fill(results, value)`, or the refusal.
template <class Context, class T, class Fill>
kj::Promise<void> reply(Daemon& daemon, Context context, Task<Attempt<T>> task, Fill fill) {
  return daemon.loop()
      .start(std::move(task))
      .then([context = kj::mv(context), fill = kj::mv(fill)](Result<Attempt<T>> result) mutable {
        auto results = context.getResults();
        if (!result)
          cap::write_refusal(results.initRefusal(), result.error());
        else if (!*result)
          write_refusal(results.initRefusal(), result->error());
        else if constexpr (std::is_void_v<T>)
          fill(results);
        else
          fill(results, **std::move(result));
      });
}

// As reply(), for work on the sync lane of a pool. `make(site)` makes the task; it is not made for
// a pool that is closed.
template <class Context, class Make, class Fill>
kj::Promise<void> reply_from(Caller& caller, const Ref<OpenPool>& pool, Context context, Make make,
                             Fill fill) {
  if (!pool->site) {
    write_refusal(context.getResults().initRefusal(),
                  {ENOENT, "the pool " + pool->name + " is closed: open it again", {}});
    return kj::READY_NOW;
  }
  auto task = caller.daemon->in_pool(pool, make(*pool->site));
  return reply(*caller.daemon, kj::mv(context), std::move(task), kj::mv(fill));
}

// For methods that answer Done.
inline constexpr auto done = [](auto& results, auto&&...) { results.initValue(); };

template <class Context>
kj::Promise<void> reply_kill(Caller& caller, channel::ProgramId id, std::string why,
                             Context context) {
  return reply(*caller.daemon, kj::mv(context), kill_program(*caller.daemon, id, std::move(why)),
               done);
}

// Runs a verb on a target, and answers Done.
template <class Context>
kj::Promise<void> reply_verb(Caller& caller, const Ref<OpenPool>& pool, Context context,
                             verb::Target target, verb::Invocation invocation) {
  invocation.caller = caller.who;
  return reply_from(
      caller, pool, kj::mv(context),
      [&](Site& site) { return apply_to(site, std::move(target), std::move(invocation)); }, done);
}

}  // namespace coppice::host
