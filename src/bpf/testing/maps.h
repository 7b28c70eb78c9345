// bpf/testing/maps.h — maps, and what is put into them, for tests.
#pragma once

#include <gtest/gtest.h>

#include "bpf/map.h"

namespace coppice::bpf {

inline std::unique_ptr<Map> make(MapSpec spec) {
  auto map = make_map(std::move(spec));
  EXPECT_TRUE(map) << describe(map.error());
  return *std::move(map);
}

template <class T>
const std::byte* bytes(const T& value) {
  return reinterpret_cast<const std::byte*>(&value);
}
template <class T>
std::byte* bytes(T& value) {
  return reinterpret_cast<std::byte*>(&value);
}

}  // namespace coppice::bpf
