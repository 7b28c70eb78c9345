// bpf/format.h — the text of bpf_trace_printk and bpf_snprintf.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/types.h"

namespace coppice::bpf {

inline constexpr size_t kFormattedMax = 4096;  // Bytes of text; what is longer is cut.

// Appends `pattern` with `values` put in to `text`: d i u x X o c p s with flags, a width and l or
// ll. A string is read from the address that is its value, as far as `may_read` allows. 0 or
// -EINVAL: an unknown conversion, or more of them than values.
int format(std::string_view pattern, std::span<const u64> values,
           const std::function<bool(u64 address)>& may_read, std::string& text);

}  // namespace coppice::bpf
