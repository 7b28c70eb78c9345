// The kernel's helpers as its tests call them: what they take and return, and who may call them.
#include <algorithm>

#include "base/check.h"
#include "bpf/core_helpers.h"
#include "kernel_host.h"

namespace coppice::bpf {
namespace {

// Who may call a helper.
constexpr u8 kSocket = 1, kTc = 2, kXdp = 4, kTracepoint = 8, kRawTp = 16;
static_assert(kTc == 1 << static_cast<u8>(KernelType::tc));
static_assert(kRawTp == 1 << static_cast<u8>(KernelType::raw_tp));
constexpr u8 kNet = kSocket | kTc | kXdp, kTrace = kTracepoint | kRawTp, kAll = kNet | kTrace;

// Of the core helpers, the one that not everyone may call, and those that take what lies in
// packets.
constexpr i32 kCoarse = 160;
constexpr i32 kMapHelpers[] = {1, 2, 3, 87, 195};
constexpr i32 kNumbers = 256;

// What else there is to a helper.
constexpr u8 kChangesPacket = 1, kTakesPacket = 2, kReturnsLength = 4;

enum class Gives : u8 { number, socket, head, tcp, task };

struct Row {
  u8 callers;
  i32 number;
  const char* name;
  Argument arguments[5] = {};
  u8 traits = 0;
  u8 nullable = 0;  // As a Helper's.
  Answer answer = Answer::number;
  Gives gives = Gives::number;
};

using enum Argument;

constexpr Row kRows[] = {
    {kTrace, 4, "probe_read", {written, size_or_zero, anything}},
    {kTc, 9, "skb_store_bytes", {context, anything, read, size, anything}, kChangesPacket},
    {kTc, 10, "l3_csum_replace", {context, anything, anything, anything, anything}, kChangesPacket},
    {kTc, 11, "l4_csum_replace", {context, anything, anything, anything, anything}, kChangesPacket},
    {kTc, 13, "clone_redirect", {context, anything, anything}, kChangesPacket},
    {kAll, 14, "get_current_pid_tgid"},
    {kTrace, 15, "get_current_uid_gid"},
    {kTrace, 16, "get_current_comm", {written, size}},
    {kTc, 17, "get_cgroup_classid", {context}},
    {kTc, 18, "skb_vlan_push", {context, anything, anything}, kChangesPacket},
    {kTc, 19, "skb_vlan_pop", {context}, kChangesPacket},
    {kTc, 20, "skb_get_tunnel_key", {context, written, size, anything}},
    {kTc, 21, "skb_set_tunnel_key", {context, read, size, anything}},
    {kTc | kXdp, 23, "redirect", {anything, anything}},
    {kTc, 24, "get_route_realm", {context}},
    {kAll, 25, "perf_event_output", {context, map, anything, read, size_or_zero}},
    {kSocket | kTc, 26, "skb_load_bytes", {context, anything, written, size}},
    {kTrace, 27, "get_stackid", {context, map, anything}},
    {kTc | kXdp,
     28,
     "csum_diff",
     {read, size_or_zero, read, size_or_zero, anything},
     kTakesPacket,
     0b101},
    {kTc, 31, "skb_change_proto", {context, anything, anything}, kChangesPacket},
    {kTc, 32, "skb_change_type", {context, anything}},
    {kTc, 34, "get_hash_recalc", {context}},
    {kAll, 35, "get_current_task"},
    {kTc, 38, "skb_change_tail", {context, anything, anything}, kChangesPacket},
    {kTc, 39, "skb_pull_data", {context, anything}, kChangesPacket},
    {kTc, 40, "csum_update", {context, anything}},
    {kTc, 41, "set_hash_invalid", {context}},
    {kAll, 42, "get_numa_node_id"},
    {kTc, 43, "skb_change_head", {context, anything, anything}, kChangesPacket},
    {kXdp, 44, "xdp_adjust_head", {context, anything}, kChangesPacket},
    {kTrace, 45, "probe_read_str", {written, size_or_zero, anything}, kReturnsLength},
    {kSocket | kTc, 46, "get_socket_cookie", {context}},
    {kSocket | kTc, 47, "get_socket_uid", {context}},
    {kTc, 48, "set_hash", {context, anything}},
    {kTc, 50, "skb_adjust_room", {context, anything, anything, anything}, kChangesPacket},
    {kXdp, 51, "redirect_map", {map, anything, anything}},
    {kXdp, 54, "xdp_adjust_meta", {context, anything}, kChangesPacket},
    {kXdp, 65, "xdp_adjust_tail", {context, anything}, kChangesPacket},
    {kTrace, 67, "get_stack", {context, written, size_or_zero, anything}, kReturnsLength},
    {kSocket | kTc, 68, "skb_load_bytes_relative", {context, anything, written, size, anything}},
    {kTc | kXdp, 69, "fib_lookup", {context, read, size, anything}},
    {kTc | kXdp,
     84,
     "sk_lookup_tcp",
     {context, read, size_or_zero, anything, anything},
     kTakesPacket,
     0,
     Answer::acquired_or_null,
     Gives::socket},
    {kTc | kXdp,
     85,
     "sk_lookup_udp",
     {context, read, size_or_zero, anything, anything},
     kTakesPacket,
     0,
     Answer::acquired_or_null,
     Gives::socket},
    {kTc | kXdp, 86, "sk_release", {released}},
    {kTc, 95, "sk_fullsock", {object}, 0, 0, Answer::object_or_null, Gives::socket},
    {kTc, 96, "tcp_sock", {object}, 0, 0, Answer::object_or_null, Gives::tcp},
    {kTc, 98, "get_listener_sock", {object}, 0, 0, Answer::object_or_null, Gives::socket},
    {kTc | kXdp,
     99,
     "skc_lookup_tcp",
     {context, read, size_or_zero, anything, anything},
     kTakesPacket,
     0,
     Answer::acquired_or_null,
     Gives::head},
    {kAll, 105, "strtol", {read, size, anything, number_out}},
    {kAll, 106, "strtoul", {read, size, anything, number_out}},
    {kTrace, 109, "send_signal", {anything}},
    {kAll, 112, "probe_read_user", {written, size_or_zero, anything}},
    {kAll, 113, "probe_read_kernel", {written, size_or_zero, anything}},
    {kAll, 114, "probe_read_user_str", {written, size_or_zero, anything}, kReturnsLength},
    {kAll, 115, "probe_read_kernel_str", {written, size_or_zero, anything}, kReturnsLength},
    {kAll, 118, "jiffies64"},
    {kAll, 120, "get_ns_current_pid_tgid", {anything, anything, written, size}},
    {kAll, 158, "get_current_task_btf", {}, 0, 0, Answer::object, Gives::task},
    {kTc | kXdp, 163, "check_mtu", {context, anything, number_out, anything, anything}},
    {kXdp, 188, "xdp_get_buff_len", {context}},
    {kXdp, 189, "xdp_load_bytes", {context, anything, written, size}},
    {kXdp, 190, "xdp_store_bytes", {context, anything, read, size}},
    {kAll, 208, "ktime_get_tai_ns"},
};

u64 never_called(Machine&, u64, u64, u64, u64, u64) {
  CHECK(false);
  return 0;
}

}  // namespace

void KernelHost::add_helpers(KernelType type, HelperTable& table) const {
  const auto caller = static_cast<u8>(1 << static_cast<u8>(type));
  HelperTable core;
  add_core_helpers(core);
  for (i32 number = 0; number < kNumbers; ++number) {
    const Helper* known = core.find(number);
    if (known == nullptr || (number == kCoarse && (kNet & caller) == 0)) continue;
    Helper helper = *known;
    helper.takes_packet = std::ranges::find(kMapHelpers, number) != std::end(kMapHelpers);
    table.add(std::move(helper));
  }
  const Layout* const layouts[] = {nullptr, &socket_, &socket_head_, &tcp_socket_, &task_};
  for (const Row& row : kRows) {
    if ((row.callers & caller) == 0) continue;
    Helper helper{.number = row.number, .name = row.name, .function = never_called};
    std::ranges::copy(row.arguments, helper.arguments);
    helper.answer = row.answer;
    helper.answer_layout = layouts[static_cast<size_t>(row.gives)];
    helper.nullable = row.nullable;
    helper.changes_packet = (row.traits & kChangesPacket) != 0;
    helper.takes_packet = (row.traits & kTakesPacket) != 0;
    helper.returns_length = (row.traits & kReturnsLength) != 0;
    table.add(std::move(helper));
  }
}

}  // namespace coppice::bpf
