// The table itself.
#include <algorithm>

#include "verb/plan.h"

namespace coppice::verb {

std::span<const Row> table() {
  static const Row kTable[] = {
      kBookmarkRow, kCloneRow, kCreateRow,   kDestroyRow,  kExportRow, kHoldRow,   kInheritRow,
      kLinkRow,     kLoadRow,  kPromoteRow,  kReleaseRow,  kRelinkRow, kRenameRow, kResizeRow,
      kRollbackRow, kSetRow,   kSnapshotRow, kUnexportRow, kUnlinkRow, kUnloadRow,
  };
  return kTable;
}

const Row* find(std::string_view name) {
  const auto rows = table();
  const auto place = std::lower_bound(rows.begin(), rows.end(), name,
                                      [](const Row& row, auto key) { return row.name < key; });
  return place != rows.end() && place->name == name ? &*place : nullptr;
}

}  // namespace coppice::verb
