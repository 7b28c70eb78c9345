#include "bpf/guard.h"

#include <algorithm>

namespace coppice::bpf {
namespace {

constexpr size_t kRecordsMax = 64;
constexpr u64 kTextMax = 4096;

bool holds(const Region& region, u64 address, u64 size, bool write) {
  if (write && !region.writable) return false;
  return address >= region.base && size <= region.size &&
         address - region.base <= region.size - size;
}

}  // namespace

bool Guard::reaches(u64 address, u64 size, bool write) const {
  if (holds(stack_, address, size, write) || holds(keys_, address, size, write)) return true;
  const auto held = [&](const Region& region) { return holds(region, address, size, write); };
  if (std::ranges::any_of(regions_, held) || std::ranges::any_of(records_, held)) return true;
  return std::ranges::any_of(code_->maps(),
                             [&](const Map* map) { return map->reaches(address, size); });
}

Map* Guard::find_map(u64 address) const {
  for (Map* map : code_->maps()) {
    if (reinterpret_cast<u64>(map) == address) return map;
  }
  return nullptr;
}

const Map* Guard::map_before(const Helper& helper, int index, const u64* registers) const {
  for (int i = index; i-- > 0;) {
    const Argument kind = helper.arguments[i];
    if (kind == Argument::map || kind == Argument::ring || kind == Argument::programs)
      return find_map(registers[i + 1]);
  }
  return nullptr;
}

bool Guard::argument_fits(const Helper& helper, int index, const u64* registers) const {
  const u64 value = registers[index + 1];
  const Argument next = index < 4 ? helper.arguments[index + 1] : Argument::none;
  const Map* map = nullptr;
  switch (helper.arguments[index]) {
    case Argument::none:
    case Argument::anything:
    case Argument::record_size:
    case Argument::size_or_zero: return true;
    case Argument::size: return value > 0;
    case Argument::map: return find_map(value) != nullptr;
    case Argument::ring:
      map = find_map(value);
      return map != nullptr && map->spec().kind == MapKind::ringbuf;
    case Argument::programs:
      map = find_map(value);
      return map != nullptr && map->spec().kind == MapKind::program_array;
    case Argument::key:
      map = map_before(helper, index, registers);
      return map != nullptr && reaches(value, map->spec().key_size, false);
    case Argument::value:
    case Argument::value_out:
      map = map_before(helper, index, registers);
      return map != nullptr &&
             reaches(value, map->spec().value_size, helper.arguments[index] == Argument::value_out);
    case Argument::read:
    case Argument::written: {
      const u64 size = index < 4 ? registers[index + 2] : 0;
      if (size == 0 && next == Argument::size_or_zero) return true;
      return reaches(value, size, helper.arguments[index] == Argument::written);
    }
    case Argument::text:
      for (u64 i = 0; i < kTextMax; ++i) {
        if (!reaches(value + i, 1, false)) return false;
        if (*reinterpret_cast<const char*>(value + i) == 0) return true;
      }
      return false;
    case Argument::number_out: return reaches(value, sizeof(u64), true);
    case Argument::object:
    case Argument::released: return false;  // Only a verifier can tell what they are.
    case Argument::code: return code_->is_subprogram(value);
    case Argument::context: return value == context_;
    case Argument::record:
      return std::ranges::any_of(records_, [&](const Region& r) { return r.base == value; });
  }
  return false;
}

int Guard::wrong_argument(const Helper& helper, const u64* registers) const {
  for (int i = 0; i < 5; ++i) {
    if (!argument_fits(helper, i, registers)) return i + 1;
  }
  return 0;
}

bool Guard::note_call(const Helper& helper, const u64* arguments, u64 r0) {
  u64 record_size = 0;
  for (int i = 0; i < 5; ++i) {
    if (helper.arguments[i] == Argument::record)
      std::erase_if(records_, [&](const Region& r) { return r.base == arguments[i]; });
    if (helper.arguments[i] == Argument::record_size) record_size = arguments[i];
  }
  if (helper.answer == Answer::record_or_null && r0 != 0)
    records_.push_back({.base = r0, .size = record_size, .writable = true});
  return records_.size() <= kRecordsMax;
}

}  // namespace coppice::bpf
