// host/pin_orders.cc — Pins: what clients ask of pinned links becomes verbs.
#include <fmt/format.h>

#include "host/pins.h"
#include "host/site.h"
#include "verb/properties.h"

namespace coppice::host {
namespace {

using hook::LinkId;
using pool::DatasetId;
using pool::PinnedLink;

verb::Invocation invocation_of(std::string verb, std::string link, std::string caller) {
  verb::Invocation invocation;
  invocation.verb = std::move(verb);
  invocation.caller = std::move(caller);
  invocation.arguments.emplace("link", std::move(link));
  return invocation;
}

void add_options(verb::Arguments& arguments, const hook::Options& options,
                 const std::vector<std::string>& redirects) {
  if (options.goes_on != 0) arguments.insert_or_assign("go_on", u64{options.goes_on});
  arguments.insert_or_assign(
      "on_error", std::string(options.on_error == hook::ErrorPolicy::deny ? "deny" : "pass"));
  if (!redirects.empty()) arguments.insert_or_assign("redirects", verb::Names(redirects));
  if (options.interval_ns != 0) arguments.insert_or_assign("interval_ns", options.interval_ns);
}

}  // namespace

Task<Attempt<std::vector<LinkId>>> Pins::attach(Site& site, DatasetId dataset, AttachOrder order,
                                                std::string name) {
  const Offer offer(*this, order.instance);
  const pool::Catalog& catalog = site.pool().catalog();
  if (catalog.dataset(dataset) == nullptr)
    co_return refused(ENOENT, "cannot attach: the dataset was destroyed");
  if (order.programs.empty())
    for (const auto& each : order.instance->programs) order.programs.push_back({.name = each.name});
  if (order.revision != 0 && order.revision != hooks_.table().revision())
    co_return refused(ESTALE, fmt::format("cannot attach: links were changed meanwhile (revision "
                                          "{}, not {}): look again and repeat",
                                          hooks_.table().revision(), order.revision));
  Key key{site.guid(), order.instance->hash, name};
  std::vector<verb::Invocation> invocations;
  std::vector<std::string> names;
  for (const auto& program : order.programs) {
    hook::Options options = program.options;
    if (options.replaces == 0) {
      auto checking = hooks_.make_link(&site, dataset, order, program);
      auto checked = co_await ok(std::move(checking));
      if (!checked) co_return refused(checked.error());
      options = checked->options;
    }
    names.push_back(order.programs.size() == 1 ? name : fmt::format("{}.{}", name, program.name));
    auto invocation = invocation_of("link", names.back(), order.author);
    auto& arguments = invocation.arguments;
    arguments.emplace("target", pool::full_name(catalog, dataset));
    arguments.emplace("object", order.instance->hash);
    arguments.emplace("program", program.name);
    arguments.emplace("instance", name);
    add_options(arguments, options, program.redirects);
    if (options.replaces != 0) {
      const auto target = hooks_.table().find(options.replaces);
      if (!target || !target->pinned())
        co_return refused(EINVAL,
                          "cannot attach: what a pinned link replaces a function of is "
                          "pinned, too");
      if (const PinnedLink* pinned = pool::find_link(catalog, target->name)) {
        const Key whole = key_of(site, *pinned);
        key.instance += fmt::format("@{}/{}", whole.object, whole.instance);
      }
      arguments.emplace("replaces", target->name);
      arguments.emplace("function", options.function);
    }
    using Where = hook::Place::Where;
    if (program.place.where == Where::first) arguments.emplace("first", true);
    if (program.place.where == Where::before || program.place.where == Where::after) {
      const auto beside = hooks_.table().find(program.place.link);
      if (!beside || !beside->pinned())
        co_return refused(EINVAL, "cannot attach: a pinned link has its place beside pinned ones");
      arguments.emplace(program.place.where == Where::before ? "before" : "after", beside->name);
    }
    invocations.push_back(std::move(invocation));
  }
  instances_[key] = order.instance;
  auto applying = apply_many(site, std::move(invocations));
  auto applied = co_await ok(std::move(applying));
  if (!applied) co_return refused(applied.error());
  std::vector<LinkId> ids;
  for (const auto& each : names)
    if (const PinnedLink* pinned = pool::find_link(catalog, each))
      if (const auto link = find_pinned(site, pinned->id)) ids.push_back(link->id);
  co_return Attempt<std::vector<LinkId>>(std::move(ids));
}

Task<Attempt<>> Pins::pin(LinkId id, std::string name, std::string caller) {
  const auto link = hooks_.table().find(id);
  if (!link) co_return refused(ENOLINK, "cannot pin: the link is detached");
  if (link->pinned())
    co_return refused(EEXIST, fmt::format("cannot pin: the link is pinned as '{}'", link->name));
  Site* site = hooks_.find_site(link->point.target.pool);
  if (site == nullptr)
    co_return refused(EINVAL,
                      "cannot pin: a link of the daemon belongs to no pool; attach it to "
                      "the pool that is to keep it");
  const Offer offer(*this, link->instance);
  instances_[{site->guid(), link->instance->hash, name}] = link->instance;
  const pool::Catalog& catalog = site->pool().catalog();
  auto invocation = invocation_of("link", name, std::move(caller));
  auto& arguments = invocation.arguments;
  arguments.emplace("target", pool::full_name(catalog, DatasetId{link->point.target.dataset}));
  arguments.emplace("object", link->instance->hash);
  arguments.emplace("program", link->program);
  arguments.emplace("instance", name);
  std::vector<std::string> redirects;
  for (const u64 volume : link->options.redirects)
    redirects.push_back(pool::full_name(catalog, DatasetId{volume}));
  add_options(arguments, link->options, redirects);
  std::string after;
  for (const auto& other : *hooks_.table().points().at(link->point)) {
    if (other->id == id) break;
    if (other->pinned()) after = other->name;
  }
  if (after.empty())
    arguments.emplace("first", true);
  else
    arguments.emplace("after", after);
  const std::pair mark(site->guid(), name);
  being_pinned_.emplace(mark, id);
  auto applied = co_await apply(*site, std::move(invocation));
  being_pinned_.erase(mark);
  if (!applied) co_return std::unexpected(applied.error());
  if (!*applied) co_return refused(applied->error());
  co_return Attempt<>{};
}

Task<Attempt<>> Pins::unpin(LinkId id, std::string caller) {
  const auto link = hooks_.table().find(id);
  if (!link) co_return refused(ENOLINK, "cannot unpin: the link is detached");
  if (!link->pinned()) co_return refused(EINVAL, "cannot unpin: the link is not pinned");
  Site* site = hooks_.find_site(link->point.target.pool);
  being_unpinned_.insert(id);
  auto applied = co_await apply(*site, invocation_of("unlink", link->name, std::move(caller)));
  being_unpinned_.erase(id);
  if (!applied) co_return std::unexpected(applied.error());
  if (!*applied) co_return refused(applied->error());
  co_return Attempt<>{};
}

Task<Attempt<>> Pins::update(LinkId id, std::shared_ptr<const hook::Instance> instance,
                             std::string program, std::string expected, std::string caller) {
  const auto link = hooks_.table().find(id);
  if (!link || !link->pinned()) {
    co_return Result<Attempt<>>(
        hooks_.update(id, std::move(instance), std::move(program), expected));
  }
  Site* site = hooks_.find_site(link->point.target.pool);
  const Offer offer(*this, instance);
  // Maps of its own: an instance that no link has used yet.
  const std::string own = fmt::format("{}.{}", link->name, hooks_.table().revision());
  instances_[{site->guid(), instance->hash, own}] = instance;
  auto invocation = invocation_of("relink", link->name, std::move(caller));
  invocation.arguments.emplace("object", instance->hash);
  if (program.empty() && instance->programs.size() == 1) program = instance->programs[0].name;
  if (!program.empty()) invocation.arguments.emplace("program", program);
  invocation.arguments.emplace("instance", own);
  if (!expected.empty()) invocation.arguments.emplace("expect", expected);
  auto applied = co_await ok(apply(*site, std::move(invocation)));
  if (!applied) co_return refused(applied.error());
  co_return Attempt<>{};
}

Task<Attempt<>> Pins::detach(LinkId id, std::string caller) {
  const auto link = hooks_.table().find(id);
  if (link && link->pinned()) {
    Site* site = hooks_.find_site(link->point.target.pool);
    auto applied =
        co_await ok(apply(*site, invocation_of("unlink", link->name, std::move(caller))));
    if (!applied && applied.error().error != ENOENT) co_return refused(applied.error());
  } else {
    hooks_.detach({id});
  }
  co_await ok(hooks_.table().settled());
  co_return Attempt<>{};
}

Task<Attempt<>> Pins::keep_map(u64 map, std::string caller) {
  std::map<Site*, std::vector<verb::Invocation>> wanted;
  for (const auto& view : hooks_.maps()) {
    if (view.map->id != map) continue;
    for (const LinkId id : view.links) {
      const auto link = hooks_.table().find(id);
      if (!link || !link->pinned()) continue;
      auto invocation = invocation_of("relink", link->name, caller);
      invocation.arguments.emplace("keep", verb::Names{view.map->name});
      wanted[hooks_.find_site(link->point.target.pool)].push_back(std::move(invocation));
    }
  }
  if (wanted.empty())
    co_return refused(EINVAL, "cannot keep what is in the map: no pinned link uses it");
  for (auto& [site, invocations] : wanted) {
    auto applying = apply_many(*site, std::move(invocations));
    auto applied = co_await ok(std::move(applying));
    if (!applied) co_return refused(applied.error());
  }
  co_return Attempt<>{};
}

Task<Attempt<>> Pins::load(Site& site, std::shared_ptr<const hook::Instance> instance,
                           std::string name, std::string caller) {
  const Offer offer(*this, instance);
  verb::Invocation invocation;
  invocation.verb = "load";
  invocation.caller = std::move(caller);
  invocation.arguments.emplace("as", std::move(name));
  invocation.arguments.emplace("object", instance->hash);
  auto applied = co_await ok(apply(site, std::move(invocation)));
  if (!applied) co_return refused(applied.error());
  co_return Attempt<>{};
}

}  // namespace coppice::host
