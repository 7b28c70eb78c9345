// admin_window: refuses admin verbs outside a window of the day, in UTC.
//
//   coppice link attach tank admin_window --set from_minute=1320 --set to_minute=360 --pin window
//
// Settings:
//   from_minute  where the window begins, in minutes since midnight (0)
//   to_minute    where it ends; before from_minute: on the next day (1440: at midnight)
//   exempt_uid   a user who may administer at any time; -1: nobody (-1)
//   exempt_uid2, exempt_uid3, exempt_uid4   three more
//
// To change or detach the link is a verb, too: whoever has locked everybody out waits for the window.
//
//   coppice map dump .bss         how many verbs were refused
#include <coppice/bpf/hooks.h>

const volatile __u32 from_minute = 0;
const volatile __u32 to_minute = 1440;
const volatile __s64 exempt_uid = -1;
const volatile __s64 exempt_uid2 = -1;
const volatile __s64 exempt_uid3 = -1;
const volatile __s64 exempt_uid4 = -1;

__u64 refused;

#define NS_PER_MINUTE 60000000000ull
#define MINUTES_PER_DAY 1440

SEC("admin")
int admin_window(struct coppice_admin* verb) {
  const __s64 uid = verb->uid;
  if (uid == exempt_uid || uid == exempt_uid2 || uid == exempt_uid3 || uid == exempt_uid4)
    return COPPICE_ALLOW;
  const __u32 minute = verb->wall_ns / NS_PER_MINUTE % MINUTES_PER_DAY;
  const _Bool begun = minute >= from_minute, goes_on = minute < to_minute;
  if (from_minute <= to_minute ? begun && goes_on : begun || goes_on) return COPPICE_ALLOW;
  char text[96] = {};
  __u64 times[4] = {from_minute / 60, from_minute % 60, to_minute / 60, to_minute % 60};
  bpf_snprintf(text, sizeof text,
               "administration is possible from %02llu:%02llu to %02llu:%02llu UTC", times,
               sizeof times);
  coppice_refuse(verb, text, sizeof text);
  verb->error = COPPICE_EACCES;
  __sync_fetch_and_add(&refused, 1);
  return COPPICE_REFUSE;
}

char LICENSE[] SEC("license") = "Apache-2.0";
