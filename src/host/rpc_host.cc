// host/rpc_host.cc — the bootstrap object: opens pools and tells of the daemon as a whole.
#include <fmt/format.h>

#include "host/rpc_link.h"
#include "host/status.h"

namespace coppice::host {
namespace {

class HostServer final : public schema::Host::Server {
 public:
  explicit HostServer(Caller caller) : caller_(std::move(caller)) {}

  kj::Promise<void> version(VersionContext context) override {
    context.getResults().setVersion(daemon().settings().version);
    context.getResults().setProtocol(schema::PROTOCOL_VERSION);
    return kj::READY_NOW;
  }

  kj::Promise<void> openPool(OpenPoolContext context) override {
    auto params = context.getParams();
    return cap::take_descriptor(params.getFile())
        .then([this, context](Result<cap::Fd> file) mutable {
          return open_pool(context, std::move(file));
        });
  }

  kj::Promise<void> createPool(CreatePoolContext context) override {
    auto params = context.getParams();
    return cap::take_descriptor(params.getFile())
        .then([this, context](Result<cap::Fd> file) mutable {
          return create_pool(context, std::move(file));
        });
  }

  kj::Promise<void> pools(PoolsContext context) override {
    return reply(daemon(), context, report_pools(daemon()),
                 [caller = caller_](auto& results, std::vector<PoolEntry> entries) {
                   auto list = results.initValue(static_cast<u32>(entries.size()));
                   for (u32 i = 0; i < list.size(); ++i) {
                     list[i].setPool(make_pool(caller, entries[i].pool));
                     write(list[i].initStatus(), *entries[i].pool, entries[i].report);
                   }
                 });
  }

  kj::Promise<void> pool(PoolContext context) override {
    const std::string name = read_text(context.getParams().getName());
    auto results = context.getResults();
    if (auto found = daemon().find(name))
      results.setValue(make_pool(caller_, found));
    else
      write_refusal(
          results.initRefusal(),
          {ENOENT,
           fmt::format("cannot open '{}': no such pool is open (see coppice pool open)", name),
           {}});
    return kj::READY_NOW;
  }

  kj::Promise<void> status(StatusContext context) override {
    const size_t connections = caller_.server != nullptr ? caller_.server->connections() : 1;
    return reply(
        daemon(), context, report_daemon(daemon()),
        [connections](auto& results, DaemonReport report) {
          auto to = results.initValue();
          write(to, report);
          to.setControlConnections(static_cast<u32>(connections));
          to.setControlConnectionsMax(static_cast<u32>(cap::ServerLimits().connections_max));
        });
  }

  kj::Promise<void> exports(ExportsContext context) override {
    return reply(daemon(), context, report_exports(daemon()),
                 [](auto& results, std::vector<ExportView> views) {
                   auto list = results.initValue(static_cast<u32>(views.size()));
                   for (u32 i = 0; i < list.size(); ++i) write(list[i], views[i]);
                 });
  }

  kj::Promise<void> properties(PropertiesContext context) override {
    const auto all = verb::properties();
    auto list = context.getResults().initValue(static_cast<u32>(all.size()));
    for (u32 i = 0; i < list.size(); ++i) write(list[i], all[i]);
    return kj::READY_NOW;
  }

  kj::Promise<void> verbs(VerbsContext context) override {
    const auto all = verb::table();
    auto list = context.getResults().initValue(static_cast<u32>(all.size()));
    for (u32 i = 0; i < list.size(); ++i) write(list[i], all[i]);
    return kj::READY_NOW;
  }

  kj::Promise<void> killProgram(KillProgramContext context) override {
    return reply_kill(caller_, context.getParams().getId(), "killed by " + caller_.who, context);
  }

  kj::Promise<void> attach(AttachContext context) override {
    return reply(daemon(), context, attach_programs(caller_, {}, {}, context.getParams().getSpec()),
                 [caller = caller_](auto& results, Attachment attached) {
                   write(results.initValue(), caller, std::move(attached));
                 });
  }
  kj::Promise<void> links(LinksContext context) override { return reply_links(caller_, context); }
  kj::Promise<void> link(LinkContext context) override { return reply_link(caller_, context); }
  kj::Promise<void> adoptLink(AdoptLinkContext context) override {
    return reply_adopt(caller_, context);
  }
  kj::Promise<void> maps(MapsContext context) override { return reply_maps(caller_, context); }
  kj::Promise<void> map(MapContext context) override { return reply_map(caller_, context); }

  kj::Promise<void> tracepoints(TracepointsContext context) override {
    write(context.getResults().initValue(trace::kPoints));
    return kj::READY_NOW;
  }
  kj::Promise<void> types(TypesContext context) override {
    write(context.getResults().initValue());
    return kj::READY_NOW;
  }

 private:
  Daemon& daemon() { return *caller_.daemon; }

  kj::Promise<void> open_pool(OpenPoolContext context, Result<cap::Fd> file) {
    if (!file) {
      cap::write_refusal(context.getResults().initRefusal(), file.error());
      return kj::READY_NOW;
    }
    OpenRequest request;
    request.file = *std::move(file);
    request.name = read_text(context.getParams().getName());
    request.read_only = context.getParams().getReadOnly();
    return answer(context, daemon().open_pool(std::move(request)));
  }

  kj::Promise<void> create_pool(CreatePoolContext context, Result<cap::Fd> file) {
    if (!file) {
      cap::write_refusal(context.getResults().initRefusal(), file.error());
      return kj::READY_NOW;
    }
    Daemon::CreateRequest request;
    request.file = *std::move(file);
    request.name = read_text(context.getParams().getName());
    request.force = context.getParams().getForce();
    return answer(context, daemon().create_pool(std::move(request)));
  }

  template <class Context>
  kj::Promise<void> answer(Context context, Task<Attempt<Ref<OpenPool>>> task) {
    return reply(daemon(), context, std::move(task),
                 [caller = caller_](auto& results, Ref<OpenPool> pool) {
                   results.setValue(make_pool(caller, std::move(pool)));
                 });
  }

  Caller caller_;
};

}  // namespace

schema::Host::Client make_host(Caller caller) { return kj::heap<HostServer>(std::move(caller)); }

}  // namespace coppice::host
