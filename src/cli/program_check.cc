// cli/program_check.cc — `coppice program --check`: runs luacheck with what ships beside it.
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "cli/channel_program.h"
#include "cli/shared_folder.h"

extern char** environ;

namespace coppice::cli {
namespace {

// What check.lua says with its exit status.
constexpr int kClean = 0, kFindings = 1, kUnreadable = 2;
constexpr const char* kInterpreter = "lua5.1";  // For which Debian installs luacheck.

std::unexpected<Failure> not_installed() {
  return refuse(
      "cannot check the program: luacheck is not installed (on Debian: apt install lua-check)");
}

}  // namespace

Attempt<> check_program(const std::string& script) {
  const auto folder = shared_folder();
  const std::string check = folder / "check.lua", api = folder / "api.lua";
  if (::access(check.c_str(), R_OK) != 0 || ::access(api.c_str(), R_OK) != 0)
    return refuse(
        fmt::format("cannot check the program: '{}' and '{}' should be there (install "
                    "Coppice whole)",
                    check, api));
  std::fflush(stdout);
  std::string words[] = {kInterpreter, check, api, script};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(), nullptr};
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, kInterpreter, nullptr, nullptr, arguments, environ);
  if (error == ENOENT) return not_installed();
  if (error != 0)
    return refuse(fmt::format("cannot start {}: {}", kInterpreter, std::strerror(error)));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  if (WIFEXITED(status)) {
    switch (WEXITSTATUS(status)) {
      case kClean: return {};
      case kFindings: return std::unexpected(Failure("", kExitRefused));
      case kUnreadable: return std::unexpected(Failure("", kExitUsage));
      default: break;
    }
    if (WEXITSTATUS(status) == 3) return not_installed();
  }
  return refuse(fmt::format("cannot check the program '{}': {} failed", script, kInterpreter));
}

}  // namespace coppice::cli
