// cli/shared_folder.h — what ships with this program, and lies beside it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/failure.h"

namespace coppice::cli {

// share/coppice beside the folder of this program: so in a build, and where it is installed.
std::filesystem::path shared_folder();

// The file of an eBPF object: `name` is a path, or the bare name of one that ships.
Attempt<std::filesystem::path> find_object(const std::string& name);
std::vector<std::string> shipped_objects();  // Their bare names.

}  // namespace coppice::cli
