#include "testing/bed.h"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "base/check.h"
#include "bpf/verify/verifier.h"
#include "hook/host_types.h"

namespace coppice::shipped {

using namespace bpf;

namespace {

// With what stands beside a context goes the time.
struct TimedCall final : hook::Call {
  explicit TimedCall(const std::atomic<u64>& clock) : now_ns(clock) {}
  const std::atomic<u64>& now_ns;
};

u64 ktime_get_ns(Machine& machine, u64, u64, u64, u64, u64) {
  return static_cast<TimedCall*>(static_cast<hook::HookMachine&>(machine).call)->now_ns;
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

Bed::Bed(const std::string& name, const Settings& settings) {
  auto types = hook::Types::make(hook::header_types());
  CHECK(types.has_value());
  types_ = *std::move(types);
  load(name, settings);
  for (u32 slot = 0; slot < kSlots; ++slot)
    machines_.push_back(std::make_unique<hook::HookMachine>(Machine::Services{.slot = slot}));
}

void Bed::load(const std::string& name, const Settings& settings) {
  auto object = Object::read(object_of(name), {.host = &types_->btf()});
  CHECK(object.has_value());
  object_ = std::make_unique<Object>(*std::move(object));
  for (const auto& [variable, value] : settings) patch(*object_, variable, value);
  CHECK(object_->programs().size() == 1);
  const ObjectProgram& program = object_->programs()[0];
  const hook::PointType* point = types_->of_section(program.section);
  CHECK(point != nullptr);
  EXPECT_EQ(point->tier, hook::Tier::stable);
  const auto views = views_of(*object_);
  const Verdict verdict = verify({.program = program.program,
                                  .type = point->type,
                                  .maps = views,
                                  .btf = object_->btf(),
                                  .host_btf = &types_->btf(),
                                  .functions = program.functions,
                                  .lines = program.lines});
  if (!verdict.accepted())
    ADD_FAILURE() << name << ": " << describe(*verdict.refusal, program.program, program.lines);
  CHECK(verdict.accepted());

  for (const Instruction& each : program.program.slots()) {
    const Helper* helper = point->type.helpers->find(each.imm);
    const bool is_call = each.opcode == kOpcodeCall && each.src == 0;
    if (!is_call || helper == nullptr || helpers_.find(each.imm) != nullptr) continue;
    Helper copy = *helper;
    if (copy.name == "ktime_get_ns") copy.function = ktime_get_ns;
    helpers_.add(std::move(copy));
  }
  auto maps = make_maps(*object_, kSlots);
  CHECK(maps.has_value());
  maps_ = *std::move(maps);
  std::vector<Map*> bound;
  for (const auto& each : maps_) bound.push_back(each.get());
  auto code = Code::bind(program.program, {.helpers = helpers_, .maps = bound});
  CHECK(code.has_value());
  code_ = std::make_unique<Code>(*std::move(code));
}

Bed::~Bed() = default;

u64 Bed::run(void* context, u32 slot, std::span<const std::byte> payload) {
  TimedCall call(now_ns);
  call.payload = payload;
  hook::HookMachine& machine = *machines_[slot];
  machine.call = &call;
  const Outcome outcome = machine.run(*code_, reinterpret_cast<u64>(context));
  machine.call = nullptr;
  CHECK(outcome.stop == Stop::exited);
  if (!call.message.empty()) refusal = call.message;
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
