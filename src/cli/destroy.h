// cli/destroy.h — what `coppice destroy` is asked to destroy, and what it tells.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/failure.h"

namespace coppice::cli {

// NAME, NAME@SNAP[,SNAP|FIRST%LAST]..., or NAME#BOOKMARK.
struct Doomed {
  std::string name;  // As typed: of a dataset or bookmark. With snapshots, their dataset's.
  std::vector<std::string> parts;  // What stood between the commas after '@'. A range has a '%'.
  bool snapshots() const { return !parts.empty(); }
  bool ranges() const;  // Some part is a range.
};
Attempt<Doomed> parse_doomed(const std::string& text);

// The full names that `doomed` means, of a dataset whose snapshots are these (their parts after
// '@', oldest first). "a%b": from a to b; "%b": to b; "a%": from a on; "%": all.
Attempt<std::vector<std::string>> expand(const Doomed& doomed,
                                         const std::vector<std::string>& existing);

struct DestroyTelling {
  bool dry_run = false;
  bool parsable = false;  // As zfs destroy -p.
};
// "would destroy tank/a" and "would reclaim 1.50G", a line each.
std::string tell(const std::vector<std::string>& destroyed, u64 reclaimed_bytes,
                 DestroyTelling how);

}  // namespace coppice::cli
