// host/refusal.h — saying no: what a task returns when a request is refused.
//
// Theory. A task of the host ends in a Result<Attempt<T>>: the outer error is the world's (the pool
// broke, the disk failed), the inner one a refusal in the words of the verbs. Clients see both
// alike.
#pragma once

#include <cerrno>
#include <string>
#include <utility>

#include "verb/admin.h"

namespace coppice::host {

template <class T = void>
using Attempt = verb::Attempt<T>;

// co_return refused(ENOENT, "...");
struct Refused {
  verb::Refusal refusal;
  template <class T>
  operator Result<Attempt<T>>() && {  // NOLINT: meant to convert.
    return Result<Attempt<T>>(std::in_place, std::unexpect, std::move(refusal));
  }
};
inline Refused refused(int error, std::string message) {
  return {{.error = error, .message = std::move(message), .details = {}}};
}
inline Refused refused(const Error& error) { return {verb::refusal_of(error)}; }
inline Refused refused(verb::Refusal refusal) { return {std::move(refusal)}; }

}  // namespace coppice::host
