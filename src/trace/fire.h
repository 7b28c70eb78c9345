// trace/fire.h — tells who wants to know: the kernel's tools through USDT, programs through the
// sink.
#pragma once

#include <coppice/bpf/views.h>

#include <algorithm>
#include <cstring>

#include "trace/point.h"

namespace coppice::trace {

#define COPPICE_FIRE(name) void fire(const coppice_##name& view);
COPPICE_STABLE_POINTS(COPPICE_FIRE)
#undef COPPICE_FIRE

// Fills a text of a view: cut if it is too long, and zeroes behind it.
template <size_t kBytes>
void set_text(char (&into)[kBytes], std::string_view text) {
  const size_t length = std::min(text.size(), kBytes - 1);
  std::memcpy(into, text.data(), length);
  std::memset(into + length, 0, kBytes - length);
}

}  // namespace coppice::trace
