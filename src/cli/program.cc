#include "cli/program.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cstdio>

#include "cli/command.h"

namespace coppice::cli {
namespace {

// As of `coppice list | head`: no failure that anybody wants to hear of.
bool reader_left() {
  pollfd out{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  return ::poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

int finish(const Attempt<>& done) {
  // What could not be written was not shown: a script must not take half a list for all of it.
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (!done) {
    std::string line = done.error().message;
    for (char& each : line) {
      if (each == '\n') each = ' ';
    }
    if (!line.empty()) fmt::print(stderr, "coppice: {}\n", line);
    return done.error().exit;
  }
  if (!written) {
    if (!reader_left()) fmt::print(stderr, "coppice: cannot write the output\n");
    return kExitRefused;
  }
  return kExitDone;
}

// Completion must stay silent and quick, whatever is wrong.
int run_complete(CommandLine& line, std::vector<std::string> words) {
  words.erase(words.begin());
  const Attempt<std::string> candidates = complete(line, words);
  if (candidates) fmt::print("{}", *candidates);
  return kExitDone;
}

}  // namespace

int run(std::vector<std::string> words) {
  CommandLine line;
  // Its words are another command line, flags and all: not for the parser.
  if (!words.empty() && words.front() == "complete") return run_complete(line, std::move(words));
  auto chosen = line.parse(std::move(words));
  if (!chosen) return chosen.error();
  Session session(chosen->socket_path);
  return finish(chosen->action(session));
}

}  // namespace coppice::cli
