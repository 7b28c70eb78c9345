// pool/record_bytes.h — the fields of catalog records as bytes: for the codecs only.
#pragma once

#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/endian.h"
#include "base/result.h"
#include "pool/catalog_codec.h"

namespace coppice::pool {

inline constexpr u8 kRecordVersion = 1;

// Writes the fields of one record.
class Encoder {
 public:
  explicit Encoder(size_t expected = 160) {
    bytes_.reserve(expected);
    put(kRecordVersion);
  }
  template <Scalar T>
  void put(T value) {
    char raw_bytes[sizeof value];
    std::memcpy(raw_bytes, &value, sizeof value);
    bytes_.append(raw_bytes, sizeof value);
  }
  void text(std::string_view value) {
    put(static_cast<u32>(value.size()));
    bytes_.append(value);
  }
  void texts(const std::map<std::string, std::string>& values) {
    put(static_cast<u32>(values.size()));
    for (const auto& [key, value] : values) {
      text(key);
      text(value);
    }
  }
  void node(const NodePtr& ptr) {
    put(ptr.addr);
    put(ptr.birth);
    put(ptr.crc);
    put(ptr.blocks);
    put(ptr.level);
  }
  void tree(const TreeState& tree) {
    node(tree.root);
    put(tree.referenced_blocks);
    put(tree.logical_blocks);
  }
  void slice(const Slice& slice) {
    put(slice.segment);
    put(slice.after);
    put(slice.upto);
  }
  std::string take() {
    CHECK(bytes_.size() <= kRecordBytesMax);
    return std::move(bytes_);
  }

 private:
  std::string bytes_;
};

// Reads what Encoder wrote. Anything out of form makes it bad for good; done() tells at the end.
class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : reader_(std::as_bytes(std::span(bytes))) {
    version_ = reader_.get<u8>();
  }
  template <Scalar T>
  T get() {
    return reader_.get<T>();
  }
  bool flag() {
    const u8 value = get<u8>();
    require(value <= 1);
    return value == 1;
  }
  std::string text() {
    const auto bytes = reader_.bytes(get<u32>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // How many follow, each of at least `size_min` bytes: never more than the rest can hold.
  u32 count(size_t size_min) {
    const u32 value = get<u32>();
    const bool fits = value <= reader_.remaining() / size_min;
    require(fits);
    return fits ? value : 0;
  }
  std::map<std::string, std::string> texts() {
    std::map<std::string, std::string> values;
    for (u32 left = count(8); left > 0 && good(); --left) {
      std::string key = text();
      std::string value = text();
      require(!key.empty() && (values.empty() || values.rbegin()->first < key));
      values.emplace_hint(values.end(), std::move(key), std::move(value));
    }
    return values;
  }
  NodePtr node() {
    NodePtr ptr;
    ptr.addr = get<BlockAddr>();
    ptr.birth = get<Txg>();
    ptr.crc = get<u32>();
    ptr.blocks = get<u8>();
    ptr.level = get<u8>();
    require(ptr.empty()
                ? ptr == NodePtr{}
                : ptr.blocks >= 1 && ptr.blocks <= kNodeBlocksMax && ptr.level <= kLevelMax);
    return ptr;
  }
  TreeState tree() {
    TreeState tree;
    tree.root = node();
    tree.referenced_blocks = get<u64>();
    tree.logical_blocks = get<u64>();
    return tree;
  }
  Slice slice() {
    Slice slice;
    slice.segment = get<u64>();
    slice.after = get<Txg>();
    slice.upto = get<Txg>();
    require(slice.segment != 0 && slice.after <= slice.upto);
    return slice;
  }
  void require(bool fact) { sound_ = sound_ && fact; }
  bool good() const { return sound_ && reader_.good(); }

  // The end of each decoder: the value, if all of the bytes were read and all was in form.
  template <class T>
  Result<T> done(T value, const char* what) {
    if (version_ > kRecordVersion) {
      return fail(Errc::unsupported, what, "the record was written by a newer version");
    }
    if (version_ != kRecordVersion || !sound_ || !reader_.done()) {
      return fail(Errc::corrupt, what, "the record is malformed");
    }
    return value;
  }

 private:
  Reader reader_;
  u8 version_ = 0;
  bool sound_ = true;
};

}  // namespace coppice::pool
