// tests/fuzz/tree_node_fuzz.cc — a tree node of any bytes.
//
// The input is a node's content, padded to whole blocks. Decoding refuses it, or all of the node
// can be read: keys ascend, a search finds each, children are well formed; and encoding it again
// gives the same items.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "pool/node.h"

using namespace coppice;
using namespace coppice::pool;

namespace {

void check_searches(const Node& node) {
  std::string before;
  for (size_t i = 0; i < node.count(); ++i) {
    const std::string key = node.key(i);
    CHECK(i == 0 || before < key);
    CHECK(node.lower_bound(key) == i && node.upper_bound(key) == i + 1 && node.floor(key) == i);
    CHECK(node.compare_key(i, key) == 0);
    if (node.level() > 0) CHECK(well_formed(node.child(i)) && node.child(i).birth <= node.birth());
    before = key;
  }
}

void check_again(const Node& node) {
  std::vector<std::string> keys;
  std::vector<NodeItem> items;
  NodeMeasure measure;
  for (size_t i = 0; i < node.count(); ++i) keys.push_back(node.key(i));
  for (size_t i = 0; i < node.count(); ++i) {
    const NodeItem item{keys[i], node.value(i)};
    if (!measure.add(item)) return;  // It was packed less tightly than ours would be.
    items.push_back(item);
  }
  AlignedBuffer scratch(kNodeBytesMax);
  const size_t size = encode_node(node.level(), items, scratch.span());
  AlignedBuffer bytes(size);
  std::memcpy(bytes.data(), scratch.data(), size);
  stamp_birth(bytes.span(), node.birth());
  const auto again = Node::decode(std::move(bytes), 0);
  CHECK(again && (*again)->count() == node.count());
  for (size_t i = 0; i < node.count(); ++i)
    CHECK((*again)->key(i) == keys[i] && (*again)->value(i) == node.value(i));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
  if (size == 0 || size > kNodeBytesMax) return 0;
  AlignedBuffer bytes(round_up(size, kBlock));
  std::memset(bytes.data(), 0, bytes.size());
  std::memcpy(bytes.data(), data, size);
  const auto node = Node::decode(std::move(bytes), 0);
  if (!node) return 0;
  check_searches(**node);
  check_again(**node);
  return 0;
}
