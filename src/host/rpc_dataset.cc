// host/rpc_dataset.cc — Dataset and Snapshot objects.
#include "host/rpc_link.h"

namespace coppice::host {
namespace {

// What the two have in common.
class TargetObject {
 public:
  TargetObject(Caller caller, Ref<OpenPool> pool, verb::Target target)
      : caller_(std::move(caller)), pool_(std::move(pool)), target_(std::move(target)) {}

 protected:
  template <class Context, class Make, class Fill>
  kj::Promise<void> from(Context context, Make make, Fill fill) {
    return reply_from(caller_, pool_, kj::mv(context), kj::mv(make), kj::mv(fill));
  }
  template <class Context>
  kj::Promise<void> act(Context context, verb::Invocation invocation) {
    return reply_verb(caller_, pool_, kj::mv(context), target_, std::move(invocation));
  }
  static verb::Invocation verb_of(std::string verb) {
    verb::Invocation invocation;
    invocation.verb = std::move(verb);
    return invocation;
  }

  template <class Context>
  kj::Promise<void> info_of(Context context) {
    return from(
        context, [this](Site& site) { return report_target(site, target_); },
        [](auto& results, const TargetReport& report) { write(results.initValue(), report); });
  }

  template <class Context>
  kj::Promise<void> get_of(Context context) {
    auto names = read_texts(context.getParams().getProperties());
    return from(
        context, [&](Site& site) { return read_properties(site, target_, std::move(names)); },
        [](auto& results, const std::vector<NamedValue>& values) {
          auto list = results.initValue(static_cast<u32>(values.size()));
          for (u32 i = 0; i < list.size(); ++i) write(list[i], values[i]);
        });
  }

  template <class Context>
  kj::Promise<void> set_of(Context context) {
    auto invocation = verb_of("set");
    invocation.arguments.emplace("properties", read_settings(context.getParams().getProperties()));
    return act(context, std::move(invocation));
  }

  template <class Context>
  kj::Promise<void> inherit_of(Context context) {
    auto invocation = verb_of("inherit");
    invocation.arguments.emplace("property", read_text(context.getParams().getProperty()));
    invocation.arguments.emplace("recursive", context.getParams().getRecursive());
    return act(context, std::move(invocation));
  }

  template <class Context>
  kj::Promise<void> destroy_by(Context context, verb::Invocation invocation) {
    invocation.caller = caller_.who;
    invocation.dry_run = context.getParams().getDryRun();
    return from(
        context, [&](Site& site) { return apply_to(site, target_, std::move(invocation)); },
        [](auto& results, const Applied& applied) { write(results.initValue(), applied); });
  }

