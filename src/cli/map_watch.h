// cli/map_watch.h — `coppice map watch`: what is new in a map, as it comes.
#pragma once

#include <string>

#include "cli/command.h"
#include "cli/maps.h"

namespace coppice::cli {

struct WatchWishes {
  MapChoice map;
  std::string type;   // Of a ring's records; empty: the structure NAME_record, if there is one.
  u64 count = 0;      // Records or changes, then it ends. 0: until it is interrupted.
  std::string every;  // How often other maps are looked at.
  bool json = false;
};
Attempt<> watch(Session& session, const WatchWishes& wishes);

}  // namespace coppice::cli
