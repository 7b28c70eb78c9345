// helper/privileges/rules.h — the words that helpers state their filters of system calls in.
#pragma once

#include <seccomp.h>

#include <initializer_list>

#include "base/types.h"

namespace coppice::helper {

// Arguments of a call as the filter sees them, by their place.
constexpr scmp_arg_cmp equal(unsigned argument, u64 value) {
  return {.arg = argument, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0};
}
constexpr scmp_arg_cmp without(unsigned argument, u64 bits) {
  return {.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = bits, .datum_b = 0};
}

inline bool allow(scmp_filter_ctx context, int call,
                  std::initializer_list<scmp_arg_cmp> conditions = {}) {
  return seccomp_rule_add_array(context, SCMP_ACT_ALLOW, call,
                                static_cast<unsigned>(conditions.size()), conditions.begin()) == 0;
}

}  // namespace coppice::helper
