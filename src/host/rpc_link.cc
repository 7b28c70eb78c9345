// host/rpc_link.cc — Link objects: programs on hook points.
#include <fmt/format.h>

#include <algorithm>

#include "hook/host_types.h"
#include "host/live_types.h"
#include "host/rpc_link.h"

namespace coppice::host {
namespace {

using hook::LinkId;

schema::Tier wire_tier(hook::Tier tier) {
  return tier == hook::Tier::stable ? schema::Tier::STABLE : schema::Tier::INTERNAL;
}

// --- Orders -------------------------------------------------------------------------------------

hook::Loader::Order read_order(schema::ObjectSpec::Reader from) {
  const auto bytes = from.getObject();
  const auto* data = reinterpret_cast<const std::byte*>(bytes.begin());
  return {.object = std::make_shared<const std::vector<std::byte>>(data, data + bytes.size()),
          .settings = read_settings(from.getSettings()),
          .programs = {}};
}

AttachOrder::Program read_place(schema::ProgramPlace::Reader from) {
  AttachOrder::Program program;
  program.name = read_text(from.getProgram());
  const auto position = from.getPosition();
  using Where = hook::Place::Where;
  if (position.isFirst()) program.place = {Where::first, 0};
  if (position.isBefore()) program.place = {Where::before, position.getBefore()};
  if (position.isAfter()) program.place = {Where::after, position.getAfter()};
  read_options(from.getOptions(), program);
  return program;
}

Task<Attempt<Hooks::Replaced>> find_replaced(Hooks& hooks, LinkId id, std::string function) {
  co_return Result<Attempt<Hooks::Replaced>>(hooks.replaceable(id, std::move(function)));
}

Task<Attempt<LinkTable>> replace_there(Hooks& hooks, AttachOrder order) {
  auto id = hooks.attach_replacement(order);
  if (!id) co_return refused(id.error());
  std::vector<LinkView> views{*hooks.view(*id)};
  co_return Attempt<LinkTable>(
      LinkTable{.views = std::move(views), .revision = hooks.table().revision(), .statistics = {}});
}

Task<Attempt<LinkTable>> attach_there(Daemon& daemon, Site* site, pool::DatasetId dataset,
                                      AttachOrder order, std::string pin) {
  Hooks& hooks = daemon.hooks();
  if (!pin.empty() && site == nullptr)
    co_return refused(EINVAL, "cannot pin: a pool keeps pinned links; attach it to the pool");
  if (pin.empty() && order.programs.size() == 1 && order.programs[0].options.replaces != 0) {
    auto replacing = replace_there(hooks, std::move(order));
    auto replaced = co_await std::move(replacing);
    co_return replaced;
  }
  auto attaching = pin.empty() ? hooks.attach(site, dataset, std::move(order))
                               : daemon.pins().attach(*site, dataset, std::move(order), pin);
  auto ids = co_await ok(std::move(attaching));
  if (!ids) co_return refused(ids.error());
  std::vector<LinkView> views;
  for (const LinkId id : *ids)
    if (auto view = hooks.view(id)) views.push_back(*std::move(view));
  co_return Attempt<LinkTable>(
      LinkTable{.views = std::move(views), .revision = hooks.table().revision(), .statistics = {}});
}

struct AttachWishes {
  hook::Loader::Order object;
  AttachOrder order;
  std::string pin;
};

// `pool` null: to the daemon.
Task<Attempt<Attachment>> attach(Daemon& daemon, Ref<OpenPool> pool, pool::DatasetId dataset,
                                 AttachWishes wishes) {
  Hooks& hooks = daemon.hooks();
  const bool replaces = std::ranges::any_of(
      wishes.order.programs, [](const auto& each) { return each.options.replaces != 0; });
  if (replaces && wishes.order.programs.size() != 1)
    co_return refused(EINVAL, "cannot attach: one program replaces a function at a time");
  for (const auto& each : wishes.order.programs)
    if (!each.name.empty()) wishes.object.programs.push_back(each.name);
  if (replaces) {
    const auto& options = wishes.order.programs[0].options;
    auto finding = on_sync(daemon, find_replaced(hooks, options.replaces, options.function));
    auto replaced = co_await ok(std::move(finding));
    if (!replaced) co_return refused(replaced.error());
    auto loading =
        hooks.load_replacement(daemon.loop(), std::move(wishes.object), *std::move(replaced));
    auto loaded = co_await ok(std::move(loading));
    if (!loaded) co_return refused(loaded.error());
    wishes.order.instance = *std::move(loaded);
    wishes.order.programs[0].name = wishes.order.instance->programs.back().name;
  } else {
    auto loading = hooks.load(daemon.loop(), std::move(wishes.object));
    auto loaded = co_await ok(std::move(loading));
    if (!loaded) co_return refused(loaded.error());
    wishes.order.instance = *std::move(loaded);
  }
  if (wishes.order.programs.size() == 1 && wishes.order.programs[0].name.empty() &&
      wishes.order.instance->programs.size() == 1)
    wishes.order.programs[0].name = wishes.order.instance->programs[0].name;
  Site* site = pool ? pool->site.get() : nullptr;
  if (pool && site == nullptr)
    co_return refused(ENOENT, "the pool " + pool->name + " is closed: open it again");
  auto attaching = attach_there(daemon, site, dataset, std::move(wishes.order), wishes.pin);
  auto running =
      pool ? daemon.in_pool(pool, std::move(attaching)) : on_sync(daemon, std::move(attaching));
  auto table = co_await ok(std::move(running));
  if (!table) co_return refused(table.error());
  Attachment attached;
  std::vector<LinkId> ids;
  for (const auto& view : table->views) ids.push_back(view.link->id);
  attached.views = std::move(table->views);
  attached.revision = table->revision;
  if (!wishes.pin.empty()) co_return Attempt<Attachment>(std::move(attached));
  auto handle = daemon.holders().make_handle(std::move(ids));
  if (!handle) co_return refused(handle.error());
  attached.handle = *std::move(handle);
  co_return Attempt<Attachment>(std::move(attached));
}

// --- Links --------------------------------------------------------------------------------------

class LinkServer final : public schema::Link::Server {
 public:
  LinkServer(Caller caller, const LinkView& view)
      : caller_(std::move(caller)), id_(view.link->id), last_(view) {
    // What is remembered of a link must not keep it.
    auto memory = std::make_shared<hook::Link>(*view.link);
    memory->redirects.clear();
    memory->bound.reset();
    memory->state = hook::LinkState::detached;
    last_.link = std::move(memory);
    holders().hold(id_);
  }
  ~LinkServer() noexcept { holders().let_go(id_); }

