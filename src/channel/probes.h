// channel/probes.h — static probes (USDT) of channel programs, for bpftrace, perf and SystemTap.
//
// program_begin(id, name, pool): it has the pool's turn and its interpreter.
// program_verb(id, verb, errno, ns): one question was answered; `verb` as in "destroy", "get".
// program_end(id, errno, verbs, instructions): it has ended; errno 0 if all of it is durable.
// A probe that nobody attached to is one no-op instruction.
#pragma once

#include <sys/sdt.h>

#define COPPICE_PROBE_PROGRAM_BEGIN(id, name, pool)                                                \
  DTRACE_PROBE3(coppice, program_begin, id, name, pool)
#define COPPICE_PROBE_PROGRAM_VERB(id, verb, error, ns)                                            \
  DTRACE_PROBE4(coppice, program_verb, id, verb, error, ns)
#define COPPICE_PROBE_PROGRAM_END(id, error, verbs, instructions)                                  \
  DTRACE_PROBE4(coppice, program_end, id, error, verbs, instructions)
