// kernel_host.h — the kernel as a host: what it promises to programs of the types that are scored.
//
// Theory. The kernel's tests say which programs a kernel accepts, so our verifier is judged by them
// only if it is told what a kernel's verifier knows: contexts with their readable and writable
// fields, who may call which helper with what, 512 bytes of stack for all frames. What is told is
// Linux 6.12's, for a privileged user on x86-64. Helpers have no functions: these programs are
// judged, never run.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "bpf/program_type.h"

namespace coppice::bpf {

enum class KernelType : u8 { socket, tc, xdp, tracepoint, raw_tp };
inline constexpr size_t kKernelTypes = 5;

class KernelHost {
 public:
  KernelHost();
  KernelHost(const KernelHost&) = delete;
  KernelHost& operator=(const KernelHost&) = delete;

  const ProgramType& type(KernelType type, bool strict_alignment) const {
    return types_[static_cast<size_t>(type)][strict_alignment ? 1 : 0];
  }

 private:
  void add_helpers(KernelType type, HelperTable& table) const;

  Layout socket_, socket_head_, tcp_socket_, task_;
  std::array<HelperTable, kKernelTypes> helpers_;
  std::array<std::array<ProgramType, 2>, kKernelTypes>
      types_;  // By alignment: as it comes, strict.
};

// Of a program in a section of that name, as libbpf takes it; nothing: of a type that is not
// scored.
std::optional<KernelType> kernel_type_of(std::string_view section);
// Of a number of BPF_PROG_TYPE_*.
std::optional<KernelType> kernel_type_of(u32 number);
std::string_view name_of(KernelType type);

// Contexts of each type, and structures that helpers take and return.
Layout kernel_context(KernelType type, const Layout* socket);
Layout kernel_socket();       // What programs see of a struct sock...
Layout kernel_socket_head();  // ... and of a struct sock_common, which may be less than a socket.
Layout kernel_tcp_socket();
Layout kernel_task();

}  // namespace coppice::bpf