  kj::Promise<void> info(InfoContext context) override {
    return reply(daemon(), context, on_sync(daemon(), look(daemon().hooks(), id_, last_)),
                 [&holders = holders()](auto& results, const LinkView& view) {
                   write(results.initValue(), view, holders);
                 });
  }

  kj::Promise<void> update(UpdateContext context) override {
    const auto params = context.getParams();
    auto object = read_order(params.getObject());
    std::string program = read_text(params.getProgram());
    if (!program.empty()) object.programs = {program};
    return reply(daemon(), context,
                 update_link(daemon(), id_, std::move(object), std::move(program),
                             read_text(params.getExpected()), caller_.who),
                 [&holders = holders()](auto& results, const LinkView& view) {
                   write(results.initValue(), view, holders);
                 });
  }

  kj::Promise<void> detach(DetachContext context) override {
    return reply(daemon(), context, on_sync(daemon(), daemon().pins().detach(id_, caller_.who)),
                 done);
  }

  kj::Promise<void> pin(PinContext context) override {
    std::string name = read_text(context.getParams().getName());
    return reply(daemon(), context,
                 on_sync(daemon(), daemon().pins().pin(id_, std::move(name), caller_.who)), done);
  }

  kj::Promise<void> unpin(UnpinContext context) override {
    return reply(daemon(), context, unpin_link(daemon(), id_, caller_.who),
                 [](auto& results, cap::Fd handle) {
                   results.setValue(kj::heap<Carrier<schema::LinkHandle>>(std::move(handle)));
                 });
  }

