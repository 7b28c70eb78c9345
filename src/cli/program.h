// cli/program.h — the whole program, less main().
#pragma once

#include <string>
#include <vector>

namespace coppice::cli {

// Runs `coppice WORDS...`; the exit code.
int run(std::vector<std::string> words);

}  // namespace coppice::cli
