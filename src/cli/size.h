// cli/size.h — sizes and numbers as a person writes and reads them: 64G, 1.50G, 512B.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace coppice::cli {

// "4096", "64G", "64GiB", "64gb", "1.5T": units are powers of 1024, a fraction of a byte is an
// error.
Result<u64> parse_size(std::string_view text);

// "500us", "10ms", "2s", "5m", "1h" in nanoseconds: a whole number above 0 and its unit.
Result<u64> parse_duration(std::string_view text);

// The whole part of a computed number; what no u64 can hold becomes the nearest that can.
u64 saturate(double number);

// At most five characters, as zfs(8) shows them: "0B", "512B", "1.50K", "15.2G", "150T".
std::string show_bytes(u64 bytes);
// The same for what is no size: "0", "999", "1.46K".
std::string show_count(u64 count);
// "850ns", "12.4us", "3.10ms", "1.50s".
std::string show_nanoseconds(u64 nanoseconds);
// Local time: "Sat Nov 21 10:05 2026".
std::string show_time(u64 unix_s);
// "0:42", "12:07", "3:00:00", "2 days 03:00:00".
std::string show_duration(u64 seconds);

}  // namespace coppice::cli
