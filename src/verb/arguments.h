// verb/arguments.h — reading bound arguments. What is absent has its kind's zero.
#pragma once

#include "verb/verb.h"

namespace coppice::verb {

bool flag(const Arguments& arguments, std::string_view name);
std::optional<u64> number(const Arguments& arguments, std::string_view name);
const std::string& text(const Arguments& arguments, std::string_view name);
const Names& names(const Arguments& arguments, std::string_view name);
const Pairs& pairs(const Arguments& arguments, std::string_view name);

}  // namespace coppice::verb
