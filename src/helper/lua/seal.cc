#include "helper/lua/seal.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "helper/privileges/rules.h"

namespace coppice::lua {
namespace {

using helper::allow, helper::equal, helper::without;

// The deepest that Lua's C stack can get (200 levels, kCloseDepthMax + 1 times over) with room.
constexpr size_t kStackBytes = 6_MiB;

bool add_rules(scmp_filter_ctx context) {
  const auto stream_only = equal(0, kStreamDescriptor);
  // No address: it is connected, and no other may be named.
  bool good = allow(context, SCMP_SYS(recvfrom), {stream_only, equal(4, 0)}) &&
              allow(context, SCMP_SYS(sendto), {stream_only, equal(4, 0)}) &&
              allow(context, SCMP_SYS(exit_group));
  if (!kRelaxed) {
    // malloc asks for these when what was set aside for it is used up; it copes with a refusal.
    // That of brk is not an errno but an address below the one asked for.
    good = good && seccomp_rule_add(context, SCMP_ACT_ERRNO(0), SCMP_SYS(brk), 0) == 0 &&
           seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOMEM), SCMP_SYS(mmap), 0) == 0;
    return good;
  }
  const auto no_code = without(2, PROT_EXEC);
  good = good && allow(context, SCMP_SYS(mmap), {no_code}) &&
         allow(context, SCMP_SYS(mprotect), {no_code}) &&
         allow(context, SCMP_SYS(write), {equal(0, 2)});
  for (const int call : {SCMP_SYS(munmap), SCMP_SYS(madvise), SCMP_SYS(sched_yield),
                         SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(sigaltstack)}) {
    good = good && allow(context, call);
  }
  return good;
}

// The filter as the kernel takes it: libseccomp writes it to a file only.
std::vector<sock_filter> make_filter() {
  std::vector<sock_filter> filter;
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> context(
      seccomp_init(SCMP_ACT_KILL_PROCESS), seccomp_release);
  const int file = memfd_create("filter", MFD_CLOEXEC);
  if (context != nullptr && file >= 0 &&
      seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) == 0 &&
      add_rules(context.get()) && seccomp_export_bpf(context.get(), file) == 0) {
    const off_t size = lseek(file, 0, SEEK_END);
    filter.resize(static_cast<size_t>(size) / sizeof(sock_filter));
    if (pread(file, filter.data(), static_cast<size_t>(size), 0) != size) filter.clear();
  }
  if (file >= 0) close(file);
  return filter;
}

// A clock that works without a system call or rdtsc would be one nobody could take away later.
std::vector<Region> find_clocks() {
  std::vector<Region> found;
  FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return found;
  char line[512];
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    unsigned long begin = 0, end = 0;
    if (std::strstr(line, "[vvar") == nullptr && std::strstr(line, "[vdso]") == nullptr) continue;
    if (std::sscanf(line, "%lx-%lx", &begin, &end) != 2) continue;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): it is read as text.
    found.push_back({reinterpret_cast<void*>(begin), end - begin});
  }
  std::fclose(maps);
  return found;
}

// Makes the stack as large as it may become: it does not grow when no address space is left.
[[gnu::noinline]] void keep_stack() {
  auto* lowest = static_cast<volatile char*>(__builtin_alloca(kStackBytes));
  *lowest = 0;
}

bool limit_resources() {
  using helper::limit;
  // Descriptors stay open beyond the limit, but none can be made. The address space stays as it is.
  bool good = limit(RLIMIT_CORE, 0) && limit(RLIMIT_NOFILE, 0) && limit(RLIMIT_FSIZE, 0) &&
              limit(RLIMIT_NPROC, 0) && limit(RLIMIT_MEMLOCK, 0) && limit(RLIMIT_MSGQUEUE, 0) &&
              limit(RLIMIT_SIGPENDING, 0);
  if (!kRelaxed) good = good && limit(RLIMIT_AS, 0);
  return good;
}

bool keep_one_descriptor(int stream) {
  if (stream != kStreamDescriptor && dup3(stream, kStreamDescriptor, 0) < 0) return false;
  const unsigned first = kRelaxed ? 2 : 3;  // Reports of the sanitizer go to descriptor 2.
  return syscall(SYS_close_range, 0, first - 1, 0) == 0 &&
         syscall(SYS_close_range, kStreamDescriptor + 1, ~0U, 0) == 0;
}

bool start_cpu_limit(u64 cpu_ns_max) {
  const u64 us = std::max<u64>(divide_up(cpu_ns_max, 1000), 1);
  itimerval timer = {};
  timer.it_value.tv_sec = static_cast<time_t>(us / 1'000'000);
  timer.it_value.tv_usec = static_cast<suseconds_t>(us % 1'000'000);
  return setitimer(ITIMER_PROF, &timer, nullptr) == 0;
}

}  // namespace

std::optional<Shed> shed() {
  Shed made{.filter = make_filter(), .clocks = find_clocks()};
  if (made.filter.empty()) return std::nullopt;
  if (!helper::drop_privileges()) return std::nullopt;
  return made;
}

bool seal(const Shed& shed, int stream, u64 cpu_ns_max) {
  keep_stack();
  if (!keep_one_descriptor(stream) || !limit_resources() || !start_cpu_limit(cpu_ns_max)) {
    return false;
  }
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return false;
  if (!kRelaxed) {
    for (const Region& each : shed.clocks) munmap(each.address, each.bytes);
    prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0);
  }
  const sock_fprog program = {.len = static_cast<unsigned short>(shed.filter.size()),
                              .filter = const_cast<sock_filter*>(shed.filter.data())};
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

}  // namespace coppice::lua