  kj::Promise<void> handle(HandleContext context) override {
    auto handle = holders().make_handle({id_});
    if (handle) {
      context.getResults().setValue(kj::heap<Carrier<schema::LinkHandle>>(*std::move(handle)));
    } else {
      cap::write_refusal(context.getResults().initRefusal(), handle.error());
    }
    return kj::READY_NOW;
  }

  kj::Promise<void> maps(MapsContext context) override {
    return reply(daemon(), context, on_sync(daemon(), list_maps(daemon().hooks())),
                 [id = id_, caller = caller_](auto& results, std::vector<MapView> views) {
                   std::erase_if(views, [id](const MapView& view) {
                     return std::ranges::find(view.links, id) == view.links.end();
                   });
                   write_maps(results.initValue(static_cast<u32>(views.size())), caller, views);
                 });
  }

 private:
  Daemon& daemon() { return *caller_.daemon; }
  Holders& holders() { return caller_.daemon->holders(); }

  static Task<Attempt<LinkView>> look(Hooks& hooks, LinkId id, LinkView last) {
    if (auto view = hooks.view(id)) co_return Attempt<LinkView>(*std::move(view));
    co_return Attempt<LinkView>(std::move(last));
  }
  static Task<Attempt<LinkView>> replace_there(Daemon& daemon, LinkId id,
                                               std::shared_ptr<const hook::Instance> instance,
                                               std::string program, std::string expected,
                                               std::string caller) {
    auto updating = daemon.pins().update(id, std::move(instance), std::move(program),
                                         std::move(expected), std::move(caller));
    auto updated = co_await ok(std::move(updating));
    if (!updated) co_return refused(updated.error());
    auto view = daemon.hooks().view(id);
    if (!view) co_return refused(ENOLINK, "the link was detached meanwhile");
    co_return Attempt<LinkView>(*std::move(view));
  }
  // Whoever asked holds it from now on.
  static Task<Attempt<cap::Fd>> unpin_link(Daemon& daemon, LinkId id, std::string caller) {
    auto handle = daemon.holders().make_handle({id});
    if (!handle) co_return refused(handle.error());
    auto unpinning = on_sync(daemon, daemon.pins().unpin(id, std::move(caller)));
    auto unpinned = co_await ok(std::move(unpinning));
    if (!unpinned) co_return refused(unpinned.error());
    co_return Attempt<cap::Fd>(*std::move(handle));
  }
  static Task<Attempt<LinkView>> update_link(Daemon& daemon, LinkId id, hook::Loader::Order object,
                                             std::string program, std::string expected,
                                             std::string caller) {
    auto loading = daemon.hooks().load(daemon.loop(), std::move(object));
    auto loaded = co_await ok(std::move(loading));
    if (!loaded) co_return refused(loaded.error());
    auto replacing = replace_there(daemon, id, *std::move(loaded), std::move(program),
                                   std::move(expected), std::move(caller));
    auto view = co_await on_sync(daemon, std::move(replacing));
    co_return view;
  }

