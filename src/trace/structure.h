// trace/structure.h — describes live structures, so that programs can walk them by the names of
// their fields.
//
// What internal tracepoints point at is described beside its definition, in a TraceTypes that is
// its friend; the host gathers the descriptions and makes BTF of them. A description may leave
// fields out: what programs have no use for, and what has no layout of its own (references,
// containers).
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "base/types.h"

namespace coppice::trace {

struct Field {
  std::string name;
  // "u64", "i32", "bool", ...; "pool_NodePtr" for a structure of that name; "pool_Overlay *" for a
  // pointer to one.
  std::string type;
  u32 offset = 0;  // Bytes.
  u32 bytes = 0;
};
struct Structure {
  std::string name;  // With its module: "pool_Volume".
  u32 bytes = 0;
  std::vector<Field> fields = {};  // Ascending, none over another.
};

template <class T>
struct Plain {
  using Type = T;
};
template <class T>
struct Plain<std::atomic<T>> {
  using Type = T;
};

// What BTF calls a number, an enumeration or an atomic of one.
template <class T>
constexpr const char* number_name() {
  using Inner = typename Plain<std::remove_cv_t<T>>::Type;
  if constexpr (std::is_same_v<Inner, bool>) {
    return "bool";
  } else if constexpr (std::is_enum_v<Inner>) {
    return number_name<std::underlying_type_t<Inner>>();
  } else {
    static_assert(std::is_integral_v<Inner> && sizeof(Inner) == sizeof(T));
    constexpr bool kSigned = std::is_signed_v<Inner>;
    switch (sizeof(Inner)) {
      case 1: return kSigned ? "i8" : "u8";
      case 2: return kSigned ? "i16" : "u16";
      case 4: return kSigned ? "i32" : "u32";
      default: return kSigned ? "i64" : "u64";
    }
  }
}

// "size_bytes_" is told as "size_bytes".
inline std::string told_as(std::string member) {
  if (member.ends_with('_')) member.pop_back();
  return member;
}

}  // namespace coppice::trace

// The field of a number, and of what has the type that `text` names.
#define COPPICE_FIELD(Structure, member)                                                           \
  ::coppice::trace::Field {                                                                        \
    ::coppice::trace::told_as(#member),                                                            \
        ::coppice::trace::number_name<decltype(Structure::member)>(),                              \
        static_cast<::coppice::u32>(offsetof(Structure, member)),                                  \
        static_cast<::coppice::u32>(sizeof(Structure::member))                                     \
  }
#define COPPICE_FIELD_OF(Structure, member, text)                                                  \
  ::coppice::trace::Field {                                                                        \
    ::coppice::trace::told_as(#member), text,                                                      \
        static_cast<::coppice::u32>(offsetof(Structure, member)),                                  \
        static_cast<::coppice::u32>(sizeof(Structure::member))                                     \
  }
