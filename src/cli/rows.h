// cli/rows.h — datasets with their properties, fetched from the daemon and made into cells.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/connection.h"
#include "cli/table.h"

namespace coppice::cli {

// What rows a command wants.
struct Query {
  std::vector<std::string> roots = {};  // Empty: every pool, and all below.
  bool recursive = false;
  std::optional<u32> depth = {};  // Levels below a root; implies `recursive`.
  // Empty: groups and volumes, and roots of any type. With snapshots or bookmarks: those of each
  // dataset that the query reaches.
  std::vector<schema::DatasetType> types = {};
  std::vector<std::string> properties = {};  // Empty: all that a row has.
};

struct FetchedValue {
  std::string name;
  std::string value;   // As the daemon says it: numbers whole. "-": does not apply.
  std::string source;  // "-", "default", "local", "inherited", "received".
  std::string inherited_from;
};
struct FetchedRow {
  std::string name;
  schema::DatasetType type{};
  std::vector<FetchedValue> values;
};

Attempt<std::vector<FetchedRow>> fetch(Connection& connection, const Query& query);

// How a person wants to see each property.
class Catalogue {
 public:
  static Attempt<Catalogue> ask(Connection& connection);
  Cell cell(std::string_view property, std::string_view value) const;
  Column column(const std::string& property) const;
  std::vector<std::string> names() const;
  bool settable(std::string_view property) const;

 private:
  struct Facts {
    schema::PropertyInfo::Kind kind{};
    bool can_be_none = false;
    bool settable = false;
    std::string heading;
  };
  const Facts* find(std::string_view property) const;
  std::map<std::string, Facts, std::less<>> facts_;
};

// "volume,snapshot", "all": as `-t` takes them, with zfs's other names.
Attempt<std::vector<schema::DatasetType>> parse_types(const std::vector<std::string>& names);
const char* name_of(schema::DatasetType type);

// Levels that `name` is below `root`: 0 is root itself, and a snapshot or bookmark is below its
// dataset.
u32 depth_below(std::string_view root, std::string_view name);

}  // namespace coppice::cli
