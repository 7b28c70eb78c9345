// cli/pool_file.h — opens the file or block device that a pool lives in: the daemon is handed the
// fd.
#pragma once

#include <kj/io.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace coppice::cli {

struct PoolFile {
  kj::AutoCloseFd fd;
  std::string path;      // Absolute, for the daemon's status.
  bool created = false;  // By this call.
  u64 size_bytes = 0;
};

// Opens an existing pool's file.
Result<PoolFile> open_pool_file(const std::string& path);

struct NewPoolFile {
  std::string path;
  std::optional<u64> size_bytes = {};  // Needed where there is no file yet.
  bool force = false;                  // Take it even though it looks used.
};
// Opens or makes the file of a new pool. exists: it looks used, and the error says by what.
Result<PoolFile> make_pool_file(NewPoolFile options);
// Removes what make_pool_file() made, because no pool came of it.
void abandon(const PoolFile& file);

// What the bytes of `fd` look like: "an ext4 file system", "data"; empty if there are none but
// zeroes in the first and last MiB.
Result<std::string> content_of(int fd, u64 size_bytes);

}  // namespace coppice::cli
