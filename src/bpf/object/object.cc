#include "bpf/object/object.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/endian.h"
#include "bpf/object/program_linker.h"
#include "bpf/object/type_section.h"

namespace coppice::bpf {

// Reads the parts in the order in which they need each other.
class ObjectReader {
 public:
  ObjectReader(const ElfFile& file, const ReadOptions& options) : file_(file), options_(options) {}

  Result<Object> read() {
    TRY_VOID(check_sections());
    TRY_VOID(read_types());
    TRY_VOID(read_notes());
    const Btf* btf = object_.btf();
    const Btf* host = options_.own_types ? btf : options_.host;
    std::optional<CoreResolver> resolver;
    if (btf != nullptr) resolver.emplace(*btf, host);
    MapReader maps(file_, btf);
    ProgramLinker linker({.file = file_,
                          .btf = btf,
                          .extension = extension_,
                          .resolver = resolver ? &*resolver : nullptr,
                          .maps = maps});
    TRY_VOID(linker.find_functions(options_.only));
    if (options_.only.empty()) TRY_VOID(maps.read_all());
    TRY(object_.programs_, linker.link_programs());
    TRY_VOID(maps.read_entries([&](const ElfFile::Symbol& symbol, u64 addend) {
      return linker.find_program(symbol, addend);
    }));
    object_.maps_ = maps.take();
    keep_names();
    return std::move(object_);
  }

 private:
  // Of sections that are known by their names there is one.
  Result<> check_sections() const {
    for (const ElfFile::Section& each : file_.sections()) {
      const bool matters = each.is_code() || each.is_data() || each.name == ".maps" ||
                           each.name == ".BTF" || each.name == ".BTF.ext";
      if (matters && file_.find(each.name) != &each)
        return bad_object(Errc::invalid, each.name, 0, "a second section of this name");
    }
    return {};
  }

  Result<> read_types() {
    const ElfFile::Section* types = file_.find(".BTF");
    if (types == nullptr) return {};
    TRY(const auto bytes, read_type_section(file_));
    auto btf = Btf::read(bytes);
    if (!btf) return bad_object(btf.error().code, types->name, 0, btf.error().detail);
    object_.btf_ = *std::move(btf);
    const ElfFile::Section* extension = file_.find(".BTF.ext");
    if (extension == nullptr) return {};
    TRY(extension_, BtfExtension::read(extension->bytes, *object_.btf_));
    return {};
  }

  // A text in a section of its own, up to its zero.
  Result<> read_text(const char* name, std::string& into) {
    const ElfFile::Section* section = file_.find(name);
    if (section == nullptr) return {};
    const auto* text = reinterpret_cast<const char*>(section->bytes.data());
    const size_t length = ::strnlen(text, std::min<size_t>(section->bytes.size(), kTextMax));
    if (length == kTextMax)
      return bad_object(Errc::invalid, section->name, 0,
                        fmt::format("a text of more than {} bytes", kTextMax - 1));
    into.assign(text, length);
    return {};
  }

  Result<> read_notes() {
    TRY_VOID(read_text("license", object_.license_));
    TRY_VOID(read_text("build_id", object_.build_id_));
    if (const ElfFile::Section* version = file_.find("version")) {
      if (version->bytes.size() != sizeof(u32))
        return bad_object(Errc::invalid, version->name, 0,
                          fmt::format("a version of {} bytes; it has 4", version->bytes.size()));
      object_.version_ = load_le<u32>(version->bytes.data());
    }
    return {};
  }

  // Names of functions are the file's, which its caller may let go.
  void keep_names() {
    const auto names = file_.symbol_names();
    const auto* begin = reinterpret_cast<const char*>(names.data());
    object_.names_.assign(begin, begin + names.size());
    for (ObjectProgram& program : object_.programs_) {
      for (Function& function : program.functions)
        function.name = {object_.names_.data() + (function.name.data() - begin),
                         function.name.size()};
    }
  }

  static constexpr size_t kTextMax = 256;

  const ElfFile& file_;
  const ReadOptions& options_;
  Object object_;
  BtfExtension extension_;
};

Result<Object> Object::read(std::span<const std::byte> bytes, const ReadOptions& options) {
  if (bytes.size() > kObjectBytesMax)
    return fail(Errc::too_big, "cannot read the object",
                fmt::format("it has {} bytes; {} are the most", bytes.size(), kObjectBytesMax));
  TRY(const ElfFile file, ElfFile::read(bytes));
  return ObjectReader(file, options).read();
}

Result<std::vector<std::unique_ptr<Map>>> make_maps(const Object& object, u32 slots) {
  std::vector<std::unique_ptr<Map>> maps;
  for (const ObjectMap& each : object.maps()) {
    MapSpec spec = each.spec;
    spec.slots = slots;
    TRY(auto map, make_map(std::move(spec)));
    if (!each.contents.empty()) {
      const u32 key = 0;
      const int wrote = map->write(reinterpret_cast<const std::byte*>(&key), each.contents, kAny);
      CHECK(wrote == 0);  // An array that was just made has an element 0 of that size.
    }
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace coppice::bpf
