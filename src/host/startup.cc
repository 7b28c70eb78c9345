#include "host/startup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/check.h"
#include "host/address.h"

namespace coppice::host {

void log_line(const std::string& line) {
  const std::string whole = "coppiced: " + line + "\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, whole.data(), whole.size());
}

void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) log_line("the limit on open files stays as it was");
}

Result<ControlSockets> control_sockets(const Options& options) {
  ControlSockets control;
  if (options.socket.empty()) {
    TRY(control.sockets, cap::sockets_of_systemd());
    if (!control.sockets.empty()) return control;
  }
  control.bound = options.socket.empty() ? default_socket() : options.socket;
  const auto folder = std::filesystem::path(control.bound).parent_path();
  if (options.socket.empty() && !folder.empty())
    mkdir(folder.c_str(), 0755);  // Its own: /run/coppice.
  TRY(auto socket, cap::listen_at(control.bound));
  control.sockets.push_back(std::move(socket));
  return control;
}

namespace {

// What went wrong, or nothing.
struct Trouble {
  std::string text;
  bool busy = false;
};
Task<Trouble> try_open(Daemon& daemon, std::string file) {
  cap::Fd fd(open(file.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (!fd) co_return Trouble{.text = std::strerror(errno)};
  OpenRequest request;
  request.file = std::move(fd);
  request.origin = file;
  request.bind_exports = true;
  auto opening = daemon.open_pool(std::move(request));
  auto opened = co_await std::move(opening);
  if (!opened)
    co_return Trouble{.text = describe(opened.error()), .busy = opened.error().code == Errc::busy};
  if (!*opened)
    co_return Trouble{.text = opened->error().message, .busy = opened->error().error == EBUSY};
  co_return Trouble{};
}

}  // namespace

Task<> open_pools(Daemon& daemon, std::vector<std::string> files) {
  for (const std::string& file : files) {
    Trouble trouble;
    for (u32 tries = 0; tries < kPredecessorTries; ++tries) {
      if (tries > 0) usleep(kPredecessorWaitUs);  // Nobody is served yet.
      auto trying = try_open(daemon, file);
      auto tried = co_await std::move(trying);
      CHECK(tried.has_value());
      trouble = *std::move(tried);
      if (!trouble.busy) break;
    }
    if (!trouble.text.empty()) daemon.warn(fmt::format("pool {}: {}", file, trouble.text));
  }
  co_return {};
}

}  // namespace coppice::host
