// bpf/testing/btf_section.h — BTF written by hand, type by type, right or wrong.
#pragma once

#include <string>
#include <vector>

#include "base/check.h"
#include "bpf/object/btf.h"

namespace coppice::bpf {

class BtfSection {
 public:
  // The id of the type; what follows the three words of every type is `words`.
  u32 add(Btf::Kind kind, const std::string& name, u32 vlen, u32 size_or_type,
          const std::vector<u32>& words = {}, bool flag = false) {
    const u32 info = vlen | static_cast<u32>(kind) << 24 | (flag ? u32{1} << 31 : 0);
    for (const u32 word : {text(name), info, size_or_type}) types_.push_back(word);
    types_.insert(types_.end(), words.begin(), words.end());
    return ++count_;
  }
  u32 integer(const std::string& name = "int", u32 bytes = 4, u32 encoding = 1) {
    return add(Btf::Kind::integer, name, 0, bytes, {encoding << 24 | bytes * 8});
  }
  u32 text(const std::string& text) {
    if (text.empty()) return 0;
    const u32 at = static_cast<u32>(strings_.size());
    strings_ += text + '\0';
    return at;
  }
  void word(u32 word) { types_.push_back(word); }

  std::vector<std::byte> bytes() const {
    const u32 types = static_cast<u32>(types_.size() * 4);
    std::vector<u32> words = {0x0001eb9f, 24, 0, types, types, static_cast<u32>(strings_.size())};
    words.insert(words.end(), types_.begin(), types_.end());
    const auto raw = std::as_bytes(std::span(words));
    std::vector<std::byte> bytes(raw.begin(), raw.end());
    const auto tail = std::as_bytes(std::span(strings_));
    bytes.insert(bytes.end(), tail.begin(), tail.end());
    return bytes;
  }
  Result<Btf> read() const { return Btf::read(bytes()); }
  Btf read_good() const {
    auto btf = read();
    CHECK(btf.has_value());
    return *std::move(btf);
  }

 private:
  std::vector<u32> types_;
  std::string strings_ = std::string(1, '\0');
  u32 count_ = 0;
};

}  // namespace coppice::bpf
