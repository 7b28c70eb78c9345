#include <utility>

#include "pool/tree.h"

namespace coppice::pool {
namespace {

constexpr size_t kNodesPerTurn = 32;

// What a parent says of the keys below one of its items.
struct Range {
  std::string low;                  // Keys are >= this,
  std::optional<std::string> high;  // and < this.
};

bool within(const Node& node, const Range& range) {
  return node.compare_key(0, range.low) >= 0 &&
         (!range.high || node.compare_key(node.count() - 1, *range.high) < 0);
}

struct Walker {
  NodeStore& store;
  Walk& visitor;
  std::string from;
  size_t nodes = 0;

  Task<> visit(NodePtr ptr, Range range) {
    if (!visitor.enter(ptr)) co_return {};
    if (++nodes % kNodesPerTurn == 0) co_await rt::yield(store.executor());
    auto loaded = co_await store.load(ptr);
    if (loaded && !within(**loaded, range))
      loaded = fail(Errc::corrupt, "tree node: keys outside the range its parent gives");
    if (!loaded) co_return visitor.bad(ptr, loaded.error());
    const Ref<const Node> node = *std::move(loaded);
    co_await ok(visitor.node(ptr, *node));
    if (node->level() > 0) co_await ok(children(*node, range));
    co_return co_await visitor.leave(ptr);
  }

  // The caller holds `node` and `range`.
  Task<> children(const Node& node, const Range& range) {
    for (size_t i = node.floor(from); i < node.count(); ++i) {
      Range below;
      // What lies below the first item may start before its key: that is but a lower bound.
      below.low = i == 0 ? range.low : node.key(i);
      if (i + 1 < node.count())
        below.high = node.key(i + 1);
      else
        below.high = range.high;
      co_await ok(visit(node.child(i), std::move(below)));
    }
    co_return {};
  }
};

}  // namespace

Task<> walk(NodeStore& store, NodePtr root, std::string_view from, Walk& visitor) {
  if (root.empty()) co_return {};
  Walker walker{store, visitor, std::string(from)};
  Range everything;
  co_return co_await walker.visit(root, std::move(everything));
}

}  // namespace coppice::pool
