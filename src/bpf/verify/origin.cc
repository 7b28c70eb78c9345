#include "bpf/verify/origin.h"

#include "base/check.h"

namespace coppice::bpf {

Origins::Origins(bool keep_values) : keep_values_(keep_values) {
  nodes_.push_back({.precise = true, .used = true});  // Nowhere: marks end here.
}

Origin Origins::add(OriginKind kind, u32 slot, Origin from, Origin and_from) {
  CHECK(from < nodes_.size());
  CHECK(and_from < nodes_.size());
  nodes_.push_back({.slot = slot, .from = from, .and_from = and_from, .kind = kind});
  return static_cast<Origin>(nodes_.size() - 1);
}

void Origins::remember(Origin origin, const Scalar& value) {
  if (!keep_values_ || origin == 0) return;
  if (values_.size() <= origin) values_.resize(nodes_.size());
  values_[origin] = value;
}

const Scalar* Origins::value(Origin origin) const {
  return origin < values_.size() && values_[origin] ? &*values_[origin] : nullptr;
}

void Origins::mark_precise(Origin origin) {
  to_mark_.push_back(origin);
  while (!to_mark_.empty()) {
    Node& node = nodes_[to_mark_.back()];
    to_mark_.pop_back();
    if (node.precise) continue;  // Then so is what lies below.
    node.precise = true;
    to_mark_.push_back(node.from);
    to_mark_.push_back(node.and_from);
  }
}

void Origins::mark_used(Origin origin) {
  for (; !nodes_[origin].used; origin = nodes_[origin].from) nodes_[origin].used = true;
}

}  // namespace coppice::bpf
