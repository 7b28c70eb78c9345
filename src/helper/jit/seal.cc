#include "helper/jit/seal.h"

#include <fcntl.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <initializer_list>
#include <memory>

#include "bpf/native/helper_process.h"
#include "helper/privileges/rules.h"

namespace coppice::jit {
namespace {

using helper::allow, helper::equal, helper::without;

static_assert(kSocket == bpf::kHelperSocket);

constexpr rlim_t kAddressBytes = 8_GiB;       // LLVM itself takes some hundred MiB.
constexpr rlim_t kDescriptors = kSocket + 2;  // The file of the answer is one more.

bool add_rules(scmp_filter_ctx context) {
  const auto no_code = without(2, PROT_EXEC);
  bool good = allow(context, SCMP_SYS(recvfrom), {equal(0, kSocket), equal(4, 0)}) &&
              allow(context, SCMP_SYS(sendmsg), {equal(0, kSocket)}) &&
              allow(context, SCMP_SYS(fcntl), {equal(1, F_ADD_SEALS)}) &&
              allow(context, SCMP_SYS(mmap), {no_code}) &&
              allow(context, SCMP_SYS(mprotect), {no_code}) &&
              allow(context, SCMP_SYS(setitimer), {equal(0, ITIMER_PROF)});
  for (const int call : {SCMP_SYS(memfd_create), SCMP_SYS(write), SCMP_SYS(close), SCMP_SYS(munmap),
                         SCMP_SYS(mremap), SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(futex),
                         SCMP_SYS(exit_group)}) {
    good = good && allow(context, call);
  }
  if (!kRelaxed) return good;
  for (const int call :
       {SCMP_SYS(sched_yield), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(sigaltstack)}) {
    good = good && allow(context, call);
  }
  return good;
}

bool keep_one_descriptor(int socket) {
  if (socket != kSocket && dup3(socket, kSocket, 0) < 0) return false;
  const unsigned first = kRelaxed ? 2 : 3;  // Reports of the sanitizer go to descriptor 2.
  return syscall(SYS_close_range, 0, first - 1, 0) == 0 &&
         syscall(SYS_close_range, kSocket + 1, ~0U, 0) == 0;
}

bool limit_resources() {
  using helper::limit;
  bool good = limit(RLIMIT_CORE, 0) && limit(RLIMIT_NOFILE, kDescriptors) &&
              limit(RLIMIT_FSIZE, bpf::kImageBytesMax) && limit(RLIMIT_NPROC, 0) &&
              limit(RLIMIT_MEMLOCK, 0) && limit(RLIMIT_MSGQUEUE, 0) && limit(RLIMIT_SIGPENDING, 0);
  if (!kRelaxed) good = good && limit(RLIMIT_AS, kAddressBytes);
  return good;
}

}  // namespace

bool seal(int socket) {
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> context(
      seccomp_init(SCMP_ACT_KILL_PROCESS), seccomp_release);
  return context != nullptr &&
         seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) == 0 &&
         add_rules(context.get()) && keep_one_descriptor(socket) && limit_resources() &&
         helper::drop_privileges() && seccomp_load(context.get()) == 0;
}

void limit_cpu(long seconds) {
  itimerval timer = {};
  timer.it_value.tv_sec = seconds;
  setitimer(ITIMER_PROF, &timer, nullptr);
}

}  // namespace coppice::jit
