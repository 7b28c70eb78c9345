#include "cli/link_set.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "cli/object_file.h"

namespace coppice::cli {
namespace {

constexpr size_t kFileBytesMax = 4_MiB;

std::string kind_of(const Json& value) {
  if (value.is_null()) return "nothing";
  return fmt::format("the {} {}", value.type_name(), show_value(value).substr(0, 40));
}

// One object of the file, of which every member is asked for; `where` leads there.
class Members {
 public:
  static Attempt<Members> of(const Json& value, std::string where) {
    if (!value.is_object())
      return misuse(fmt::format("{}: an object is wanted, not {}", where, kind_of(value)));
    return Members(value, std::move(where));
  }

  // Null if it is not there.
  const Json* find(const std::string& name) {
    asked_.push_back(name);
    const auto found = value_.find(name);
    return found == value_.end() ? nullptr : &*found;
  }
  Attempt<std::string> text(const std::string& name, bool required = false) {
    const Json* found = find(name);
    if (found == nullptr && !required) return std::string();
    if (found == nullptr) return wrong(name, "is missing");
    if (!found->is_string()) return wrong(name, fmt::format("is {}, not a text", kind_of(*found)));
    return found->get<std::string>();
  }
  Attempt<std::vector<std::string>> texts(const std::string& name) {
    std::vector<std::string> list;
    TRY(const Json* found, array(name, false));
    if (found == nullptr) return list;
    for (const Json& each : *found) {
      if (!each.is_string()) return wrong(name, fmt::format("has {} in it", kind_of(each)));
      list.push_back(each.get<std::string>());
    }
    return list;
  }
  Attempt<const Json*> array(const std::string& name, bool required) {
    const Json* found = find(name);
    if (found == nullptr && required) return wrong(name, "is missing");
    if (found != nullptr && !found->is_array())
      return wrong(name, fmt::format("is {}, not a list", kind_of(*found)));
    return found;
  }
  // Call it last: a name that nobody asked for is a mistake.
  Attempt<> finish() const {
    for (const auto& [name, value] : value_.items()) {
      if (std::ranges::find(asked_, name) == asked_.end())
        return misuse(fmt::format("{}: there is no '{}' here (there are {})", where_, name,
                                  fmt::join(asked_, ", ")));
    }
    return {};
  }
  std::unexpected<Failure> wrong(const std::string& name, const std::string& what) const {
    return misuse(fmt::format("{}: '{}' {}", where_, name, what));
  }
  const std::string& where() const { return where_; }

 private:
  Members(const Json& value, std::string where) : value_(value), where_(std::move(where)) {}
  const Json& value_;
  std::string where_;
  std::vector<std::string> asked_;
};

class Parser {
 public:
  explicit Parser(std::string folder) : folder_(std::move(folder)) {}

  Attempt<LinkSet> parse(const Json& file) {
    TRY(Members members, Members::of(file, "the file"));
    if (const Json* revision = members.find("revision"); revision != nullptr) {
      if (!revision->is_number_unsigned()) return members.wrong("revision", "is no number");
      set_.revision = revision->get<u64>();
    }
    if (const Json* objects = members.find("objects"); objects != nullptr) {
      TRY(Members named, Members::of(*objects, "objects"));
      for (const auto& [name, object] : objects->items()) TRY_VOID(add_object(name, object));
    }
    TRY(const Json* points, members.array("points", true));
    TRY_VOID(members.finish());
    if (points->empty()) return members.wrong("points", "is empty: name the points to change");
    for (const Json& each : *points) TRY_VOID(add_point(each));
    return std::move(set_);
  }

 private:
  Attempt<> add_object(const std::string& name, const Json& value) {
    TRY(Members members, Members::of(value, fmt::format("object '{}'", name)));
    ObjectWishes object;
    TRY(object.file, members.text("file", true));
    const std::filesystem::path path(object.file);
    if (path.is_relative() && path.has_parent_path()) object.file = folder_ / path;
    if (const Json* settings = members.find("set"); settings != nullptr) {
      TRY(Members variables, Members::of(*settings, members.where() + ", 'set'"));
      for (const auto& [variable, setting] : settings->items())
        object.settings.push_back(fmt::format(
            "{}={}", variable, setting.is_string() ? setting.get<std::string>() : setting.dump()));
    }
    TRY_VOID(members.finish());
    numbers_[name] = set_.objects.size();
    set_.objects.push_back(std::move(object));
    return {};
  }

