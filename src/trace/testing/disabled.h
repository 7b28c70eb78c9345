// trace/testing/disabled.h — functions that differ in their tracepoints, whose instructions a test
// counts. Built as a release is, in every build.
#pragma once

#include <cstddef>

namespace coppice::trace {

inline constexpr std::size_t kFunctionBytes = 256;  // None is longer; the next begins behind.
void without();
void with_one();
void with_two();

}  // namespace coppice::trace
