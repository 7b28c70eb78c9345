// script.h — bounded exhaustive mode: every short workload of a small alphabet, cut off after every
// disk request.
//
// Theory. Most crash-consistency bugs need few operations and the right moment. A script is a word
// of letters, one operation each, done one after the other on a pool that a fixed preamble has
// prepared: a volume with some flushed blocks, a snapshot and a clone of it. The script is run once
// to count its disk requests, then once for each of them with a crash there, by power loss and by
// kill -9; after each the recovery is compared as in any history.
#pragma once

#include <string>

#include "history.h"
#include "runner.h"

namespace coppice::simtest {

inline constexpr char kAlphabet[] = "WwUFZzDYSCPRXN";
inline constexpr size_t kAlphabetSize = sizeof kAlphabet - 1;

// Script number `index` of those of `length` letters, in order.
std::string script_of(u64 index, size_t length);
u64 script_count(size_t length);

using MakeSubject = std::function<std::unique_ptr<SubjectMaker>()>;

// Runs it with all its crashes. The violation names the crash.
Outcome run_script(const std::string& script, const MakeSubject& make, u64 seed,
                   const History::Print& print = {});

}  // namespace coppice::simtest
