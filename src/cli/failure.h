// cli/failure.h — why a command ended without having done its work.
#pragma once

#include <expected>
#include <string>
#include <utility>

#include "base/result.h"

namespace coppice::cli {

// What the program's exit status says.
inline constexpr int kExitDone = 0;
inline constexpr int kExitRefused = 1;
inline constexpr int kExitUsage = 2;

struct [[nodiscard]] Failure {
  std::string
      message;  // One line: what was tried, on what, why, and what to do. Empty: all is said.
  int exit = kExitRefused;
  int error = 0;  // The errno of a refusal by the daemon.

  Failure(std::string line, int status, int why = 0)
      : message(std::move(line)), exit(status), error(why) {}
  // A failed step becomes the command's failure.
  Failure(const Error& error) : message(describe(error)) {}  // NOLINT(google-explicit-constructor)
};

template <class T = void>
using Attempt = std::expected<T, Failure>;

inline std::unexpected<Failure> refuse(std::string message, int error = 0) {
  return std::unexpected(Failure(std::move(message), kExitRefused, error));
}
// The command line makes no sense, whatever the daemon says.
inline std::unexpected<Failure> misuse(std::string message) {
  return std::unexpected(Failure(std::move(message), kExitUsage));
}

}  // namespace coppice::cli
