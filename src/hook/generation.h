// hook/generation.h — the programs of all hook points at one moment, and how a moment ends.
//
// Theory. A Generation never changes. The current one is behind one pointer, so that a change of
// any number of points is one store: whoever looks before it sees all of the old, whoever looks
// after it all of the new. A generation is used by those who took it (devices of lanes, on behalf
// of their requests) and by its publisher, who lets go only after every lane has run a job posted
// after the store. So a lane that has loaded the pointer may still take it. The last one to let go
// hands it back to the publisher's executor, where it dies: nothing refers to it any more.
#pragma once

#include <unordered_map>

#include "hook/link.h"
#include "rt/event.h"

namespace coppice::hook {

// Programs in the order in which they run.
using Chain = std::vector<const Bound*>;

struct VolumeChains {
  Chain submit, complete;
  bool empty() const { return submit.empty() && complete.empty(); }
};

struct TargetHash {
  size_t operator()(const Target& target) const {
    return std::hash<u64>()(target.pool ^ target.dataset * 0x9e3779b97f4a7c15);
  }
};

class Generation {
 public:
  struct Content {
    std::vector<std::shared_ptr<const LinkList>> kept;  // Whose programs the chains consist of.
    std::unordered_map<Target, VolumeChains, TargetHash> volumes;  // Only those with programs.
    std::vector<Chain> tracepoints = std::vector<Chain>(trace::kPoints);
  };

  // `ended` is posted to `home` once nobody uses it; it then deletes the generation.
  Generation(u64 revision, Content content, rt::Executor& home, rt::Job& ended)
      : revision_(revision), content_(std::move(content)), home_(home), ended_(ended) {}
  Generation(const Generation&) = delete;

  u64 revision() const { return revision_; }
  // Null: no programs.
  const VolumeChains* chains_of(const Target& volume) const {
    const auto found = content_.volumes.find(volume);
    return found == content_.volumes.end() ? nullptr : &found->second;
  }
  const Chain& chain_of(trace::Point point) const {
    return content_.tracepoints[static_cast<size_t>(point)];
  }

  void take() const { users_.fetch_add(1, std::memory_order_relaxed); }
  void let_go() const {
    if (users_.fetch_sub(1, std::memory_order_acq_rel) == 1) home_.post(ended_);
  }

 private:
  const u64 revision_;
  const Content content_;
  rt::Executor& home_;
  rt::Job& ended_;
  mutable std::atomic<u64> users_ = 1;  // The publisher.
};

}  // namespace coppice::hook
