// cli/progress.h — one line on a terminal that shows how far long work is.
#pragma once

#include <string>

#include "base/types.h"

namespace coppice::cli {

struct Step {
  u64 done_bytes = 0;
  u64 total_bytes = 0;        // May change while the work goes on.
  double elapsed_s = 0;       // Since the bar began, for the speed and the time left.
  u64 done_before_bytes = 0;  // Of `done_bytes`, what was done before the bar began.
};

// "scrub  [#########           ]  45%  1.20G of 2.60G  350M/s  0:04 left", cut to `width`
// characters.
std::string render_step(const std::string& title, const Step& step, size_t width);

// Draws on stderr if that is a terminal, and otherwise prints nothing.
class ProgressBar {
 public:
  explicit ProgressBar(std::string title);
  ~ProgressBar();  // Wipes the line.
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  void show(u64 done_bytes, u64 total_bytes);

 private:
  std::string title_;
  bool terminal_;
  bool begun_ = false;
  double begin_s_ = 0;
  u64 done_before_bytes_ = 0;
};

double monotonic_s();
size_t terminal_columns(int fd);  // 80 where it cannot be told.
size_t terminal_rows(int fd);     // 24 where it cannot be told.

}  // namespace coppice::cli
