// cli/prog_load.h — `coppice prog load`: objects that stay in a pool, for links to come.
#pragma once

#include <string>

#include "cli/command.h"
#include "cli/links.h"

namespace coppice::cli {

struct LoadWishes {
  std::string pool, name;
  ObjectWishes object;
  bool json = false;
};
Attempt<> load_object(Session& session, const LoadWishes& wishes);
Attempt<> unload_object(Session& session, const LoadWishes& wishes);

}  // namespace coppice::cli
