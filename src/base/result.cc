#include "base/result.h"

#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace coppice {

const char* name_of(Errc code) {
  switch (code) {
    case Errc::io: return "io";
    case Errc::corrupt: return "corrupt";
    case Errc::not_found: return "not_found";
    case Errc::exists: return "exists";
    case Errc::invalid: return "invalid";
    case Errc::busy: return "busy";
    case Errc::no_space: return "no_space";
    case Errc::quota: return "quota";
    case Errc::read_only: return "read_only";
    case Errc::denied: return "denied";
    case Errc::unsupported: return "unsupported";
    case Errc::too_big: return "too_big";
    case Errc::again: return "again";
    case Errc::timed_out: return "timed_out";
    case Errc::cancelled: return "cancelled";
    case Errc::closed: return "closed";
  }
  return "unknown";  // A code from a peer newer than we are.
}

int errno_of(Errc code) {
  switch (code) {
    case Errc::io: return EIO;
    case Errc::corrupt: return EIO;  // A reader of a block device knows no better word.
    case Errc::not_found: return ENOENT;
    case Errc::exists: return EEXIST;
    case Errc::invalid: return EINVAL;
    case Errc::busy: return EBUSY;
    case Errc::no_space: return ENOSPC;
    case Errc::quota: return EDQUOT;
    case Errc::read_only: return EROFS;
    case Errc::denied: return EPERM;
    case Errc::unsupported: return ENOTSUP;
    case Errc::too_big: return E2BIG;
    case Errc::again: return EAGAIN;
    case Errc::timed_out: return ETIMEDOUT;
    case Errc::cancelled: return ECANCELED;
    case Errc::closed: return EPIPE;
  }
  return EIO;
}

std::string describe(const Error& error) {
  std::string text = error.what != nullptr ? error.what : name_of(error.code);
  if (!error.detail.empty()) text += ": " + error.detail;
  if (error.sys != 0) {
    char buffer[128];
    text += std::string(" (") + ::strerror_r(error.sys, buffer, sizeof buffer) + ")";
  } else if (error.detail.empty()) {
    text += std::string(": ") + name_of(error.code);
  }
  for (char& each : text) {
    if (each == '\n') each = ' ';  // One line, whatever the detail quotes.
  }
  return text;
}

}  // namespace coppice