  Attempt<> add_point(const Json& value) {
    LinkSet::Point point;
    TRY(Members members, Members::of(value, fmt::format("point {}", set_.points.size() + 1)));
    TRY(point.target, members.text("target", true));
    TRY(point.hook, members.text("hook", true));
    TRY(const Json* links, members.array("links", true));
    TRY_VOID(members.finish());
    if (!set_.points.empty() && pool_part(point.target) != pool_part(set_.points[0].target))
      return members.wrong("target", "is in another pool than the first point's");
    for (const Json& each : *links)
      TRY_VOID(add_link(each, fmt::format("{}, link {}", members.where(), point.links.size() + 1),
                        point));
    set_.points.push_back(std::move(point));
    return {};
  }

  Attempt<> add_link(const Json& value, const std::string& where, LinkSet::Point& point) {
    LinkSet::Link link;
    TRY(Members members, Members::of(value, where));
    TRY(link.name, members.text("name", true));
    TRY(const std::string object, members.text("object", true));
    TRY(link.program, members.text("program"));
    TRY(link.wishes.on_error, members.text("on_error"));
    TRY(link.wishes.go_on, members.texts("go_on"));
    TRY(link.wishes.redirects, members.texts("redirect"));
    TRY(link.wishes.every, members.text("every"));
    TRY(link.wishes.replaces, members.text("replaces"));
    TRY_VOID(members.finish());
    const auto number = numbers_.find(object);
    if (number == numbers_.end())
      return members.wrong("object", fmt::format("is '{}', and 'objects' has no such", object));
    link.object = number->second;
    point.links.push_back(std::move(link));
    return {};
  }

  const std::filesystem::path folder_;
  std::map<std::string, size_t> numbers_;  // Of objects.
  LinkSet set_;
};

Attempt<> describe(Connection& connection, const LinkSet& set, schema::LinkSet::Builder into) {
  auto objects = into.initObjects(static_cast<u32>(set.objects.size()));
  for (u32 i = 0; i < objects.size(); ++i) TRY_VOID(describe_object(set.objects[i], objects[i]));
  auto points = into.initPoints(static_cast<u32>(set.points.size()));
  for (u32 i = 0; i < points.size(); ++i) {
    const LinkSet::Point& point = set.points[i];
    points[i].setTarget(point.target.c_str());
    points[i].setHook(point.hook.c_str());
    auto links = points[i].initLinks(static_cast<u32>(point.links.size()));
    for (u32 j = 0; j < links.size(); ++j) {
      links[j].setName(point.links[j].name.c_str());
      links[j].setObject(static_cast<u32>(point.links[j].object));
      links[j].setProgram(point.links[j].program.c_str());
      TRY_VOID(describe_options(connection, point.links[j].wishes, links[j].initOptions()));
    }
  }
  return {};
}

void show(schema::LinkSetReport::Reader report, const ApplyWishes& wishes) {
  Json facts = {{"revision", report.getRevision()}};
  const auto add = [&](const char* what, capnp::List<capnp::Text>::Reader names) {
    Json& list = facts[what] = Json::array();
    for (auto each : names) list.push_back(each.cStr());
    if (!wishes.json && names.size() > 0) {
      fmt::print("{}{}:", wishes.dry_run ? "would be " : "", what);
      for (auto each : names) fmt::print(" {}", each.cStr());
      fmt::print("\n");
    }
  };
  add("attached", report.getAttached());
  add("replaced", report.getReplaced());
  add("detached", report.getDetached());
  add("kept", report.getKept());
  if (wishes.json) {
    fmt::print("{}\n", facts.dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    fmt::print("revision {}\n", report.getRevision());
  }
}

}  // namespace

Attempt<LinkSet> parse_link_set(const std::string& text, const std::string& folder) {
  const Json file = Json::parse(text, nullptr, false);
  if (file.is_discarded()) return misuse("the file is no JSON");
  return Parser(folder).parse(file);
}

Attempt<> apply_link_set(Connection& connection, const ApplyWishes& wishes) {
  TRY(const auto bytes, read_file(wishes.file, kFileBytesMax));
  const std::string folder = std::filesystem::path(wishes.file).parent_path();
  auto set = parse_link_set({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, folder);
  if (!set) return misuse(fmt::format("cannot apply '{}': {}", wishes.file, set.error().message));
  TRY(auto pool, connection.pool(set->points[0].target));
  auto request = pool.applyLinksRequest();
  TRY_VOID(describe(connection, *set, request.initSet()));
  request.setRevision(set->revision);
  request.setDryRun(wishes.dry_run);
  TRY(const auto response, connection.ask(kj::mv(request)));
  show(response.getValue(), wishes);
  return {};
}

}  // namespace coppice::cli
