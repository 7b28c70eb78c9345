// channel/conversion.h — what an interpreter sends, as verbs take it.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "message/value.h"
#include "verb/verb.h"

namespace coppice::channel {

// Arguments of a verb, in their places and kinds. Else what is wrong, with the usage.
std::expected<verb::Arguments, std::string> bind(const verb::Row& row, message::List positional,
                                                 message::Record named);

// The first argument that names something of another pool; null: none does.
const std::string* name_outside(const verb::Arguments& arguments, std::string_view pool);
bool is_outside(std::string_view name, std::string_view pool);

}  // namespace coppice::channel
