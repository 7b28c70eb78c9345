#include "kernel_host.h"

namespace coppice::bpf {
namespace {

constexpr u32 kStackBytes = 512;
constexpr std::string_view kNames[kKernelTypes] = {"socket", "tc", "xdp", "tracepoint", "raw_tp"};

struct Section {
  std::string_view name;
  KernelType type;
};
constexpr Section kSections[] = {
    {"socket", KernelType::socket}, {"tc", KernelType::tc},
    {"tcx", KernelType::tc},        {"classifier", KernelType::tc},
    {"action", KernelType::tc},     {"xdp", KernelType::xdp},
    {"tp", KernelType::tracepoint}, {"tracepoint", KernelType::tracepoint},
    {"raw_tp", KernelType::raw_tp}, {"raw_tracepoint", KernelType::raw_tp},
};

struct Number {
  u32 number;
  KernelType type;
};
constexpr Number kNumbers[] = {{1, KernelType::socket}, {3, KernelType::tc},
                               {4, KernelType::tc},     {5, KernelType::tracepoint},
                               {6, KernelType::xdp},    {17, KernelType::raw_tp}};

}  // namespace

KernelHost::KernelHost()
    : socket_(kernel_socket()),
      socket_head_(kernel_socket_head()),
      tcp_socket_(kernel_tcp_socket()),
      task_(kernel_task()) {
  for (size_t i = 0; i < kKernelTypes; ++i) {
    const auto type = static_cast<KernelType>(i);
    add_helpers(type, helpers_[i]);
    for (const bool strict : {false, true}) {
      ProgramType& made = types_[i][strict ? 1 : 0];
      made.name = kNames[i];
      made.context = kernel_context(type, &socket_head_);
      made.helpers = &helpers_[i];
      made.packet_writable = type == KernelType::tc || type == KernelType::xdp;
      made.catches_faults = true;
      made.stack_bytes_max = kStackBytes;
      made.reads_unwritten_stack = true;
      made.strict_alignment = strict;
      for (const Section& section : kSections) {
        if (section.type == type) made.sections.emplace_back(section.name);
      }
    }
  }
}

std::optional<KernelType> kernel_type_of(std::string_view section) {
  if (section.starts_with('?')) section.remove_prefix(1);  // "Loaded only if asked for."
  section = section.substr(0, section.find('/'));
  for (const Section& known : kSections) {
    if (known.name == section) return known.type;
  }
  return {};
}

std::optional<KernelType> kernel_type_of(u32 number) {
  for (const Number& known : kNumbers) {
    if (known.number == number) return known.type;
  }
  return {};
}

std::string_view name_of(KernelType type) { return kNames[static_cast<size_t>(type)]; }

}  // namespace coppice::bpf
