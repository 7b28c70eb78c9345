#include "host/startup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

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
  if (options.socket.empty() && !folder.empty()) mkdir(folder.c_str(), 0755);  // Its own: /run/coppice.
  TRY(auto socket, cap::listen_at(control.bound));
  control.sockets.push_back(std::move(socket));
  return control;
}

Task<> open_pools(Daemon& daemon, std::vector<std::string> files) {
  for (const std::string& file : files) {
    cap::Fd fd(open(file.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY));
    if (!fd) {
      daemon.warn(fmt::format("pool {}: {}", file, std::strerror(errno)));
      continue;
    }
    OpenRequest request;
    request.file = std::move(fd);
    request.origin = file;
    request.bind_exports = true;
    auto opening = daemon.open_pool(std::move(request));
    auto opened = co_await std::move(opening);
    if (!opened)
      daemon.warn(fmt::format("pool {}: {}", file, describe(opened.error())));
    else if (!*opened)
      daemon.warn(fmt::format("pool {}: {}", file, opened->error().message));
  }
  co_return {};
}

}  // namespace coppice::host
