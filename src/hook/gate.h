// hook/gate.h — asks programs whether a verb, or a client, may go on.
#pragma once

#include <cerrno>
#include <optional>

#include "hook/table.h"

namespace coppice::hook {

inline constexpr u32 kErrnoMax = 4096;

// Why not.
struct Objection {
  int error = 0;
  std::string message;  // The program's words; may be empty.
  LinkId link = 0;
};

// At the table's home. `context` is a coppice_admin or coppice_connect, and `call` its texts; what
// programs wrote into it stays there. Nothing: all of them allow it.
template <class Context>
std::optional<Objection> ask(Table& table, const PointType& type, const Target& dataset,
                             Context& context, Call& call) {
  Runner& runner = table.home().runner();
  std::optional<Objection> objection;
  for (const Bound* bound : table.chain_of(type, dataset)) {
    context.error = 0;
    call.message.clear();
    u64 result = 0;
    const Ran ran = runner.run(*bound, &context, &call, result);
    if (ran != Ran::ok && bound->on_error == ErrorPolicy::pass) continue;
    if (ran != Ran::ok || result == COPPICE_REFUSE) {
      const u32 error = ran == Ran::ok && context.error < kErrnoMax ? context.error : 0;
      objection = {.error = error != 0 ? static_cast<int>(error) : EPERM,
                   .message = ran == Ran::ok ? call.message : "its program failed",
                   .link = bound->link};
      Counters::count(runner.counts_of(*bound).denials);
      result = COPPICE_REFUSE;
    }
    if ((bound->goes_on >> result & 1) == 0) break;
  }
  return objection;
}

}  // namespace coppice::hook
