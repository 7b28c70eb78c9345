// schema/kj_compare.h — comparisons that Cap'n Proto 0.9 leaves to the compiler's rewriting of operators.
//
// In C++20 mode its headers expect `"text" == kj::StringPtr` to be rewritten. By the rules that clang follows since its
// version 16 (P2468) it is not, because StringPtr has an operator!= as well. Included before every file that uses the
// schema, with clang only.
#pragma once

#include <kj/string.h>

namespace kj {
inline bool operator==(const char* left, const StringPtr& right) { return right == StringPtr(left); }
inline bool operator!=(const char* left, const StringPtr& right) { return right != StringPtr(left); }
}  // namespace kj
