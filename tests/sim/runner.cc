#include "runner.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

namespace coppice::simtest {
namespace {

static_assert(std::is_trivially_copyable_v<HistoryCounts>);  // It crosses the pipe as it is.

[[noreturn]] void be_the_child(int out, const std::function<Outcome()>& history) {
  alarm(kHistorySecondsMax);
  const Outcome outcome = history();
  std::string bytes(reinterpret_cast<const char*>(&outcome.counts), sizeof outcome.counts);
  bytes += outcome.violation;
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t count = write(out, bytes.data() + sent, bytes.size() - sent);
    if (count <= 0) break;
    sent += static_cast<size_t>(count);
  }
  std::fflush(nullptr);
  _exit(0);  // Nothing is freed: it may hang together with what a simulated crash left behind.
}

}  // namespace

Outcome run_apart(const std::function<Outcome()>& history) {
  Outcome outcome;
  int ends[2];
  if (pipe(ends) != 0) return {"no pipe", {}};
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) return {"cannot fork", {}};
  if (child == 0) {
    close(ends[0]);
    be_the_child(ends[1], history);
  }
  close(ends[1]);
  std::string bytes;
  char buffer[4096];
  for (ssize_t count; (count = read(ends[0], buffer, sizeof buffer)) > 0;) {
    bytes.append(buffer, static_cast<size_t>(count));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) {
    outcome.violation = fmt::format("the process died: {}", strsignal(WTERMSIG(status)));
  } else if (WEXITSTATUS(status) != 0 || bytes.size() < sizeof outcome.counts) {
    outcome.violation = fmt::format("the process exited with {}", WEXITSTATUS(status));
  } else {
    std::memcpy(&outcome.counts, bytes.data(), sizeof outcome.counts);
    outcome.violation = bytes.substr(sizeof outcome.counts);
  }
  return outcome;
}

void add(HistoryCounts& sum, const HistoryCounts& counts) {
  sum.lives += counts.lives;
  sum.crashes += counts.crashes;
  sum.reads += counts.reads;
  sum.writes += counts.writes;
  sum.flushes += counts.flushes;
  sum.admin += counts.admin;
  sum.refused += counts.refused;
  sum.errors += counts.errors;
  sum.requests += counts.requests;
}

std::string describe(const HistoryCounts& counts) {
  return fmt::format(
      "{} lives, {} crashes, {} reads, {} changes, {} flushes, {} transactions ({} refused), {} "
      "errors, {} disk requests",
      counts.lives, counts.crashes, counts.reads, counts.writes, counts.flushes, counts.admin,
      counts.refused, counts.errors, counts.requests);
}

}  // namespace coppice::simtest
