// host/apply.h — runs a verb on a pool and brings its effects about. On the sync lane.
#pragma once

#include <string>

#include "host/queries.h"
#include "host/refusal.h"
#include "host/site.h"

namespace coppice::host {

struct Applied {
  verb::Report report;
  u64 reclaim_bytes = 0;
  ExportId started = 0;  // The export that it started.
  StopReport stopped;
};

// Answers once the changes are durable and the effects are there. Clients of what `unexport` ends
// are cut off.
Task<Attempt<Applied>> apply(Site& site, verb::Invocation invocation);
// Several as one transaction; exports may be among them.
Task<Attempt<Applied>> apply_many(Site& site, std::vector<verb::Invocation> invocations);
// What a channel program has committed is brought about. It could not hold the exports' turn while
// it ran, so an export that was pinned or unpinned again meanwhile stays as the catalog has it.
Task<> bring_about_program(Site& site, std::vector<verb::Effect> effects);
// The same on the target, by its name as it is now.
Task<Attempt<Applied>> apply_to(Site& site, verb::Target target, verb::Invocation invocation);

// And then finds what it made: `name` is that of the new dataset or snapshot.
Task<Attempt<verb::Target>> apply_and_find(Site& site, verb::Invocation invocation,
                                           std::string name);
Task<Attempt<verb::Target>> apply_to_and_find(Site& site, verb::Target target,
                                              verb::Invocation invocation, std::string name);
// A snapshot of the dataset called `short_name`.
Task<Attempt<verb::Target>> take_snapshot(Site& site, verb::Target target, std::string short_name,
                                          verb::Invocation invocation);

struct ExportOrder {
  pool::ExportSpec spec;
  bool pinned = true;
  cap::Fd socket;  // None: the one that listens at the address already.
};
Task<Attempt<ExportId>> export_target(Site& site, verb::Target target, ExportOrder order,
                                      std::string caller);
struct UnexportOrder {
  std::string address;  // Empty: all.
  bool force = false;   // Even if clients are connected.
};
Task<Attempt<StopReport>> unexport_target(Site& site, verb::Target target, UnexportOrder order,
                                          std::string caller);
Task<Attempt<StopReport>> unexport(Site& site, ExportId id, bool force, std::string caller);
// The last holder of an export that is not pinned has let it go.
Task<Attempt<>> drop_export(Site& site, ExportId id);
Task<Attempt<ExportView>> report_export(Site& site, ExportId id);

}  // namespace coppice::host
