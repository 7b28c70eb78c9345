// cli/link_attach.h — `coppice link attach`, and who holds what it attached.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/links.h"

namespace coppice::cli {

struct AttachWishes {
  std::string target;  // A dataset, or kDaemon.
  ObjectWishes object;
  std::vector<std::string> programs;  // Of the object; empty: all of them.
  std::string pin;
  std::vector<std::string> command;  // Is run with the link's descriptor, and holds it.
  bool first = false;
  std::string before, after;
  LinkWishes link;
  std::string tier_min;
  bool json = false;
};
Attempt<> attach(Session& session, const AttachWishes& wishes);

// Becomes the command, which finds the number of a copy of `handle` in $COPPICE_LINK_FD. Returns
// only if that fails.
Attempt<> hand_over(int handle, const std::vector<std::string>& command);

}  // namespace coppice::cli
