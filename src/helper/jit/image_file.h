// helper/jit/image_file.h — machine code as a file that nobody can change any more.
#pragma once

#include <span>

#include "base/result.h"

namespace coppice::jit {

// A descriptor, for the caller to close.
Result<int> seal_image(std::span<const std::byte> bytes);

}  // namespace coppice::jit
