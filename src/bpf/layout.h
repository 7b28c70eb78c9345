// bpf/layout.h — what lies where in a structure that the host shows to programs.
#pragma once

#include <string>
#include <vector>

#include "base/types.h"

namespace coppice::bpf {

enum class FieldKind : u8 {
  number,
  packet,       // Where the packet's bytes begin...
  packet_meta,  // ... what lies before them...
  packet_end,   // ... and where they end.
  object,       // A pointer to another structure of the host's.
  btf,          // A read-only pointer to a structure described by the host's BTF.
};

struct Layout;

struct Field {
  std::string name;
  u32 offset = 0;  // Bytes.
  u32 size = 0;    // Of a pointer to a packet 4 is as good as 8: it is loaded as a whole pointer.
  bool readable = true;
  bool writable = false;
  bool whole =
      false;  // It is read and written as a whole only; other numbers in aligned parts too.
  FieldKind kind = FieldKind::number;
  bool nullable = false;           // Of an object or a structure described by BTF.
  const Layout* layout = nullptr;  // Of an object.
  u32 type = 0;                    // In the host's BTF: the structure pointed to.
};

struct Layout {
  std::string name;  // As programs spell it: "struct xdp_md" is "xdp_md".
  u32 size = 0;
  std::vector<Field> fields;  // Ascending, none over another.
};

}  // namespace coppice::bpf
