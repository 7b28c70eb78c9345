// base/result.h — Result<T>: errors of the world (disk, peer, user) are values.
#pragma once

#include <expected>
#include <source_location>
#include <string>
#include <utility>

#include "base/types.h"

namespace coppice {

enum class Errc : u8 {
  io,       // The device or the kernel failed the request.
  corrupt,  // Bytes were read, and their checksum or their structure is wrong.
  not_found,
  exists,
  invalid,  // The request makes no sense, whatever the state of the pool.
  busy,     // It would make sense once somebody else is done.
  no_space,
  quota,
  read_only,
  denied,
  unsupported,  // A newer format, an unknown feature, an operation the device lacks.
  too_big,      // A named limit was reached.
  again,        // A transient state; the same request may pass later.
  timed_out,
  cancelled,
  closed,  // The peer or the object is gone.
};

const char* name_of(Errc code);  // "io", "corrupt", ...
int errno_of(Errc code);         // EIO, ...: the errno users of zfs expect.

struct [[nodiscard]] Error {
  Errc code;
  const char* what;    // A literal: what was being attempted.
  int sys = 0;         // errno, if the kernel said so.
  std::string detail;  // On what, why, and what to do: for a person. May be empty.
  std::source_location where{};
};

// "what: detail (strerror)" in one line.
std::string describe(const Error& error);

template <class T = void>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Errc code, const char* what, int sys = 0,
                                   std::source_location where = std::source_location::current()) {
  return std::unexpected(Error{code, what, sys, {}, where});
}
inline std::unexpected<Error> fail(Errc code, const char* what, std::string detail,
                                   std::source_location where = std::source_location::current()) {
  return std::unexpected(Error{code, what, 0, std::move(detail), where});
}

}  // namespace coppice

#define COPPICE_CAT_(a, b) a##b
#define COPPICE_CAT(a, b) COPPICE_CAT_(a, b)
#define COPPICE_TRY_(result, declaration, expression)                                              \
  auto result = (expression);                                                                      \
  if (!result) [[unlikely]]                                                                        \
    return std::unexpected(std::move(result).error());                                             \
  declaration = *std::move(result)
// TRY(auto node, decode(bytes));  declares `node`, or returns the error. Not inside coroutines.
#define TRY(declaration, expression)                                                               \
  COPPICE_TRY_(COPPICE_CAT(try_, __COUNTER__), declaration, expression)
// The same for Result<void>: TRY_VOID(step());
#define TRY_VOID(expression)                                                                       \
  do {                                                                                             \
    if (auto try_result = (expression); !try_result) [[unlikely]]                                  \
      return std::unexpected(std::move(try_result).error());                                       \
  } while (0)
