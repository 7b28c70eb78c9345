// host/link_sets.cc — Pins::apply_set: any number of points to exactly the links that are
// described.
#include <fmt/format.h>

#include <algorithm>

#include "host/pins.h"
#include "host/site.h"
#include "verb/properties.h"

namespace coppice::host {
namespace {

using pool::DatasetId;
using pool::PinnedLink;

std::unexpected<verb::Refusal> refuse(int error, std::string message) {
  return std::unexpected(verb::Refusal{error, std::move(message), {}});
}

// A link as a point order wants it, as a verb's arguments say it.
verb::Arguments arguments_of(const hook::Instance& instance, const PointOrder::Entry& entry,
                             const std::string& shared, hook::Results goes_on) {
  verb::Arguments arguments;
  arguments.emplace("link", entry.name);
  arguments.emplace("object", instance.hash);
  arguments.emplace("program", entry.program.name);
  arguments.emplace("instance", shared);
  arguments.emplace("go_on", u64{goes_on});
  arguments.emplace(
      "on_error",
      std::string(entry.program.options.on_error == hook::ErrorPolicy::deny ? "deny" : "pass"));
  arguments.emplace("redirects", verb::Names(entry.program.redirects));
  if (entry.program.options.interval_ns != 0)
    arguments.emplace("interval_ns", entry.program.options.interval_ns);
  return arguments;
}

bool same(const pool::CatalogView& view, const PinnedLink& link, const hook::Instance& instance,
          const PointOrder::Entry& entry, hook::Results goes_on) {
  std::vector<std::string> redirects;
  for (const DatasetId volume : link.redirects)
    redirects.push_back(view.dataset(volume) != nullptr ? pool::full_name(view, volume) : "");
  return link.object == instance.hash && link.program == entry.program.name &&
         link.go_on == goes_on &&
         (link.on_error == pool::OnError::deny) ==
             (entry.program.options.on_error == hook::ErrorPolicy::deny) &&
         link.interval_ns == entry.program.options.interval_ns &&
         redirects == entry.program.redirects;
}

Attempt<hook::Results> results_of(const hook::PointType& type,
                                  const std::vector<std::string>& names) {
  hook::Results results = 0;
  for (const std::string& name : names) {
    const auto found = std::ranges::find(type.results, name);
    if (found == type.results.end())
      return refuse(EINVAL, fmt::format("cannot apply: {} has no result '{}'", type.name, name));
    results |= hook::Results{1} << (found - type.results.begin());
  }
  return results;
}

Attempt<DatasetId> dataset_of(const pool::CatalogView& view, const std::string& name) {
  const auto target = verb::find_target(view, name);
  if (!target || !target->is_dataset())
    return refuse(ENOENT, fmt::format("cannot apply: there is no dataset '{}'", name));
  return target->dataset;
}

// Makes the verbs of one set, the detaching ones apart: they go first, so that names and places are
// free.
struct Planner {
  const hook::Types& types;
  const pool::CatalogView& view;
  const SetOrder& order;
  SetReport& report;
  std::vector<verb::Invocation> first = {}, then = {};

  static void add(std::vector<verb::Invocation>& to, std::string verb, verb::Arguments arguments) {
    verb::Invocation invocation;
    invocation.verb = std::move(verb);
    invocation.arguments = std::move(arguments);
    to.push_back(std::move(invocation));
  }

  // The name under which all links of one object share their maps: that of those there are.
  std::string shared_name(const hook::Instance& instance) const {
    for (const PointOrder& point : order.points) {
      const auto dataset = dataset_of(view, point.target);
      if (!dataset) continue;
      for (const auto& link : view.dataset(*dataset)->links)
        if (link->object == instance.hash && link->hook == point.hook && !link->instance.empty())
          return link->instance;
    }
    return fmt::format("set-{}", report.revision);
  }

  Attempt<> plan_point(const PointOrder& point) {
    TRY(const DatasetId dataset, dataset_of(view, point.target));
    const hook::PointType* type = types.of_section(point.hook);
    if (type == nullptr)
      return refuse(EINVAL, fmt::format("cannot apply: there is no hook '{}'", point.hook));
    std::vector<const PinnedLink*> present;
    for (const auto& link : view.dataset(dataset)->links)
      if (link->hook == point.hook) present.push_back(&*link);
    const auto wanted = [&](const PinnedLink* link) {
      return std::ranges::find(point.links, link->name, &PointOrder::Entry::name) !=
             point.links.end();
    };
    std::vector<std::string> survivors, kept_order;
    for (const PinnedLink* link : present) {
      if (wanted(link)) {
        survivors.push_back(link->name);
        continue;
      }
      add(first, "unlink", {{"link", link->name}});
      report.detached.push_back(link->name);
    }
    for (const auto& entry : point.links)
      if (std::ranges::find(survivors, entry.name) != survivors.end())
        kept_order.push_back(entry.name);
    const bool reorder = survivors != kept_order;
    std::string previous;
    for (const auto& entry : point.links) {
      TRY_VOID(plan_link(point, *type, present, entry, previous, reorder));
      previous = entry.name;
    }
    return {};
  }

