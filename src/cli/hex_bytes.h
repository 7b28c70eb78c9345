// cli/hex_bytes.h — bytes as people and tools write them.
#pragma once

#include <string>
#include <vector>

#include "cli/failure.h"

namespace coppice::cli {

// Pairs of hexadecimal digits, with white space between them as one likes. `where`: what they are,
// for the message if they are none.
Attempt<std::vector<std::byte>> bytes_of_digits(const std::string& text, const std::string& where);

}  // namespace coppice::cli
