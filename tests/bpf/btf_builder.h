// btf_builder.h — writes type information by hand, as a compiler would.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "base/endian.h"
#include "bpf/object/btf.h"

namespace coppice::bpf {

class BtfBuilder {
 public:
  struct Member {
    std::string name;
    u32 type = 0;
    u32 offset = 0;  // Bytes.
  };

  // Each returns the new type's id.
  u32 integer(const std::string& name, u32 bytes) {
    const u32 id = record(name, Btf::Kind::integer, 0, bytes);
    word(bytes * 8);
    return id;
  }
  u32 pointer(u32 to) { return record("", Btf::Kind::pointer, 0, to); }
  u32 array(u32 of, u32 index_type, u32 count) {
    const u32 id = record("", Btf::Kind::array, 0, 0);
    word(of);
    word(index_type);
    word(count);
    return id;
  }
  u32 structure(const std::string& name, u32 bytes, const std::vector<Member>& members) {
    const u32 id = record(name, Btf::Kind::structure, static_cast<u32>(members.size()), bytes);
    for (const Member& member : members) {
      word(text(member.name));
      word(member.type);
      word(member.offset * 8);
    }
    return id;
  }
  // A global one.
  u32 function(const std::string& name, u32 result, const std::vector<u32>& parameters) {
    const u32 prototype =
        record("", Btf::Kind::prototype, static_cast<u32>(parameters.size()), result);
    for (size_t i = 0; i < parameters.size(); ++i) {
      word(text("p" + std::to_string(i + 1)));
      word(parameters[i]);
    }
    return record(name, Btf::Kind::function, static_cast<u32>(Btf::Linkage::global), prototype);
  }

  // What the source says of a parameter, counted from 0.
  void tag(const std::string& name, u32 function, u32 parameter) {
    record(name, Btf::Kind::declaration_tag, 0, function);
    word(parameter);
  }

  Result<Btf> build() const {
    constexpr u32 kHeaderBytes = 24;
    std::vector<std::byte> section(kHeaderBytes);
    store_le<u16>(&section[0], u16{0xeb9f});
    store_le<u8>(&section[2], u8{1});
    store_le<u32>(&section[4], kHeaderBytes);
    store_le<u32>(&section[12], static_cast<u32>(types_.size()));
    store_le<u32>(&section[16], static_cast<u32>(types_.size()));
    store_le<u32>(&section[20], static_cast<u32>(strings_.size()));
    section.insert(section.end(), types_.begin(), types_.end());
    for (const char c : strings_) section.push_back(static_cast<std::byte>(c));
    return Btf::read(section);
  }

 private:
  void word(u32 value) {
    types_.resize(types_.size() + 4);
    store_le<u32>(&types_[types_.size() - 4], value);
  }
  u32 text(const std::string& string) {
    if (string.empty()) return 0;
    const u32 at = static_cast<u32>(strings_.size());
    strings_ += string + '\0';
    return at;
  }
  u32 record(const std::string& name, Btf::Kind kind, u32 count, u32 size_or_type) {
    word(text(name));
    word(static_cast<u32>(kind) << 24 | count);
    word(size_or_type);
    return ++last_;
  }

  std::vector<std::byte> types_;
  std::string strings_ = std::string(1, '\0');
  u32 last_ = 0;
};

}  // namespace coppice::bpf