  Attempt<> plan_link(const PointOrder& point, const hook::PointType& type,
                      const std::vector<const PinnedLink*>& present, const PointOrder::Entry& entry,
                      const std::string& previous, bool reorder) {
    const hook::Instance& instance = *order.objects.at(entry.object);
    const hook::LoadedProgram* program = instance.find(entry.program.name);
    if (program == nullptr || program->point != &type)
      return refuse(EINVAL, fmt::format("cannot apply: '{}' has no program '{}' for {}", entry.name,
                                        entry.program.name, type.name));
    TRY(const hook::Results goes_on, results_of(type, entry.program.goes_on));
    const auto there = std::ranges::find_if(
        present, [&](const PinnedLink* link) { return link->name == entry.name; });
    const bool is_there = there != present.end();
    if (is_there && same(view, **there, instance, entry, goes_on) && !reorder) {
      report.kept.push_back(entry.name);
      return {};
    }
    verb::Arguments arguments = arguments_of(instance, entry, shared_name(instance), goes_on);
    if (!is_there || reorder) {
      if (previous.empty())
        arguments.emplace("first", true);
      else
        arguments.emplace("after", previous);
    }
    if (is_there) {
      report.replaced.push_back(entry.name);
      add(then, "relink", std::move(arguments));
      return {};
    }
    arguments.emplace("target", point.target);
    report.attached.push_back(entry.name);
    add(then, "link", std::move(arguments));
    return {};
  }
};

}  // namespace

// Whether what the catalog says has been brought about.
bool Pins::matches_table(const Site& site) const {
  const pool::Catalog& catalog = site.pool().catalog();
  size_t running = 0, wanted = 0;
  for (const auto& [point, list] : hooks_.table().points()) {
    if (point.target.pool != site.guid()) continue;
    const pool::Dataset* dataset = catalog.dataset(DatasetId{point.target.dataset});
    for (const auto& link : *list) {
      if (!link->pinned()) continue;
      ++running;
      if (dataset == nullptr) return false;
      const auto pinned = std::ranges::find_if(
          dataset->links, [&](const auto& each) { return each->id == link->pin; });
      if (pinned == dataset->links.end() ||
          (link->instance && link->instance->hash != (*pinned)->object))
        return false;
    }
  }
  std::vector<DatasetId> front{catalog.root()};
  while (!front.empty()) {
    const DatasetId id = front.back();
    front.pop_back();
    if (const pool::Dataset* dataset = catalog.dataset(id)) wanted += dataset->links.size();
    for (const DatasetId child : catalog.children(id)) front.push_back(child);
  }
  return running == wanted;
}

Attempt<std::vector<hook::Point>> Pins::points_of(Site& site, const SetOrder& order) const {
  std::vector<hook::Point> points;
  for (const PointOrder& point : order.points) {
    TRY(const DatasetId dataset, dataset_of(site.pool().catalog(), point.target));
    points.push_back({.target = {.pool = site.guid(), .dataset = raw(dataset)},
                      .type = hooks_.types().of_section(point.hook)});
  }
  return points;
}

Attempt<std::vector<verb::Invocation>> Pins::plan_set(Site& site, const SetOrder& order,
                                                      SetReport& report) const {
  report.revision = hooks_.table().revision();
  if (order.revision != 0 && (order.revision != report.revision || !matches_table(site)))
    return refuse(ESTALE,
                  fmt::format("cannot apply: links were changed since revision {} (it is {} "
                              "now): look again and repeat",
                              order.revision, report.revision));
  Planner planner{hooks_.types(), site.pool().catalog(), order, report};
  for (const PointOrder& point : order.points) TRY_VOID(planner.plan_point(point));
  std::ranges::move(planner.then, std::back_inserter(planner.first));
  return std::move(planner.first);
}

Task<Attempt<SetReport>> Pins::apply_set(Site& site, SetOrder order) {
  // From before the commit until the swap: nothing else is brought about in between.
  const auto turn = co_await turn_.lock();
  std::vector<std::unique_ptr<const Offer>> offers;
  for (const auto& object : order.objects)
    offers.push_back(std::make_unique<const Offer>(*this, object));
  SetReport report;
  const auto plan = [&](const pool::CatalogView&) { return plan_set(site, order, report); };
  auto running = site.admin().run_planned(plan, order.caller, order.dry_run);
  auto outcome = co_await ok(std::move(running));
  if (outcome.refusal) co_return refused(*std::move(outcome.refusal));
  auto points = points_of(site, order);
  if (!points) co_return refused(points.error());
  for (const hook::Point& point : *points)
    for (const auto& link : hooks_.table().draft().at(point))
      if (!link->pinned()) report.detached.push_back(fmt::format("#{}", link->id));
  if (order.dry_run) co_return Attempt<SetReport>(std::move(report));
  std::vector<DatasetId> changed;
  for (const auto& effect : outcome.effects)
    if (const auto* links = std::get_if<verb::LinksChanged>(&effect))
      changed.push_back(links->dataset);
  auto reconciling = reconcile_held(site, std::move(changed), *std::move(points));
  co_await ok(std::move(reconciling));
  co_await ok(hooks_.table().settled());
  report.revision = hooks_.table().revision();
  co_return Attempt<SetReport>(std::move(report));
}

}  // namespace coppice::host
