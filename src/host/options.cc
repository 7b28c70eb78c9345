#include "host/options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "host/lanes.h"
#include "verb/verb.h"

namespace coppice::host {
namespace {

constexpr u64 kCacheMin = 64_MiB;
constexpr u64 kDirtyMin = 16_MiB;
constexpr u64 kDirtyDefaultMax = 512_MiB;
constexpr size_t kReactorsDefaultMax = 16;

u64 memory_bytes() {
  return static_cast<u64>(sysconf(_SC_PHYS_PAGES)) * static_cast<u64>(sysconf(_SC_PAGESIZE));
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// For CLI11: empty if it is a size of at least `min`.
auto size_of_at_least(u64 min) {
  return [min](const std::string& text) -> std::string {
    const auto bytes = verb::parse_size(text);
    if (!bytes) return "'" + text + "' is no size: 512M, 4G";
    return *bytes < min ? "at least " + std::to_string(min) + " bytes" : "";
  };
}

}  // namespace

std::string default_socket() {
  if (const std::string named = environment("COPPICE_SOCKET"); !named.empty()) return named;
  const std::string runtime = environment("XDG_RUNTIME_DIR");
  if (geteuid() != 0 && !runtime.empty()) return runtime + "/coppice/coppice.sock";
  return "/run/coppice/coppice.sock";
}

Parsed parse_options(int argc, char** argv, const std::string& version) {
  Parsed parsed;
  Options& options = parsed.options;
  std::string cache, dirty;
  const u64 memory = memory_bytes();
  options.reactors =
      std::clamp<size_t>(std::thread::hardware_concurrency(), 1, kReactorsDefaultMax);
  options.cache_bytes = std::max(memory / 8, kCacheMin);
  options.dirty_bytes = std::clamp(memory / 8, kDirtyMin, kDirtyDefaultMax);
  options.config = environment("CONFIGURATION_DIRECTORY");
  if (options.config.empty()) options.config = "/etc/coppice";

  CLI::App app("Copy-on-write block storage: keeps pools of volumes and serves them over NBD.",
               "coppiced");
  app.set_version_flag("--version", "coppiced " + version);
  app.add_option("--socket", options.socket, "The control socket")->type_name("PATH");
  app.add_option("--pool", options.pools,
                 "Open the pool in this file or block device; may be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
  app.add_option("--config", options.config, "Folder whose symbolic links name pools to open")
      ->type_name("FOLDER");
  app.add_option("--reactors", options.reactors, "I/O threads, beside the one that commits")
      ->type_name("N")
      ->check(CLI::Range(size_t{1}, Lanes::kIoLanesMax));
  app.add_option("--cache", cache, "Memory for cached blocks of each pool; default: 1/8 of memory")
      ->type_name("SIZE")
      ->check(size_of_at_least(1_MiB));
  app.add_option("--dirty", dirty,
                 "Memory for written data of each pool that is not in its place yet")
      ->type_name("SIZE")
      ->check(size_of_at_least(kDirtyMin));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {  // How CLI11 tells of mistakes, and of --help.
    parsed.exit_status = app.exit(error) == 0 ? 0 : 2;
    return parsed;
  }
  if (!cache.empty()) options.cache_bytes = *verb::parse_size(cache);
  if (!dirty.empty()) options.dirty_bytes = *verb::parse_size(dirty);
  return parsed;
}

Result<std::vector<std::string>> configured_pools(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::string> links;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::error_code ignored;
    if (entry.is_symlink(ignored)) links.push_back(entry.path().string());
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return fail(Errc::io, "read the configuration folder", folder + ": " + error.message());
  std::ranges::sort(links);
  return links;
}

}  // namespace coppice::host
