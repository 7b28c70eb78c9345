// cli/scrub.h — starts, follows, pauses and stops the scrub of a pool; follows the freeing of
// space.
#pragma once

#include <string>

#include "cli/connection.h"

namespace coppice::cli {

struct ScrubOptions {
  std::string pool;
  bool wait = false, pause = false, stop = false;
};
Attempt<> scrub(Connection& connection, const ScrubOptions& options);

// Until the pool has freed in the background all that was destroyed.
Attempt<> wait_for_freeing(Connection& connection, const std::string& pool);

}  // namespace coppice::cli
