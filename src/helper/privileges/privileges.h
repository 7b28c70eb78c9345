// helper/privileges/privileges.h — what every helper gives up before it seals itself in its way.
#pragma once

#include <sys/resource.h>

namespace coppice::helper {

// With AddressSanitizer or ThreadSanitizer filters and limits leave room for what their runtimes
// need.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kRelaxed = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kRelaxed = true;
#else
inline constexpr bool kRelaxed = false;
#endif
#else
inline constexpr bool kRelaxed = false;
#endif

// Every capability, what executing a file could give, and being traced. False: errno says why.
bool drop_privileges();

// Both limits, soft and hard.
bool limit(__rlimit_resource resource, rlim_t value);

}  // namespace coppice::helper
