// Objects of clang's, for every instruction set and two levels of optimisation: what is read of
// them is what their C says, and they run.
#include "bpf/object/object.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "bpf/core_helpers.h"
#include "bpf/interpreter.h"
#include "bpf/program_array.h"
#include "bpf/ring_buffer.h"
#include "bpf/testing/objects.h"

namespace coppice::bpf {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Object read_object(const std::string& name, const Variant& variant, const ReadOptions& options) {
  auto object = Object::read(object_bytes(name, variant), options);
  if (!object) ADD_FAILURE() << describe(object.error());
  CHECK(object.has_value());
  return *std::move(object);
}

// An object's programs, its maps, and the means to run them with every access checked.
class Bed {
 public:
  explicit Bed(Object object) : object_(std::move(object)) {
    add_core_helpers(helpers_);
    auto maps = make_maps(object_, 1);
    CHECK(maps.has_value());
    owned_ = *std::move(maps);
    for (const auto& each : owned_) maps_.push_back(each.get());
    codes_.reserve(object_.programs().size());
    for (const ObjectProgram& each : object_.programs()) {
      auto code = Code::bind(each.program, {.helpers = helpers_, .maps = maps_});
      if (!code) ADD_FAILURE() << each.name << ": " << coppice::describe(code.error());
      CHECK(code.has_value());
      codes_.push_back(*std::move(code));
    }
    for (size_t i = 0; i < maps_.size(); ++i) {
      for (const auto& entry : object_.maps()[i].entries)
        static_cast<ProgramArray*>(maps_[i])->set(entry.index, &codes_[entry.program]);
    }
  }

  const Object& object() const { return object_; }
  Map& map(std::string_view name) {
    for (size_t i = 0; i < maps_.size(); ++i) {
      if (object_.maps()[i].spec.name == name) return *maps_[i];
    }
    CHECK(false);
  }

