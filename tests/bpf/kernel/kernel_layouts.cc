#include "kernel_host.h"

namespace coppice::bpf {
namespace {

constexpr u32 kBufferBytes = 192;  // Of a struct __sk_buff.
constexpr u32 kTraceBytes = 8192;  // Of the largest record of a tracepoint.
constexpr u32 kTraceHead = 8;      // Of it what programs must not see.
constexpr u32 kRawArguments = 12;

// Numbers that may be read in aligned parts...
Field part(std::string name, u32 offset, u32 size = 4) {
  return {.name = std::move(name), .offset = offset, .size = size};
}
// ... and written, too.
Field changeable(std::string name, u32 offset, u32 size = 4) {
  return {.name = std::move(name), .offset = offset, .size = size, .writable = true};
}
// Numbers that are read as a whole.
Field whole(std::string name, u32 offset, u32 size = 4) {
  return {.name = std::move(name), .offset = offset, .size = size, .whole = true};
}
Field packet(FieldKind kind, std::string name, u32 offset) {
  return {.name = std::move(name), .offset = offset, .size = 4, .whole = true, .kind = kind};
}

// A socket filter has no packet but through helpers, and sees less of the buffer than a classifier.
std::vector<Field> buffer_fields(bool classifier, const Layout* socket) {
  const auto owned = [&](std::string name, u32 offset) {
    return classifier ? changeable(std::move(name), offset) : part(std::move(name), offset);
  };
  std::vector<Field> fields = {part("len", 0),           part("pkt_type", 4),
                               owned("mark", 8),         owned("queue_mapping", 12),
                               part("protocol", 16),     part("vlan_present", 20),
                               part("vlan_tci", 24),     part("vlan_proto", 28),
                               owned("priority", 32),    part("ingress_ifindex", 36),
                               part("ifindex", 40),      owned("tc_index", 44),
                               changeable("cb", 48, 20), part("hash", 68)};
  const auto add = [&](Field field) { fields.push_back(std::move(field)); };
  if (classifier) {
    add(changeable("tc_classid", 72));
    add(packet(FieldKind::packet, "data", 76));
    add(packet(FieldKind::packet_end, "data_end", 80));
  }
  add(part("napi_id", 84));
  if (classifier) {
    add(packet(FieldKind::packet_meta, "data_meta", 140));
    Field tstamp = whole("tstamp", 152, 8);
    tstamp.writable = true;
    add(tstamp);
    add(part("wire_len", 160));
  }
  add(part("gso_segs", 164));
  add({.name = "sk",
       .offset = 168,
       .size = 8,
       .whole = true,
       .kind = FieldKind::object,
       .nullable = true,
       .layout = socket});
  add(part("gso_size", 176));
  if (classifier) {
    add(whole("tstamp_type", 180, 1));
    add(whole("hwtstamp", 184, 8));
  }
  return fields;
}

// Neither the type of a socket nor what follows it is there before the socket is a full one.
std::vector<Field> socket_fields(bool full) {
  std::vector<Field> fields = {whole("bound_dev_if", 0), part("family", 4)};
  if (full) {
    fields.push_back(part("type", 8));
    fields.push_back(part("protocol", 12));
    fields.push_back(whole("mark", 16));
    fields.push_back(whole("priority", 20));
  }
  for (Field field : {part("src_ip4", 24), part("src_ip6", 28, 16), part("src_port", 44),
                      part("dst_port", 48, 4), part("dst_ip4", 52), part("dst_ip6", 56, 16),
                      part("state", 72), part("rx_queue_mapping", 76)})
    fields.push_back(std::move(field));
  return fields;
}

}  // namespace

Layout kernel_context(KernelType type, const Layout* socket) {
  switch (type) {
    case KernelType::socket:
    case KernelType::tc:
      return {.name = "__sk_buff",
              .size = kBufferBytes,
              .fields = buffer_fields(type == KernelType::tc, socket)};
    case KernelType::xdp:
      return {.name = "xdp_md",
              .size = 24,
              .fields = {packet(FieldKind::packet, "data", 0),
                         packet(FieldKind::packet_end, "data_end", 4),
                         packet(FieldKind::packet_meta, "data_meta", 8),
                         whole("ingress_ifindex", 12), whole("rx_queue_index", 16)}};
    case KernelType::tracepoint:
      return {.name = "tracepoint",
              .size = kTraceBytes,
              .fields = {part("record", kTraceHead, kTraceBytes - kTraceHead)}};
    case KernelType::raw_tp:
      return {.name = "bpf_raw_tracepoint_args",
              .size = kRawArguments * 8,
              .fields = {part("args", 0, kRawArguments * 8)}};
  }
  return {};
}

Layout kernel_socket() { return {.name = "bpf_sock", .size = 80, .fields = socket_fields(true)}; }
Layout kernel_socket_head() {
  return {.name = "sock_common", .size = 80, .fields = socket_fields(false)};
}

Layout kernel_tcp_socket() {
  Layout layout{.name = "bpf_tcp_sock", .size = 112, .fields = {}};
  for (const char* name :
       {"snd_cwnd",         "srtt_us",     "rtt_min",       "snd_ssthresh",  "rcv_nxt",
        "snd_nxt",          "snd_una",     "mss_cache",     "ecn_flags",     "rate_delivered",
        "rate_interval_us", "packets_out", "retrans_out",   "total_retrans", "segs_in",
        "data_segs_in",     "segs_out",    "data_segs_out", "lost_out",      "sacked_out"})
    layout.fields.push_back(whole(name, static_cast<u32>(layout.fields.size()) * 4));
  layout.fields.push_back(whole("bytes_received", 80, 8));
  layout.fields.push_back(whole("bytes_acked", 88, 8));
  u32 offset = 96;
  for (const char* name : {"dsack_dups", "delivered", "delivered_ce", "icsk_retransmits"}) {
    layout.fields.push_back(whole(name, offset));
    offset += 4;
  }
  return layout;
}

// As far as vmlinux.h declares it.
Layout kernel_task() {
  return {.name = "task_struct", .size = 64, .fields = {part("pid", 0), part("tgid", 4)}};
}

}  // namespace coppice::bpf
