// host/holders.h — Holders: who keeps links alive that are not pinned.
//
// Theory. A link is held by capabilities of this daemon's clients and by handles. A handle is one
// end of a socket pair; the other end is a client's, who may copy it, pass it on, let it be
// inherited: nothing is ever sent through it. When the last copy anywhere is closed, by whatever
// death of whatever process, the kernel tells our end, and the handle lets go. Everything on the
// main thread.
#pragma once

#include <kj/async-unix.h>

#include <map>
#include <memory>
#include <vector>

#include "cap/descriptor.h"
#include "cap/loop.h"
#include "host/hooks.h"

namespace coppice::host {

inline constexpr size_t kHandlesMax = 10'000;

class Holders {
 public:
  Holders(cap::Loop& loop, Lanes& lanes, Hooks& hooks);
  ~Holders() noexcept;

  void hold(hook::LinkId id) { ++counts_[id]; }
  void let_go(hook::LinkId id) { let_go(std::vector<hook::LinkId>{id}); }
  // The client's end of a handle that holds them all. too_big.
  Result<cap::Fd> make_handle(std::vector<hook::LinkId> ids);
  // Of the handle that `copy` is a client's end of; empty: it is none.
  std::vector<hook::LinkId> links_of(const cap::Fd& copy) const;
  u32 count(hook::LinkId id) const;

 private:
  struct Handle;
  void let_go(std::vector<hook::LinkId> ids);
  void drop(std::vector<hook::LinkId> ids);
  kj::Promise<void> watch(Handle& handle);

  struct Failure final : kj::TaskSet::ErrorHandler {
    void taskFailed(kj::Exception&&) override {}
  };
  cap::Loop& loop_;
  Lanes& lanes_;
  Hooks& hooks_;
  std::map<hook::LinkId, u32> counts_;
  std::map<u64, std::unique_ptr<Handle>> handles_;  // By the cookie of the client's end.
  Failure failure_;
  kj::TaskSet watches_;
};

}  // namespace coppice::host