  // r0 of the program, which may touch so many bytes at r1.
  Result<u64> run(std::string_view program, void* context, size_t bytes) {
    for (size_t i = 0; i < codes_.size(); ++i) {
      if (object_.programs()[i].name != program) continue;
      Machine machine({.budget = 100'000});
      const Region region{reinterpret_cast<u64>(context), bytes, true};
      return result_of(machine.run_checked(codes_[i], {&region, 1}, region.base));
    }
    CHECK(false);
  }

 private:
  Object object_;
  HelperTable helpers_;
  std::vector<std::unique_ptr<Map>> owned_;
  std::vector<Map*> maps_;
  std::vector<Code> codes_;
};

const ObjectMap& map_of(const Object& object, std::string_view name) {
  const auto at = std::ranges::find_if(
      object.maps(), [&](const ObjectMap& each) { return each.spec.name == name; });
  CHECK(at != object.maps().end());
  return *at;
}

const ObjectProgram& program_of(const Object& object, std::string_view name) {
  const auto at = std::ranges::find(object.programs(), name, &ObjectProgram::name);
  CHECK(at != object.programs().end());
  return *at;
}

class Counters : public testing::TestWithParam<Variant> {
 protected:
  Counters() : bed(read_object("counters", GetParam(), {})) {}
  Bed bed;
};
INSTANTIATE_TEST_SUITE_P(All, Counters, testing::ValuesIn(all_variants()),
                         testing::PrintToStringParamName());

TEST_P(Counters, HaveTheMapsOfTheirSource) {
  const Object& object = bed.object();
  std::vector<std::string> names;
  for (const ObjectMap& each : object.maps()) names.push_back(each.spec.name);
  EXPECT_THAT(names,
              testing::UnorderedElementsAre("counts", "events", "settings", "next", ".bss", ".data",
                                            ".data.apart", ".rodata", ".rodata.text"));
  const ObjectMap& counts = map_of(object, "counts");
  EXPECT_EQ(counts.spec.kind, MapKind::hash);
  EXPECT_EQ(counts.spec.key_size, 8u);
  EXPECT_EQ(counts.spec.value_size, 16u);
  EXPECT_EQ(counts.spec.max_entries, 64u);
  EXPECT_EQ(object.btf()->describe(counts.key_type), "struct key");
  EXPECT_EQ(object.btf()->describe(counts.value_type), "struct count");
  EXPECT_EQ(map_of(object, "events").spec.kind, MapKind::ringbuf);
  const ObjectMap& settings = map_of(object, "settings");
  EXPECT_TRUE(settings.read_only);
  EXPECT_TRUE(settings.by_name);
  EXPECT_FALSE(settings.frozen);
  EXPECT_EQ(settings.value_type, 0u);
}

TEST_P(Counters, HaveTheGlobalDataOfTheirSource) {
  const Object& object = bed.object();
  const ObjectMap& rodata = map_of(object, ".rodata");
  EXPECT_TRUE(rodata.frozen);
  EXPECT_TRUE(rodata.is_data);
  // limit is 100, wherever it lies.
  const Btf::Type& section = object.btf()->type(rodata.value_type);
  ASSERT_EQ(section.kind, Btf::Kind::section);
  const auto limit = std::ranges::find_if(section.placed, [&](const Btf::Placed& each) {
    return object.btf()->type(each.variable).name == "limit";
  });
  ASSERT_NE(limit, section.placed.end());
  u32 value;
  ASSERT_LE(limit->offset + sizeof value, rodata.contents.size());
  std::memcpy(&value, rodata.contents.data() + limit->offset, sizeof value);
  EXPECT_EQ(value, 100u);
  EXPECT_FALSE(map_of(object, ".data").frozen);
  EXPECT_EQ(map_of(object, ".data").contents.size(), 16u);
  EXPECT_EQ(map_of(object, ".bss").contents, std::vector<std::byte>(8));
  EXPECT_EQ(map_of(object, ".rodata.text").contents.size(), 6u);
}

TEST_P(Counters, HaveTheProgramsOfTheirSource) {
  std::map<std::string, std::vector<std::string>> programs;  // By section, as clang placed them.
  for (const ObjectProgram& each : bed.object().programs())
    programs[each.section].push_back(each.name);
  EXPECT_EQ(programs, (std::map<std::string, std::vector<std::string>>{
                          {"count", {"count_it"}},
                          {"sums", {"sum_by_loop", "sum_by_calls", "sum_near"}},
                          {"tail", {"finish", "finish_late", "start"}},
                          {"report", {"report_it"}}}));
  EXPECT_EQ(bed.object().license(), "Dual BSD/GPL");
  EXPECT_EQ(bed.object().version(), 0x50607u);
}

TEST_P(Counters, NameEachFunctionOnceWithItsLinkage) {
  const ObjectProgram& program = program_of(bed.object(), "sum_by_calls");
  std::map<std::string_view, bool> linkage;
  for (const Function& each : program.functions) {
    EXPECT_TRUE(program.program.is_subprogram(each.slot)) << each.name;
    EXPECT_TRUE(linkage.emplace(each.name, each.global).second) << each.name;
    ASSERT_NE(each.type, 0u) << each.name;
    EXPECT_EQ(bed.object().btf()->type(each.type).name, each.name);
  }
  EXPECT_EQ(linkage, (std::map<std::string_view, bool>{{"sum_by_calls", true},
                                                       {"scale", true},
                                                       {"scale_twice", false},  // Hidden.
                                                       {"weigh", false}}));
  EXPECT_EQ(program.functions[0].slot, 0u);
  EXPECT_EQ(program.functions[0].name, "sum_by_calls");
  EXPECT_EQ(program.functions.size(), program.program.subprograms().size());
}

TEST_P(Counters, SayWhichLineEachInstructionIsOf) {
  const ObjectProgram& program = program_of(bed.object(), "sum_by_calls");
  ASSERT_FALSE(program.lines.empty());
  EXPECT_TRUE(std::ranges::is_sorted(program.lines, {}, &Line::slot));
  for (const Function& function : program.functions) {
    const auto at = std::ranges::find(program.lines, function.slot, &Line::slot);
    ASSERT_NE(at, program.lines.end()) << function.name;
    EXPECT_THAT(std::string(at->file), testing::EndsWith("counters.c"));
    EXPECT_FALSE(at->text.empty()) << function.name;
    EXPECT_GT(at->line, 0u);
  }
  EXPECT_THAT(program.lines,
              testing::Contains(testing::Field(&Line::text, HasSubstr("return weights[at & 7];"))));
}

TEST_P(Counters, Count) {
  std::array<u64, 2> context = {5, 100};
  EXPECT_EQ(bed.run("count_it", &context, sizeof context), 1u);
  EXPECT_EQ(bed.run("count_it", &context, sizeof context), 2u);
  context[0] = 6;
  EXPECT_EQ(bed.run("count_it", &context, sizeof context), 1u);
  const u32 key[2] = {5, 7};
  u64 value[2];
  ASSERT_EQ(bed.map("counts").read(reinterpret_cast<const std::byte*>(key),
                                   std::as_writable_bytes(std::span(value))),
            0);
  EXPECT_THAT(value, ElementsAre(2, 200));
  const u32 zero = 0;
  u64 calls;
  ASSERT_EQ(bed.map(".bss").read(reinterpret_cast<const std::byte*>(&zero),
                                 std::as_writable_bytes(std::span(&calls, 1))),
            0);
  EXPECT_EQ(calls, 3u);
}

TEST_P(Counters, CallBackAndForth) {
  u64 context = 10;
  // Six weights, the step, and the 40 that six calls made 46.
  EXPECT_EQ(bed.run("sum_by_loop", &context, sizeof context), u64{1 + 2 + 3 + 5 + 7 + 11} + 3 + 46);
  const u64 once = 10 * 100 + 3;     // weights[10 & 7]
  const u64 twice = once * 100 + 5;  // weights[1003 & 7]
  EXPECT_EQ(bed.run("sum_by_calls", &context, sizeof context), twice + 9);
  EXPECT_EQ(bed.run("sum_near", &context, sizeof context), u64{10 ^ 3});
}

TEST_P(Counters, TailCallWhatTheirArrayHolds) {
  const ObjectMap& next = map_of(bed.object(), "next");
  std::map<u32, std::string> entries;
  for (const auto& each : next.entries)
    entries[each.index] = bed.object().programs()[each.program].name;
  EXPECT_EQ(entries, (std::map<u32, std::string>{{1, "finish"}, {3, "finish_late"}}));
  u64 context = 0;
  EXPECT_EQ(bed.run("start", &context, sizeof context), u64{'e'});
}

TEST_P(Counters, ReportToTheirRing) {
  u64 context = 0x1122334455667788;
  EXPECT_EQ(bed.run("report_it", &context, sizeof context), 0u);
  auto& ring = static_cast<RingBuffer&>(bed.map("events"));
  auto reader = RingReader::open(ring.consumer_fd(), ring.ring_fd(), 4096);
  ASSERT_TRUE(reader.has_value());
  u64 seen = 0;
  EXPECT_EQ(reader->poll([&](std::span<const std::byte> record) {
    ASSERT_EQ(record.size(), sizeof seen);
    std::memcpy(&seen, record.data(), sizeof seen);
  }),
            1u);
  EXPECT_EQ(seen, context);
}

// Of one program only what it uses is read, and its numbers of maps are its own.
TEST_P(Counters, CanBeReadOneProgramAtATime) {
  Bed one(read_object("counters", GetParam(), {.only = "report_it"}));
  ASSERT_EQ(one.object().programs().size(), 1u);
  ASSERT_EQ(one.object().maps().size(), 1u);
  EXPECT_EQ(one.object().maps()[0].spec.name, "events");
  u64 context = 1;
  EXPECT_EQ(one.run("report_it", &context, sizeof context), 0u);

  Bed start(read_object("counters", GetParam(), {.only = "start"}));
  EXPECT_TRUE(start.object().maps()[0].entries.empty());  // What they lead to was not asked for.

  const auto none = Object::read(object_bytes("counters", GetParam()), {.only = "nobody"});
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code, Errc::not_found);
}

// What relocated.c calls struct request, as host.c has it.
struct HostPlace {
  u64 padding = 0;
  u32 y = 0, x = 0;
};
struct HostRequest {
  HostRequest* next = nullptr;
  u64 padding = 0;
  u16 length = 0;
  u64 narrow = 0;
  i64 sign = 0;
  u64 offset = 0;
  HostPlace from[4];
  HostPlace tagged;
  u64 tag = 0;
  u32 flags_before : 9 = 0;
  i32 flags_below : 5 = 0;
  u32 flags_middle : 7 = 0, flags_low : 3 = 0;
};

class Relocated : public testing::TestWithParam<Variant> {
 protected:
  Relocated()
      : host(types_of(object_bytes("host", GetParam()))),
        bed(read_object("relocated", GetParam(), {.host = &host})) {}
  u64 run(std::string_view program) {
    auto r0 = bed.run(program, &requests, sizeof requests);
    if (!r0) ADD_FAILURE() << program << ": " << coppice::describe(r0.error());
    return r0.value_or(~u64{0});
  }
  std::string refusal(std::string_view program) {
    const auto r0 = bed.run(program, &requests, sizeof requests);
    return r0 ? "" : coppice::describe(r0.error());
  }

