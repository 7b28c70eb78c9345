// A shipped eBPF program with maps of its own, verified and run in the interpreter, at times that a
// test sets.
#pragma once

#include <coppice/bpf/hooks.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>

#include "bpf/object/object.h"
#include "bpf/ring_buffer.h"
#include "hook/helpers.h"
#include "hook/types.h"

namespace coppice::shipped {

using Settings = std::map<std::string, std::string>;

// The bytes of a shipped object.
std::vector<std::byte> object_of(const std::string& name);

class Bed {
 public:
  // The object has one program.
  Bed(const std::string& name, const Settings& settings);
  ~Bed();
  Bed(const Bed&) = delete;

  // The verdict. Any thread, with a slot below kSlots of its own.
  u64 run(void* context, u32 slot = 0, std::span<const std::byte> payload = {});
  bpf::Map& map(const std::string& name);
  // A variable of .bss, which is a map.
  u64 counter(const std::string& variable);
  // Of the element, read from outside: of all slots in a per-CPU map.
  template <class Value, class Key>
  std::vector<Value> values(const std::string& name, const Key& key) {
    bpf::Map& from = map(name);
    std::vector<std::byte> bytes(from.value_bytes());
    if (from.read(reinterpret_cast<const std::byte*>(&key), bytes) != 0) return {};
    std::vector<Value> values(bytes.size() / sizeof(Value));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(Value));
    return values;
  }
  std::vector<std::vector<std::byte>> records(const std::string& ring);

  static constexpr u32 kSlots = 4;
  std::atomic<u64> now_ns = 1'000'000'000;  // What bpf_ktime_get_ns says.
  std::string refusal;                      // What coppice_refuse() said in the last run.

 private:
  void load(const std::string& name, const Settings& settings);

  std::unique_ptr<hook::Types> types_;
  bpf::HelperTable helpers_;  // The hook's, with another clock.
  std::unique_ptr<bpf::Object> object_;
  std::vector<std::unique_ptr<bpf::Map>> maps_;
  std::unique_ptr<bpf::Code> code_;
  std::vector<std::unique_ptr<hook::HookMachine>> machines_;  // By slot.
};

}  // namespace coppice::shipped
