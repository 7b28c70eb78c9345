#include "host/hooks.h"

#include <coppice/bpf/views.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cap/loop.h"
#include "hook/host_types.h"
#include "host/live_types.h"
#include "host/site.h"
#include "trace/fire.h"
#include "verb/properties.h"

namespace coppice::host {
namespace {

constexpr int kLoadingNice = 5;
constexpr u64 kRevisionsASecond = 1'000'000;  // So that those of a later process are larger.

using LoadedInstance = hook::Loaded<std::shared_ptr<const hook::Instance>>;

// What the loader says, in the words of the host.
Result<Attempt<std::shared_ptr<const hook::Instance>>> answer_of(LoadedInstance loaded) {
  if (loaded) return Attempt<std::shared_ptr<const hook::Instance>>(*std::move(loaded));
  auto& refusal = loaded.error();
  return refused({.error = refusal.error,
                  .message = std::move(refusal.message),
                  .details = std::move(refusal.details)});
}

// --- On the loader's thread ---

Task<Attempt<std::shared_ptr<const hook::Instance>>> load_there(hook::Loader& loader,
                                                                hook::Loader::Order order) {
  co_return answer_of(loader.load(order));
}

Task<Attempt<std::shared_ptr<const hook::Instance>>> load_replacement_there(
    hook::Loader& loader, hook::Loader::Order order, Hooks::Replaced replaced) {
  co_return answer_of(loader.load_replacement(
      order,
      {.target = *replaced.target, .program = replaced.program, .function = replaced.function}));
}

std::unexpected<verb::Refusal> refuse(int error, std::string message) {
  return std::unexpected(verb::Refusal{error, std::move(message), {}});
}

std::string dataset_name(const Site& site, pool::DatasetId dataset) {
  const pool::Catalog& catalog = site.pool().catalog();
  return catalog.dataset(dataset) != nullptr ? pool::full_name(catalog, dataset) : "";
}

}  // namespace

// A volume that requests of others go to.
class Hooks::Volume final : public hook::Redirect {
 public:
  Volume(rt::Executor& sync, std::unique_ptr<pool::Pool::Handle> handle)
      : sync_(sync), handle_(std::move(handle)) {}
  // A generation may end on any lane; the handle is the sync lane's.
  ~Volume() override { sync_.post(*new Return(std::move(handle_))); }
  blk::Device& device() override { return handle_->device(); }

