// Merging a batch of changes into a tree, from the leaves up.
//
// Theory. rebuild() turns a subtree and its changes into a Group: the items that shall stand at one
// level in its place. Its caller cuts the group into nodes and names those in a group of the level
// above. A group waits until its right neighbour is known, because the two may be joined; so a node
// is written only once it is certain that something stands beside it, and a root with a single
// child is never written.
#include <algorithm>
#include <utility>

#include "pool/tree.h"
#include "rt/scope.h"
#include "trace/point.h"

namespace coppice::pool {
namespace {

constexpr size_t kItemsPerTurn = 2048;  // About 100 microseconds.
constexpr size_t kReadAhead = 32;       // Nodes read side by side.
constexpr size_t kUnderfull = kNodeBytesMax / 4;
// An even split that would leave the first of two nodes a little over one block makes it just one.
constexpr size_t kNearlyOneBlock = kBlock + kBlock / 7;

// Text that lives as long as its group.
class Arena {
 public:
  std::string_view put(std::string_view a, std::string_view b = {}) {
    const size_t size = a.size() + b.size();
    if (size > room_) more(size);
    char* at = next_;
    if (!a.empty()) std::memcpy(at, a.data(), a.size());
    if (!b.empty()) std::memcpy(at + a.size(), b.data(), b.size());
    next_ += size;
    room_ -= size;
    return {at, size};
  }
  void more(size_t at_least) {
    room_ = std::max<size_t>(at_least, 4096);
    chunks_.push_back(std::make_unique_for_overwrite<char[]>(room_));
    next_ = chunks_.back().get();
  }
  void absorb(Arena&& other) {
    for (auto& chunk : other.chunks_) chunks_.push_back(std::move(chunk));
    other = Arena();
  }

 private:
  std::vector<std::unique_ptr<char[]>> chunks_;
  char* next_ = nullptr;
  size_t room_ = 0;
};

struct Group {
  std::vector<NodeItem> items;  // Ascending. Views of `held`, `text`, or the caller's changes.
  std::vector<Ref<const Node>> held;
  Arena text;
  u8 level = 0;
  bool changed = false;
  bool appended = false;  // All that is new stands at the right edge of the tree.

  void keep(const Node& node, size_t from, size_t to) {
    for (size_t i = from; i < to; ++i) {
      const std::string_view prefix = node.prefix(), suffix = node.suffix(i);
      items.push_back({prefix.empty() ? suffix : text.put(prefix, suffix), node.value(i)});
    }
  }
};

NodePtr only_child(const Group& group) {
  CHECK(group.level > 0 && group.items.size() == 1);
  return decode_node_ptr(reinterpret_cast<const std::byte*>(group.items.front().value.data()));
}

// Nodes of a disk are each checked, but not against each other.
Result<> follows(const Group& group, std::string_view key) {
  if (group.items.empty() || group.items.back().key < key) return {};
  return fail(Errc::corrupt, "merge into a tree: keys of neighbour nodes overlap");
}

bool fits(std::span<const NodeItem> items, NodeMeasure& measure, size_t limit) {
  for (const NodeItem& item : items)
    if (!measure.add(item, limit) || measure.bytes() > limit) return false;
  return true;
}

bool underfull(const Group& group) {
  NodeMeasure measure;
  return fits(group.items, measure, kUnderfull);
}

bool can_join(const Group& left, const Group& right) {
  if (!underfull(left) && !underfull(right)) return false;
  NodeMeasure measure;
  return fits(left.items, measure, kNodeBytesMax) && fits(right.items, measure, kNodeBytesMax);
}

// Where the nodes of `items` end. Full ones from the left if `full`, else of much the same size.
std::vector<size_t> cut(std::span<const NodeItem> items, bool full) {
  std::vector<size_t> ends;
  size_t bytes = 0;
  for (size_t at = 0; at < items.size();) {
    NodeMeasure node;
    while (at < items.size() && node.add(items[at])) ++at;
    ends.push_back(at);
    bytes += node.bytes();
  }
  if (ends.size() < 2 || full) return ends;
  const size_t nodes = ends.size();
  ends.clear();
  for (size_t at = 0; at < items.size();) {
    const size_t left = nodes > ends.size() ? nodes - ends.size() : 1;
    size_t target =
        left == 1 ? kNodeBytesMax : std::min<size_t>(divide_up(bytes, left), kNodeBytesMax);
    if (left == 2 && target > kBlock && target <= kNearlyOneBlock) target = kBlock;
    NodeMeasure node;
    while (at < items.size() && node.add(items[at], target)) ++at;
    ends.push_back(at);
    bytes -= std::min(bytes, node.bytes());
  }
  return ends;
}

class Merger {
 public:
  Merger(NodeStore& store, NodeWriter& writer, std::vector<NodePtr>& dropped)
      : store_(store), writer_(writer), dropped_(dropped), scratch_(kNodeBytesMax) {}

