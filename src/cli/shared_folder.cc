#include "cli/shared_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace coppice::cli {
namespace {

constexpr std::string_view kObjectEnd = ".bpf.o";

std::filesystem::path object_folder() { return shared_folder() / "bpf"; }

}  // namespace

std::filesystem::path shared_folder() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return self.parent_path().parent_path() / "share" / "coppice";
}

Attempt<std::filesystem::path> find_object(const std::string& name) {
  std::error_code error;
  const std::filesystem::path path(name);
  if (name == "-" || path.has_parent_path() || std::filesystem::exists(path, error)) return path;
  const auto shipped = object_folder() / fmt::format("{}{}", name, kObjectEnd);
  if (std::filesystem::exists(shipped, error)) return shipped;
  return refuse(
      fmt::format("there is no file '{}', and no object of that name ships (there are {})", name,
                  fmt::join(shipped_objects(), ", ")));
}

std::vector<std::string> shipped_objects() {
  std::vector<std::string> names;
  std::error_code error;
  for (auto each = std::filesystem::directory_iterator(object_folder(), error);
       !error && each != std::filesystem::directory_iterator(); each.increment(error)) {
    const std::string file = each->path().filename().string();
    if (file.ends_with(kObjectEnd))
      names.push_back(file.substr(0, file.size() - kObjectEnd.size()));
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace coppice::cli
