// Objects that are changed before they are verified: variables that are set, functions that are
// replaced.
#include "bpf/object/replacement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "bpf/code.h"
#include "bpf/core_helpers.h"
#include "bpf/interpreter.h"
#include "bpf/standard_types.h"
#include "bpf/testing/objects.h"
#include "bpf/verify/oracle.h"
#include "bpf/verify/verifier.h"

namespace coppice::bpf {
namespace {

using testing::HasSubstr;

Object read_object(const std::string& name, const Variant& variant) {
  auto object = Object::read(object_bytes(name, variant), {});
  if (!object) ADD_FAILURE() << describe(object.error());
  CHECK(object.has_value());
  return *std::move(object);
}

const ObjectProgram& program_of(const Object& object, std::string_view name) {
  for (const ObjectProgram& each : object.programs()) {
    if (each.name == name) return each;
  }
  CHECK(!"the object has the program");
  return object.programs()[0];
}

// Maps of one object, or of several behind each other, and a program on them.
class Bench {
 public:
  explicit Bench(std::initializer_list<const Object*> objects) {
    add_core_helpers(helpers_);
    for (const Object* object : objects) {
      for (const MapView& view : views_of(*object)) views_.push_back(view);
      auto made = make_maps(*object, 1);
      CHECK(made.has_value());
      for (auto& each : *made) maps_.push_back(owned_.emplace_back(std::move(each)).get());
    }
  }
  Verdict verdict_of(const ObjectProgram& program, const Btf* types) const {
    return verify({.program = program.program,
                   .type = types_.probe(),
                   .maps = views_,
                   .btf = types,
                   .functions = program.functions,
                   .lines = program.lines},
                  {.claims = true});
  }
  // The int that it returns, if it is accepted and does what the verifier claims.
  u32 run(const ObjectProgram& program, const Btf* types, u64 first, u64 second = 0) {
    const Verdict verdict = verdict_of(program, types);
    if (!verdict.accepted()) {
      ADD_FAILURE() << coppice::bpf::describe(*verdict.refusal, program.program, program.lines);
      return ~u32{0};
    }
    const auto code = Code::bind(program.program, {.helpers = helpers_, .maps = maps_});
    CHECK(code.has_value());
    u64 context[8] = {first, second};
    const u64 address = reinterpret_cast<u64>(context);
    const Region region{address, sizeof context, true};
    Oracle oracle(*code, verdict, address);
    Machine machine({.budget = 100'000});
    const auto result = result_of(machine.run_checked(*code, {&region, 1}, address, 0, &oracle));
    EXPECT_EQ(oracle.disagreement(), "");
    EXPECT_TRUE(result);
    return static_cast<u32>(result.value_or(~u64{0}));  // Above it old programs leave anything.
  }
  u64 value_of(const Object& object, size_t maps_before, std::string_view map, u32 key) {
    for (size_t i = 0; i < object.maps().size(); ++i) {
      if (object.maps()[i].spec.name != map) continue;
      u64 value = 0;
      std::memcpy(&value, maps_[maps_before + i]->lookup(reinterpret_cast<std::byte*>(&key), 0), 8);
      return value;
    }
    CHECK(!"the object has the map");
    return 0;
  }

 private:
  StandardTypes types_;
  HelperTable helpers_;
  std::vector<MapView> views_;
  std::vector<std::unique_ptr<Map>> owned_;
  std::vector<Map*> maps_;
};

class Changed : public testing::TestWithParam<Variant> {
 protected:
  Object object = read_object("replaced", GetParam());
  Object other = read_object("replacement", GetParam());
  u32 run(std::string_view program, u64 first, u64 second = 0) {
    Bench bench({&object});
    return bench.run(program_of(object, program), object.btf(), first, second);
  }
  u32 map_count() const { return static_cast<u32>(object.maps().size()); }
  Result<ObjectProgram> replaced(std::string_view function, std::string_view by) const {
    return replace_function({.target = program_of(object, "filter"),
                             .target_types = object.btf(),
                             .function = function,
                             .replacement = program_of(other, by),
                             .replacement_types = other.btf(),
                             .first_map = map_count()});
  }
  std::string refusal(std::string_view function, std::string_view by) const {
    const auto made = replaced(function, by);
    return made ? "" : describe(made.error());
  }
};

// ------------------------------------------------------------------ variables

TEST_P(Changed, VariablesHaveTheValuesTheyWereGiven) {
  // sum of index + table[index & 3], and small, name[0], pair.first.
  const u32 before = (0 + 1) + (1 + 2) + 1 + 'n' + 1;
  EXPECT_EQ(run("repeat", 0), before);
  const auto set = [&](std::string_view name, std::string_view text) {
    const auto done = object.set(name, text);
    EXPECT_TRUE(done) << name << "=" << text << ": " << describe(done.error());
  };
  set("small", "0x10");
  EXPECT_EQ(run("repeat", 0), before + 15);
  set("small", "255");
  set("small", "1");
  set("offset", "-1");
  EXPECT_EQ(run("repeat", 0), before - 1);
  set("offset", "2K");
  EXPECT_EQ(run("repeat", 0), before + 2048);
  set("offset", "0");
  set("mode", "FAST");
  EXPECT_EQ(run("repeat", 0), before + 7);
  set("mode", "SLOW");
  EXPECT_EQ(run("repeat", 0), before - 1);
  set("mode", "0");
  set("table", "100,0x10");
  EXPECT_EQ(run("repeat", 0), before - 3 + 116);
  set("table", "1,2,3,4");
  set("name", "xyz");
  EXPECT_EQ(run("repeat", 0), before - 'n' + 'x');
  set("name", "none");
  set("wanted", "true");
  EXPECT_EQ(run("repeat", 0), before + 1000);
  set("wanted", "off");
  set("empty", "1G");
  EXPECT_EQ(run("repeat", 0), before + (1 << 30));
  set("limit", "5");
  EXPECT_EQ(run("filter", 6, 2), 1000u + 20u + ((6 ^ 5) & 1));
  set("counter", "4");
  EXPECT_EQ(run("filter", 6, 2), 1000u + 20u + ((6 ^ 4) & 1));
}

TEST_P(Changed, WhatDoesNotFitAVariableIsRefused) {
  const auto refused = [&](std::string_view name, std::string_view text, std::string_view why) {
    const auto done = object.set(name, text);
    ASSERT_FALSE(done) << name << "=" << text;
    EXPECT_THAT(describe(done.error()), HasSubstr(std::string(why)));
  };
  refused("none", "1", "there is none of that name; it has: ");
  refused("none", "1", "limit (const volatile u64)");
  refused("small", "256", "it has 1 unsigned bytes");
  refused("small", "-1", "does not fit");
  refused("small", "", "that is no number");
  refused("small", "1x", "that is no number");
  refused("small", "1KK", "that is no number");
  refused("offset", "9223372036854775808", "it has 8 signed bytes");
  refused("limit", "18446744073709551616", "that is no number");
  refused("limit", "16777216T", "that is no number");
  refused("wanted", "2", "true or false");
  refused("mode", "FASTER", "that is no number");
  refused("table", "1,2,3,4,5", "more than its 4 numbers");
  refused("table", "1,x", "number 2: that is no number");
  refused("name", "eight888", "7 and a zero fit");
  refused("pair", "1", "only numbers");
  const u32 untouched = (0 + 1) + (1 + 2) + 1 + 'n' + 1;
  EXPECT_EQ(run("repeat", 0), untouched) << "what was refused changed nothing";
}

// ------------------------------------------------------------------ how long a run may take

TEST_P(Changed, TheBoundFollowsAConstant) {
  const auto bound = [&](const char* rounds) {
    EXPECT_TRUE(object.set("rounds", rounds));
    Bench bench({&object});
    const Verdict verdict = bench.verdict_of(program_of(object, "repeat"), object.btf());
    EXPECT_TRUE(verdict.accepted());
    return verdict.cost.bound.value_or(0);
  };
  const u64 ten = bound("10"), thousand = bound("1000");
  EXPECT_GT(ten, 10u);
  EXPECT_LT(ten, 2000u);
  EXPECT_GT(thousand, 1000 * 5u);
  EXPECT_LT(thousand, 1000 * ten);
  ASSERT_TRUE(object.set("rounds", "1000"));
  EXPECT_GT(run("repeat", 0), 1000u) << "the oracle counts the instructions of this run";
}

// ------------------------------------------------------------------ functions

TEST_P(Changed, AFunctionIsReplacedWithAllThatItNeeds) {
  const auto made = replaced("decide", "decide_otherwise");
  ASSERT_TRUE(made) << describe(made.error());
  Bench bench({&object, &other});
  EXPECT_EQ(bench.run(*made, object.btf(), 101, 2), 8000u + 20u + ((101 ^ 5) & 1));
  EXPECT_EQ(bench.run(*made, object.btf(), 99, 2), 7000u + 20u + ((99 ^ 5) & 1));
  EXPECT_EQ(bench.value_of(other, map_count(), "asked", 3), 20u) << "its own map, with its data";
  EXPECT_EQ(bench.value_of(object, 0, "seen", 0), 0u) << "the old function did not run";

  const auto twice = replace_function({.target = *made,
                                       .target_types = object.btf(),
                                       .function = "weigh",
                                       .replacement = program_of(other, "weigh_second"),
                                       .replacement_types = other.btf(),
                                       .first_map = map_count()});
  ASSERT_TRUE(twice) << describe(twice.error());
  EXPECT_EQ(bench.run(*twice, object.btf(), 101, 2), 8000u + 30u + ((101 ^ 5) & 1));
  for (size_t i = 1; i < twice->functions.size(); ++i) {
    EXPECT_LT(twice->functions[i - 1].slot, twice->functions[i].slot);
  }
  for (size_t i = 1; i < twice->lines.size(); ++i) {
    EXPECT_LE(twice->lines[i - 1].slot, twice->lines[i].slot);
  }
}

TEST_P(Changed, AFunctionOfAnotherPrototypeIsRefused) {
  EXPECT_THAT(refusal("decide", "takes_other_numbers"),
              HasSubstr("'takes_other_numbers' parameter 1 is 'u64', not 'u32'"));
  EXPECT_THAT(refusal("decide", "takes_one"), HasSubstr("it has 1 parameters, not 2"));
  EXPECT_THAT(refusal("decide", "returns_more"), HasSubstr("it returns 'u64', not 'int'"));
  EXPECT_THAT(refusal("weigh", "takes_numbers"),
              HasSubstr("parameter 1 is 'u32 *', not 'struct pair *'"));
  EXPECT_THAT(refusal("quiet", "takes_one"), HasSubstr("it is static"));
  EXPECT_THAT(refusal("nobody", "takes_one"),
              HasSubstr("there is none of that name; there are: decide, weigh"));
  EXPECT_THAT(refusal("filter", "takes_one"), HasSubstr("there is none of that name"));
}

// The whole is verified, so a replacement can do nothing that the prototype does not vouch for.
TEST_P(Changed, AReplacementIsVerifiedInItsPlace) {
  const auto made = replaced("weigh", "weigh_beyond");
  ASSERT_TRUE(made) << describe(made.error());
  Bench bench({&object, &other});
  const Verdict verdict = bench.verdict_of(*made, object.btf());
  ASSERT_FALSE(verdict.accepted());
  EXPECT_THAT(coppice::bpf::describe(*verdict.refusal, made->program, made->lines),
              HasSubstr("replacement.c"));
}

INSTANTIATE_TEST_SUITE_P(EveryInstructionSet, Changed, testing::ValuesIn(all_variants()));

}  // namespace
}  // namespace coppice::bpf
