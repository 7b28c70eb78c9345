#include "cli/reclaim.h"

#include <fmt/format.h>

#include "cli/size.h"

namespace coppice::cli {

std::string tell(const Reclaim& reclaim, Telling how) {
  std::string text;
  const auto line = [&](const char* what, const char* would, const char* did,
                        const std::string& value) {
    text += how.parsable ? fmt::format("{}\t{}\n", what, value)
                         : fmt::format("{} {}\n", how.dry_run ? would : did, value);
  };
  for (const std::string& name : reclaim.destroyed) {
    line("destroy", "would destroy", "destroyed", name);
  }
  for (const std::string& name : reclaim.deferred) {
    line("defer", "would destroy later", "will destroy later", name);
  }
  if (how.parsable || reclaim.bytes > 0) {
    line("reclaim", "would reclaim", "reclaimed",
         how.parsable ? std::to_string(reclaim.bytes) : show_bytes(reclaim.bytes));
  }
  return text;
}

}  // namespace coppice::cli