  Caller caller_;
  LinkId id_;
  LinkView last_;  // For when it is no more.
};

void write_entries(capnp::List<schema::LinkEntry>::Builder to, const Caller& caller,
                   const std::vector<LinkView>& views) {
  for (u32 i = 0; i < to.size(); ++i) {
    to[i].setLink(kj::heap<LinkServer>(caller, views[i]));
    write(to[i].initInfo(), views[i], caller.daemon->holders());
  }
}

Task<Attempt<LinkView>> find_link(Hooks& hooks, LinkId id) {
  auto view = hooks.view(id);
  if (!view) co_return refused(ENOENT, fmt::format("there is no link {}", id));
  co_return Attempt<LinkView>(*std::move(view));
}

Task<Attempt<LinkTable>> list_links(Hooks& hooks) {
  co_return Attempt<LinkTable>(LinkTable{.views = hooks.links(),
                                         .revision = hooks.table().revision(),
                                         .statistics = hooks.table().statistics()});
}

Task<Attempt<std::shared_ptr<const hook::Instance>>> load_and_name(Daemon& daemon,
                                                                   Ref<OpenPool> pool,
                                                                   hook::Loader::Order order,
                                                                   std::string name,
                                                                   std::string caller) {
  auto loading = daemon.hooks().load(daemon.loop(), std::move(order));
  auto loaded = co_await ok(std::move(loading));
  if (!loaded) co_return refused(loaded.error());
  if (!pool->site) co_return refused(ENOENT, "the pool " + pool->name + " is closed");
  auto instance = *std::move(loaded);
  auto naming = daemon.in_pool(
      pool, daemon.pins().load(*pool->site, instance, std::move(name), std::move(caller)));
  auto named = co_await ok(std::move(naming));
  if (!named) co_return refused(named.error());
  co_return Attempt<std::shared_ptr<const hook::Instance>>(std::move(instance));
}

// The objects are loaded one after the other: all before anything is changed.
Task<Attempt<SetReport>> load_and_apply(Daemon& daemon, Ref<OpenPool> pool,
                                        std::vector<hook::Loader::Order> objects, SetOrder order) {
  for (auto& object : objects) {
    auto loading = daemon.hooks().load(daemon.loop(), std::move(object));
    auto loaded = co_await ok(std::move(loading));
    if (!loaded) co_return refused(loaded.error());
    order.objects.push_back(*std::move(loaded));
  }
  for (PointOrder& point : order.points)
    for (auto& entry : point.links) {
      if (entry.program.options.replaces != 0)
        co_return refused(ENOTSUP, fmt::format("cannot apply: '{}' replaces a function, and a set "
                                               "is of whole programs: attach it by itself",
                                               entry.name));
      if (entry.object >= order.objects.size())
        co_return refused(EINVAL, "cannot apply: a link names an object that is not in the set");
      const auto& programs = order.objects[entry.object]->programs;
      if (entry.program.name.empty() && programs.size() == 1) entry.program.name = programs[0].name;
    }
  if (!pool->site) co_return refused(ENOENT, "the pool " + pool->name + " is closed");
  auto applying = daemon.in_pool(pool, daemon.pins().apply_set(*pool->site, std::move(order)));
  auto applied = co_await std::move(applying);
  co_return applied;
}

}  // namespace

kj::Promise<void> reply_load(const Caller& caller, Ref<OpenPool> pool, LoadObjectContext context) {
  const auto params = context.getParams();
  Daemon& daemon = *caller.daemon;
  return reply(daemon, context,
               load_and_name(daemon, std::move(pool), read_order(params.getObject()),
                             read_text(params.getName()), caller.who),
               [](auto& results, const std::shared_ptr<const hook::Instance>& instance) {
                 auto to = results.initValue();
                 to.setHash(instance->hash);
                 auto list = to.initPrograms(static_cast<u32>(instance->programs.size()));
                 for (u32 i = 0; i < list.size(); ++i) {
                   const hook::LoadedProgram& program = instance->programs[i];
                   list[i].setName(program.name);
                   list[i].setHook(program.point->name);
                   list[i].setTier(wire_tier(program.tier));
                   list[i].setInstructionsMax(program.instructions_max);
                 }
               });
}

kj::Promise<void> reply_apply(const Caller& caller, Ref<OpenPool> pool, ApplyLinksContext context) {
  const auto params = context.getParams();
  std::vector<hook::Loader::Order> objects;
  for (const auto object : params.getSet().getObjects()) objects.push_back(read_order(object));
  SetOrder order;
  order.revision = params.getRevision();
  order.dry_run = params.getDryRun();
  order.caller = caller.who;
  for (const auto point : params.getSet().getPoints()) {
    PointOrder wanted{
        .target = read_text(point.getTarget()), .hook = read_text(point.getHook()), .links = {}};
    for (const auto link : point.getLinks()) {
      PointOrder::Entry entry{
          .name = read_text(link.getName()), .object = link.getObject(), .program = {}};
      entry.program.name = read_text(link.getProgram());
      read_options(link.getOptions(), entry.program);
      wanted.links.push_back(std::move(entry));
    }
    order.points.push_back(std::move(wanted));
  }
  Daemon& daemon = *caller.daemon;
  return reply(daemon, context,
               load_and_apply(daemon, std::move(pool), std::move(objects), std::move(order)),
               [](auto& results, const SetReport& report) {
                 auto to = results.initValue();
                 to.setRevision(report.revision);
                 const auto put = [](auto list, const std::vector<std::string>& names) {
                   write_texts(list, names);
                 };
                 put(to.initAttached(static_cast<u32>(report.attached.size())), report.attached);
                 put(to.initReplaced(static_cast<u32>(report.replaced.size())), report.replaced);
                 put(to.initDetached(static_cast<u32>(report.detached.size())), report.detached);
                 put(to.initKept(static_cast<u32>(report.kept.size())), report.kept);
               });
}

void read_options(schema::LinkOptions::Reader from, AttachOrder::Program& to) {
  to.goes_on = read_texts(from.getGoOn());
  to.redirects = read_texts(from.getRedirects());
  to.options.on_error = from.getOnError() == schema::LinkOptions::ErrorPolicy::DENY
                            ? hook::ErrorPolicy::deny
                            : hook::ErrorPolicy::pass;
  to.options.interval_ns = from.getIntervalNs();
  to.options.replaces = from.getReplaces();
  to.options.function = read_text(from.getFunction());
}

void write(schema::LinkInfo::Builder to, const LinkView& view, const Holders& holders) {
  const hook::Link& link = *view.link;
  to.setId(link.id);
  to.setName(link.name);
  to.setHook(link.point.type->name);
  to.setTarget(view.target);
  to.setProgram(link.program);
  to.setAuthor(link.author);
  to.setState(static_cast<schema::LinkInfo::State>(link.state));
  to.setProblem(link.problem);
  const hook::Counts counts = link.counters->sum();
  to.setRuns(counts.runs);
  to.setRunNs(counts.run_ns);
  to.setDrops(counts.drops);
  to.setErrors(counts.errors);
  to.setDenials(counts.denials);
  to.setPosition(view.position);
  to.setCreatedS(link.created_s);
  to.setHolders(holders.count(link.id));
  auto options = to.initOptions();
  const auto& results = link.point.type->results;
  const hook::Results goes_on =
      link.options.goes_on != 0 ? link.options.goes_on : link.point.type->goes_on;
  std::vector<std::string> names;
  for (size_t i = 0; i < results.size(); ++i)
    if ((goes_on >> i & 1) != 0) names.push_back(results[i]);
  write_texts(options.initGoOn(static_cast<u32>(names.size())), names);
  options.setOnError(link.options.on_error == hook::ErrorPolicy::deny
                         ? schema::LinkOptions::ErrorPolicy::DENY
                         : schema::LinkOptions::ErrorPolicy::PASS);
  write_texts(options.initRedirects(static_cast<u32>(view.redirects.size())), view.redirects);
  options.setIntervalNs(link.options.interval_ns);
  options.setReplaces(link.options.replaces);
  options.setFunction(link.options.function);
  if (!link.instance) return;
  to.setHash(link.instance->hash);
  auto settings = to.initSettings(static_cast<u32>(link.instance->settings.size()));
  u32 at = 0;
  for (const auto& [name, value] : link.instance->settings) {
    settings[at].setName(name);
    settings[at++].setValue(value);
  }
  const hook::LoadedProgram* program = link.instance->find(link.program);
  if (program == nullptr) return;
  to.setTier(wire_tier(program->tier));
  to.setInstructionsMax(program->instructions_max);
  to.setMachineCode(program->native != nullptr);
}
static_assert(static_cast<int>(schema::LinkInfo::State::BROKEN) ==
              static_cast<int>(hook::LinkState::broken));

Task<Attempt<Attachment>> attach_programs(const Caller& caller, Ref<OpenPool> pool,
                                          pool::DatasetId dataset,
                                          schema::AttachSpec::Reader spec) {
  AttachWishes wishes;
  wishes.object = read_order(spec.getObject());
  for (const auto each : spec.getPrograms()) wishes.order.programs.push_back(read_place(each));
  wishes.order.tier_min =
      spec.getMinTier() == schema::Tier::STABLE ? hook::Tier::stable : hook::Tier::internal;
  wishes.order.revision = spec.getRevision();
  wishes.order.author = caller.who;
  wishes.pin = read_text(spec.getPin());
  return attach(*caller.daemon, std::move(pool), dataset, std::move(wishes));
}

void write(schema::Attached::Builder to, const Caller& caller, Attachment attached) {
  write_entries(to.initLinks(static_cast<u32>(attached.views.size())), caller, attached.views);
  to.setRevision(attached.revision);
  if (attached.handle)
    to.setHandle(kj::heap<Carrier<schema::LinkHandle>>(std::move(attached.handle)));
}

kj::Promise<void> reply_links(const Caller& caller, LinksContext context) {
  Daemon& daemon = *caller.daemon;
  return reply(daemon, context, on_sync(daemon, list_links(daemon.hooks())),
               [caller](auto& results, const LinkTable& table) {
                 auto to = results.initValue();
                 to.setRevision(table.revision);
                 to.setSwaps(table.statistics.swaps);
                 to.setQuiescenceNsLast(table.statistics.quiescence_ns_last);
                 to.setQuiescenceNsMax(table.statistics.quiescence_ns_max);
                 write_entries(to.initLinks(static_cast<u32>(table.views.size())), caller,
                               table.views);
               });
}

kj::Promise<void> reply_link(const Caller& caller, LinkContext context) {
  Daemon& daemon = *caller.daemon;
  return reply(daemon, context,
               on_sync(daemon, find_link(daemon.hooks(), context.getParams().getId())),
               [caller](auto& results, const LinkView& view) {
                 results.setValue(kj::heap<LinkServer>(caller, view));
               });
}

kj::Promise<void> reply_adopt(const Caller& caller, AdoptLinkContext context) {
  return cap::take_descriptor(context.getParams().getHandle())
      .then([caller, context](Result<cap::Fd> fd) mutable -> kj::Promise<void> {
        Daemon& daemon = *caller.daemon;
        const auto ids = fd ? daemon.holders().links_of(*fd) : std::vector<LinkId>{};
        if (ids.empty()) {
          write_refusal(context.getResults().initRefusal(),
                        {EINVAL, "the descriptor is no handle of a link of this daemon", {}});
          return kj::READY_NOW;
        }
        return reply(daemon, context, on_sync(daemon, find_link(daemon.hooks(), ids.front())),
                     [caller](auto& results, const LinkView& view) {
                       results.setValue(kj::heap<LinkServer>(caller, view));
                     });
      });
}

void write(capnp::List<schema::TracepointInfo>::Builder to) {
  const auto all = trace::points();
  for (u32 i = 0; i < to.size(); ++i) {
    const trace::PointInfo& info = all[i];
    to[i].setName(std::string(info.name));
    to[i].setTier(wire_tier(info.tier));
    to[i].setView(std::string(info.arguments));
    to[i].setBytes(info.bytes);
    to[i].setPrograms(trace::programs(static_cast<trace::Point>(i)));
  }
}

void write(schema::HostTypes::Builder to) {
  const std::vector<std::byte> btf = live_types();
  to.setBtf({reinterpret_cast<const kj::byte*>(btf.data()), btf.size()});
  to.setBuildId(hook::build_id());
}

}  // namespace coppice::host
