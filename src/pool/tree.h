// pool/tree.h — the one copy-on-write B+tree: byte-string keys in memcmp order, byte-string values.
//
// Theory. A tree is a root pointer; the empty tree is the empty pointer. It changes only by
// merge(): a sorted batch of changes goes in, and a new root comes out; every node on the way that
// changed was written anew, every other is shared with the old tree, and the old nodes replaced are
// reported, never freed here. All leaves lie on one level. A child's birth is never later than its
// parent's, so a walk that is interested only in what was born after some group can skip whole
// subtrees.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pool/node_store.h"

namespace coppice::pool {

struct Change {
  std::string_view key;
  std::optional<std::string_view> value;  // None: the key is erased (no error if it is not there).
};

// Applies `changes` (strictly ascending keys; views stay valid throughout) to the tree at `root`.
// Appends the replaced nodes to `dropped`. Gives other coroutines a turn about every 100
// microseconds. The caller awaits writer.finish() before it lets the new root out of its hands.
Task<NodePtr> merge(NodeStore& store, NodeWriter& writer, NodePtr root,
                    std::span<const Change> changes, std::vector<NodePtr>& dropped);

Task<std::optional<std::string>> find(NodeStore& store, NodePtr root, std::string_view key);

// A place in a tree. Views from key() and value() live until the cursor moves. The tree's nodes
// must not be freed on disk meanwhile (nodes in memory are held).
class Cursor {
 public:
  Cursor(NodeStore& store, NodePtr root);
  ~Cursor();
  Cursor(Cursor&&) noexcept;

  Task<> seek(std::string_view key);  // To the first item >= key; at the end if there is none.
  Task<> seek_floor(std::string_view key);  // To the last item <= key; else to the first item.
  Task<> next();
  // The same without a coroutine. false: a node is not in memory; the cursor then is at the end,
  // and the Task form must be used.
  bool try_seek_floor(std::string_view key);
  bool try_next();  // false: nothing moved.

  bool at_end() const;
  std::string_view key() const;
  std::string_view value() const;

 private:
  struct Place {
    Ref<const Node> node;
    size_t index = 0;
  };
  bool seek_in_leaf(std::string_view key);
  void push(Ref<const Node> node, size_t index);
  void finish_move();               // The last place is a leaf's: fetches the key.
  size_t fork(bool forward) const;  // How many places stay when moving on; 0: none can.
  Task<> descend(NodePtr ptr, std::string_view key);
  Task<> step(bool forward);  // To the neighbour leaf; stays if there is none.

  NodeStore* store_;
  NodePtr root_;
  size_t depth_ = 0;                   // 0: at the end.
  std::array<Place, kLevelMax> path_;  // From the root to a leaf.
  std::string key_;
};

// Visits nodes in key order, a parent before its children, for scrub, check and background frees.
// `visit` returns whether to go down. Errors loading a node are passed to `visit_bad`, which
// decides whether to go on.
class Walk {
 public:
  virtual ~Walk() = default;
  virtual bool enter(const NodePtr& ptr) = 0;  // Before the node is read. false: skip it.
  virtual Task<> node(const NodePtr& ptr, const Node& node) = 0;  // After it was read and checked.
  virtual Result<> bad(const NodePtr& ptr, const Error& error) = 0;  // {}: skip it and go on.
  virtual Task<> leave(const NodePtr& ptr) = 0;  // After all below it; follows node().
};
// A node whose keys lie outside the range that its parent gives it counts as bad (corrupt).
// From the first leaf that may hold `from` on. Nodes whose whole range lies before `from` are not
// entered.
Task<> walk(NodeStore& store, NodePtr root, std::string_view from, Walk& visitor);

}  // namespace coppice::pool
