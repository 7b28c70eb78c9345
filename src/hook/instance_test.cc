#include "hook/instance.h"

#include <gmock/gmock.h>

#include <cstdint>

#include "hook/runner.h"
#include "hook/testing/workshop.h"

namespace coppice::hook {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::Engine;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::object_of;
using ::testing::Pointee;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using testing::Workshop;

class InstanceTest : public ::testing::TestWithParam<Engine> {
 protected:
  Workshop& workshop_ = Workshop::of(GetParam());
  Runner runner_{0, [](std::string_view) {}};
  // One run of the first program.
  Ran run(const std::shared_ptr<const Instance>& instance, void* context, Call* call, u64& result) {
    Link link;
    link.id = 1;
    link.instance = instance;
    link.program = instance->programs.front().name;
    link.point.type = instance->programs.front().point;
    link.counters = counters_;
    return runner_.run(*bind(link), context, call, result);
  }
  std::shared_ptr<Counters> counters_ = std::make_shared<Counters>(1);
};

std::vector<std::string> names_of(const Instance& instance) {
  std::vector<std::string> names;
  for (const LoadedProgram& program : instance.programs) names.push_back(program.name);
  return names;
}

// What is in the object is in the instance: programs with their hooks and tiers, and maps.
TEST_P(InstanceTest, HasTheProgramsAndMapsOfItsObject) {
  const auto instance = workshop_.get("watcher");
  EXPECT_THAT(names_of(*instance), UnorderedElementsAre("submitted", "loud", "node_read", "tick"));
  EXPECT_EQ(instance->find("loud")->point->name, "tracepoint/io_submit");
  EXPECT_EQ(instance->find("loud")->tier, Tier::stable);
  EXPECT_EQ(instance->find("node_read")->tier, Tier::internal);
  EXPECT_EQ(instance->find("tick")->point->name, "timer");
  EXPECT_EQ(instance->find("nobody"), nullptr);
  EXPECT_THAT(instance->maps, Contains(Pointee(Field(&SharedMap::name, "hits"))));
  EXPECT_THAT(instance->maps, Contains(Pointee(Field(&SharedMap::name, "ticks"))));
  for (const LoadedProgram& program : instance->programs) {
    EXPECT_GT(program.instructions_max, 0U);
    EXPECT_LE(program.instructions_max, program.point->instructions_max);
  }
}

// Only what is asked for is loaded; a name that the object lacks is said so.
TEST_P(InstanceTest, HasOnlyTheProgramsAskedFor) {
  const auto some = workshop_.loader().load({.object = object_of("watcher"), .programs = {"tick"}});
  ASSERT_TRUE(some);
  EXPECT_THAT(names_of(**some), ElementsAre("tick"));
  const auto none =
      workshop_.loader().load({.object = object_of("watcher"), .programs = {"tick", "tock"}});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().error, ENOENT);
  EXPECT_THAT(none.error().message, HasSubstr("'tock'"));
}

// Two loads of one object are two instances with one hash: maps are each one's own, but for those
// that are shared by name.
TEST_P(InstanceTest, SharesOnlyMapsThatAskForIt) {
  const auto first = workshop_.get("scripted"), second = workshop_.get("scripted");
  EXPECT_EQ(first->hash, second->hash);
  EXPECT_THAT(first->hash, SizeIs(64));
  using testing::map_of;
  EXPECT_NE(&map_of(*first, "script"), &map_of(*second, "script"));
  EXPECT_EQ(&map_of(*first, "trail"), &map_of(*second, "trail"));
}

// A shared map ends with the last instance that has it; then another shape may have its name.
TEST_P(InstanceTest, RefusesASharedMapOfAnotherShape) {
  auto first = workshop_.get("shared_a");
  const auto other = workshop_.load("shared_b");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().error, EEXIST);
  EXPECT_THAT(other.error().message, HasSubstr("'common'"));
  first = nullptr;
  EXPECT_TRUE(workshop_.load("shared_b"));
}

// The hash tells objects, names of settings and their values apart, wherever one ends.
TEST(Hash, TellsObjectsAndSettingsApart) {
  const auto bytes = [](std::string_view text) { return std::as_bytes(std::span(text)); };
  const std::vector<std::string> hashes = {
      hash_of(bytes("ab"), {}),
      hash_of(bytes("abc"), {}),
      hash_of(bytes("ab"), {{"c", ""}}),
      hash_of(bytes("ab"), {{"", "c"}}),
      hash_of(bytes("ab"), {{"c", "1"}}),
      hash_of(bytes("ab"), {{"c", "2"}}),
      hash_of(bytes("ab"), {{"c", "1"}, {"d", "2"}}),
  };
  for (size_t i = 0; i < hashes.size(); ++i)
    for (size_t j = 0; j < i; ++j) EXPECT_NE(hashes[i], hashes[j]) << i << " and " << j;
  EXPECT_EQ(hash_of(bytes("ab"), {{"c", "1"}}), hashes[4]);
}

