// cli/link_set.h — the file of `coppice link apply`: which links some hook points shall have.
//
// Theory. The file is JSON (docs/hooks.md has its form). It says of each point that it names which
// links it shall have, all of them and in their order; of others it says nothing. All points are of
// one pool, because one transaction brings them about.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/links.h"

namespace coppice::cli {

struct LinkSet {
  struct Link {
    std::string name;
    size_t object = 0;    // In `objects`.
    std::string program;  // Empty: the object's only one.
    LinkWishes wishes;
  };
  struct Point {
    std::string target, hook;
    std::vector<Link> links;
  };
  u64 revision = 0;  // 0: whatever it is.
  std::vector<ObjectWishes> objects;
  std::vector<Point> points;  // At least one.
};

// `folder`: what paths of objects are relative to.
Attempt<LinkSet> parse_link_set(const std::string& text, const std::string& folder);

struct ApplyWishes {
  std::string file;
  bool dry_run = false;
  bool json = false;
};
Attempt<> apply_link_set(Connection& connection, const ApplyWishes& wishes);

}  // namespace coppice::cli
