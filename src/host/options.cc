#include "host/options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
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

// The operator's limits of channel programs.
struct ProgramTexts {
  std::string memory, memory_max;
  u64 cpu_s = 10, stall_s = 10;
};

void add_program_options(CLI::App& app, Options& options, ProgramTexts& texts) {
  channel::Limits& limits = options.programs;
  app.add_option("--lua", options.lua, "The interpreter of channel programs, coppice-lua")
      ->type_name("PATH");
  app.add_option("--program-instructions", limits.instructions_default,
                 "Lua instructions of a program that asks for no limit")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  app.add_option("--program-instructions-max", limits.instructions_max,
                 "Lua instructions that a program may ask for")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  app.add_option("--program-memory", texts.memory, "Memory of a program that asks for no limit")
      ->type_name("SIZE")
      ->check(size_of_at_least(64_KiB));
  app.add_option("--program-memory-max", texts.memory_max, "Memory that a program may ask for")
      ->type_name("SIZE")
      ->check(size_of_at_least(64_KiB));
  app.add_option("--program-cpu-max", texts.cpu_s, "Processor time of a program, in seconds")
      ->type_name("SECONDS")
      ->check(CLI::Range(u64{1}, u64{3600}));
  app.add_option("--program-stall-max", texts.stall_s,
                 "Seconds after which a program that neither asks nor computes is ended")
      ->type_name("SECONDS")
      ->check(CLI::Range(u64{1}, u64{3600}));
  app.add_option("--programs-max", limits.programs_max, "Programs that run or wait at a time")
      ->type_name("N")
      ->check(CLI::Range(size_t{1}, size_t{256}));
}

// False: the limits contradict each other.
bool take_program_options(Options& options, const ProgramTexts& texts) {
  channel::Limits& limits = options.programs;
  if (!texts.memory.empty()) limits.memory_bytes_default = *verb::parse_size(texts.memory);
  if (!texts.memory_max.empty()) limits.memory_bytes_max = *verb::parse_size(texts.memory_max);
  limits.cpu_ns_max = texts.cpu_s * 1'000'000'000;
  limits.stall_ns_max = texts.stall_s * 1'000'000'000;
  return limits.instructions_default <= limits.instructions_max &&
         limits.memory_bytes_default <= limits.memory_bytes_max;
}

}  // namespace

std::string default_interpreter() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto beside = self.parent_path() / "coppice-lua";
  if (std::filesystem::exists(beside, error)) return beside;
  return self.parent_path().parent_path() / "libexec" / "coppice" / "coppice-lua";
}

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
  ProgramTexts program_texts;
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
  add_program_options(app, options, program_texts);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {  // How CLI11 tells of mistakes, and of --help.
    parsed.exit_status = app.exit(error) == 0 ? 0 : 2;
    return parsed;
  }
  if (!take_program_options(options, program_texts)) {
    std::fprintf(stderr, "coppiced: a program's default limit may not be above its maximum\n");
    parsed.exit_status = 2;
    return parsed;
  }
  if (options.lua.empty()) options.lua = default_interpreter();
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
