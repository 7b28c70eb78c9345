// bpf/verify/origin.h — where abstract values come from, and what was needed of them.
//
// Theory. Every value that the verifier makes is a node: the instruction that made it and the one
// or two values it was made from. Two questions are answered by walking from a node to those it was
// made of. "What does this safety rest on?": when a number decides an address, a size or a branch,
// it and all it was computed from become *precise*, and a later path may be cut short at a
// checkpoint only if its precise numbers agree. "How did it come to this?": the history that a
// refusal shows.
//
// A checkpoint gives each of its values a new node above the old one, so marks on its own nodes
// say exactly what was needed behind it. Nodes are never freed before the verdict.
#pragma once

#include <optional>
#include <vector>

#include "bpf/verify/scalar.h"

namespace coppice::bpf {

using Origin = u32;  // An index; 0 is nowhere.

enum class OriginKind : u8 {
  argument,   // It was there when the function began.
  made,       // By the instruction, of nothing or of one or two other values.
  taken,      // Narrowed by the jump, which was taken...
  not_taken,  // ... or was not.
  kept,       // At a checkpoint.
  widened,    // Forgotten, because it differs from round to round of a callback.
  voided,     // A pointer into the packet, which a helper changed.
  stored,     // Bytes of the stack.
};

class Origins {
 public:
  struct Node {
    u32 slot = 0;
    Origin from = 0;      // What it was made of...
    Origin and_from = 0;  // ... and the other operand.
    OriginKind kind = OriginKind::made;
    bool precise = false;
    bool used = false;
  };

  // `keep_values`: a value is remembered with each node, for the history.
  explicit Origins(bool keep_values);

  Origin add(OriginKind kind, u32 slot, Origin from = 0, Origin and_from = 0);
  void remember(Origin origin, const Scalar& value);
  const Node& node(Origin origin) const { return nodes_[origin]; }
  const Scalar* value(Origin origin) const;  // Null: not remembered.

  bool is_precise(Origin origin) const { return nodes_[origin].precise; }
  bool is_used(Origin origin) const { return nodes_[origin].used; }
  void mark_precise(Origin origin);  // And all it was made of.
  void mark_used(Origin origin);     // And what it is the continuation of.
  size_t size() const { return nodes_.size(); }

 private:
  bool keep_values_;
  std::vector<Node> nodes_;
  std::vector<std::optional<Scalar>> values_;
  std::vector<Origin> to_mark_;
};

}  // namespace coppice::bpf