 private:
  struct Return : rt::Job {
    std::unique_ptr<pool::Pool::Handle> handle;
    explicit Return(std::unique_ptr<pool::Pool::Handle> h) : handle(std::move(h)) {
      run = [](rt::Job& job) { delete &static_cast<Return&>(job); };
    }
  };
  rt::Executor& sync_;
  std::unique_ptr<pool::Pool::Handle> handle_;
};

Hooks::Hooks(cap::Loop& loop, Lanes& lanes, std::string jit, std::function<void(std::string)> log)
    : loop_(loop), io_(lanes), log_(std::move(log)), compiler_({.helper = std::move(jit)}) {
  auto types = hook::Types::make(live_types());
  CHECK(types.has_value());  // They are part of this program.
  types_ = *std::move(types);
  admin_ = types_->of_section("admin");
  connect_ = types_->of_section("export.connect");
  auto reactor = io::Reactor::create({.name = "loader", .nice = kLoadingNice});
  CHECK(reactor.has_value());
  loading_ = *std::move(reactor);
  loading_->start();

  const auto add = [&](rt::Executor& executor) {
    const u32 slot = static_cast<u32>(lanes_.size());
    lanes_.push_back(std::make_unique<hook::Lane>(
        executor, dispatch_, slot,
        [this](std::string_view line) { log_(fmt::format("program: {}", line)); }));
    return lanes_.back().get();
  };
  add(lanes.sync());
  for (size_t i = 0; i < lanes.io_count(); ++i) lanes.io(i).hooks = add(*lanes.io(i).reactor);
  add(loop);
  loader_ = std::make_unique<hook::Loader>(*types_, compiler_, static_cast<u32>(lanes_.size()),
                                           hook::build_id());
  std::vector<hook::Lane*> all;
  for (const auto& lane : lanes_) all.push_back(lane.get());
  table_ = std::make_unique<hook::Table>(std::move(all), dispatch_, *this,
                                         loop.wall_ns() / 1'000'000'000 * kRevisionsASecond);
  timers_ = std::make_unique<hook::Timers>(*table_, *types_->of_section("timer"));
  bindings_.resize(lanes_.size());
  for (size_t i = 0; i < lanes_.size(); ++i) {
    bindings_[i].lane = lanes_[i].get();
    bindings_[i].run = [](rt::Job& job) { static_cast<Binding&>(job).lane->bind_thread(); };
    lanes_[i]->executor().post(bindings_[i]);
  }
  trace::set_sink(&sink_);
}

Hooks::~Hooks() { CHECK(table_ == nullptr); }

namespace {
Task<> unbind_thread() {
  hook::Lane::unbind_thread();
  co_return {};
}
}  // namespace

// On the sync lane.
Task<> Hooks::unbind() {
  co_await ok(timers_->close());
  trace::set_sink(nullptr);
  co_await ok(table_->close());
  for (const auto& lane : lanes_) {
    auto unbinding = unbind_thread();
    co_await ok(rt::call(io_.sync(), lane->executor(), std::move(unbinding)));
  }
  co_return {};
}

Task<> Hooks::close() {
  auto unbinding = unbind();
  co_await ok(rt::call(loop_, io_.sync(), std::move(unbinding)));
  table_.reset();
  co_return {};
}

Task<Attempt<std::shared_ptr<const hook::Instance>>> Hooks::load(rt::Executor& home,
                                                                 hook::Loader::Order order) {
  auto loading = load_there(*loader_, std::move(order));
  auto loaded = co_await rt::call(home, *loading_, std::move(loading));
  co_return loaded;
}

Task<Attempt<std::shared_ptr<const hook::Instance>>> Hooks::load_replacement(
    rt::Executor& home, hook::Loader::Order order, Replaced replaced) {
  auto loading = load_replacement_there(*loader_, std::move(order), std::move(replaced));
  auto loaded = co_await rt::call(home, *loading_, std::move(loading));
  co_return loaded;
}

// --- Sync lane ----------------------------------------------------------------------------------

void Hooks::add(Site& site) { sites_.emplace(site.guid(), &site); }

void Hooks::remove(Site& site) {
  std::vector<hook::LinkId> ids;
  for (const auto& [point, list] : table_->points())
    if (point.target.pool == site.guid())
      for (const auto& link : *list) ids.push_back(link->id);
  detach(ids);
  sites_.erase(site.guid());
}

Site* Hooks::find_site(u64 guid) const {
  const auto found = sites_.find(guid);
  return found == sites_.end() ? nullptr : found->second;
}

std::vector<hook::Target> Hooks::path_of(const hook::Target& dataset) const {
  const Site* site = find_site(dataset.pool);
  if (site == nullptr) return {};
  const pool::Catalog& catalog = site->pool().catalog();
  std::vector<hook::Target> path;
  for (auto id = pool::DatasetId{dataset.dataset}; raw(id) != 0;) {
    const pool::Dataset* each = catalog.dataset(id);
    if (each == nullptr) return {};
    path.push_back({.pool = dataset.pool, .dataset = raw(id)});
    id = each->parent;
  }
  std::ranges::reverse(path);
  return path;
}

Task<Attempt<std::shared_ptr<hook::Redirect>>> Hooks::open_redirect(Site& site,
                                                                    pool::DatasetId volume) {
  auto& known = redirects_[{.pool = site.guid(), .dataset = raw(volume)}];
  if (auto there = known.lock()) co_return Attempt<std::shared_ptr<hook::Redirect>>(there);
  auto opening = site.pool().open_volume(volume);
  auto handle = co_await std::move(opening);
  if (!handle) co_return refused(handle.error());
  std::shared_ptr<hook::Redirect> opened = std::make_shared<Volume>(io_.sync(), *std::move(handle));
  redirects_[{.pool = site.guid(), .dataset = raw(volume)}] = opened;
  std::erase_if(redirects_, [](const auto& each) { return each.second.expired(); });
  co_return Attempt<std::shared_ptr<hook::Redirect>>(opened);
}

Task<Attempt<hook::Link>> Hooks::make_link(Site* site, pool::DatasetId dataset,
                                           const AttachOrder& order,
                                           const AttachOrder::Program& program) {
  const hook::LoadedProgram* loaded = order.instance->find(program.name);
  if (loaded == nullptr)
    co_return refused(ENOENT, fmt::format("the object has no program '{}'", program.name));
  if (loaded->tier < order.tier_min)
    co_return refused(
        EPERM, fmt::format("the program '{}' is of tier {}, and {} is demanded", program.name,
                           hook::name_of(loaded->tier), hook::name_of(order.tier_min)));
  hook::Link link;
  link.point.type = loaded->point;
  if (site != nullptr) link.point.target = {.pool = site->guid(), .dataset = raw(dataset)};
  const bool root = site != nullptr && site->pool().catalog().root() == dataset;
  if (loaded->point->of_daemon() ? site != nullptr && !root : site == nullptr)
    co_return refused(EINVAL, loaded->point->of_daemon()
                                  ? fmt::format("{} belongs to a pool as a whole, or to the daemon",
                                                loaded->point->name)
                                  : fmt::format("{} belongs to a dataset", loaded->point->name));
  if (loaded->point->hook == hook::Hook::timer &&
      program.options.interval_ns < hook::kTimerIntervalNsMin)
    co_return refused(EINVAL, "a timer needs an interval of a millisecond at least");
  link.program = program.name;
  link.instance = order.instance;
  link.options = program.options;
  for (const std::string& name : program.goes_on) {
    const auto& results = loaded->point->results;
    const auto result = std::ranges::find(results, name);
    if (result == results.end())
      co_return refused(EINVAL, fmt::format("{} has no result '{}': it has {}", loaded->point->name,
                                            name, fmt::join(results, ", ")));
    link.options.goes_on |= hook::Results{1} << (result - results.begin());
  }
  link.author = order.author;
  link.created_s = io_.sync().wall_ns() / 1'000'000'000;
  link.counters = std::make_shared<hook::Counters>(table_->slots());
  if (program.redirects.size() > hook::kRedirectsMax)
    co_return refused(E2BIG, fmt::format("a link has at most {} redirects", hook::kRedirectsMax));
  for (const std::string& name : program.redirects) {
    if (site == nullptr) co_return refused(EINVAL, "a link of the daemon's redirects nothing");
    const auto target = verb::find_target(site->pool().catalog(), name);
    if (!target || !target->is_dataset() ||
        verb::kind_of(site->pool().catalog(), *target) != verb::kVolume)
      co_return refused(ENOENT, fmt::format("there is no volume {} to redirect to", name));
    auto opening = open_redirect(*site, target->dataset);
    auto opened = co_await ok(std::move(opening));
    if (!opened) co_return refused(opened.error());
    link.options.redirects.push_back(raw(target->dataset));
    link.redirects.push_back(*std::move(opened));
  }
  link.id = table_->next_id();
  co_return Attempt<hook::Link>(std::move(link));
}

Attempt<> Hooks::publish(hook::Draft draft, std::string_view what) {
  auto published = table_->publish(std::move(draft));
  if (!published)
    return refuse(published.error().error,
                  fmt::format("cannot {}: {}", what, published.error().message));
  timers_->look();
  return {};
}

Task<Attempt<std::vector<hook::LinkId>>> Hooks::attach(Site* site, pool::DatasetId dataset,
                                                       AttachOrder order) {
  if (order.programs.empty())
    for (const auto& each : order.instance->programs) order.programs.push_back({.name = each.name});
  std::vector<hook::Link> links;
  for (const auto& program : order.programs) {
    auto making = make_link(site, dataset, order, program);
    auto made = co_await ok(std::move(making));
    if (!made) co_return refused(made.error());
    links.push_back(*std::move(made));
  }
  if (site != nullptr && site->pool().catalog().dataset(dataset) == nullptr)
    co_return refused(ENOENT, "cannot attach: the dataset was destroyed");
  if (order.revision != 0 && order.revision != table_->revision())
    co_return refused(ESTALE, fmt::format("cannot attach: links were changed meanwhile (revision "
                                          "{}, not {}): look again and repeat",
                                          table_->revision(), order.revision));
  hook::Draft draft = table_->draft();
  std::vector<hook::LinkId> ids;
  for (size_t i = 0; i < links.size(); ++i) {
    ids.push_back(links[i].id);
    auto added = draft.add(links[i], order.programs[i].place);
    if (!added) co_return refused(added.error().error, "cannot attach: " + added.error().message);
  }
  auto published = publish(std::move(draft), "attach");
  if (!published) co_return refused(published.error());
  for (const hook::Link& link : links) tell(link, COPPICE_LINK_ATTACHED);
  co_return Attempt<std::vector<hook::LinkId>>(std::move(ids));
}

Attempt<Hooks::Replaced> Hooks::replaceable(hook::LinkId id, std::string function) const {
  const auto target = table_->find(id);
  if (!target || !target->instance)
    return refuse(ENOLINK, fmt::format("cannot replace '{}': there is no such link", function));
  if (target->options.replaces != 0)
    return refuse(EINVAL, fmt::format("cannot replace '{}': link {} replaces a function itself",
                                      function, id));
  if (target->patched)
    return refuse(EBUSY,
                  fmt::format("cannot replace '{}': another link replaces a function of link "
                              "{}: detach it first",
                              function, id));
  return Replaced{
      .target = target->instance, .program = target->program, .function = std::move(function)};
}

Attempt<hook::LinkId> Hooks::attach_replacement(const AttachOrder& order) {
  const auto& wanted = order.programs.front();
  const hook::LinkId id = wanted.options.replaces;
  if (auto now = replaceable(id, wanted.options.function); !now)
    return std::unexpected(now.error());
  const auto target = table_->find(id);
  hook::Link link;
  link.id = table_->next_id();
  link.point = target->point;
  link.instance = order.instance;
  link.program = wanted.name;
  link.options = wanted.options;
  link.author = order.author;
  link.created_s = io_.sync().wall_ns() / 1'000'000'000;
  link.counters = std::make_shared<hook::Counters>(table_->slots());
  hook::Link patched = *target;
  patched.patched = order.instance;
  hook::Draft draft = table_->draft();
  auto added = draft.add(link, {.where = hook::Place::Where::after, .link = id});
  if (!added) return refuse(added.error().error, "cannot attach: " + added.error().message);
  draft.replace(std::move(patched));
  publish_changes(std::move(draft));
  return link.id;
}

Attempt<> Hooks::update(hook::LinkId id, std::shared_ptr<const hook::Instance> instance,
                        std::string program, const std::string& expected) {
  const auto known = table_->find(id);
  if (known == nullptr) return refuse(ENOLINK, "cannot update: the link is detached");
  if (!expected.empty() && (!known->instance || known->instance->hash != expected))
    return refuse(ESTALE,
                  fmt::format("cannot update: the link runs {}, not {}",
                              known->instance ? known->instance->hash : "nothing", expected));
  if (known->patched || known->options.replaces != 0)
    return refuse(EBUSY, "cannot update: a function is replaced: detach the replacement first");
  if (program.empty() && instance->programs.size() == 1) program = instance->programs[0].name;
  const hook::LoadedProgram* loaded = instance->find(program);
  if (loaded == nullptr)
    return refuse(ENOENT, fmt::format("cannot update: the object has no program '{}'", program));
  if (loaded->point != known->point.type)
    return refuse(EINVAL, fmt::format("cannot update: the program is for {}, the link is at {}",
                                      loaded->point->name, known->point.type->name));
  hook::Link link = *known;
  link.instance = std::move(instance);
  link.program = program;
  hook::Draft draft = table_->draft();
  draft.replace(link);
  auto published = publish(std::move(draft), "update");
  if (published) tell(link, COPPICE_LINK_UPDATED);
  return published;
}

void Hooks::detach(const std::vector<hook::LinkId>& ids) {
  hook::Draft draft = table_->draft();
  std::vector<std::shared_ptr<const hook::Link>> gone;
  for (const hook::LinkId id : ids) {
    if (auto link = draft.find(id)) gone.push_back(std::move(link));
    draft.remove(id);
  }
  if (gone.empty()) return;
  const auto published = publish(std::move(draft), "detach");
  CHECK(published.has_value());  // Nothing came in between.
  for (const auto& link : gone) tell(*link, COPPICE_LINK_DETACHED);
}

void Hooks::publish_changes(hook::Draft draft) {
  struct Change {
    std::shared_ptr<const hook::Link> link;
    u32 what;
  };
  std::vector<Change> changes;
  for (const hook::Point& point : draft.changed_points()) {
    const auto known = table_->points().find(point);
    const hook::LinkList before =
        known == table_->points().end() ? hook::LinkList{} : *known->second;
    for (const auto& link : before)
      if (!draft.find(link->id)) changes.push_back({link, COPPICE_LINK_DETACHED});
    for (const auto& link : draft.at(point)) {
      const auto old = table_->find(link->id);
      if (!old)
        changes.push_back({link, COPPICE_LINK_ATTACHED});
      else if (old != link)
        changes.push_back({link, COPPICE_LINK_UPDATED});
    }
  }
  const auto published = publish(std::move(draft), "change links");
  CHECK(published.has_value());  // It is of this moment.
  for (const Change& change : changes) tell(*change.link, change.what);
}

void Hooks::tell(const hook::Link& link, u32 change) const {
  if (!trace::on(trace::Point::link_change)) return;
  coppice_link_change view{};
  view.time_ns = io_.sync().now_ns();
  view.pool = link.point.target.pool;
  view.volume = link.point.target.dataset;
  view.link = link.id;
  view.generation = table_->revision();
  view.change = change;
  const auto at = table_->points().find(link.point);
  view.links = at == table_->points().end() ? 0 : static_cast<u32>(at->second->size());
  trace::set_text(view.hook, link.point.type->name);
  trace::set_text(view.name, link.name);
  trace::fire(view);
}

std::optional<LinkView> Hooks::view(hook::LinkId id) const {
  auto link = table_->find(id);
  if (!link) return std::nullopt;
  LinkView view{.link = link, .target = {}, .redirects = {}};
  const hook::LinkList& list = *table_->points().at(link->point);
  view.position = static_cast<u32>(std::ranges::find(list, link) - list.begin());
  if (const Site* site = find_site(link->point.target.pool)) {
    view.target = dataset_name(*site, pool::DatasetId{link->point.target.dataset});
    for (const u64 each : link->options.redirects)
      view.redirects.push_back(dataset_name(*site, pool::DatasetId{each}));
  }
  return view;
}

std::vector<LinkView> Hooks::links() const {
  std::vector<LinkView> all;
  for (const auto& [point, list] : table_->points())
    for (const auto& link : *list) all.push_back(*view(link->id));
  return all;
}

std::vector<MapView> Hooks::maps() const {
  std::map<u64, MapView> all;
  for (const auto& [point, list] : table_->points())
    for (const auto& link : *list) {
      if (!link->instance) continue;
      for (const auto& map : link->instance->maps) {
        MapView& view = all[map->id];
        view.map = map;
        view.links.push_back(link->id);
      }
    }
  std::vector<MapView> views;
  for (auto& [id, view] : all) views.push_back(std::move(view));
  return views;
}

}  // namespace coppice::host
