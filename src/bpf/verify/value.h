// bpf/verify/value.h — what the verifier knows of a register or of a spilled one.
#pragma once

#include <string>

#include "bpf/layout.h"
#include "bpf/verify/origin.h"
#include "bpf/verify/scalar.h"

namespace coppice::bpf {

enum class ValueKind : u8 {
  nothing,  // Not initialised.
  number,
  context,
  stack,        // `index`: the frame.
  map,          // The map itself. `index`: which.
  map_value,    // Into a value of the map `index`.
  packet,       // Into the packet.
  packet_meta,  // Into what lies before it.
  packet_end,
  memory,  // `size` bytes: a ring's record, a callback's key, an argument of a global function.
  object,  // A structure of the host's: `layout`.
  btf,     // A structure of the host's BTF: `index` is its type.
  code,    // A subprogram: `index` is its slot.
};

struct Value {
  ValueKind kind = ValueKind::nothing;
  bool nullable = false;   // A pointer, or null.
  bool read_only = false;  // Memory.
  bool owned = false;      // It is what was acquired itself, not something made of it.
  bool trusted = true;     // Btf: the host vouches for the address.
  u32 index = 0;
  u32 size = 0;   // Memory: bytes from its start.
  u32 range = 0;  // Packets: so many bytes from the base are known to be there.
  // Numbers: those of one id are equal. Nullable pointers: those of one id are null together.
  // Packets: those of one id have the same variable part.
  u32 id = 0;
  u32 reference = 0;  // What has to be released, and takes this with it; 0: nothing.
  Origin origin = 0;
  const Layout* layout = nullptr;
  i64 offset = 0;      // Pointers: the known part of the distance from the base...
  Scalar number = {};  // ... and the rest. Of a number the number itself.

  bool is_pointer() const { return kind != ValueKind::nothing && kind != ValueKind::number; }
  bool is_number() const { return kind == ValueKind::number; }
  bool is_packet() const { return kind == ValueKind::packet || kind == ValueKind::packet_meta; }
  bool is_constant() const { return is_number() && number.is_constant(); }
  bool is_null() const { return is_constant() && number.value() == 0; }
  // A host without a packet or a context may have no address for it; and what was read from memory
  // and nobody vouches for may be anything.
  bool is_never_null() const {
    return is_pointer() && !nullable && !is_packet() && kind != ValueKind::packet_end &&
           kind != ValueKind::context && (kind != ValueKind::btf || trusted);
  }
  // Whether the distance from the base is known, and which it is.
  bool has_fixed_offset() const { return number.is_constant(); }
  i64 fixed_offset() const { return offset + static_cast<i64>(number.value()); }
};

const char* name_of(ValueKind kind);  // "a pointer to the stack".
Value number_value(const Scalar& number, Origin origin);
Value pointer_value(ValueKind kind, Origin origin);

}  // namespace coppice::bpf