// What is no object, or too much of one, is refused and nothing else happens.
TEST_P(InstanceTest, RefusesWhatIsNoObject) {
  auto& loader = workshop_.loader();
  const auto load = [&](std::vector<std::byte> bytes) {
    return loader.load(
        {.object = std::make_shared<const std::vector<std::byte>>(std::move(bytes))});
  };
  EXPECT_FALSE(load({}));
  const auto text = load(std::vector<std::byte>(4096, std::byte{'x'}));
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().error, EINVAL) << text.error().message;
  EXPECT_THAT(text.error().message, Not(IsEmpty()));
  const auto huge = load(std::vector<std::byte>(kObjectBytesMax + 1));
  ASSERT_FALSE(huge);
  EXPECT_EQ(huge.error().error, E2BIG);
  const auto whole = object_of("empty");
  for (size_t size = 0; size < whole->size(); size += 97)
    EXPECT_FALSE(load({whole->begin(), whole->begin() + static_cast<ptrdiff_t>(size)})) << size;
}

TEST_P(InstanceTest, RefusesASectionThatIsNoHook) {
  const auto stray = workshop_.load("stray");
  ASSERT_FALSE(stray);
  EXPECT_EQ(stray.error().error, EINVAL);
  EXPECT_THAT(stray.error().message, AllOf(HasSubstr("'xdp'"), HasSubstr("volume.submit")));
}

// The refusal has the verifier's words, with the line of the source.
TEST_P(InstanceTest, RefusesAnUnsafeProgramInTheVerifiersWords) {
  const auto careless = workshop_.load("unsafe");
  ASSERT_FALSE(careless);
  EXPECT_EQ(careless.error().error, EACCES);
  EXPECT_THAT(careless.error().message, HasSubstr("'careless'"));
  EXPECT_THAT(careless.error().details, Contains(HasSubstr("++*count")));
}

// Whoever reads the daemon's insides says which daemon's; what was made for this one may, and is
// internal for it.
TEST_P(InstanceTest, RefusesProbesMadeForAnotherBuild) {
  const auto unsaid = workshop_.load("probe");
  ASSERT_FALSE(unsaid);
  EXPECT_EQ(unsaid.error().error, ENOEXEC);
  EXPECT_THAT(unsaid.error().message, HasSubstr(testing::kBuildId));

  bpf::Compiler compiler({.helper = "/nonexistent"});
  Loader other(workshop_.types(), compiler, 1, "another-build");
  EXPECT_FALSE(other.load({.object = object_of("probe_built")}));

  const auto built = workshop_.get("probe_built");
  EXPECT_EQ(built->find("look")->tier, Tier::internal);
}

// A probe of what is not there ends with an error in the program's hand, never with the process.
TEST_P(InstanceTest, ProbesOfWildAddressesFail) {
  const auto built = workshop_.get("probe_built");
  u64 word = 0x1122334455667788;
  const auto look = [&](u64 address) {
    u64 arguments[trace::kArgumentsMax] = {address};
    u64 result = 0;
    EXPECT_EQ(run(built, arguments, nullptr, result), Ran::ok);
    return static_cast<i64>(testing::value_of<u64>(*built, "found", 1));
  };
  EXPECT_EQ(look(reinterpret_cast<u64>(&word)), 0);
  EXPECT_EQ(testing::value_of<u64>(*built, "found", 0), word);
  for (const u64 wild : {u64{0}, u64{1}, u64{4096}, ~u64{0}, u64{1} << 63, u64{0xdead} << 40})
    EXPECT_EQ(look(wild), -EFAULT) << wild;
}

// --- Settings and replaced functions ------------------------------------------------------------

// Variables have the value that they are set to; the hash says which.
TEST_P(InstanceTest, HasItsSettings) {
  const auto denied = [&](const std::shared_ptr<const Instance>& instance, u64 length) {
    coppice_submit context{};
    context.operation = COPPICE_WRITE;
    context.length = length;
    u64 result = 0;
    Call call;
    EXPECT_EQ(run(instance, &context, &call, result), Ran::ok);
    return result == COPPICE_DENY;
  };
  const auto plain = workshop_.load("weak"), set = workshop_.load("weak", {{"length_max", "64K"}});
  ASSERT_TRUE(plain && set);
  EXPECT_TRUE(denied(*plain, 4097));
  EXPECT_FALSE(denied(*set, 4097));
  EXPECT_FALSE(denied(*set, 65536));
  EXPECT_TRUE(denied(*set, 65537));
  EXPECT_NE((*plain)->hash, (*set)->hash);
  const auto unknown = workshop_.load("weak", {{"length", "1"}});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().error, ENOENT);
  EXPECT_THAT(unknown.error().message, HasSubstr("length_max"));
  const auto senseless = workshop_.load("weak", {{"length_max", "much"}});
  ASSERT_FALSE(senseless);
  EXPECT_EQ(senseless.error().error, EINVAL);
}

