// host/rpc_program.cc — Program objects: a channel program that lives as long as somebody holds it.
#include <fmt/format.h>

#include <cstring>

#include "host/rpc.h"

namespace coppice::host {
namespace {

void write_value(schema::Value::Builder to, const message::Value& value);

void write_list(capnp::List<schema::Value>::Builder to, const message::List& list) {
  for (u32 i = 0; i < to.size(); ++i) write_value(to[i], list[i]);
}

void write_record(capnp::List<schema::Field>::Builder to, const message::Record& record) {
  for (u32 i = 0; i < to.size(); ++i) {
    to[i].setName(record[i].first);
    write_value(to[i].initValue(), record[i].second);
  }
}

void write_value(schema::Value::Builder to, const message::Value& value) {
  if (const bool* flag = std::get_if<bool>(&value.data)) {
    to.setFlag(*flag);
  } else if (const i64* integer = std::get_if<i64>(&value.data)) {
    to.setInteger(*integer);
  } else if (const double* real = std::get_if<double>(&value.data)) {
    to.setReal(*real);
  } else if (const auto* text = std::get_if<std::string>(&value.data)) {
    to.setText(*text);
  } else if (const auto* list = std::get_if<message::List>(&value.data)) {
    write_list(to.initList(static_cast<u32>(list->size())), *list);
  } else if (const auto* record = std::get_if<message::Record>(&value.data)) {
    write_record(to.initRecord(static_cast<u32>(record->size())), *record);
  } else {
    to.setNull();
  }
}

void write_result(schema::ProgramResult::Builder to, const channel::Outcome& outcome) {
  const char* name = outcome.error == 0 ? "" : strerrorname_np(outcome.error);
  to.setErrno(outcome.error);
  to.setErrnoName(name != nullptr ? name : "");
  to.setMessage(outcome.message);
  to.setTraceback(outcome.traceback);
  write_value(to.initValue(), outcome.value);
  to.setInstructions(outcome.instructions);
  to.setMemoryPeakBytes(outcome.memory_peak_bytes);
  to.setVerbs(outcome.verbs);
  to.setElapsedNs(outcome.elapsed_ns);
  to.setTxg(raw(outcome.txg));
}

class ProgramServer final : public schema::Program::Server {
 public:
  ProgramServer(Caller caller, Ref<ProgramRun> run)
      : caller_(std::move(caller)), run_(std::move(run)) {}
  // Nobody holds it any more: the client let it go, or died.
  ~ProgramServer() noexcept {
    if (!run_->ended) end("nobody waits for it any more");
  }

  kj::Promise<void> wait(WaitContext context) override {
    context.allowCancellation();  // Else a client that died while it waits would hold the program.
    return KJ_ASSERT_NONNULL(run_->done).addBranch().then([run = run_, context]() mutable {
      auto results = context.getResults();
      if (!run->result)
        cap::write_refusal(results.initRefusal(), run->result.error());
      else if (!*run->result)
        write_refusal(results.initRefusal(), run->result->error());
      else
        write_result(results.initValue(), **run->result);
    });
  }

  kj::Promise<void> kill(KillContext context) override {
    return reply_kill(caller_, run_->id, "its client asked for its end", context);
  }

  kj::Promise<void> info(InfoContext context) override {
    return reply(
        *caller_.daemon, context, find(*caller_.daemon, run_->id),
        [now = caller_.daemon->programs().now_ns()](auto& results, channel::ProgramView view) {
          write(results.initValue(), view, now);
        });
  }

 private:
  static Task<Attempt<channel::ProgramView>> find(Daemon& daemon, channel::ProgramId id) {
    auto views = co_await ok(daemon.programs().views());
    for (auto& view : views)
      if (view.id == id) co_return std::move(view);
    co_return refused(ENOENT, fmt::format("program {} has ended", id));
  }
  void end(std::string why) {
    auto killed =
        caller_.daemon->loop().start(caller_.daemon->programs().kill(run_->id, std::move(why)));
    (void)killed;  // The task belongs to the loop.
  }

  Caller caller_;
  Ref<ProgramRun> run_;
};

}  // namespace

void write(schema::ProgramInfo::Builder to, const channel::ProgramView& view, u64 now_ns) {
  to.setId(view.id);
  to.setPool(view.pool);
  to.setName(view.name);
  to.setCaller(view.caller);
  to.setState(static_cast<schema::ProgramInfo::State>(view.state));
  to.setReadOnly(!view.sync);
  to.setVerbs(view.verbs);
  to.setElapsedNs(now_ns > view.started_ns ? now_ns - view.started_ns : 0);
  to.setInterpreterPid(view.pid);
}
static_assert(static_cast<int>(schema::ProgramInfo::State::COMMITTING) ==
              static_cast<int>(channel::ProgramView::State::committing));

Task<Attempt<>> kill_program(Daemon& daemon, channel::ProgramId id, std::string why) {
  const bool killed = co_await ok(daemon.programs().kill(id, std::move(why)));
  if (!killed)
    co_return refused(ENOENT, fmt::format("cannot end program {}: there is none (see coppice "
                                          "status)",
                                          id));
  co_return Attempt<>{};
}

kj::Promise<void> start_program(Caller& caller, const Ref<OpenPool>& pool,
                                StartProgramContext context) {
  const auto spec = context.getParams().getSpec();
  channel::Program program;
  program.name = read_text(spec.getName());
  const auto source = spec.getSource();
  program.source.assign(source.asChars().begin(), source.size());
  program.arguments = read_texts(spec.getArguments());
  program.sync = !spec.getReadOnly();
  program.instructions_max = spec.getInstructionsMax();
  program.memory_bytes_max = spec.getMemoryBytesMax();
  program.caller = caller.who;
  Daemon& daemon = *caller.daemon;
  std::unique_ptr<RemoteObserver> observer;
  if (spec.hasObserver() && (spec.getTraces() || spec.getDecides()))
    observer = std::make_unique<RemoteObserver>(
        daemon.loop(), daemon.lanes().sync(), spec.getObserver(),
        RemoteObserver::Wishes{.traces = spec.getTraces(), .decides = spec.getDecides()});
  return reply(daemon, context,
               daemon.programs().start(daemon, pool, std::move(program), std::move(observer)),
               [caller](auto& results, Ref<ProgramRun> run) {
                 results.setValue(kj::heap<ProgramServer>(caller, std::move(run)));
               });
}

}  // namespace coppice::host
