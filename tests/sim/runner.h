// runner.h — runs histories in processes of their own, so that a crash of the engine is an outcome
// like any other, and what a simulated crash leaves behind in memory goes with the process.
#pragma once

#include <functional>
#include <string>

#include "history.h"

namespace coppice::simtest {

struct Outcome {
  std::string violation;  // Empty: the history holds.
  HistoryCounts counts;
};

inline constexpr unsigned kHistorySecondsMax = 120;

// Calls `history` in a child process. A signal, or no end in kHistorySecondsMax, is a violation.
Outcome run_apart(const std::function<Outcome()>& history);

void add(HistoryCounts& sum, const HistoryCounts& counts);
std::string describe(const HistoryCounts& counts);

}  // namespace coppice::simtest
