// What programs were promised: contexts and views are laid out as tests/golden/views.txt says.
//
// A structure may grow at its end; then its new fields go into that file, and are promised too.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "bpf/object/btf.h"
#include "hook/host_types.h"

namespace coppice::hook {
namespace {

// Structure -> its fields in order, as "name offset bytes type".
using Layouts = std::map<std::string, std::vector<std::string>>;

Layouts layouts_of(const bpf::Btf& btf) {
  Layouts layouts;
  for (u32 id = 1; id < btf.count(); ++id) {
    const bpf::Btf::Type& type = btf.type(id);
    if (type.kind != bpf::Btf::Kind::structure || !type.name.starts_with("coppice_")) continue;
    std::vector<std::string>& fields = layouts[std::string(type.name)];
    u32 end = 0;
    for (const auto& member : type.members) {
      const u32 bytes = btf.size_of(member.type).value_or(0);
      EXPECT_EQ(member.bit_offset, end * 8) << type.name << " has a hole before " << member.name;
      end = member.bit_offset / 8 + bytes;
      fields.push_back(fmt::format("{} {} {} {}", member.name, member.bit_offset / 8, bytes,
                                   btf.describe(member.type)));
    }
    EXPECT_EQ(type.size, end) << type.name << " has a hole at its end";
  }
  return layouts;
}

Layouts parse(std::istream& text) {
  Layouts layouts;
  std::string line, structure;
  while (std::getline(text, line)) {
    if (line.starts_with("  ")) {
      layouts[structure].push_back(line.substr(2));
    } else {
      structure = line;
      layouts[structure];
    }
  }
  return layouts;
}

std::string print(const Layouts& layouts) {
  std::string text;
  for (const auto& [structure, fields] : layouts) {
    text += structure + "\n";
    for (const std::string& field : fields) text += "  " + field + "\n";
  }
  return text;
}

// What of `promised` is not so any more.
std::vector<std::string> broken(const Layouts& promised, const Layouts& now) {
  std::vector<std::string> found;
  for (const auto& [structure, fields] : promised) {
    const auto place = now.find(structure);
    if (place == now.end()) {
      found.push_back(structure + " is gone");
      continue;
    }
    for (size_t i = 0; i < fields.size(); ++i) {
      if (i < place->second.size() && place->second[i] == fields[i]) continue;
      found.push_back(fmt::format("{}: '{}' was promised", structure, fields[i]));
    }
  }
  return found;
}

Layouts of_text(const std::string& text) {
  std::istringstream stream(text);
  return parse(stream);
}

TEST(Promise, IsKept) {
  const auto btf = bpf::Btf::read(header_types());
  ASSERT_TRUE(btf.has_value());
  const Layouts now = layouts_of(*btf);
  std::ifstream file(COPPICE_GOLDEN "/views.txt");
  ASSERT_TRUE(file.good());
  const Layouts promised = parse(file);
  EXPECT_THAT(broken(promised, now), testing::IsEmpty()) << "a promise is broken";
  EXPECT_THAT(broken(now, promised), testing::IsEmpty())
      << "new fields are promises from now on; tests/golden/views.txt should be:\n"
      << print(now);
}

TEST(Promise, MayGrowAtTheEnd) {
  const Layouts before = of_text("coppice_a\n  x 0 8 __u64\n");
  EXPECT_THAT(broken(before, before), testing::IsEmpty());
  EXPECT_THAT(broken(before, of_text("coppice_a\n  x 0 8 __u64\n  y 8 8 __u64\ncoppice_b\n")),
              testing::IsEmpty());
}

TEST(Promise, IsBrokenByAnyOtherChange) {
  const Layouts before = of_text("coppice_a\n  x 0 8 __u64\n  y 8 4 __u32\n");
  for (const char* after : {"coppice_b\n  x 0 8 __u64\n  y 8 4 __u32\n",  // Its name,
                            "coppice_a\n  x 0 8 __u64\n",                 // a field gone,
                            "coppice_a\n  x 0 8 __u64\n  z 8 4 __u32\n",  // renamed,
                            "coppice_a\n  x 0 8 __u64\n  y 8 8 __u64\n",  // of another size,
                            "coppice_a\n  x 0 8 __u64\n  y 8 4 __s32\n",  // of another type,
                            "coppice_a\n  y 0 4 __u32\n  x 8 8 __u64\n"}) {
    SCOPED_TRACE(after);
    EXPECT_THAT(broken(before, of_text(after)), testing::Not(testing::IsEmpty()));
  }
}

}  // namespace
}  // namespace coppice::hook
