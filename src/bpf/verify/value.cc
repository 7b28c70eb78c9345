#include "bpf/verify/value.h"

namespace coppice::bpf {

Value number_value(const Scalar& number, Origin origin) {
  Value value{.kind = ValueKind::number, .origin = origin};
  value.number = number;
  return value;
}

Value pointer_value(ValueKind kind, Origin origin) {
  Value value{.kind = kind, .origin = origin};
  value.number = Scalar::constant(0);
  return value;
}

}  // namespace coppice::bpf
