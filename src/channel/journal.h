// channel/journal.h — what a program has done so far: for its history record, and to go back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pool/catalog_codec.h"
#include "verb/admin.h"

namespace coppice::channel {

// Verbs beyond it are counted, not kept; what else is in `effects` has bounds of its own.
inline constexpr size_t kVerbsBytesMax = 12_MiB;
inline constexpr size_t kOtherEffectsBytesMax = 8_MiB;
static_assert(kVerbsBytesMax + kOtherEffectsBytesMax <= pool::kHistoryEffectsBytesMax);

class Journal {
 public:
  verb::Changes& changes() { return changes_; }
  const verb::Changes& changes() const { return changes_; }
  void add(std::string_view verb, const verb::Arguments& arguments);
  u64 verbs() const { return verbs_; }  // That changed something and were not undone.

  // Where it stands; to be given back to roll_back() only.
  struct Mark {
    size_t created, destroyed, deferred, changed, effects, text;
    u64 verbs;
    std::string target;
    bool cut;
  };
  Mark mark() const;
  void roll_back(const Mark& mark);

  // {"program": ..., "verbs": [...], "cut": true, "changes": ...}; `program` is JSON.
  std::string effects(std::string_view program) const;

 private:
  verb::Changes changes_;
  std::string text_;  // Of the verbs: JSON objects with commas between.
  u64 verbs_ = 0;
  bool cut_ = false;
};

std::string sha256_hex(std::string_view text);

}  // namespace coppice::channel
