// base/check.h — CHECK: programmer errors stop the process, in every build type.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace coppice {
[[noreturn, gnu::cold, gnu::noinline]] inline void check_failed(const char* expression,
                                                                const char* file, int line) {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed\n", file, line, expression);
  std::abort();
}
}  // namespace coppice

#define CHECK(...)                                                                                 \
  do {                                                                                             \
    if (!(__VA_ARGS__)) [[unlikely]]                                                               \
      ::coppice::check_failed(#__VA_ARGS__, __FILE__, __LINE__);                                   \
  } while (0)
