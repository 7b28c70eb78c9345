// helper/lua/run.h — one program, from Begin to End.
#pragma once

#include "helper/lua/machine.h"
#include "helper/lua/stream.h"
#include "message/program.h"

namespace coppice::lua {

// Opens the language and the API in a fresh machine, so that programs can run in it. False: it does
// not count instructions as it should (machine.h).
bool prepare(Machine& machine, std::vector<message::VerbName> verbs);

// Runs the program in a prepared machine; once. The daemon's answers come over `stream`. If that
// ends, nobody is left to tell: machine.stop is Stop::lost.
message::End run_program(Machine& machine, Stream& stream, const message::Begin& begin);

}  // namespace coppice::lua
