#include "helper/privileges/privileges.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace coppice::helper {
namespace {

bool drop_capabilities() {
  // Without CAP_SETPCAP the bounding set stays; no_new_privs keeps it from ever mattering.
  for (int each = 0; prctl(PR_CAPBSET_READ, each, 0, 0, 0) >= 0; ++each) {
    prctl(PR_CAPBSET_DROP, each, 0, 0, 0);
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct none[2] = {};
  return syscall(SYS_capset, &header, none) == 0;
}

}  // namespace

bool drop_privileges() {
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && drop_capabilities() &&
         prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
}

bool limit(__rlimit_resource resource, rlim_t value) {
  const rlimit limits = {.rlim_cur = value, .rlim_max = value};
  return setrlimit(resource, &limits) == 0;
}

}  // namespace coppice::helper
