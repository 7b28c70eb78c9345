// helper/jit/link.h — an object file's sections as one block that runs at any address.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace coppice::jit {

// The bytes of a memory file (bpf/native/request.h: ImageHeader), which starts at the function
// `entry`. Refused: code that names an address, its own or another's, other than by distance.
Result<std::vector<std::byte>> link(std::span<const char> object, std::string_view entry);

}  // namespace coppice::jit
