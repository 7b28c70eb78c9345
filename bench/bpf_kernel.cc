#include "bpf_kernel.h"

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>

namespace coppice::bpf {
namespace {

constexpr u32 kRingBytes =
    64 << 20;  // Nobody consumes: it has room for all records of a measurement.

long bpf_call(bpf_cmd command, bpf_attr& attributes) {
  return ::syscall(SYS_bpf, command, &attributes, sizeof attributes);
}

}  // namespace

std::unique_ptr<KernelPeer> KernelPeer::make(const Object& object) {
  std::unique_ptr<KernelPeer> peer(new KernelPeer);
  for (const ObjectMap& map : object.maps()) {
    bpf_attr attributes{};
    attributes.map_type = static_cast<u32>(map.spec.kind);
    attributes.key_size = map.spec.key_size;
    attributes.value_size = map.spec.value_size;
    attributes.max_entries = map.spec.kind == MapKind::ringbuf ? kRingBytes : map.spec.max_entries;
    const long made = bpf_call(BPF_MAP_CREATE, attributes);
    if (made < 0) return nullptr;
    peer->maps_.push_back(static_cast<int>(made));
  }
  return peer;
}

KernelPeer::~KernelPeer() {
  for (const int each : maps_) ::close(each);
  for (const int each : programs_) ::close(each);
}

bool KernelPeer::fill(size_t map, const void* key, const void* value) {
  bpf_attr attributes{};
  attributes.map_fd = static_cast<u32>(maps_[map]);
  attributes.key = reinterpret_cast<u64>(key);
  attributes.value = reinterpret_cast<u64>(value);
  return bpf_call(BPF_MAP_UPDATE_ELEM, attributes) == 0;
}

int KernelPeer::load(const ObjectProgram& program) {
  const auto slots = program.program.slots();
  std::vector<Instruction> linked(slots.begin(), slots.end());
  for (size_t i = 0; i < linked.size(); i += slots[i].is_wide() ? 2 : 1) {
    Instruction& in = linked[i];
    if (!in.is_wide()) continue;
    const auto kind = static_cast<Immediate>(in.src);
    const bool value = kind == Immediate::map_value || kind == Immediate::map_value_by_index;
    if (!value && kind != Immediate::map && kind != Immediate::map_by_index) continue;
    in.src = static_cast<u8>(value ? Immediate::map_value : Immediate::map);
    in.imm = maps_[static_cast<size_t>(in.imm)];
  }
  const auto bytes = encode(linked);
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_XDP;
  attributes.insn_cnt = static_cast<u32>(linked.size());
  attributes.insns = reinterpret_cast<u64>(bytes.data());
  attributes.license = reinterpret_cast<u64>("GPL");
  const long loaded = bpf_call(BPF_PROG_LOAD, attributes);
  if (loaded >= 0) programs_.push_back(static_cast<int>(loaded));
  return static_cast<int>(loaded);
}

double KernelPeer::run(int program, u32 repeat) {
  std::array<char, 64> packet{};
  bpf_attr attributes{};
  attributes.test.prog_fd = static_cast<u32>(program);
  attributes.test.data_in = reinterpret_cast<u64>(packet.data());
  attributes.test.data_size_in = packet.size();
  attributes.test.repeat = repeat;
  if (bpf_call(BPF_PROG_TEST_RUN, attributes) != 0) return -1;
  return attributes.test.duration;
}

}  // namespace coppice::bpf
