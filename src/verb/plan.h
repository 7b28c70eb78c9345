// verb/plan.h — a verb is a plan and its carrying out; check and sync are made from the two.
#pragma once

#include "verb/refuse.h"

namespace coppice::verb {

// Plan: Attempt<P> (const Context&, const Arguments&). Apply: void (Context&, P, Changes&), which
// cannot fail.
template <auto plan>
std::optional<Refusal> check_by(const Context& context, const Arguments& arguments) {
  auto made = plan(context, arguments);
  if (!made) return std::move(made).error();
  return std::nullopt;
}
template <auto plan, auto apply>
std::optional<Refusal> sync_by(Context& context, const Arguments& arguments, Changes& changes) {
  auto made = plan(context, arguments);
  if (!made) return std::move(made).error();
  apply(context, *std::move(made), changes);
  return std::nullopt;
}
template <auto plan, auto apply>
constexpr Row row_of(std::string_view name, std::string_view summary,
                     std::span<const Argument> arguments, Right right) {
  return {name, summary, arguments, right, &check_by<plan>, &sync_by<plan, apply>};
}

// The rows, each beside its verb.
extern const Row kBookmarkRow, kCloneRow, kCreateRow, kDestroyRow, kExportRow, kHoldRow,
    kInheritRow, kLinkRow, kLoadRow, kPromoteRow, kReleaseRow, kRelinkRow, kRenameRow, kResizeRow,
    kRollbackRow, kSetRow, kSnapshotRow, kUnexportRow, kUnlinkRow, kUnloadRow;

}  // namespace coppice::verb