// A hook says how long a run may take; the verifier knows how long it can.
TEST_P(InstanceTest, RefusesAProgramThatTakesTooLong) {
  const auto slow = workshop_.load("long");
  ASSERT_FALSE(slow);
  EXPECT_EQ(slow.error().error, E2BIG) << slow.error().message;
  EXPECT_THAT(slow.error().message, AllOf(HasSubstr("'slow'"), HasSubstr("1000000")));
}

// A replaced function is that of the target from then on, in the target's maps and with its own;
// the target itself stays as it is.
TEST_P(InstanceTest, ReplacesAFunction) {
  const auto target = workshop_.get("weak");
  const auto patched = workshop_.loader().load_replacement(
      {.object = object_of("strong"), .settings = {{"read_max", "512"}}},
      {.target = *target, .program = "guard", .function = "policy"});
  ASSERT_TRUE(patched) << patched.error().message;
  EXPECT_THAT(names_of(**patched), ElementsAre("guard", "strong"));
  EXPECT_EQ((*patched)->find("strong")->function, "policy");
  EXPECT_EQ((*patched)->find("strong")->point->name, "volume.submit");
  EXPECT_EQ((*patched)->hash, hash_of(*object_of("strong"), {{"read_max", "512"}}));
  EXPECT_EQ(&testing::map_of(**patched, "asked"), &testing::map_of(*target, "asked"));
  const auto denied = [&](const std::shared_ptr<const Instance>& instance, u32 operation) {
    coppice_submit context{};
    context.operation = operation;
    context.length = 8192;
    u64 result = 0;
    Call call;
    EXPECT_EQ(run(instance, &context, &call, result), Ran::ok);
    return result == COPPICE_DENY;
  };
  EXPECT_TRUE(denied(target, COPPICE_WRITE));
  EXPECT_FALSE(denied(target, COPPICE_READ));
  EXPECT_FALSE(denied(*patched, COPPICE_WRITE));
  EXPECT_TRUE(denied(*patched, COPPICE_READ));
  EXPECT_EQ(testing::value_of<u64>(*target, "asked"), 4U);
  EXPECT_EQ(testing::value_of<u64>(**patched, "refused"), 1U);
}

// Another prototype, or no such function, is refused; the target is none the worse for it.
TEST_P(InstanceTest, RefusesWhatCannotStandIn) {
  const auto target = workshop_.get("weak");
  const auto refusal = [&](const std::string& object, const std::string& function) {
    const auto loaded = workshop_.loader().load_replacement(
        {.object = object_of(object)},
        {.target = *target, .program = "guard", .function = function});
    EXPECT_FALSE(loaded);
    return loaded ? LoadRefusal{} : loaded.error();
  };
  EXPECT_EQ(refusal("strong", "nothing").error, ENOENT);
  EXPECT_EQ(refusal("empty", "policy").error, ENOENT);
  EXPECT_NE(refusal("mismatch", "policy").error, 0);
  const auto alone = workshop_.load("strong");
  ASSERT_FALSE(alone);
  EXPECT_THAT(alone.error().message, HasSubstr("freplace/policy"));
}

// A program that fails is counted as failed, and the next run is none the worse for it.
TEST(Runner, CountsFailures) {
  Workshop& workshop = Workshop::of(Engine::interpreter);
  const PointType& type = workshop.type("volume.complete");
  Link link;
  link.id = 1;
  link.instance = testing::failing(type);
  link.program = "fail";
  link.point.type = &type;
  link.counters = std::make_shared<Counters>(1);
  const auto bad = bind(link);
  link.instance = workshop.get("empty");
  link.program = "complete";
  const auto good = bind(link);
  Runner runner(0, [](std::string_view) {});
  coppice_complete context{};
  u64 result = 0;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(runner.run(*bad, &context, nullptr, result), Ran::failed);
    EXPECT_EQ(runner.run(*good, &context, nullptr, result), Ran::ok);
  }
  const Counts counts = link.counters->sum();
  EXPECT_EQ(counts.runs, 200U);
  EXPECT_EQ(counts.errors, 100U);
  EXPECT_EQ(counts.drops, 0U);
}

INSTANTIATE_TEST_SUITE_P(Engines, InstanceTest,
                         ::testing::Values(Engine::interpreter, Engine::machine_code),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace coppice::hook
