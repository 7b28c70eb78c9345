#include "cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "cli/size.h"

namespace coppice::cli {
namespace {

constexpr size_t kBarWidthMax = 40;
constexpr size_t kBarWidthMin = 8;

winsize window_of(int fd) {
  winsize window{};
  if (::ioctl(fd, TIOCGWINSZ, &window) != 0) return {};
  return window;
}

}  // namespace

double monotonic_s() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}
size_t terminal_columns(int fd) {
  const winsize window = window_of(fd);
  return window.ws_col == 0 ? 80 : window.ws_col;
}
size_t terminal_rows(int fd) {
  const winsize window = window_of(fd);
  return window.ws_row == 0 ? 24 : window.ws_row;
}

std::string render_step(const std::string& title, const Step& step, size_t width) {
  const u64 total = std::max(step.total_bytes, step.done_bytes);
  const double share =
      total == 0 ? 1 : static_cast<double>(step.done_bytes) / static_cast<double>(total);
  std::string tail = fmt::format("{:3.0f}%  {} of {}", std::min(share, 1.0) * 100,
                                 show_bytes(step.done_bytes), show_bytes(total));
  if (step.elapsed_s > 0.5 && step.done_bytes > step.done_before_bytes) {
    const double speed =
        static_cast<double>(step.done_bytes - step.done_before_bytes) / step.elapsed_s;
    tail += fmt::format("  {}/s", show_bytes(saturate(speed)));
    const double left_s = static_cast<double>(total - step.done_bytes) / std::max(speed, 1.0);
    tail += fmt::format("  {} left", show_duration(saturate(left_s)));
  }
  const size_t taken = title.size() + tail.size() + 6;
  const size_t room = width > taken ? width - taken : 0;
  const size_t bar = std::min(room, kBarWidthMax);
  if (bar < kBarWidthMin) return (title + "  " + tail).substr(0, width);
  const size_t full = std::min(static_cast<size_t>(share * static_cast<double>(bar)), bar);
  return fmt::format("{}  [{}{}]  {}", title, std::string(full, '#'), std::string(bar - full, ' '),
                     tail);
}

ProgressBar::ProgressBar(std::string title)
    : title_(std::move(title)), terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (terminal_ && begun_) fmt::print(stderr, "\r\x1b[K");
}

void ProgressBar::show(u64 done_bytes, u64 total_bytes) {
  if (!terminal_) return;
  if (!begun_) {
    begun_ = true;
    begin_s_ = monotonic_s();
    done_before_bytes_ = done_bytes;
  }
  const Step step{.done_bytes = done_bytes,
                  .total_bytes = total_bytes,
                  .elapsed_s = monotonic_s() - begin_s_,
                  .done_before_bytes = done_before_bytes_};
  const size_t columns = terminal_columns(STDERR_FILENO);
  fmt::print(stderr, "\r{}\x1b[K", render_step(title_, step, columns - 1));
}

}  // namespace coppice::cli
