#include "bpf/core_helpers.h"

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "base/endian.h"
#include "bpf/format.h"
#include "bpf/interpreter.h"
#include "bpf/ring_buffer.h"

namespace coppice::bpf {
namespace {

Map& map_of(u64 r) { return *reinterpret_cast<Map*>(r); }
RingBuffer& ring_of(u64 r) { return static_cast<RingBuffer&>(map_of(r)); }
std::byte* bytes_at(u64 r) { return reinterpret_cast<std::byte*>(r); }
u64 answer(i64 value) { return static_cast<u64>(value); }

u64 map_lookup(Machine& machine, u64 map, u64 key, u64, u64, u64) {
  return reinterpret_cast<u64>(map_of(map).lookup(bytes_at(key), machine.slot()));
}
u64 map_update(Machine& machine, u64 map, u64 key, u64 value, u64 flags, u64) {
  return answer(map_of(map).update(bytes_at(key), bytes_at(value), flags, machine.slot()));
}
u64 map_delete(Machine&, u64 map, u64 key, u64, u64, u64) {
  return answer(map_of(map).remove(bytes_at(key)));
}
u64 map_push(Machine&, u64 map, u64 value, u64 flags, u64, u64) {
  return answer(map_of(map).push(bytes_at(value), flags));
}
u64 map_pop(Machine&, u64 map, u64 value, u64, u64, u64) {
  return answer(map_of(map).pop(bytes_at(value)));
}
u64 map_peek(Machine&, u64 map, u64 value, u64, u64, u64) {
  return answer(map_of(map).peek(bytes_at(value)));
}
u64 map_lookup_percpu(Machine&, u64 map, u64 key, u64 slot, u64, u64) {
  const MapSpec& spec = map_of(map).spec();
  const bool percpu = spec.kind == MapKind::percpu_array || spec.kind == MapKind::percpu_hash;
  if (!percpu || static_cast<u32>(slot) >= spec.slots) return 0;
  return reinterpret_cast<u64>(map_of(map).lookup(bytes_at(key), static_cast<u32>(slot)));
}

u64 now(clockid_t clock) {
  timespec time{};
  CHECK(::clock_gettime(clock, &time) == 0);
  return static_cast<u64>(time.tv_sec) * 1'000'000'000 + static_cast<u64>(time.tv_nsec);
}
u64 ktime_get_ns(Machine&, u64, u64, u64, u64, u64) { return now(CLOCK_MONOTONIC); }
u64 ktime_get_boot_ns(Machine&, u64, u64, u64, u64, u64) { return now(CLOCK_BOOTTIME); }
u64 ktime_get_coarse_ns(Machine&, u64, u64, u64, u64, u64) { return now(CLOCK_MONOTONIC_COARSE); }

u64 get_prandom_u32(Machine& machine, u64, u64, u64, u64, u64) { return machine.random(); }
u64 get_smp_processor_id(Machine& machine, u64, u64, u64, u64, u64) { return machine.slot(); }

auto readable_by(const Machine& machine) {
  return [&machine](u64 address) { return machine.may_read(address, 1); };
}

u64 trace_printk(Machine& machine, u64 pattern, u64 size, u64 r3, u64 r4, u64 r5) {
  if (static_cast<u32>(size) == 0 || static_cast<u32>(size) > kFormattedMax) return answer(-EINVAL);
  // A copy: in a map somebody else may write it meanwhile.
  const std::string text(reinterpret_cast<const char*>(pattern), static_cast<u32>(size));
  if (text.back() != 0) return answer(-EINVAL);
  const u64 values[] = {r3, r4, r5};
  std::string line;
  if (const int bad = format(text.c_str(), values, readable_by(machine), line); bad != 0)
    return answer(bad);
  machine.log(line);
  return line.size();
}

u64 snprintf_helper(Machine& machine, u64 out, u64 size, u64 pattern, u64 data, u64 data_bytes) {
  constexpr u64 kValuesMax = 12;
  if (data_bytes % 8 != 0 || data_bytes > kValuesMax * 8) return answer(-EINVAL);
  u64 values[kValuesMax];
  if (data_bytes > 0) std::memcpy(values, bytes_at(data), data_bytes);
  std::string text;
  const int bad = format(reinterpret_cast<const char*>(pattern), {values, data_bytes / 8},
                         readable_by(machine), text);
  if (bad != 0) return answer(bad);
  if (size > 0) {
    const u64 copied = std::min<u64>(text.size(), size - 1);
    std::memcpy(bytes_at(out), text.data(), copied);
    bytes_at(out)[copied] = std::byte{0};
  }
  return text.size() + 1;
}

u64 strncmp_helper(Machine&, u64 first, u64 size, u64 second, u64, u64) {
  return answer(std::strncmp(reinterpret_cast<const char*>(first),
                             reinterpret_cast<const char*>(second), static_cast<u32>(size)));
}

u64 ringbuf_output(Machine&, u64 ring, u64 data, u64 size, u64 flags, u64) {
  return answer(ring_of(ring).output(bytes_at(data), size, flags));
}
u64 ringbuf_reserve(Machine&, u64 ring, u64 size, u64 flags, u64, u64) {
  return flags != 0 ? 0 : reinterpret_cast<u64>(ring_of(ring).reserve(size));
}
u64 ringbuf_submit(Machine&, u64 record, u64 flags, u64, u64, u64) {
  RingBuffer::submit(bytes_at(record), flags);
  return 0;
}
u64 ringbuf_discard(Machine&, u64 record, u64 flags, u64, u64, u64) {
  RingBuffer::discard(bytes_at(record), flags);
  return 0;
}
u64 ringbuf_query(Machine&, u64 ring, u64 what, u64, u64, u64) { return ring_of(ring).query(what); }

u64 loop(Machine& machine, u64 count, u64 code, u64 context, u64 flags, u64) {
  if (flags != 0) return answer(-EINVAL);
  const u32 loops = static_cast<u32>(count);
  if (loops > kLoopsMax) return answer(-E2BIG);
  for (u32 i = 0; i < loops; ++i) {
    const u64 enough = machine.call(code, i, context, 0, 0);
    if (machine.stopped() || enough != 0) return i + 1;
  }
  return loops;
}

u64 for_each_map_elem(Machine& machine, u64 map, u64 code, u64 context, u64 flags, u64) {
  if (flags != 0) return answer(-EINVAL);
  std::byte* copy = machine.callback_key();
  const u32 key_size = map_of(map).spec().key_size;
  CHECK(key_size <= kKeySizeMax);
  return answer(map_of(map).for_each(machine.slot(), [&](const std::byte* key, std::byte* value) {
    load_value(copy, key, key_size);
    const u64 enough =
        machine.call(code, map, reinterpret_cast<u64>(copy), reinterpret_cast<u64>(value), context);
    return !machine.stopped() && enough == 0;
  }));
}

Helper shortened(Shortcut shortcut, Helper helper) {
  helper.shortcut = shortcut;
  return helper;
}
Helper printing(Helper helper) {
  helper.asks_may_read = true;
  return helper;
}

}  // namespace

void add_core_helpers(HelperTable& table) {
  using enum Argument;
  table.add(shortened(Shortcut::map_lookup,
                      {1, "map_lookup_elem", map_lookup, {map, key}, Answer::value_or_null}));
  table.add({2, "map_update_elem", map_update, {map, key, value, anything}});
  table.add({3, "map_delete_elem", map_delete, {map, key}});
  table.add({5, "ktime_get_ns", ktime_get_ns});
  // Programs set as many of the registers behind as their text has values.
  table.add(printing({6, "trace_printk", trace_printk, {read, size}}));
  table.add({7, "get_prandom_u32", get_prandom_u32});
  table.add(shortened(Shortcut::slot_number, {8, "get_smp_processor_id", get_smp_processor_id}));
  table.add({87, "map_push_elem", map_push, {map, value, anything}});
  table.add({88, "map_pop_elem", map_pop, {map, value_out}});
  table.add({89, "map_peek_elem", map_peek, {map, value_out}});
  table.add({125, "ktime_get_boot_ns", ktime_get_boot_ns});
  table.add({130, "ringbuf_output", ringbuf_output, {ring, read, size_or_zero, anything}});
  table.add({131,
             "ringbuf_reserve",
             ringbuf_reserve,
             {ring, record_size, anything},
             Answer::record_or_null});
  table.add({132, "ringbuf_submit", ringbuf_submit, {record, anything}});
  table.add({133, "ringbuf_discard", ringbuf_discard, {record, anything}});
  table.add({134, "ringbuf_query", ringbuf_query, {ring, anything}});
  table.add({160, "ktime_get_coarse_ns", ktime_get_coarse_ns});
  table.add({.number = 164,
             .name = "for_each_map_elem",
             .function = for_each_map_elem,
             .arguments = {map, code, anything, anything},
             .callback = Callback::element});
  table.add(printing({.number = 165,
                      .name = "snprintf",
                      .function = snprintf_helper,
                      .arguments = {written, size_or_zero, text, read, size_or_zero},
                      .nullable = 0b01001}));
  table.add(shortened(Shortcut::loop, {.number = 181,
                                       .name = "loop",
                                       .function = loop,
                                       .arguments = {anything, code, anything, anything},
                                       .callback = Callback::iteration}));
  table.add({182, "strncmp", strncmp_helper, {read, size, text}});
  table.add({195,
             "map_lookup_percpu_elem",
             map_lookup_percpu,
             {map, key, anything},
             Answer::value_or_null});
}

}  // namespace coppice::bpf
