// host/restore.h — brings back a pool's pinned exports.
#pragma once

#include <string>
#include <vector>

#include "host/site.h"

namespace coppice::host {

// On the sync lane, once, when the pool was opened. `bind`: makes the sockets that nobody listens
// on yet. What did not come back is in the table with its problem, and in the lines returned.
Task<std::vector<std::string>> restore_exports(Site& site, bool bind);

}  // namespace coppice::host