  template <class Context>
  kj::Promise<void> export_of(Context context) {
    if (!context.getParams().hasSocket()) return export_on(context, cap::Fd());
    return cap::take_descriptor(context.getParams().getSocket())
        .then([caller = caller_, pool = pool_, target = target_,
               context](Result<cap::Fd> socket) mutable {
          if (socket)
            return TargetObject(caller, pool, target).export_on(context, *std::move(socket));
          cap::write_refusal(context.getResults().initRefusal(), socket.error());
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  template <class Context>
  kj::Promise<void> export_on(Context context, cap::Fd socket) {
    ExportOrder order;
    order.spec = read_spec(context.getParams().getSpec());
    order.pinned = context.getParams().getPinned();
    order.socket = std::move(socket);
    const bool pinned = order.pinned;
    return from(
        context,
        [&](Site& site) { return export_target(site, target_, std::move(order), caller_.who); },
        [caller = caller_, pool = pool_, pinned](auto& results, ExportId id) {
          results.setValue(make_export(caller, pool, id, pinned));
        });
  }

  template <class Context>
  kj::Promise<void> unexport_of(Context context) {
    UnexportOrder order{.address = read_text(context.getParams().getAddress()),
                        .force = context.getParams().getForce()};
    return from(
        context,
        [&](Site& site) { return unexport_target(site, target_, std::move(order), caller_.who); },
        [](auto& results, const StopReport& report) { write(results.initValue(), report); });
  }

  Caller caller_;
  Ref<OpenPool> pool_;
  verb::Target target_;
};

class DatasetServer final : public schema::Dataset::Server, private TargetObject {
 public:
  DatasetServer(Caller caller, Ref<OpenPool> pool, pool::DatasetId id)
      : TargetObject(std::move(caller), std::move(pool), {.dataset = id, .bookmark = ""}) {}

  kj::Promise<void> info(InfoContext context) override { return info_of(context); }
  kj::Promise<void> get(GetContext context) override { return get_of(context); }
  kj::Promise<void> set(SetContext context) override { return set_of(context); }
  kj::Promise<void> inherit(InheritContext context) override { return inherit_of(context); }
  kj::Promise<void> export_(ExportContext context) override { return export_of(context); }
  kj::Promise<void> unexport(UnexportContext context) override { return unexport_of(context); }

  kj::Promise<void> attach(AttachContext context) override {
    return reply(*caller_.daemon, context,
                 attach_programs(caller_, pool_, target_.dataset, context.getParams().getSpec()),
                 [caller = caller_](auto& results, Attachment attached) {
                   write(results.initValue(), caller, std::move(attached));
                 });
  }

  kj::Promise<void> destroy(DestroyContext context) override {
    auto invocation = verb_of("destroy");
    invocation.arguments.emplace("recursive", context.getParams().getRecursive());
    invocation.arguments.emplace("clones", context.getParams().getDependents());
    return destroy_by(context, std::move(invocation));
  }

  kj::Promise<void> rename(RenameContext context) override {
    auto invocation = verb_of("rename");
    invocation.arguments.emplace("new_name", read_text(context.getParams().getName()));
    invocation.arguments.emplace("parents", context.getParams().getParents());
    return act(context, std::move(invocation));
  }

  kj::Promise<void> resize(ResizeContext context) override {
    auto invocation = verb_of("resize");
    invocation.arguments.emplace("size", u64{context.getParams().getVolsize()});
    return act(context, std::move(invocation));
  }

  kj::Promise<void> promote(PromoteContext context) override {
    return act(context, verb_of("promote"));
  }

  kj::Promise<void> snapshot(SnapshotContext context) override {
    const auto params = context.getParams();
    auto invocation = verb_of("snapshot");
    invocation.caller = caller_.who;
    invocation.arguments.emplace("recursive", params.getRecursive());
    invocation.arguments.emplace("properties", read_settings(params.getProperties()));
    return from(
        context,
        [&](Site& site) {
          return take_snapshot(site, target_, read_text(params.getName()), std::move(invocation));
        },
        [caller = caller_, pool = pool_](auto& results, verb::Target target) {
          results.setValue(make_snapshot(caller, pool, target.snapshot));
        });
  }

  kj::Promise<void> stats(StatsContext context) override {
    return from(
        context, [this](Site& site) { return report_volume(site, target_); },
        [](auto& results, const pool::VolumeStats& stats) { write(results.initValue(), stats); });
  }
};

class SnapshotServer final : public schema::Snapshot::Server, private TargetObject {
 public:
  SnapshotServer(Caller caller, Ref<OpenPool> pool, pool::SnapshotId id)
      : TargetObject(std::move(caller), std::move(pool), {.snapshot = id, .bookmark = ""}) {}

  kj::Promise<void> info(InfoContext context) override { return info_of(context); }
  kj::Promise<void> get(GetContext context) override { return get_of(context); }
  kj::Promise<void> set(SetContext context) override { return set_of(context); }
  kj::Promise<void> inherit(InheritContext context) override { return inherit_of(context); }
  kj::Promise<void> export_(ExportContext context) override { return export_of(context); }
  kj::Promise<void> unexport(UnexportContext context) override { return unexport_of(context); }

  kj::Promise<void> destroy(DestroyContext context) override {
    auto invocation = verb_of("destroy");
    invocation.arguments.emplace("defer", context.getParams().getDeferred());
    invocation.arguments.emplace("recursive", context.getParams().getRecursive());
    return destroy_by(context, std::move(invocation));
  }

  kj::Promise<void> rename(RenameContext context) override {
    auto invocation = verb_of("rename");
    invocation.arguments.emplace("new_name", "@" + read_text(context.getParams().getName()));
    invocation.arguments.emplace("recursive", context.getParams().getRecursive());
    return act(context, std::move(invocation));
  }

  kj::Promise<void> clone(CloneContext context) override {
    const auto params = context.getParams();
    auto invocation = verb_of("clone");
    invocation.caller = caller_.who;
    const std::string name = read_text(params.getName());
    invocation.arguments.emplace("name", name);
    invocation.arguments.emplace("properties", read_settings(params.getProperties()));
    invocation.arguments.emplace("parents", params.getParents());
    return from(
        context,
        [&](Site& site) { return apply_to_and_find(site, target_, std::move(invocation), name); },
        [caller = caller_, pool = pool_](auto& results, verb::Target target) {
          results.setValue(make_dataset(caller, pool, target.dataset));
        });
  }

  kj::Promise<void> rollback(RollbackContext context) override {
    auto invocation = verb_of("rollback");
    invocation.arguments.emplace("recursive", context.getParams().getDestroyYounger());
    return act(context, std::move(invocation));
  }

  kj::Promise<void> bookmark(BookmarkContext context) override {
    auto invocation = verb_of("bookmark");
    invocation.arguments.emplace("name", "#" + read_text(context.getParams().getName()));
    return act(context, std::move(invocation));
  }

  kj::Promise<void> hold(HoldContext context) override { return tag(context, "hold"); }
  kj::Promise<void> release(ReleaseContext context) override { return tag(context, "release"); }

  kj::Promise<void> holds(HoldsContext context) override {
    return from(
        context, [this](Site& site) { return read_holds(site, target_); },
        [](auto& results, const std::vector<Hold>& holds) {
          auto list = results.initValue(static_cast<u32>(holds.size()));
          for (u32 i = 0; i < list.size(); ++i) {
            list[i].setTag(holds[i].first);
            list[i].setTimeS(holds[i].second);
          }
        });
  }

 private:
  template <class Context>
  kj::Promise<void> tag(Context context, const char* verb) {
    auto invocation = verb_of(verb);
    invocation.arguments.emplace("tag", read_text(context.getParams().getTag()));
    invocation.arguments.emplace("recursive", context.getParams().getRecursive());
    return act(context, std::move(invocation));
  }
};

// --- Export
// ----------------------------------------------------------------------------------------

Task<> let_go(Daemon& daemon, Ref<OpenPool> pool, ExportId id) {
  if (!pool->site) co_return {};
  auto dropping = daemon.in_pool(pool, drop_export(*pool->site, id));
  auto dropped = co_await std::move(dropping);
  if (!dropped) daemon.log("ending an export: " + describe(dropped.error()));
  co_return {};
}

class ExportServer final : public schema::Export::Server {
 public:
  ExportServer(Caller caller, Ref<OpenPool> pool, ExportId id, bool pinned)
      : caller_(std::move(caller)), pool_(std::move(pool)), id_(id), pinned_(pinned) {}
  ~ExportServer() noexcept(false) {
    if (!pinned_)
      caller_.daemon->loop().start(let_go(*caller_.daemon, pool_, id_)).detach([](auto&&) {});
  }

  kj::Promise<void> info(InfoContext context) override {
    return reply_from(
        caller_, pool_, context, [this](Site& site) { return report_export(site, id_); },
        [](auto& results, const ExportView& view) { write(results.initValue(), view); });
  }

  kj::Promise<void> unexport(UnexportContext context) override {
    const bool force = context.getParams().getForce();
    return reply_from(
        caller_, pool_, context,
        [&](Site& site) { return host::unexport(site, id_, force, caller_.who); },
        [](auto& results, const StopReport& report) { write(results.initValue(), report); });
  }

 private:
  Caller caller_;
  Ref<OpenPool> pool_;
  ExportId id_;
  bool pinned_;
};

}  // namespace

schema::Dataset::Client make_dataset(Caller caller, Ref<OpenPool> pool, pool::DatasetId id) {
  return kj::heap<DatasetServer>(std::move(caller), std::move(pool), id);
}
schema::Snapshot::Client make_snapshot(Caller caller, Ref<OpenPool> pool, pool::SnapshotId id) {
  return kj::heap<SnapshotServer>(std::move(caller), std::move(pool), id);
}
schema::Export::Client make_export(Caller caller, Ref<OpenPool> pool, ExportId id, bool pinned) {
  return kj::heap<ExportServer>(std::move(caller), std::move(pool), id, pinned);
}

}  // namespace coppice::host
