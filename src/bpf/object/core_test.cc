// CO-RE by itself: names, which types match which, and that no types take for ever to compare.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "bpf/object/core_relocation.h"
#include "bpf/testing/btf_section.h"
#include "bpf/testing/objects.h"

namespace coppice::bpf {
namespace {

using Kind = Btf::Kind;
using testing::HasSubstr;

TEST(Core, NamesEndAtTheirFlavour) {
  EXPECT_EQ(core_name("task"), "task");
  EXPECT_EQ(core_name("task___old"), "task");
  EXPECT_EQ(core_name("task___very___old"), "task___very");
  EXPECT_EQ(core_name("task__old"), "task__old");
  EXPECT_EQ(core_name("task____old"), "task____old");
  EXPECT_EQ(core_name("___old"), "___old");
  EXPECT_EQ(core_name("task___"), "task___");
  EXPECT_EQ(core_name(""), "");
}

// Whether the last type of `own` is in the last type of `host`.
struct Pair {
  const char* why;
  bool alike, match;
  std::function<void(BtfSection&)> own, host;
};

TEST(Core, KnowsWhichTypesMatch) {
  const auto integer = [](u32 bytes, u32 encoding) {
    return [=](BtfSection& s) { s.integer("n", bytes, encoding); };
  };
  const auto structure = [](const std::vector<const char*>& names) {
    return [=](BtfSection& s) {
      s.integer();
      std::vector<u32> words;
      for (u32 i = 0; i < names.size(); ++i)
        for (const u32 word : {s.text(names[i]), u32{1}, i * 32}) words.push_back(word);
      s.add(Kind::structure, "s", static_cast<u32>(names.size()),
            static_cast<u32>(names.size()) * 4, words);
    };
  };
  const auto pointer = [](const std::function<void(BtfSection&)>& to, u32 id) {
    return [=](BtfSection& s) {
      to(s);
      s.add(Kind::pointer, "", 0, id);
    };
  };
  const auto forward = [](BtfSection& s) {
    s.integer();
    s.add(Kind::forward, "s", 0, 0);
  };
  const auto array = [](u32 count) {
    return [=](BtfSection& s) {
      s.integer();
      s.add(Kind::array, "", 0, 0, {1, 1, count});
    };
  };
  const auto enumeration = [](Kind kind, const std::vector<const char*>& names) {
    return [=](BtfSection& s) {
      std::vector<u32> words;
      for (const char* name : names) {
        words.push_back(s.text(name));
        words.push_back(1);
        if (kind == Kind::enumeration64) words.push_back(0);
      }
      s.add(kind, "e", static_cast<u32>(names.size()), kind == Kind::enumeration ? 4 : 8, words);
    };
  };
  const auto prototype = [](u32 parameters) {
    return [=](BtfSection& s) {
      s.integer();
      std::vector<u32> words;
      for (u32 i = 0; i < parameters; ++i) words.insert(words.end(), {0, 1});
      s.add(Kind::prototype, "", parameters, 1, words);
    };
  };
  const Pair pairs[] = {
      {"the same number", true, true, integer(4, 1), integer(4, 1)},
      {"another size", true, false, integer(4, 1), integer(8, 1)},
      {"another sign", true, false, integer(4, 1), integer(4, 0)},
      {"a number and a structure", false, false, integer(4, 1), structure({"a"})},
      {"all members and more", true, true, structure({"a"}), structure({"b", "a"})},
      {"members of flavours", true, true, structure({"a___x"}), structure({"a"})},
      {"a member too many", true, false, structure({"a", "b"}), structure({"a"})},
      {"pointers to structures of other members", true, true, pointer(structure({"a"}), 2),
       pointer(structure({"b"}), 2)},
      {"a pointer to what only the host defines", false, true, pointer(forward, 2),
       pointer(structure({"a"}), 2)},
      {"a pointer to another number", true, false, pointer(integer(4, 1), 1),
       pointer(integer(8, 1), 1)},
      {"arrays of one length", true, true, array(4), array(4)},
      {"arrays of two lengths", true, false, array(4), array(5)},
      {"enumerators and more", true, true, enumeration(Kind::enumeration, {"a"}),
       enumeration(Kind::enumeration64, {"b", "a"})},
      {"an enumerator too many", true, false, enumeration(Kind::enumeration64, {"a", "b"}),
       enumeration(Kind::enumeration, {"a"})},
      {"prototypes", true, true, prototype(2), prototype(2)},
      {"a parameter too many", false, false, prototype(2), prototype(1)},
  };
  for (const Pair& each : pairs) {
    SCOPED_TRACE(each.why);
    BtfSection own_section, host_section;
    each.own(own_section);
    each.host(host_section);
    const Btf own = own_section.read_good(), host = host_section.read_good();
    CoreEffort effort;
    EXPECT_EQ(is_alike(own, own.count() - 1, host, host.count() - 1, effort), each.alike);
    EXPECT_EQ(is_match(own, own.count() - 1, host, host.count() - 1, effort), each.match);
  }
}

// Each structure has the one before it twice, without names: there are 2^60 ways down.
BtfSection deep_structures() {
  BtfSection s;
  s.integer();
  for (u32 i = 1; i <= 60; ++i) {
    const bool last = i == 60;
    s.add(Kind::union_, last ? "deep" : "", 2, 4, {i == 1 ? s.text("x") : 0, i, 0, 0, i, 0});
  }
  return s;
}

TEST(Core, GivesUpOnTypesThatTakeForEver) {
  BtfSection own_section;
  own_section.integer();
  own_section.add(Kind::union_, "deep", 1, 4, {own_section.text("missing"), 1, 0});
  const Btf own = own_section.read_good(), host = deep_structures().read_good();
  CoreResolver resolver(own, &host);
  std::vector<Instruction> slots = {{.opcode = 0xb7, .imm = 1}, {.opcode = kOpcodeExit}};
  const auto refused =
      resolver.relocate({.type = 2, .access = "0:0", .kind = CoreKind::field_exists}, slots, 0);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::too_big);
  EXPECT_THAT(describe(refused.error()), HasSubstr("union deep: missing and what came before it"));
}

TEST(Core, RefusesWhatIsAmbiguous) {
  const auto bytes = object_bytes("odd", {});
  const Btf host = types_of(object_bytes("host", {}));
  const auto refused = Object::read(bytes, {.host = &host, .only = "use_twins"});
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(
      describe(refused.error()),
      testing::ContainsRegex("section 'odd', offset 0x[0-9a-f]+: function 'use_twins', slot "
                             "0: struct twins: second is ambiguous: type [0-9]+ of the "
                             "host's says 4, type [0-9]+ says 8"));
  // What the two agree upon is known.
  EXPECT_TRUE(Object::read(bytes, {.host = &host, .only = "twins_exist"}).has_value());
}

TEST(Core, RefusesInstructionsThatHaveNoPlaceForTheAnswer) {
  BtfSection section;
  section.integer();
  section.add(Kind::structure, "s", 1, 4, {section.text("a"), 1, 0});
  const Btf own = section.read_good();
  const struct {
    Instruction instruction;
    const char* words;
  } cases[] = {
      {{.opcode = 0xbf}, "the instruction has no number that could be changed"},
      {{.opcode = 0xd4, .imm = 16}, "the instruction has no number that could be changed"},
      {{.opcode = kOpcodeExit}, "opcode 0x95 takes neither a number nor an offset"},
      {{.opcode = 0x61, .offset = 8}, "the instruction has the offset 8, and by the object's own"},
      {{.opcode = 0xb7, .imm = 8}, "the instruction has the number 8, and by the object's own"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.words);
    CoreResolver resolver(own, &own);
    std::vector<Instruction> slots = {each.instruction};
    const auto refused = resolver.relocate({.type = 2, .access = "0:0"}, slots, 0);
    ASSERT_FALSE(refused.has_value());
    EXPECT_THAT(describe(refused.error()), HasSubstr(each.words));
  }
}

TEST(Core, RefusesPathsThatLeadNowhere) {
  BtfSection section;
  section.integer();
  section.add(Kind::array, "", 0, 0, {1, 1, 4});
  section.add(Kind::structure, "s", 2, 20, {section.text("a"), 1, 0, section.text("b"), 2, 32});
  const Btf own = section.read_good();
  const struct {
    const char* access;
    const char* words;
    CoreKind kind = CoreKind::field_byte_offset;
  } cases[] = {
      {"", "these are not numbers with colons between"},
      {"0:", "these are not numbers with colons between"},
      {"0:x", "these are not numbers with colons between"},
      {"0:-1", "these are not numbers with colons between"},
      {"0:99999999999", "these are not numbers with colons between"},
      {"4294967295", "the element is too far away"},
      {"0:2", "struct s has 2 members"},
      {"0:0:0", "int has no parts"},
      {"0:1:4", "int[4] has no element 4"},
      {"1", "of a type the index is 0", CoreKind::type_exists},
      {"0:1", "of a type or enumerator there is one index", CoreKind::type_size},
      {"0", "struct s has no such enumerator", CoreKind::enumerator_value},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.access);
    const auto path = core_path(own, {.type = 3, .access = each.access, .kind = each.kind});
    ASSERT_FALSE(path.has_value());
    EXPECT_THAT(describe(path.error()), HasSubstr(each.words));
  }
}

}  // namespace
}  // namespace coppice::bpf
