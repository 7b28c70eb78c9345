// cli/pool_report.h — what `pool list`, `pool status` and `status` tell of a pool.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/connection.h"
#include "cli/table.h"

namespace coppice::cli {

struct PoolReport {
  std::string name;
  std::string state;             // "online", "degraded", "failed", and what is wrong.
  nlohmann::ordered_json facts;  // Everything the daemon says, by name.
};

PoolReport report_of(schema::PoolStatus::Reader status);
// Of all pools, or of those named, in the order of their names.
Attempt<std::vector<PoolReport>> pool_statuses(Connection& connection,
                                               const std::vector<std::string>& names);

Table pool_table(const std::vector<PoolReport>& pools);
// `single`: JSON is one object, not an array of them.
void print_pool_status(const std::vector<PoolReport>& pools, bool json, bool single);

}  // namespace coppice::cli
