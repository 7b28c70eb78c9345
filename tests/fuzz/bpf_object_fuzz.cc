// tests/fuzz/bpf_object_fuzz.cc — bytes as an object file, and as the types of one.
//
// Whatever the bytes are, they are refused with a reason, or all that was read of them can be
// looked at: programs are whole, and what they name is there.
#include <algorithm>

#include "base/check.h"
#include "bpf/core_helpers.h"
#include "bpf/object/listing.h"

using namespace coppice;
using namespace coppice::bpf;

namespace {

void look_at(const Btf& btf) {
  for (u32 id = 0; id < btf.count(); ++id) {
    CHECK(btf.describe(id).size() < size_t{70} * Btf::kNameMax);
    CHECK(btf.size_of(id).value_or(0) <= Btf::kSizeMax);
    CHECK(!btf.plain(id).is_modifier());
  }
}

void look_at(const Object& object) {
  static const HelperTable kHelpers;
  for (const ObjectMap& map : object.maps()) {
    CHECK(!describe(object, map).empty());
    CHECK(map.contents.empty() || map.contents.size() == map.spec.value_size);
    for (const auto& entry : map.entries) CHECK(entry.program < object.programs().size());
  }
  for (const ObjectProgram& program : object.programs()) {
    CHECK(!list(object, program, kHelpers).empty());
    CHECK(std::ranges::is_sorted(program.lines, {}, &Line::slot));
    for (const Function& function : program.functions)
      CHECK(function.slot < program.program.slots().size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (const auto btf = Btf::read(bytes)) look_at(*btf);
  const auto object = Object::read(bytes, {.own_types = true});
  if (object) {
    if (object->btf() != nullptr) look_at(*object->btf());
    look_at(*object);
  } else {
    CHECK(!object.error().detail.empty());
  }
  return 0;
}
