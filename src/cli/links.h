// cli/links.h — links of programs as the command line names, describes and shows them.
#pragma once

#include <string>
#include <vector>

#include "cli/connection.h"
#include "cli/table.h"
#include "cli/typed_value.h"

namespace coppice::cli {

inline constexpr const char* kDaemon = "/";  // The target that is no dataset.

// What is said of a link besides its object and program.
struct LinkWishes {
  std::vector<std::string> go_on = {};
  std::string on_error = {};  // "pass", "deny"; empty: pass.
  std::vector<std::string> redirects = {};
  std::string every = {};     // A duration: of a timer.
  std::string replaces = {};  // LINK:FUNCTION
};
// Links that `replaces` names are looked up.
Attempt<> describe_options(Connection& connection, const LinkWishes& wishes,
                           schema::LinkOptions::Builder into);

// "VARIABLE=VALUE" settings of an object.
struct ObjectWishes {
  std::string file;  // A path, or the name of one that ships.
  std::vector<std::string> settings = {};
};
Attempt<> describe_object(const ObjectWishes& wishes, schema::ObjectSpec::Builder into);

// A link by its number ("12", "#12") or its name ("limit", "tank:limit"); or one that a descriptor
// of this process stands for.
struct LinkChoice {
  std::string name;
  int fd = -1;
};
Attempt<schema::Link::Client> find_link(Connection& connection, const LinkChoice& choice);
Attempt<u64> find_link_id(Connection& connection, const std::string& name);

const char* name_of(schema::Tier tier);
Attempt<schema::Tier> tier_of(const std::string& name);  // Empty: internal.
Json facts_of(schema::LinkInfo::Reader info);
std::string line_of(schema::LinkInfo::Reader info);  // For a person: what was attached, and where.
Table table_of(const std::vector<schema::LinkInfo::Reader>& links);

}  // namespace coppice::cli
