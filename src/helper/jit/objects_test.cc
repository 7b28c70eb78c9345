// Programs of clang's, for every instruction set, verified: machine code that builds on what was
// proved of them does what the interpreter does, to r0 and to every map.
#include <gtest/gtest.h>

#include <array>
#include <set>

#include "bpf/interpreter.h"
#include "bpf/object/object.h"
#include "bpf/standard_types.h"
#include "bpf/testing/objects.h"
#include "bpf/verify/verifier.h"
#include "helper/jit/testing/in_process.h"

namespace coppice::jit {
namespace {

using namespace bpf;

// An object with maps of its own, and its programs in one engine.
class Bed {
 public:
  Bed(const Object& object, const ProgramType& type, bool native) : object_(object) {
    auto maps = make_maps(object, 1);
    CHECK(maps.has_value());
    owned_ = *std::move(maps);
    for (const auto& each : owned_) maps_.push_back(each.get());
    const size_t count = object.programs().size();
    codes_.reserve(count);
    natives_.reserve(count);
    for (const ObjectProgram& each : object.programs()) add(each, type, native);
    for (size_t i = 0; i < maps_.size(); ++i) {
      for (const auto& entry : object.maps()[i].entries) {
        auto* array = static_cast<ProgramArray*>(maps_[i]);
        if (native) {
          array->set(entry.index, &natives_[entry.program]);
        } else {
          array->set(entry.index, &codes_[entry.program]);
        }
      }
    }
  }

  u64 run(size_t program, u64 context) {
    if (!natives_.empty()) return machine_.run(natives_[program], context);
    const Outcome outcome = machine_.run(codes_[program], context);
    EXPECT_EQ(outcome.stop, Stop::exited);
    return outcome.r0;
  }

  // What every map holds: its number, keys and values, in no order.
  std::set<std::vector<std::byte>> contents() {
    std::set<std::vector<std::byte>> all;
    for (size_t i = 0; i < maps_.size(); ++i) {
      Map& map = *maps_[i];
      std::vector<std::byte> key(map.spec().key_size), value(map.value_bytes());
      const std::byte* last = nullptr;
      while (map.next_key(last, key.data()) == 0 && map.read(key.data(), value) == 0) {
        std::vector<std::byte> entry{static_cast<std::byte>(i)};
        entry.insert(entry.end(), key.begin(), key.end());
        entry.insert(entry.end(), value.begin(), value.end());
        all.insert(std::move(entry));
        last = key.data();
      }
    }
    return all;
  }

 private:
  void add(const ObjectProgram& program, const ProgramType& type, bool native) {
    auto code = Code::bind(program.program, {.helpers = *type.helpers, .maps = maps_});
    CHECK(code.has_value());
    codes_.push_back(*std::move(code));
    if (!native) return;
    const auto views = views_of(object_);
    const Verdict verdict = verify({.program = program.program,
                                    .type = type,
                                    .maps = views,
                                    .btf = object_.btf(),
                                    .functions = program.functions,
                                    .lines = program.lines});
    EXPECT_TRUE(verdict.accepted()) << program.name;
    EXPECT_EQ(verdict.facts.slots.size(), program.program.slots().size());
    auto made = compile_here(program.program, codes_.back(), verdict.facts);
    CHECK(made.has_value());
    natives_.push_back(*std::move(made));
  }

  const Object& object_;
  std::vector<std::unique_ptr<Map>> owned_;
  std::vector<Map*> maps_;
  std::vector<Code> codes_;
  std::vector<Native> natives_;
  Machine machine_{{}};
};

TEST(Objects, RunAlikeVerifiedAsMachineCode) {
  const StandardTypes types;
  for (const Variant& variant : all_variants()) {
    SCOPED_TRACE(::testing::PrintToString(variant));
    const auto object = Object::read(object_bytes("counters", variant), {});
    ASSERT_TRUE(object) << describe(object.error());
    Bed interpreted(*object, types.probe(), false), native(*object, types.probe(), true);
    for (u64 round = 0; round < 5; ++round) {
      for (size_t program = 0; program < object->programs().size(); ++program) {
        SCOPED_TRACE(object->programs()[program].name);
        std::array<u64, 8> context{round % 2, round, 3, 4, 5, 6, 7, 8};
        const u64 address = reinterpret_cast<u64>(context.data());
        ASSERT_EQ(native.run(program, address), interpreted.run(program, address));
      }
      ASSERT_EQ(native.contents(), interpreted.contents());
    }
  }
}

}  // namespace
}  // namespace coppice::jit
