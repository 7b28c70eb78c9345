// host/rpc_pool.cc — Pool and Cursor objects.
#include <fmt/format.h>

#include "host/rpc_link.h"
#include "host/status.h"

namespace coppice::host {
namespace {

size_t g_cursors = 0;  // Of the main thread.

// Keeps the list alive while a page of it is being made, whatever becomes of the object.
struct CursorState : Counted {
  CursorState(Ref<OpenPool> p, std::unique_ptr<ListWalk> w)
      : pool(std::move(p)), walk(std::move(w)) {
    ++g_cursors;
  }
  ~CursorState() { --g_cursors; }
  Ref<OpenPool> pool;
  std::unique_ptr<ListWalk> walk;
  bool busy = false;
};

Task<Attempt<std::vector<ListRow>>> next_page(Daemon& daemon, Ref<CursorState> state,
                                              u32 count_max) {
  if (state->busy) co_return refused(EBUSY, "the last page of this list is still being made");
  state->busy = true;
  auto page = daemon.in_pool(state->pool, state->walk->next(count_max));
  auto rows = co_await std::move(page);
  state->busy = false;
  co_return rows;
}

class CursorServer final : public schema::Cursor::Server {
 public:
  CursorServer(Caller caller, Ref<CursorState> state)
      : caller_(std::move(caller)), state_(std::move(state)) {}

  kj::Promise<void> next(NextContext context) override {
    const u32 count_max = context.getParams().getCountMax();
    return reply(*caller_.daemon, context, next_page(*caller_.daemon, state_, count_max),
                 [](auto& results, std::vector<ListRow> rows) {
                   auto list = results.initValue(static_cast<u32>(rows.size()));
                   for (u32 i = 0; i < list.size(); ++i) {
                     list[i].setName(rows[i].name);
                     list[i].setType(type_of(rows[i].kind));
                     auto values = list[i].initValues(static_cast<u32>(rows[i].values.size()));
                     for (u32 j = 0; j < values.size(); ++j) write(values[j], rows[i].values[j]);
                   }
                 });
  }

 private:
  Caller caller_;
  Ref<CursorState> state_;
};

struct StatusWriter {
  Ref<OpenPool> pool;
  template <class Results>
  void operator()(Results& results, const PoolReport& report) {
    write(results.initValue(), *pool, report);
  }
};

class PoolServer final : public schema::Pool::Server {
 public:
  PoolServer(Caller caller, Ref<OpenPool> pool)
      : caller_(std::move(caller)), pool_(std::move(pool)) {}

  kj::Promise<void> status(StatusContext context) override {
    return from(context, [](Site& site) { return report_pool(site); }, StatusWriter{pool_});
  }

  kj::Promise<void> dataset(DatasetContext context) override {
    return from(
        context,
        [name = read_text(context.getParams().getName())](Site& site) {
          return find_target(site, name);
        },
        [caller = caller_, pool = pool_](auto& results, verb::Target target) {
          if (target.is_dataset())
            results.setValue(make_dataset(caller, pool, target.dataset));
          else
            write_refusal(results.initRefusal(),
                          {EINVAL, "that is no dataset: ask for a snapshot", {}});
        });
  }

  kj::Promise<void> snapshot(SnapshotContext context) override {
    return from(
        context,
        [name = read_text(context.getParams().getName())](Site& site) {
          return find_target(site, name);
        },
        [caller = caller_, pool = pool_](auto& results, verb::Target target) {
          if (raw(target.snapshot) != 0)
            results.setValue(make_snapshot(caller, pool, target.snapshot));
          else
            write_refusal(results.initRefusal(),
                          {EINVAL, "that is no snapshot: name one as NAME@SNAPSHOT", {}});
        });
  }

  kj::Promise<void> list(ListContext context) override {
    if (g_cursors >= kCursorsMax) {
      write_refusal(
          context.getResults().initRefusal(),
          {E2BIG, fmt::format("{} lists are under way, which is the limit", kCursorsMax), {}});
      return kj::READY_NOW;
    }
    const auto from_client = context.getParams().getQuery();
    ListQuery query{.roots = read_texts(from_client.getRoots()),
                    .recursive = from_client.getRecursive(),
                    .depth_max = from_client.getDepthMax(),
                    .kinds = read_kinds(from_client.getTypes()),
                    .properties = read_texts(from_client.getProperties())};
    return from(
        context, [&](Site& site) { return begin_list(site, std::move(query)); },
        [caller = caller_, pool = pool_](auto& results, std::unique_ptr<ListWalk> walk) {
          results.setValue(make_cursor(caller, pool, std::move(walk)));
        });
  }

  kj::Promise<void> invoke(InvokeContext context) override {
    const auto params = context.getParams();
    auto arguments = read_arguments(params.getArguments());
    if (!arguments) {
      write_refusal(context.getResults().initRefusal(), arguments.error());
      return kj::READY_NOW;
    }
    auto invocation = verb_of(read_text(params.getVerb()));
    invocation.arguments = *std::move(arguments);
    invocation.dry_run = params.getDryRun();
    return from(
        context, [&](Site& site) { return apply(site, std::move(invocation)); },
        [](auto& results, const Applied& applied) { write(results.initValue(), applied); });
  }

