// host/options.h — the command line and the configuration folder of coppiced.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "channel/programs.h"

namespace coppice::host {

struct Options {
  std::string socket;              // Empty: systemd's, else the default.
  std::vector<std::string> pools;  // Files.
  std::string config;
  size_t reactors = 1;
  u64 cache_bytes = 0;
  u64 dirty_bytes = 0;
  std::string lua;  // The interpreter of channel programs; empty: where it is installed.
  channel::Limits programs;
};

// Either options, or the status to exit with: --help and --version are done then, or a mistake was
// told.
struct Parsed {
  Options options;
  std::optional<int> exit_status;
};
Parsed parse_options(int argc, char** argv, const std::string& version);

std::string default_socket();
// Beside this program, or in ../libexec/coppice.
std::string default_interpreter();

// The pool files that the folder's symbolic links name, in the order of the links' names. A folder
// that does not exist names none.
Result<std::vector<std::string>> configured_pools(const std::string& folder);

}  // namespace coppice::host
