#include "testing/bed.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>

#include "base/check.h"
#include "bpf/core_helpers.h"

namespace coppice::shipped {

using namespace bpf;

struct Bed::Runner final : Machine {
  Runner(Bed& of, u32 slot) : Machine({.slot = slot}), bed(of) {}
  Bed& bed;
  std::span<const std::byte> payload = {};
};

namespace {

Layout layout_of(const Btf& btf, const std::string& structure) {
  const auto id = btf.find(structure, Btf::Kind::structure);
  CHECK(id.has_value());
  Layout layout{.name = structure, .size = btf.type(*id).size, .fields = {}};
  for (const Btf::Member& each : btf.type(*id).members)
    layout.fields.push_back({.name = std::string(each.name),
                             .offset = each.bit_offset / 8,
                             .size = btf.size_of(each.type).value()});
  for (u32 i = 1; i < btf.count(); ++i) {
    const Btf::Type& tag = btf.type(i);
    if (tag.kind != Btf::Kind::declaration_tag || tag.type != *id) continue;
    Field& field = layout.fields[static_cast<size_t>(tag.component)];
    if (tag.name == "writable") field.writable = true;
    if (tag.name == "packet") field.kind = FieldKind::packet;
    if (tag.name == "packet_end") field.kind = FieldKind::packet_end;
  }
  return layout;
}

void patch(const Object& object, const std::string& variable, const std::string& value) {
  for (const ObjectMap& map : object.maps()) {
    if (!map.is_data) continue;
    for (const Btf::Placed& each : object.btf()->type(map.value_type).placed) {
      if (object.btf()->type(each.variable).name != variable) continue;
      auto& contents = const_cast<std::vector<std::byte>&>(map.contents);
      size_t at = each.offset;
      for (size_t i = 0; i < value.size(); at += 8) {
        const u64 number = std::stoull(value.substr(i));
        std::memcpy(&contents[at], &number, std::min<size_t>(each.size, 8));
        i = std::min(value.find(',', i), value.size() - 1) + 1;
      }
      return;
    }
  }
  CHECK(false && "no such variable");
}

}  // namespace

std::vector<std::byte> object_of(const std::string& name) {
  std::ifstream file(COPPICE_SHIPPED_PROGRAMS "/" + name + ".bpf.o", std::ios::binary);
  CHECK(file.good());
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void Bed::add_helpers() {
  const auto add = [this](i32 number, const char* called, HelperFunction function,
                          std::array<Argument, 4> takes) {
    helpers_.add({.number = number,
                  .name = called,
                  .function = function,
                  .arguments = {takes[0], takes[1], takes[2], takes[3], Argument::none}});
  };
  HelperTable core;
  add_core_helpers(core);
  for (const i32 number : {1, 2, 3, 7, 8, 130, 131, 132, 133, 165, 181})
    helpers_.add(*core.find(number));
  using enum Argument;
  add(5, "ktime_get_ns",
      [](Machine& machine, u64, u64, u64, u64, u64) {
        return static_cast<Runner&>(machine).bed.now_ns.load();
      },
      {none, none, none, none});
  add(0x10002, "coppice_refuse",
      [](Machine& machine, u64, u64 from, u64 size, u64, u64) {
        const std::string_view text(reinterpret_cast<const char*>(from), size);
        static_cast<Runner&>(machine).bed.refusal = text.substr(0, text.find('\0'));
        return size;
      },
      {context, read, size, none});
  add(0x10004, "coppice_payload",
      [](Machine& machine, u64, u64 offset, u64 to, u64 size, u64) {
        const auto payload = static_cast<Runner&>(machine).payload;
        if (offset > payload.size() || size > payload.size() - offset)
          return static_cast<u64>(-ERANGE);
        std::memcpy(reinterpret_cast<void*>(to), payload.data() + offset, size);
        return u64{0};
      },
      {context, anything, written, size_or_zero});
}

Bed::Bed(const std::string& name, const Settings& settings) {
  add_helpers();
  auto object = Object::read(object_of(name), {.own_types = true});
  CHECK(object.has_value());
  object_ = std::make_unique<Object>(*std::move(object));
  for (const auto& [variable, value] : settings) patch(*object_, variable, value);
  CHECK(object_->programs().size() == 1);
  const ObjectProgram& program = object_->programs()[0];
  const std::string hook = program.section.substr(program.section.find('.') + 1);
  type_.name = program.section;
  type_.sections = {program.section};
  type_.context = layout_of(*object_->btf(), "coppice_" + hook);
  type_.helpers = &helpers_;
  type_.returns = AnswerRange{0, hook == "admin" ? i64{COPPICE_REFUSE} : i64{COPPICE_COMPLETE}};
  const auto views = views_of(*object_);
  const Verdict verdict = verify({.program = program.program,
                                  .type = type_,
                                  .maps = views,
                                  .btf = object_->btf(),
                                  .functions = program.functions,
                                  .lines = program.lines});
  if (!verdict.accepted())
    ADD_FAILURE() << name << ": " << describe(*verdict.refusal, program.program, program.lines);
  CHECK(verdict.accepted());

  auto maps = make_maps(*object_, kSlots);
  CHECK(maps.has_value());
  maps_ = *std::move(maps);
  std::vector<Map*> bound;
  for (const auto& each : maps_) bound.push_back(each.get());
  auto code = Code::bind(program.program, {.helpers = helpers_, .maps = bound});
  CHECK(code.has_value());
  code_ = std::make_unique<Code>(*std::move(code));
  for (u32 slot = 0; slot < kSlots; ++slot)
    runners_.push_back(std::make_unique<Runner>(*this, slot));
}

Bed::~Bed() = default;

u64 Bed::run(void* context, u32 slot, std::span<const std::byte> payload) {
  Runner& runner = *runners_[slot];
  runner.payload = payload;
  const Outcome outcome = runner.run(*code_, reinterpret_cast<u64>(context));
  CHECK(outcome.stop == Stop::exited);
  return outcome.r0;
}

Map& Bed::map(const std::string& name) {
  for (const auto& each : maps_)
    if (each->spec().name == name) return *each;
  CHECK(false && "no such map");
  std::abort();
}

u64 Bed::counter(const std::string& variable) {
  for (const ObjectMap& each : object_->maps()) {
    if (each.spec.name != ".bss") continue;
    for (const Btf::Placed& placed : object_->btf()->type(each.value_type).placed) {
      if (object_->btf()->type(placed.variable).name == variable)
        return values<u64>(".bss", u32{0})[placed.offset / 8];
    }
  }
  CHECK(false && "no such counter");
  std::abort();
}

std::vector<std::vector<std::byte>> Bed::records(const std::string& ring) {
  auto& buffer = static_cast<RingBuffer&>(map(ring));
  auto reader = RingReader::open(buffer.consumer_fd(), buffer.ring_fd(), buffer.spec().max_entries);
  CHECK(reader.has_value());
  std::vector<std::vector<std::byte>> records;
  reader->poll([&](std::span<const std::byte> record) {
    records.emplace_back(record.begin(), record.end());
  });
  return records;
}

}  // namespace coppice::shipped
