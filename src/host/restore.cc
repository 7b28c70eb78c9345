#include "host/restore.h"

#include <fmt/format.h>

#include "host/address.h"

namespace coppice::host {
namespace {

// All pinned exports of volumes and their snapshots.
std::vector<verb::StartExport> pinned_exports(const pool::CatalogView& view) {
  std::vector<verb::StartExport> found;
  std::vector<pool::DatasetId> front{view.root()};
  while (!front.empty()) {
    const pool::DatasetId id = front.back();
    front.pop_back();
    const pool::Dataset* dataset = view.dataset(id);
    if (dataset == nullptr) continue;
    for (const auto& spec : dataset->exports)
      found.push_back({.dataset = id,
                       .snapshot = spec.snapshot,
                       .name = raw(spec.snapshot) != 0 ? pool::full_name(view, spec.snapshot)
                                                       : pool::full_name(view, id),
                       .spec = spec,
                       .pinned = true});
    for (const pool::DatasetId child : view.children(id)) front.push_back(child);
  }
  return found;
}

}  // namespace

Task<std::vector<std::string>> restore_exports(Site& site, bool bind) {
  Exports& exports = site.exports();
  const auto turn = co_await exports.turn();
  std::vector<std::string> problems;
  auto wanted = pinned_exports(site.pool().catalog());
  for (auto& each : wanted) {
    cap::Fd socket;
    if (bind && !exports.listening(each.spec.address)) {
      auto bound = bind_address(each.spec.address);
      if (bound)
        socket = *std::move(bound);
      else
        problems.push_back(fmt::format("export {}: {}", each.name, describe(bound.error())));
    }
    auto starting = exports.start(site, each, std::move(socket));
    auto started = co_await std::move(starting);
    if (!started) co_return std::unexpected(started.error());
  }
  co_return problems;
}

}  // namespace coppice::host