  Task<NodePtr> run(NodePtr root, std::span<const Change> changes);

 private:
  struct Touched {
    size_t child;
    std::span<const Change> changes;
    Ref<const Node> node;
  };
  Task<Group> rebuild(Ref<const Node> node, std::span<const Change> changes, bool right_edge);
  Task<Group> rebuild_internal(Ref<const Node> node, std::span<const Change> changes,
                               bool right_edge);
  static Group rebuild_leaf(const Ref<const Node>& node, std::span<const Change> changes,
                            bool right_edge);
  Task<> read_ahead(const Node& parent, std::span<Touched> touched);
  Task<> load_into(NodePtr ptr, Ref<const Node>& into);
  Task<> wait_beside(std::optional<Group>& waiting, Group next, Group& into);
  Task<> flush(std::optional<Group>& waiting, Group& into);
  Task<> write(const Group& group, Group& into);
  static Result<> keep(const Node& node, size_t from, size_t to, Group& into);
  Task<> lift(Group& group, u8 level);
  Task<NodePtr> plant(Group group);
  Task<NodePtr> skip_single_children(NodePtr ptr);

  NodeStore& store_;
  NodeWriter& writer_;
  std::vector<NodePtr>& dropped_;
  AlignedBuffer scratch_;
  size_t work_ = 0;
};

std::vector<std::pair<size_t, std::span<const Change>>> partition(const Node& node,
                                                                  std::span<const Change> changes) {
  std::vector<std::pair<size_t, std::span<const Change>>> parts;
  while (!changes.empty()) {
    const size_t child = node.floor(changes.front().key);
    size_t count = changes.size();
    if (child + 1 < node.count()) {
      const auto end = std::ranges::partition_point(changes, [&](const Change& change) {
        return node.compare_key(child + 1, change.key) > 0;
      });
      count = static_cast<size_t>(end - changes.begin());
    }
    CHECK(count > 0);
    parts.emplace_back(child, changes.first(count));
    changes = changes.subspan(count);
  }
  return parts;
}

Group Merger::rebuild_leaf(const Ref<const Node>& node, std::span<const Change> changes,
                           bool right_edge) {
  Group out;
  out.held.push_back(node);
  out.items.reserve(node->count() + changes.size());
  out.text.more(node->count() * node->prefix().size() + node->blocks() * kBlock);
  size_t at = 0;
  for (const Change& change : changes) {
    const size_t place = node->lower_bound(change.key);
    out.keep(*node, at, place);
    at = place;
    const bool there = place < node->count() && node->compare_key(place, change.key) == 0;
    if (there && change.value && node->value(place) == *change.value) continue;
    if (there) ++at;
    if (change.value) out.items.push_back({change.key, *change.value});
    out.changed |= there || change.value.has_value();
  }
  out.appended = right_edge && node->compare_key(node->count() - 1, changes.front().key) < 0;
  out.keep(*node, at, node->count());
  return out;
}

Task<Group> Merger::rebuild(Ref<const Node> node, std::span<const Change> changes,
                            bool right_edge) {
  work_ += changes.size() + node->count();
  if (work_ >= kItemsPerTurn) {
    work_ = 0;
    co_await rt::yield(store_.executor());
  }
  if (node->level() == 0) co_return rebuild_leaf(node, changes, right_edge);
  co_return co_await rebuild_internal(std::move(node), changes, right_edge);
}

Task<Group> Merger::rebuild_internal(Ref<const Node> node, std::span<const Change> changes,
                                     bool right_edge) {
  Group out;
  out.held.push_back(node);
  out.level = node->level();
  std::optional<Group> waiting;
  std::vector<Touched> touched;
  const auto parts = partition(*node, changes);
  touched.reserve(parts.size());
  for (const auto& [child, part] : parts) touched.push_back({child, part, {}});
  size_t at = 0;  // Children before it are dealt with.
  for (size_t t = 0; t < touched.size(); ++t) {
    if (t % kReadAhead == 0) {
      const size_t ahead = std::min(kReadAhead, touched.size() - t);
      co_await ok(read_ahead(*node, std::span(touched).subspan(t, ahead)));
    }
    Touched& each = touched[t];
    const NodePtr ptr = node->child(each.child);
    const bool last = each.child + 1 == node->count();
    Group group = co_await ok(rebuild(std::move(each.node), each.changes, right_edge && last));
    const size_t keep_to = group.changed ? each.child : each.child + 1;
    if (keep_to > at) co_await ok(flush(waiting, out));
    co_await ok(keep(*node, at, keep_to, out));
    at = each.child + 1;
    if (!group.changed) continue;
    out.changed = true;
    out.appended = touched.size() == 1 && group.appended;
    dropped_.push_back(ptr);
    if (!group.items.empty()) co_await ok(wait_beside(waiting, std::move(group), out));
  }
  if (at < node->count()) co_await ok(flush(waiting, out));
  co_await ok(keep(*node, at, node->count(), out));
  if (!waiting) co_return std::move(out);
  // Nothing stands beside the only group: whether it needs a node above it is for the caller to
  // see.
  if (out.items.empty()) co_return *std::move(waiting);
  co_await ok(flush(waiting, out));
  co_return std::move(out);
}

// Fills in the nodes, those that are not in memory side by side.
Task<> Merger::read_ahead(const Node& parent, std::span<Touched> touched) {
  rt::Scope reads;
  for (Touched& each : touched) {
    const NodePtr ptr = parent.child(each.child);
    each.node = store_.cached(ptr);
    if (!each.node) reads.spawn(load_into(ptr, each.node));
  }
  co_return co_await reads.join();
}

Task<> Merger::load_into(NodePtr ptr, Ref<const Node>& into) {
  into = co_await ok(store_.load(ptr));
  co_return {};
}

Task<> Merger::wait_beside(std::optional<Group>& waiting, Group next, Group& into) {
  if (!waiting) {
    waiting = std::move(next);
    co_return {};
  }
  const u8 level = std::max(waiting->level, next.level);
  co_await ok(lift(*waiting, level));
  co_await ok(lift(next, level));
  co_await ok(follows(*waiting, next.items.front().key));
  if (!can_join(*waiting, next)) {
    co_await ok(flush(waiting, into));
    waiting = std::move(next);
    co_return {};
  }
  for (const NodeItem& item : next.items) waiting->items.push_back(item);
  for (auto& node : next.held) waiting->held.push_back(std::move(node));
  waiting->text.absorb(std::move(next.text));
  waiting->appended = false;
  co_return {};
}

Task<> Merger::flush(std::optional<Group>& waiting, Group& into) {
  if (!waiting) co_return {};
  CHECK(into.level > 0);
  co_await ok(lift(*waiting, static_cast<u8>(into.level - 1)));
  co_await ok(write(*waiting, into));
  waiting.reset();
  co_return {};
}

// Children that stay as they are.
Result<> Merger::keep(const Node& node, size_t from, size_t to, Group& into) {
  if (from == to) return {};
  const std::string first = node.key(from);
  TRY_VOID(follows(into, first));
  into.keep(node, from, to);
  return {};
}

// Cuts `group` into nodes and adds their pointers to `into`.
Task<> Merger::write(const Group& group, Group& into) {
  CHECK(into.level == group.level + 1);
  size_t from = 0;
  const std::vector<size_t> ends = cut(group.items, group.appended);
  for (const size_t end : ends) {
    const auto items = std::span(group.items).subspan(from, end - from);
    from = end;
    co_await ok(follows(into, items.front().key));
    const size_t size = encode_node(group.level, items, scratch_.span());
    const NodePtr ptr = co_await ok(writer_.add(group.level, scratch_.span().first(size)));
    std::byte encoded[kNodePtrBytes];
    encode(ptr, encoded);
    const std::string_view key = into.text.put(items.front().key);
    into.items.push_back(
        {key, into.text.put({reinterpret_cast<const char*>(encoded), kNodePtrBytes})});
  }
  co_return {};
}

Task<> Merger::lift(Group& group, u8 level) {
  while (group.level < level) {
    Group above;
    above.level = static_cast<u8>(group.level + 1);
    above.changed = true;
    above.appended = group.appended;
    co_await ok(write(group, above));
    group = std::move(above);
  }
  co_return {};
}

// Makes `group` a tree.
Task<NodePtr> Merger::plant(Group group) {
  if (group.items.empty()) co_return NodePtr{};
  if (group.level > 0 && group.items.size() == 1)
    co_return co_await skip_single_children(only_child(group));
  do {
    if (group.level + 1 >= kLevelMax) co_return fail(Errc::too_big, "merge into a tree: too high");
    co_await ok(lift(group, static_cast<u8>(group.level + 1)));
  } while (group.items.size() > 1);
  co_return only_child(group);
}

// A node that has become the root and leads to but one child, from before this merge, is needless.
Task<NodePtr> Merger::skip_single_children(NodePtr ptr) {
  while (ptr.level > 0) {
    const Ref<const Node> node = co_await ok(store_.load(ptr));
    if (node->count() > 1) break;
    dropped_.push_back(ptr);
    ptr = node->child(0);
  }
  co_return ptr;
}

Task<NodePtr> Merger::run(NodePtr root, std::span<const Change> changes) {
  Group group;
  if (root.empty()) {
    group.appended = true;
    for (const Change& change : changes)
      if (change.value) group.items.push_back({change.key, *change.value});
  } else {
    const Ref<const Node> node = co_await ok(store_.load(root));
    group = co_await ok(rebuild(node, changes, true));
    if (!group.changed) co_return root;
    dropped_.push_back(root);
  }
  co_return co_await plant(std::move(group));
}

}  // namespace

Task<NodePtr> merge(NodeStore& store, NodeWriter& writer, NodePtr root,
                    std::span<const Change> changes, std::vector<NodePtr>& dropped) {
  if (changes.empty()) co_return root;
  for (size_t i = 0; i < changes.size(); ++i) {
    CHECK(changes[i].key.size() <= kKeyBytesMax);
    CHECK(!changes[i].value || changes[i].value->size() <= kValueBytesMax);
    CHECK(i == 0 || changes[i - 1].key < changes[i].key);
  }
  if (trace::on(trace::Point::tree_merge)) [[unlikely]]
    trace::fire(trace::Point::tree_merge, {&store, raw(root.addr), changes.size()});
  Merger merger(store, writer, dropped);
  Task<NodePtr> running = merger.run(root, changes);
  Result<NodePtr> merged = co_await std::move(running);
  if (!merged) {  // Whoever gives up now must not find writes under way.
    Task<> draining = writer.drain();
    (void)co_await std::move(draining);
  }
  co_return std::move(merged);
}

}  // namespace coppice::pool
