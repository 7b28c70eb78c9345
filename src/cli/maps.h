// cli/maps.h — maps of loaded programs, with the types of what is in them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/connection.h"
#include "cli/typed_value.h"

namespace coppice::cli {

// A map by its number or its name; of several with one name, the one that `link` uses.
struct MapChoice {
  std::string name;
  std::string link;
};

class OpenMap {
 public:
  static Attempt<OpenMap> find(Connection& connection, const MapChoice& choice);

  Connection& connection() const { return *connection_; }
  schema::Map::Client& capability() { return capability_; }
  const std::string& name() const { return name_; }
  bool is_ring() const { return kind_ == "ringbuf"; }
  bool is_per_cpu() const { return kind_.starts_with("percpu"); }
  const bpf::Btf* types() const { return types_.get(); }

  Json key(std::span<const std::byte> bytes) const;
  // Of a per-CPU map a list, of one for each slot.
  Json value(std::span<const std::byte> bytes) const;

  Attempt<std::vector<std::byte>> key_of_text(const std::string& text) const;
  // What there is under `key`: nothing if there is no such element.
  Attempt<std::optional<std::vector<std::byte>>> get(std::span<const std::byte> key);
  // Over `present`, or zeroes; in all slots.
  Attempt<std::vector<std::byte>> value_of_text(std::optional<std::vector<std::byte>> present,
                                                const std::string& text) const;

  using Visit =
      std::function<void(std::span<const std::byte> key, std::span<const std::byte> value)>;
  Attempt<> for_each(const Visit& visit);

 private:
  OpenMap(Connection& connection, schema::Map::Client capability)
      : connection_(&connection), capability_(kj::mv(capability)) {}

  // Keys of arrays are numbers whether their type is known or not.
  bool is_indexed() const { return key_type_.id == 0 && kind_.ends_with("array"); }

  Connection* connection_;
  schema::Map::Client capability_;
  std::string name_, kind_;
  u32 key_bytes_ = 0, slot_bytes_ = 0, value_bytes_ = 0, entries_max_ = 0;
  std::unique_ptr<bpf::Btf> types_;  // Null: unknown.
  ValueType key_type_, value_type_;
};

}  // namespace coppice::cli
