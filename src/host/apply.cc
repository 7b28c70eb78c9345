#include "host/apply.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "host/pins.h"

namespace coppice::host {
namespace {

// With the turn held.
Task<> bring_about(Site& site, std::vector<verb::Effect> effects, cap::Fd socket,
                   Applied& applied) {
  Exports& exports = site.exports();
  std::vector<pool::DatasetId> relinked;
  for (auto& effect : effects) {
    if (const auto* links = std::get_if<verb::LinksChanged>(&effect)) {
      relinked.push_back(links->dataset);
    } else if (auto* start = std::get_if<verb::StartExport>(&effect)) {
      auto starting = exports.start(site, std::move(*start), std::move(socket));
      applied.started = co_await ok(std::move(starting));
    } else if (auto* stop = std::get_if<verb::StopExport>(&effect)) {
      auto ids = exports.find_all(site, stop->dataset, stop->snapshot, stop->spec.address);
      auto report = co_await ok(exports.stop(std::move(ids)));
      std::ranges::move(report.ended, std::back_inserter(applied.stopped.ended));
      std::ranges::move(report.closed, std::back_inserter(applied.stopped.closed));
    } else if (auto* change = std::get_if<verb::SetReadOnly>(&effect)) {
      if (change->read_only) co_await ok(exports.forbid_writing(site, change->dataset));
    }  // RenameExport: the table names exports by what the catalog says.
  }
  if (!relinked.empty()) co_await ok(site.pins().reconcile(site, std::move(relinked)));
  co_return {};
}

// With the turn held, or without: then it is taken for the effects, if there are any.
Task<Attempt<Applied>> apply_all_held(Site& site, std::vector<verb::Invocation> invocations,
                                      cap::Fd socket, bool held) {
  const bool dry_run = invocations.front().dry_run;
  const Site::Pending pending(site);
  auto running = site.admin().run_many(std::move(invocations));
  auto outcome = co_await ok(std::move(running));
  if (outcome.refusal) co_return refused(*std::move(outcome.refusal));
  Applied applied;
  applied.report = std::move(outcome.report);
  applied.reclaim_bytes = outcome.reclaim_bytes;
  if (!dry_run && !outcome.effects.empty()) {
    rt::Mutex::Lock turn;
    if (!held) turn = co_await site.exports().turn();
    auto effects = std::move(outcome.effects);
    co_await ok(bring_about(site, std::move(effects), std::move(socket), applied));
  }
  co_return applied;
}

Task<Attempt<Applied>> apply_held(Site& site, verb::Invocation invocation, cap::Fd socket,
                                  bool held) {
  std::vector<verb::Invocation> one;
  one.push_back(std::move(invocation));
  auto applying = apply_all_held(site, std::move(one), std::move(socket), held);
  auto applied = co_await std::move(applying);
  co_return std::move(applied);
}

// Whether the catalog has this export pinned.
bool is_pinned(Site& site, pool::DatasetId dataset, pool::SnapshotId snapshot,
               const std::string& address) {
  const pool::Catalog& catalog = site.pool().catalog();
  if (raw(snapshot) != 0) {
    const pool::Snapshot* known = catalog.snapshot(snapshot);
    if (known == nullptr) return false;
    dataset = known->dataset;
  }
  const pool::Dataset* known = catalog.dataset(dataset);
  return known != nullptr && std::ranges::any_of(known->exports, [&](const auto& spec) {
           return spec.snapshot == snapshot && spec.address == address;
         });
}

// Puts the name of what the verb acts on where the verb wants it.
void set_target(verb::Invocation& invocation, std::string name) {
  constexpr std::array<std::string_view, 5> kTargets = {"name", "names", "snapshot", "snapshots",
                                                        "source"};
  const verb::Row* row = verb::find(invocation.verb);
  CHECK(row != nullptr);
  for (const verb::Argument& argument : row->arguments) {
    if (std::ranges::find(kTargets, argument.name) == kTargets.end()) continue;
    verb::Value value(std::move(name));
    if (argument.kind == verb::Kind::names)
      value = verb::Names{std::get<std::string>(std::move(value))};
    invocation.arguments.insert_or_assign(std::string(argument.name), std::move(value));
    return;
  }
  CHECK(!"every verb acts on something");
}

Attempt<std::string> name_now(Site& site, const verb::Target& target) {
  const auto now = refresh(site.pool().catalog(), target);
  if (!now) return std::unexpected(now.error());
  return verb::full_name(site.pool().catalog(), *now);
}

verb::Invocation invocation_of(std::string verb, std::string name, std::string caller) {
  verb::Invocation invocation;
  invocation.verb = std::move(verb);
  invocation.caller = std::move(caller);
  invocation.arguments.emplace("name", std::move(name));
  return invocation;
}

Task<Attempt<StopReport>> unexport_held(Site& site, std::vector<ExportId> ids, bool force,
                                        std::string caller) {
  Exports& exports = site.exports();
  const u32 clients = exports.clients_of(ids);
  if (clients > 0 && !force)
    co_return refused(EBUSY,
                      fmt::format("cannot unexport: {} client{} connected; disconnect them, or use "
                                  "--force to cut them off",
                                  clients, clients == 1 ? " is" : "s are"));
  StopReport report;
  for (const ExportId id : ids) {
    const auto view = exports.view(id);
    if (!view) continue;
    if (!view->pinned) {  // The catalog knows nothing of it.
      std::vector<ExportId> one{id};
      auto stopped = co_await ok(exports.stop(std::move(one)));
      std::ranges::move(stopped.ended, std::back_inserter(report.ended));
      std::ranges::move(stopped.closed, std::back_inserter(report.closed));
      continue;
    }
    auto invocation = invocation_of("unexport", view->name, caller);
    invocation.arguments.emplace("address", view->spec.address);
    cap::Fd none;
    auto applied = co_await ok(apply_held(site, std::move(invocation), std::move(none), true));
    if (!applied) co_return refused(applied.error());
    if (exports.view(id)) {  // It did not run, so the verb saw nothing to stop.
      std::vector<ExportId> one{id};
      auto stopped = co_await ok(exports.stop(std::move(one)));
      applied->stopped = std::move(stopped);
    }
    std::ranges::move(applied->stopped.ended, std::back_inserter(report.ended));
    std::ranges::move(applied->stopped.closed, std::back_inserter(report.closed));
  }
  co_return report;
}

}  // namespace

Task<Attempt<Applied>> apply(Site& site, verb::Invocation invocation) {
  // Exports are named by address, so their effects follow each other as the commits did; the
  // effects of other verbs name what they concern by id, and their order does not matter.
  rt::Mutex::Lock turn;
  const bool ordered = invocation.verb == "export" || invocation.verb == "unexport";
  if (ordered) turn = co_await site.exports().turn();
  cap::Fd none;
  auto applied = co_await apply_held(site, std::move(invocation), std::move(none), ordered);
  co_return applied;
}

Task<Attempt<Applied>> apply_many(Site& site, std::vector<verb::Invocation> invocations) {
  if (invocations.empty()) co_return Applied{};
  const auto turn = co_await site.exports().turn();
  cap::Fd none;
  auto applying = apply_all_held(site, std::move(invocations), std::move(none), true);
  auto applied = co_await std::move(applying);
  co_return std::move(applied);
}

Task<> bring_about_program(Site& site, std::vector<verb::Effect> effects) {
  const auto turn = co_await site.exports().turn();
  std::erase_if(effects, [&](const verb::Effect& effect) {
    if (const auto* start = std::get_if<verb::StartExport>(&effect))
      return start->pinned &&
             !is_pinned(site, start->dataset, start->snapshot, start->spec.address);
    if (const auto* stop = std::get_if<verb::StopExport>(&effect))
      return is_pinned(site, stop->dataset, stop->snapshot, stop->spec.address);
    return false;
  });
  Applied applied;
  cap::Fd none;
  auto bringing = bring_about(site, std::move(effects), std::move(none), applied);
  co_await ok(std::move(bringing));
  co_return {};
}

Task<Attempt<Applied>> apply_to(Site& site, verb::Target target, verb::Invocation invocation) {
  auto name = name_now(site, target);
  if (!name) co_return refused(name.error());
  set_target(invocation, *std::move(name));
  auto applied = co_await apply(site, std::move(invocation));
  co_return applied;
}

Task<Attempt<verb::Target>> apply_and_find(Site& site, verb::Invocation invocation,
                                           std::string name) {
  auto applied = co_await ok(apply(site, std::move(invocation)));
  if (!applied) co_return refused(applied.error());
  co_return verb::find_target(site.pool().catalog(), name);
}

Task<Attempt<verb::Target>> apply_to_and_find(Site& site, verb::Target target,
                                              verb::Invocation invocation, std::string name) {
  auto applied = co_await ok(apply_to(site, std::move(target), std::move(invocation)));
  if (!applied) co_return refused(applied.error());
  co_return verb::find_target(site.pool().catalog(), name);
}

Task<Attempt<verb::Target>> take_snapshot(Site& site, verb::Target target, std::string short_name,
                                          verb::Invocation invocation) {
  auto dataset = name_now(site, target);
  if (!dataset) co_return refused(dataset.error());
  std::string name = *dataset + "@" + short_name;
  invocation.arguments.insert_or_assign("names", verb::Names{name});
  auto taken = co_await apply_and_find(site, std::move(invocation), std::move(name));
  co_return taken;
}

Task<Attempt<ExportId>> export_target(Site& site, verb::Target target, ExportOrder order,
                                      std::string caller) {
  Exports& exports = site.exports();
  const auto turn = co_await exports.turn();
  auto name = name_now(site, target);
  if (!name) co_return refused(name.error());
  const std::string& address = order.spec.address;
  if (!order.socket && !exports.listening(address))
    co_return refused(
        ENOENT,
        fmt::format("cannot export '{}': nobody listens at {}: export something there first, or "
                    "pass a socket",
                    *name, address));
  if (exports.full())
    co_return refused(
        E2BIG, fmt::format("cannot export '{}': there are {} exports, which is the limit", *name,
                           Exports::kExportsMax));
  if (const ExportId there = exports.find(site, target.dataset, target.snapshot, address)) {
    if (exports.view(there)->running)
      co_return refused(EEXIST,
                        fmt::format("cannot export '{}': it is exported at {}", *name, address));
    co_await ok(exports.resume(there, std::move(order.socket)));
    co_return there;
  }
  auto invocation = invocation_of("export", *name, std::move(caller));
  invocation.arguments.emplace("protocol", order.spec.protocol);
  invocation.arguments.emplace("address", address);
  invocation.arguments.emplace("read_only", order.spec.read_only);
  invocation.arguments.emplace("pin", order.pinned);
  if (order.socket) invocation.offered_address = address;
  auto applied =
      co_await ok(apply_held(site, std::move(invocation), std::move(order.socket), true));
  if (!applied) co_return refused(applied.error());
  co_return applied->started;
}

Task<Attempt<StopReport>> unexport_target(Site& site, verb::Target target, UnexportOrder order,
                                          std::string caller) {
  const auto turn = co_await site.exports().turn();
  auto name = name_now(site, target);
  if (!name) co_return refused(name.error());
  auto ids = site.exports().find_all(site, target.dataset, target.snapshot, order.address);
  if (ids.empty())
    co_return refused(ENOENT, fmt::format("cannot unexport '{}': it is not exported{}{}", *name,
                                          order.address.empty() ? "" : " at ", order.address));
  auto report = co_await unexport_held(site, std::move(ids), order.force, std::move(caller));
  co_return report;
}

Task<Attempt<StopReport>> unexport(Site& site, ExportId id, bool force, std::string caller) {
  const auto turn = co_await site.exports().turn();
  if (site.exports().site_of(id) != &site) co_return refused(ENOENT, "the export has ended");
  std::vector<ExportId> ids{id};
  auto report = co_await unexport_held(site, std::move(ids), force, std::move(caller));
  co_return report;
}

Task<Attempt<>> drop_export(Site& site, ExportId id) {
  const auto turn = co_await site.exports().turn();
  std::vector<ExportId> ids;
  if (site.exports().site_of(id) == &site) ids.push_back(id);
  co_await ok(site.exports().stop(std::move(ids)));
  co_return Attempt<>{};
}

Task<Attempt<ExportView>> report_export(Site& site, ExportId id) {
  auto view = site.exports().view(id);
  if (!view || site.exports().site_of(id) != &site)
    co_return refused(ENOENT, "the export has ended");
  co_return *std::move(view);
}

}  // namespace coppice::host
