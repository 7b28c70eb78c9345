#include "bpf/probe.h"

#include <ucontext.h>
#include <csignal>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <type_traits>

#include "base/check.h"

// size_t coppice_probe_copy(void* to, const void* from, size_t size): how many bytes are left. Only
// the instruction at coppice_probe_fault reads `from`.
#if defined(__x86_64__)
asm(R"(
  .text
  .globl coppice_probe_copy
  .type coppice_probe_copy, @function
coppice_probe_copy:
  movq %rdx, %rcx
coppice_probe_fault:
  rep movsb
coppice_probe_done:
  movq %rcx, %rax
  ret
  .size coppice_probe_copy, .-coppice_probe_copy
  .globl coppice_probe_fault
  .globl coppice_probe_done
)");
#elif defined(__aarch64__)
asm(R"(
  .text
  .globl coppice_probe_copy
  .type coppice_probe_copy, %function
coppice_probe_copy:
  cbz x2, coppice_probe_done
coppice_probe_fault:
  ldrb w3, [x1]
  add x1, x1, #1
  strb w3, [x0], #1
  subs x2, x2, #1
  b.ne coppice_probe_fault
coppice_probe_done:
  mov x0, x2
  ret
  .size coppice_probe_copy, .-coppice_probe_copy
  .globl coppice_probe_fault
  .globl coppice_probe_done
)");
#else
#error "probe reads need the copy loop of this processor"
#endif

extern "C" {
size_t coppice_probe_copy(void* to, const void* from, size_t size);
extern const char coppice_probe_fault[], coppice_probe_done[];
}

namespace coppice::bpf {
namespace {

using sigaction_t = struct sigaction;
sigaction_t before_segv, before_bus;  // Who handles other faults.

auto& program_counter(ucontext_t& context) {
#if defined(__x86_64__)
  return context.uc_mcontext.gregs[REG_RIP];
#else
  return context.uc_mcontext.pc;
#endif
}

void on_fault(int signal, siginfo_t* info, void* raw) {
  auto& context = *static_cast<ucontext_t*>(raw);
  auto& at = program_counter(context);
  using Address = std::remove_reference_t<decltype(at)>;
  if (at == reinterpret_cast<Address>(coppice_probe_fault)) {
    at = reinterpret_cast<Address>(coppice_probe_done);
    return;
  }
  const sigaction_t& before = signal == SIGSEGV ? before_segv : before_bus;
  if ((before.sa_flags & SA_SIGINFO) != 0) {
    before.sa_sigaction(signal, info, raw);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(signal);
  } else {
    ::signal(signal, SIG_DFL);  // The instruction faults again, and that is the end.
  }
}

void install_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    sigaction_t action{};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    CHECK(::sigaction(SIGSEGV, &action, &before_segv) == 0);
    CHECK(::sigaction(SIGBUS, &action, &before_bus) == 0);
  });
}

constexpr u64 kPage = 4096;

i64 read_bytes(std::byte* to, u64 from, size_t size) {
  const size_t got = probe_copy(to, from, size);
  if (got == size) return 0;
  std::memset(to, 0, size);
  return -EFAULT;
}

// Up to the zero and with it, page by page: what lies behind it need not be there.
i64 read_text(std::byte* to, u64 from, size_t size) {
  for (size_t done = 0; done < size;) {
    const size_t want = std::min<size_t>(size - done, kPage - (from + done) % kPage);
    const size_t got = probe_copy(to + done, from + done, want);
    const auto* end = std::find(to + done, to + done + got, std::byte{0});
    if (end != to + done + got) return end - to + 1;
    if (got < want) {
      std::memset(to, 0, size);
      return -EFAULT;
    }
    done += want;
  }
  if (size > 0) to[size - 1] = std::byte{0};
  return static_cast<i64>(size);
}

u64 probe_read_kernel(Machine&, u64 to, u64 size, u64 from, u64, u64) {
  return static_cast<u64>(read_bytes(reinterpret_cast<std::byte*>(to), from, size));
}
u64 probe_read_kernel_str(Machine&, u64 to, u64 size, u64 from, u64, u64) {
  return static_cast<u64>(read_text(reinterpret_cast<std::byte*>(to), from, size));
}

}  // namespace

size_t probe_copy(void* to, u64 from, size_t size) {
  install_once();
  const size_t left = coppice_probe_copy(to, reinterpret_cast<const void*>(from), size);
  CHECK(left <= size);
  return size - left;
}

void add_probe_helpers(HelperTable& table) {
  using enum Argument;
  table.add({.number = 113,
             .name = "probe_read_kernel",
             .function = probe_read_kernel,
             .arguments = {written, size_or_zero, anything}});
  table.add({.number = 115,
             .name = "probe_read_kernel_str",
             .function = probe_read_kernel_str,
             .arguments = {written, size_or_zero, anything},
             .returns_length = true});
}

}  // namespace coppice::bpf
