// io/open_file.h — makes a descriptor that somebody else opened fit to hold a pool, or says why
// not.
#pragma once

#include "base/result.h"

namespace coppice::io {

struct DiskFile {
  int fd = -1;  // As given; still the caller's.
  u64 size_bytes = 0;
  bool direct = false;        // Bypasses the page cache.
  bool block_device = false;  // Else a regular file.
};

// Checks that `fd` is a regular file or block device open for reading and writing, locks it for
// this open file description (another one gets `busy`; the lock ends with its last descriptor), and
// turns the page cache off where the file system lets us.
Result<DiskFile> adopt_disk_file(int fd);

// In whole blocks. A file may have grown since.
Result<u64> size_of_disk_file(int fd);

}  // namespace coppice::io
