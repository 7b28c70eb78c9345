#include "bpf/helper.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"

namespace coppice::bpf {

void HelperTable::add(Helper helper) {
  CHECK(helper.function != nullptr);
  CHECK(!helper.name.empty());
  const bool takes_code =
      std::ranges::find(helper.arguments, Argument::code) != std::end(helper.arguments);
  CHECK(takes_code == (helper.callback != Callback::none));
  const i32 number = helper.number;
  CHECK(helpers_.emplace(number, std::move(helper)).second);
}

const Helper* HelperTable::find(i32 number) const {
  const auto found = helpers_.find(number);
  return found == helpers_.end() ? nullptr : &found->second;
}
const Helper* HelperTable::find(std::string_view name) const {
  for (const auto& [number, helper] : helpers_)
    if (helper.name == name) return &helper;
  return nullptr;
}

}  // namespace coppice::bpf
