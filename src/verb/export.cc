// export and unexport: which volumes and snapshots are served.
#include <algorithm>

#include "verb/arguments.h"
#include "verb/names.h"
#include "verb/plan.h"
#include "verb/properties.h"

namespace coppice::verb {
namespace {

using pool::CatalogView;
using pool::Dataset;
using pool::ExportSpec;

constexpr size_t kExportsMax = 64;  // Pinned, of one volume and its snapshots.
constexpr size_t kAddressBytesMax = 300;

struct Exporting {
  Target target;
  ExportSpec spec;
  bool pinned = false;
};

Attempt<> check_address(Doing doing, const std::string& protocol, const std::string& address) {
  if (protocol != "nbd") {
    return refuse(EINVAL, doing, "there is no protocol '" + protocol + "': use nbd");
  }
  if (address.size() > kAddressBytesMax) {
    return refuse(ENAMETOOLONG, doing, "the address is longer than 300 bytes");
  }
  const std::string_view rest(address);
  const size_t colon = rest.rfind(':');
  const bool path = rest.starts_with("unix:") && rest.size() > 5 && rest.find('\0') == rest.npos;
  const bool host = rest.starts_with("tcp:") && colon > 4 && colon + 1 < rest.size();
  if (path || host) return {};
  return refuse(EINVAL, doing, "'" + address + "' is no address: use unix:PATH or tcp:HOST:PORT");
}

Attempt<Exporting> plan_export(const Context& context, const Arguments& arguments) {
  const CatalogView& view = context.view();
  const std::string& name = text(arguments, "name");
  const Doing doing{"export", name};
  Exporting plan;
  ATTEMPT(plan.target, find_target(view, name));
  if (!plan.target.bookmark.empty()) return refuse(EINVAL, doing, "a bookmark has no data");
  if (!is_volume(view, plan.target.dataset)) {
    return refuse(EINVAL, doing, "a group has no data; export the volumes in it");
  }
  const bool of_snapshot = raw(plan.target.snapshot) != 0;
  plan.spec.protocol = text(arguments, "protocol");
  plan.spec.address = text(arguments, "address");
  plan.spec.read_only = flag(arguments, "read_only") || of_snapshot;
  plan.spec.snapshot = plan.target.snapshot;
  plan.pinned = flag(arguments, "pin");
  ATTEMPT_VOID(check_address(doing, plan.spec.protocol, plan.spec.address));
  const std::vector<ExportSpec>& pinned = view.dataset(plan.target.dataset)->exports;
  const auto same = [&](const ExportSpec& spec) {
    return spec.snapshot == plan.target.snapshot && spec.protocol == plan.spec.protocol &&
           spec.address == plan.spec.address;
  };
  bool taken = std::any_of(pinned.begin(), pinned.end(), same);
  for (const RunningExport& each : context.facts().exports_of(plan.target.dataset)) {
    // A pinned one that is not in the view was unexported earlier in this transaction.
    taken = taken || (!each.pinned && each.snapshot == plan.target.snapshot &&
                      each.spec.address == plan.spec.address);
  }
  if (taken) return refuse(EEXIST, doing, "it is exported at " + plan.spec.address + " already");
  if (!context.facts().listening(plan.spec.address)) {
    return refuse(ENOENT, doing,
                  "nobody listens at " + plan.spec.address +
                      ": export something there first, or pass a socket");
  }
  if (plan.pinned && pinned.size() >= kExportsMax) {
    return refuse(E2BIG, doing, "it is exported at 64 addresses, and more are not kept");
  }
  return plan;
}

void apply_export(Context& context, Exporting plan, Changes& changes) {
  if (plan.pinned) {
    Dataset dataset = *context.view().dataset(plan.target.dataset);
    dataset.exports.push_back(plan.spec);
    context.transaction().edit_dataset(plan.target.dataset, std::move(dataset));
  }
  const std::string name = full_name(context.view(), plan.target);
  changes.report.changed.push_back(name);
  changes.effects.push_back(StartExport{plan.target.dataset, plan.target.snapshot, name,
                                        std::move(plan.spec), plan.pinned});
}

struct Unexporting {
  Target target;
  std::vector<ExportSpec> ending;
};

Attempt<Unexporting> plan_unexport(const Context& context, const Arguments& arguments) {
  const CatalogView& view = context.view();
  const std::string& name = text(arguments, "name");
  const std::string& address = text(arguments, "address");
  Unexporting plan;
  ATTEMPT(plan.target, find_target(view, name));
  const auto wanted = [&](pool::SnapshotId snapshot, const ExportSpec& spec) {
    return snapshot == plan.target.snapshot && (address.empty() || spec.address == address);
  };
  for (const ExportSpec& spec : view.dataset(plan.target.dataset)->exports) {
    if (wanted(spec.snapshot, spec)) plan.ending.push_back(spec);
  }
  for (const RunningExport& each : context.facts().exports_of(plan.target.dataset)) {
    if (!each.pinned && wanted(each.snapshot, each.spec)) plan.ending.push_back(each.spec);
  }
  if (plan.ending.empty()) {
    return refuse(ENOENT, {"unexport", name},
                  address.empty() ? "it is not exported" : "it is not exported at " + address);
  }
  return plan;
}

void apply_unexport(Context& context, Unexporting plan, Changes& changes) {
  const std::string name = full_name(context.view(), plan.target);
  Dataset dataset = *context.view().dataset(plan.target.dataset);
  const size_t erased = std::erase_if(dataset.exports, [&](const ExportSpec& spec) {
    return std::find(plan.ending.begin(), plan.ending.end(), spec) != plan.ending.end();
  });
  if (erased > 0) context.transaction().edit_dataset(plan.target.dataset, std::move(dataset));
  changes.report.changed.push_back(name);
  for (ExportSpec& spec : plan.ending) {
    changes.effects.push_back(
        StopExport{plan.target.dataset, plan.target.snapshot, name, std::move(spec)});
  }
}

constexpr Argument kExportArguments[] = {
    {"name", Kind::text, 0, true, "", "full name of a volume or snapshot"},
    {"address", Kind::text, 1, true, "", "unix:PATH or tcp:HOST:PORT"},
    {"protocol", Kind::text, -1, false, "nbd", "how it is served"},
    {"read_only", Kind::flag, -1, false, "", "refuse writes"},
    {"pin", Kind::flag, -1, false, "true", "keep it in the pool, so that it outlives a restart"},
};
constexpr Argument kUnexportArguments[] = {
    {"name", Kind::text, 0, true, "", "full name of a volume or snapshot"},
    {"address", Kind::text, 1, false, "", "only the export at this address; else all of them"},
};

}  // namespace

void settle_names(const pool::CatalogView& view, std::vector<Effect>& effects) {
  for (Effect& effect : effects) {
    auto* start = std::get_if<StartExport>(&effect);
    if (start == nullptr) continue;
    start->name = raw(start->snapshot) != 0 ? full_name(view, start->snapshot)
                                            : full_name(view, start->dataset);
  }
}

const Row kExportRow = row_of<plan_export, apply_export>(
    "export", "serve a volume or snapshot as a block device", kExportArguments, Right::serve);
const Row kUnexportRow = row_of<plan_unexport, apply_unexport>(
    "unexport", "stop serving a volume or snapshot", kUnexportArguments, Right::serve);

}  // namespace coppice::verb
