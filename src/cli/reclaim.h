// cli/reclaim.h — tells what a destroy has done, or would do.
#pragma once

#include <string>
#include <vector>

#include "base/types.h"

namespace coppice::cli {

struct Reclaim {
  std::vector<std::string> destroyed;
  std::vector<std::string> deferred;  // They go with their last hold or clone.
  u64 bytes = 0;                      // 0 where it is not known.
};
struct Telling {
  bool dry_run = false;
  bool parsable = false;  // As zfs destroy -p.
};
// "would destroy tank/a" and "would reclaim 1.50G", a line each.
std::string tell(const Reclaim& reclaim, Telling how);

}  // namespace coppice::cli