  Btf host;
  Bed bed;
  HostRequest requests[2];
};
INSTANTIATE_TEST_SUITE_P(All, Relocated, testing::ValuesIn(all_variants()),
                         testing::PrintToStringParamName());

TEST_P(Relocated, FindFieldsWhereTheHostHasThem) {
  requests[0].offset = 1'000'000;
  requests[0].length = 50'000;
  requests[0].narrow = 3000;
  requests[0].from[2].y = 200;
  requests[0].tag = 10;
  requests[1].length = 77;
  EXPECT_EQ(run("read_fields"), 1'053'210u);
  EXPECT_EQ(run("second_element"), 77u);
  EXPECT_EQ(run("flexible"), sizeof(HostRequest) - 4 + 5);  // Behind the flags.
}

TEST_P(Relocated, WriteTheFieldAndNoMore) {
  requests[0].offset = 0x123456789abcull;
  std::memset(&requests[0].padding, 0xff, 8);
  EXPECT_EQ(run("write_fields"), 0u);
  EXPECT_EQ(requests[0].length, 0x9abcu);
  EXPECT_EQ(requests[0].padding, ~u64{0});
  // What a register has above the program's 2 bytes is no part of the value.
  EXPECT_THAT(refusal("write_wider"), HasSubstr("needs a type or function that the host has not"));
}

TEST_P(Relocated, AnswerQuestionsAboutFields) {
  EXPECT_EQ(run("sizes"), u64{2'000'000 + 64'000 + 10 + 0});
  EXPECT_EQ(run("fields_exist"), 11u);
}

TEST_P(Relocated, ShiftBitFieldsOut) {
  requests[0].flags_before = 0x1ff;
  requests[0].flags_below = -9;
  requests[0].flags_middle = 101;
  requests[0].flags_low = 6;
  EXPECT_EQ(static_cast<i64>(run("bit_fields")), 6 * 10000 + 101 * 100 - 9);
}

TEST_P(Relocated, ChooseTheFlavourThatTheHostHas) {
  reinterpret_cast<u64*>(&requests)[1] = 4711;  // The volume's bytes.
  EXPECT_EQ(run("either"), 4711u);
}

TEST_P(Relocated, StopWhereTheHostHasNoSuchField) {
  EXPECT_THAT(refusal("unguarded"), HasSubstr("needs a type or function that the host has not"));
  EXPECT_THAT(refusal("sign_lost"), HasSubstr("needs a type or function that the host has not"));
  EXPECT_THAT(refusal("missing_enumerator"), HasSubstr("slot 0"));
  const Program& program = program_of(bed.object(), "unguarded").program;
  EXPECT_TRUE(std::ranges::any_of(program.slots(), [](const Instruction& each) {
    return each.opcode == kOpcodeCall && each.imm == kUnsatisfied;
  }));
}

TEST_P(Relocated, AnswerQuestionsAboutTypes) {
  // There: request, visit, anonymous_t; matches: place; sizes 16 and none.
  EXPECT_EQ(run("types"), u64{1 + 4 + 8 + 16 + 16'000});
  EXPECT_EQ(run("own_id"), bed.object().btf()->find("place", Btf::Kind::structure));
  EXPECT_EQ(run("host_id"), host.find("place", Btf::Kind::structure));
}

TEST_P(Relocated, TakeTheHostsEnumerators) {
  EXPECT_EQ(run("enumerators"), u64{3 + 100});
  EXPECT_EQ(run("wide_enumerator"), 0x500000000u);
}

TEST_P(Relocated, AreAsCompiledByTheirOwnTypes) {
  const auto bytes = object_bytes("relocated", GetParam());
  Bed own(read_object("relocated", GetParam(), {.own_types = true}));
  u64 memory[32] = {};
  EXPECT_EQ(own.run("sizes", memory, sizeof memory), u64{4'000'000 + 32'000 + 10});
  EXPECT_EQ(own.run("fields_exist", memory, sizeof memory), 111u);
  EXPECT_EQ(own.run("wide_enumerator", memory, sizeof memory), 0x100000000u);
  memory[0] = 99;
  EXPECT_EQ(own.run("unguarded", memory, sizeof memory), 99u);
}

TEST_P(Relocated, NeedAHost) {
  const auto refused = Object::read(object_bytes("relocated", GetParam()), {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::unsupported);
  EXPECT_THAT(coppice::describe(refused.error()),
              testing::ContainsRegex("section 'core', offset 0x[0-9a-f]+: function 'read_fields', "
                                     "slot [0-9]+: struct request: [a-z]+ depends on the host"));
}

}  // namespace
}  // namespace coppice::bpf
