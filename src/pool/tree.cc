#include "pool/tree.h"

#include <utility>

namespace coppice::pool {

Task<std::optional<std::string>> find(NodeStore& store, NodePtr root, std::string_view key) {
  if (root.empty()) co_return std::optional<std::string>{};
  for (NodePtr ptr = root;;) {
    Ref<const Node> node = store.cached(ptr);
    if (!node) node = co_await ok(store.load(ptr));
    if (node->level() > 0) {
      ptr = node->child(node->floor(key));
      continue;
    }
    const size_t i = node->lower_bound(key);
    if (i == node->count() || node->compare_key(i, key) != 0)
      co_return std::optional<std::string>{};
    co_return std::optional<std::string>(node->value(i));
  }
}

Cursor::Cursor(NodeStore& store, NodePtr root) : store_(&store), root_(root) {}
Cursor::~Cursor() = default;
Cursor::Cursor(Cursor&&) noexcept = default;

bool Cursor::at_end() const { return depth_ == 0; }

std::string_view Cursor::key() const {
  CHECK(!at_end());
  return key_;
}

std::string_view Cursor::value() const {
  CHECK(!at_end());
  const Place& place = path_[depth_ - 1];
  return place.node->value(place.index);
}

void Cursor::push(Ref<const Node> node, size_t index) {
  CHECK(depth_ < kLevelMax);  // Levels go down by one from node to child.
  path_[depth_++] = {std::move(node), index};
}

void Cursor::finish_move() {
  CHECK(depth_ > 0 && path_[depth_ - 1].node->level() == 0);
  const Place& place = path_[depth_ - 1];
  place.node->key(place.index, key_);
}

// Neighbouring keys are mostly looked up one after the other.
bool Cursor::seek_in_leaf(std::string_view key) {
  if (depth_ == 0) return false;
  Place& place = path_[depth_ - 1];
  const size_t above = place.node->upper_bound(key);
  if (above == 0 || above == place.node->count()) return false;
  place.index = above - 1;
  finish_move();
  return true;
}

size_t Cursor::fork(bool forward) const {
  for (size_t depth = depth_ - 1; depth > 0; --depth) {
    const Place& place = path_[depth - 1];
    if (forward ? place.index + 1 < place.node->count() : place.index > 0) return depth;
  }
  return 0;
}

// To the leaf where `key` belongs.
Task<> Cursor::descend(NodePtr ptr, std::string_view key) {
  for (depth_ = 0;;) {
    Ref<const Node> node = store_->cached(ptr);
    if (!node) {
      auto loaded = co_await store_->load(ptr);
      if (!loaded) {
        depth_ = 0;
        co_return std::unexpected(std::move(loaded).error());
      }
      node = *std::move(loaded);
    }
    const size_t index = node->floor(key);
    const bool leaf = node->level() == 0;
    if (!leaf) ptr = node->child(index);
    push(std::move(node), index);
    if (leaf) co_return {};
  }
}

Task<> Cursor::step(bool forward) {
  const size_t keep = fork(forward);
  if (keep == 0) co_return {};
  depth_ = keep;
  Place& turn = path_[depth_ - 1];
  turn.index += forward ? 1 : size_t(-1);
  NodePtr ptr = turn.node->child(turn.index);
  for (;;) {
    auto node = co_await store_->load(ptr);
    if (!node) {
      depth_ = 0;
      co_return std::unexpected(std::move(node).error());
    }
    const size_t index = forward ? 0 : (*node)->count() - 1;
    const bool leaf = (*node)->level() == 0;
    if (!leaf) ptr = (*node)->child(index);
    push(*std::move(node), index);
    if (leaf) co_return {};
  }
}

Task<> Cursor::seek(std::string_view key) {
  depth_ = 0;
  if (root_.empty()) co_return {};
  co_await ok(descend(root_, key));
  Place& place = path_[depth_ - 1];
  const size_t index = place.node->lower_bound(key);
  if (index < place.node->count()) {
    place.index = index;
    finish_move();
    co_return {};
  }
  place.index = index - 1;
  finish_move();
  co_return co_await next();
}

Task<> Cursor::seek_floor(std::string_view key) {
  depth_ = 0;
  if (root_.empty()) co_return {};
  co_await ok(descend(root_, key));
  // All of the leaf may lie above the key: its bound in the parent may be lower than its first key.
  const Place& place = path_[depth_ - 1];
  if (place.node->compare_key(0, key) > 0) co_await ok(step(false));
  finish_move();
  co_return {};
}

Task<> Cursor::next() {
  CHECK(!at_end());
  Place& place = path_[depth_ - 1];
  if (place.index + 1 < place.node->count()) {
    ++place.index;
  } else if (fork(true) == 0) {
    depth_ = 0;
    co_return {};
  } else {
    co_await ok(step(true));
  }
  finish_move();
  co_return {};
}

bool Cursor::try_seek_floor(std::string_view key) {
  if (seek_in_leaf(key)) return true;
  depth_ = 0;
  if (root_.empty()) return true;
  size_t above = 0;
  for (NodePtr ptr = root_;;) {
    Ref<const Node> node = store_->cached(ptr);
    if (!node) {
      depth_ = 0;
      return false;
    }
    above = node->upper_bound(key);
    const size_t index = above == 0 ? 0 : above - 1;
    const bool leaf = node->level() == 0;
    if (!leaf) ptr = node->child(index);
    push(std::move(node), index);
    if (leaf) break;
  }
  if (above == 0 && fork(false) != 0) {
    depth_ = 0;  // Rare: the answer is in the leaf before. Left to the Task form.
    return false;
  }
  finish_move();
  return true;
}

bool Cursor::try_next() {
  CHECK(!at_end());
  Place& place = path_[depth_ - 1];
  if (place.index + 1 < place.node->count()) {
    ++place.index;
    finish_move();
    return true;
  }
  const size_t keep = fork(true);
  if (keep == 0) {
    depth_ = 0;
    return true;
  }
  std::array<Ref<const Node>, kLevelMax> below;  // Nothing moves before all are found.
  size_t found = 0;
  NodePtr ptr = path_[keep - 1].node->child(path_[keep - 1].index + 1);
  for (;;) {
    Ref<const Node> node = store_->cached(ptr);
    if (!node) return false;
    const bool leaf = node->level() == 0;
    if (!leaf) ptr = node->child(0);
    CHECK(keep + found < kLevelMax);
    below[found++] = std::move(node);
    if (leaf) break;
  }
  depth_ = keep;
  ++path_[depth_ - 1].index;
  for (size_t i = 0; i < found; ++i) push(std::move(below[i]), 0);
  finish_move();
  return true;
}

}  // namespace coppice::pool