  kj::Promise<void> invokeMany(InvokeManyContext context) override {
    const auto params = context.getParams();
    std::vector<verb::Invocation> invocations;
    for (const auto each : params.getInvocations()) {
      auto arguments = read_arguments(each.getArguments());
      if (!arguments) {
        write_refusal(context.getResults().initRefusal(), arguments.error());
        return kj::READY_NOW;
      }
      invocations.push_back(verb_of(read_text(each.getVerb())));
      invocations.back().arguments = *std::move(arguments);
      invocations.back().dry_run = params.getDryRun();
    }
    return from(
        context, [&](Site& site) { return apply_many(site, std::move(invocations)); },
        [](auto& results, const Applied& applied) { write(results.initValue(), applied); });
  }

  kj::Promise<void> loadObject(LoadObjectContext context) override {
    return reply_load(caller_, pool_, context);
  }
  kj::Promise<void> applyLinks(ApplyLinksContext context) override {
    return reply_apply(caller_, pool_, context);
  }

  kj::Promise<void> startProgram(StartProgramContext context) override {
    return start_program(caller_, pool_, context);
  }

  kj::Promise<void> create(CreateContext context) override {
    const auto params = context.getParams();
    auto invocation = verb_of("create");
    const std::string name = read_text(params.getName());
    invocation.arguments.emplace("name", name);
    if (params.getVolsize() != 0) invocation.arguments.emplace("size", u64{params.getVolsize()});
    invocation.arguments.emplace("properties", read_settings(params.getProperties()));
    invocation.arguments.emplace("parents", params.getParents());
    return from(
        context, [&](Site& site) { return apply_and_find(site, std::move(invocation), name); },
        [caller = caller_, pool = pool_](auto& results, verb::Target target) {
          results.setValue(make_dataset(caller, pool, target.dataset));
        });
  }

  kj::Promise<void> snapshotMany(SnapshotManyContext context) override {
    const auto params = context.getParams();
    auto invocation = verb_of("snapshot");
    invocation.arguments.emplace("names", read_texts(params.getNames()));
    invocation.arguments.emplace("recursive", params.getRecursive());
    invocation.arguments.emplace("properties", read_settings(params.getProperties()));
    return from(context, [&](Site& site) { return apply(site, std::move(invocation)); }, done);
  }

  kj::Promise<void> history(HistoryContext context) override {
    const u64 sequence = context.getParams().getFrom();
    const u32 count_max = context.getParams().getCountMax();
    return from(
        context, [=](Site& site) { return read_history(site, sequence, count_max); },
        [](auto& results, const std::vector<pool::HistoryRecord>& records) {
          auto list = results.initValue(static_cast<u32>(records.size()));
          for (u32 i = 0; i < list.size(); ++i) write(list[i], records[i]);
        });
  }

  kj::Promise<void> startScrub(StartScrubContext context) override {
    return scrub(context, ScrubOrder::start);
  }
  kj::Promise<void> pauseScrub(PauseScrubContext context) override {
    return scrub(context, ScrubOrder::pause);
  }
  kj::Promise<void> cancelScrub(CancelScrubContext context) override {
    return scrub(context, ScrubOrder::cancel);
  }
  kj::Promise<void> scrubStatus(ScrubStatusContext context) override {
    return from(
        context, [](Site& site) { return scrub_status(site); },
        [](auto& results, const pool::ScrubStatus& status) { write(results.initValue(), status); });
  }

  kj::Promise<void> sync(SyncContext context) override {
    return from(context, [](Site& site) { return sync_pool(site); }, done);
  }

  kj::Promise<void> grow(GrowContext context) override {
    return from(
        context,
        [this](Site& site) { return grow_pool(site, pool_->file.get(), caller_.daemon->lanes()); },
        StatusWriter{pool_});
  }

  kj::Promise<void> close(CloseContext context) override {
    return reply(*caller_.daemon, context,
                 caller_.daemon->close_pool(pool_, context.getParams().getForce()), done);
  }

  kj::Promise<void> check(CheckContext context) override {
    return from(
        context, [](Site& site) { return check_pool(site); },
        [](auto& results, const std::vector<std::string>& contradictions) {
          write_texts(results.initValue(static_cast<u32>(contradictions.size())), contradictions);
        });
  }

 private:
  template <class Context, class Make, class Fill>
  kj::Promise<void> from(Context context, Make make, Fill fill) {
    return reply_from(caller_, pool_, kj::mv(context), kj::mv(make), kj::mv(fill));
  }
  template <class Context>
  kj::Promise<void> scrub(Context context, ScrubOrder order) {
    return from(context, [order](Site& site) { return order_scrub(site, order); }, done);
  }
  verb::Invocation verb_of(std::string verb) {
    verb::Invocation invocation;
    invocation.verb = std::move(verb);
    invocation.caller = caller_.who;
    return invocation;
  }

  Caller caller_;
  Ref<OpenPool> pool_;
};

}  // namespace

schema::Pool::Client make_pool(Caller caller, Ref<OpenPool> pool) {
  return kj::heap<PoolServer>(std::move(caller), std::move(pool));
}

schema::Cursor::Client make_cursor(Caller caller, Ref<OpenPool> pool,
                                   std::unique_ptr<ListWalk> walk) {
  Ref<CursorState> state(new CursorState(std::move(pool), std::move(walk)));
  return kj::heap<CursorServer>(std::move(caller), std::move(state));
}

size_t open_cursors() { return g_cursors; }

}  // namespace coppice::host
