// trace/testing/disabled.h — functions that differ in their tracepoints, whose instructions a test
// counts. Built as a release is, in every build.
#pragma once

#include "base/types.h"

namespace coppice::trace {

inline constexpr size_t kFunctionBytes = 256;  // None is longer; the next begins behind.
u64 without(u64 number);
u64 with_one(u64 number);
u64 with_two(u64 number);

}  // namespace coppice::trace
