#include "bpf/verify/tnum.h"

#include <utility>

namespace coppice::bpf {

// As on paper: a multiple of `b` for each bit of `a`, added where the bit is known, added or not
// where it is not.
Tnum operator*(Tnum a, Tnum b) {
  if (a.is_constant() && b.is_constant()) return Tnum::constant(a.value * b.value);
  if (std::popcount(a.greatest()) > std::popcount(b.greatest())) std::swap(a, b);
  Tnum product = Tnum::constant(0);
  const u64 every_multiple = b.greatest() & (~b.greatest() + 1);  // Its lowest bit, at most.
  for (u64 left = a.greatest(); left != 0; left &= left - 1) {
    const u32 at = static_cast<u32>(std::countr_zero(left));
    const u64 lowest_changed = every_multiple << at;
    // Nothing that is still to be added reaches below; everything from there on is lost already.
    if ((~product.mask & (~lowest_changed + 1)) == 0) break;
    const Tnum more = product + (b << at);
    product = (a.value >> at & 1) != 0 ? more : unite(product, more);
  }
  return product;
}

}  // namespace coppice::bpf
