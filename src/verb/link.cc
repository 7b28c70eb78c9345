// link, relink and unlink: which eBPF programs run at the points of a dataset.
#include <algorithm>
#include <array>

#include "pool/catalog_codec.h"
#include "verb/arguments.h"
#include "verb/links.h"
#include "verb/names.h"
#include "verb/plan.h"

namespace coppice::verb {
namespace {

using pool::CatalogView;
using pool::Dataset;
using pool::DatasetId;
using pool::PinnedLink;
using pool::PinnedLinks;

constexpr u64 kIntervalNsMin = 1'000'000;
constexpr u64 kIntervalNsMax = u64{86'400} * 1'000'000'000;

constexpr std::array<std::string_view, 4> kDatasetHooks = {"volume.submit", "volume.complete",
                                                           "admin", "export.connect"};

// The links of one dataset as they shall be.
struct Linking {
  Dataset dataset;
  std::optional<FoundObject> object;  // That a link of them newly names.
  PinnedLinks gone;                   // Whose objects may have lost their last link.
};

// Where a program belongs, by the section it was compiled into: "freplace/FUNCTION" is "freplace".
std::string hook_of(const pool::ObjectProgram& program) {
  return program.hook.starts_with(std::string(pool::kReplaceHook) + '/')
             ? std::string(pool::kReplaceHook)
             : program.hook;
}

Attempt<> check_hook(const CatalogView& view, Doing doing, DatasetId target,
                     const std::string& hook) {
  const bool anywhere =
      hook == pool::kReplaceHook || std::ranges::find(kDatasetHooks, hook) != kDatasetHooks.end();
  if (anywhere) return {};
  if (hook != "timer" && !hook.starts_with("tracepoint/")) {
    return refuse(EINVAL, doing,
                  "its program is for '" + hook +
                      "', which is no hook: use volume.submit, volume.complete, admin, "
                      "export.connect, timer or tracepoint/NAME");
  }
  if (target == view.root()) return {};
  return refuse(EINVAL, doing,
                "a program for " + hook + " sees the whole daemon: link it to the pool, '" +
                    full_name(view, view.root()) + "'");
}

Attempt<const pool::ObjectProgram*> need_program(Doing doing, const pool::StoredObject& object,
                                                 const std::string& name) {
  std::vector<std::string> known;
  for (const pool::ObjectProgram& each : object.programs) {
    if (each.name == name || (name.empty() && object.programs.size() == 1)) return &each;
    known.push_back(each.name);
  }
  if (name.empty() && !known.empty()) {
    return refuse(EINVAL, doing, "the object has several programs: say which", listed(known));
  }
  std::string there;
  for (const std::string& each : listed(known)) there += (there.empty() ? "" : ", ") + each;
  return refuse(
      ENOENT, doing,
      "the object has no program '" + name + "'" + (there.empty() ? "" : "; there are: " + there));
}

// --- What link and relink may say of a link ---

Attempt<> put_redirects(const CatalogView& view, Doing doing, const Arguments& arguments,
                        PinnedLink& link) {
  if (!arguments.contains("redirects")) return {};
  const Names& volumes = names(arguments, "redirects");
  if (!volumes.empty() && link.hook != "volume.submit") {
    return refuse(EINVAL, doing, "only programs for volume.submit redirect");
  }
  if (volumes.size() > pool::kRedirectsMax) {
    return refuse(E2BIG, doing, "a link redirects to at most 8 volumes");
  }
  link.redirects.clear();
  for (const std::string& each : volumes) {
    ATTEMPT(const DatasetId id, need_dataset(view, doing, each));
    if (!is_volume(view, id)) return refuse(EINVAL, doing, "'" + each + "' is no volume");
    link.redirects.push_back(id);
  }
  return {};
}

Attempt<> put_interval(Doing doing, const Arguments& arguments, PinnedLink& link) {
  const auto interval_ns = number(arguments, "interval_ns");
  if (interval_ns) link.interval_ns = *interval_ns;
  const bool timer = link.hook == "timer";
  if (!timer && link.interval_ns != 0) {
    return refuse(EINVAL, doing, "only a timer has an interval (interval_ns)");
  }
  const bool fits = link.interval_ns >= kIntervalNsMin && link.interval_ns <= kIntervalNsMax;
  if (timer && !fits) {
    return refuse(EINVAL, doing,
                  "a timer needs an interval (interval_ns) of 1 millisecond to 1 day");
  }
  return {};
}

// What is kept of maps is what they hold now.
Attempt<> put_contents(const Context& context, Doing doing, const Arguments& arguments,
                       PinnedLink& link) {
  if (!arguments.contains("keep")) return {};
  link.contents.clear();
  for (const std::string& map : names(arguments, "keep")) {
    const MapName name{.object = link.object, .instance = link.instance, .map = map};
    auto entries = context.facts().map_entries(name);
    if (!entries || !is_component(map))
      return refuse(ENOENT, doing, "it has no map '" + map + "' that could be kept");
    link.contents.insert_or_assign(map, *std::move(entries));
  }
  if (pool::stored_bytes(link.contents) > pool::kContentsBytesMax) {
    return refuse(E2BIG, doing, "its maps hold more than the 1 MiB that is kept of a link");
  }
  return {};
}

Attempt<> put_options(const Context& context, Doing doing, const Arguments& arguments,
                      PinnedLink& link) {
  if (arguments.contains("instance")) link.instance = text(arguments, "instance");
  if (!link.instance.empty() && !is_component(link.instance)) {
    return refuse(EINVAL, doing, "'" + link.instance + "' is no name for an instance");
  }
  if (const auto go_on = number(arguments, "go_on")) {
    if (*go_on > ~u32{0}) return refuse(EINVAL, doing, "go_on is a mask of 32 bits");
    link.go_on = static_cast<u32>(*go_on);
  }
  if (arguments.contains("on_error")) {
    const std::string& policy = text(arguments, "on_error");
    if (policy != "pass" && policy != "deny") {
      return refuse(EINVAL, doing, "on_error is pass or deny, not '" + policy + "'");
    }
    link.on_error = policy == "deny" ? pool::OnError::deny : pool::OnError::pass;
  }
  ATTEMPT_VOID(put_redirects(context.view(), doing, arguments, link));
  ATTEMPT_VOID(put_interval(doing, arguments, link));
  return put_contents(context, doing, arguments, link);
}

// --- Places ---

// Puts the link where the arguments say, or at `otherwise`.
Attempt<> place_link(const CatalogView& view, Doing doing, const Arguments& arguments,
                     PinnedLink link, size_t otherwise, PinnedLinks& links) {
  size_t at = otherwise;
  int places = 0;
  for (const char* side : {"before", "after"}) {
    const std::string& name = text(arguments, side);
    if (name.empty()) continue;
    ++places;
    const auto other =
        std::ranges::find_if(links, [&](const PinnedLink& each) { return each.name == name; });
    if (other == links.end()) {
      const bool elsewhere = raw(view.link_owner(name)) != 0;
      return refuse(elsewhere ? EINVAL : ENOENT, doing,
                    elsewhere ? "link '" + name + "' is not at the same place"
                              : "there is no link '" + name + "'");
    }
    if ((*other)->hook != link.hook) {
      return refuse(EINVAL, doing, "link '" + name + "' is at another hook, " + (*other)->hook);
    }
    at = static_cast<size_t>(other - links.begin()) + (*side == 'a' ? 1 : 0);
  }
  if (flag(arguments, "first")) ++places, at = 0;
  if (flag(arguments, "last")) ++places, at = links.size();
  if (places > 1) {
    return refuse(EINVAL, doing, "say one of before, after, first and last, not several");
  }
  links.emplace(links.begin() + static_cast<std::ptrdiff_t>(at), std::move(link));
  return {};
}

// --- link ---

// That it replaces a function of another link's program.
Attempt<> put_replaced(const CatalogView& view, Doing doing, const Arguments& arguments,
                       const Dataset& dataset, const pool::ObjectProgram& program,
                       PinnedLink& link) {
  const std::string& name = text(arguments, "replaces");
  const bool replacement = link.hook == pool::kReplaceHook;
  if (replacement != !name.empty()) {
    return refuse(EINVAL, doing,
                  replacement
                      ? "its program replaces a function: say of which link (replaces)"
                      : "its program is for " + link.hook + ", not for replacing functions");
  }
  if (!replacement) {
    if (text(arguments, "function").empty()) return {};
    return refuse(EINVAL, doing,
                  "a function is named, but no link whose program has it (replaces)");
  }
  const PinnedLink* target = pool::find_link(view, name);
  if (target == nullptr) return refuse(ENOENT, doing, "there is no link '" + name + "'");
  if (view.link_owner(name) != dataset.id) {
    return refuse(EINVAL, doing, "link '" + name + "' belongs to another dataset");
  }
  if (target->replaces != 0) {
    return refuse(EINVAL, doing, "link '" + name + "' is a replacement itself");
  }
  link.replaces = target->id;
  link.function = text(arguments, "function");
  if (link.function.empty() && program.hook.size() > pool::kReplaceHook.size()) {
    link.function = program.hook.substr(pool::kReplaceHook.size() + 1);
  }
  if (!is_component(link.function)) {
    return refuse(EINVAL, doing, "say which function it replaces (function)");
  }
  for (const PinnedLink& each : dataset.links) {
    if (each.replaces != target->id || each.function != link.function) continue;
    return refuse(EEXIST, doing,
                  "link '" + each.name + "' replaces '" + link.function + "' already");
  }
  return {};
}

std::string author_of(const Facts& facts) {
  std::string author = facts.caller().substr(0, pool::kLinkAuthorBytesMax);
  for (char& each : author) {
    if (static_cast<u8>(each) < 0x20 || each == 0x7f) each = ' ';
  }
  return author;
}

Attempt<> check_link_room(Doing doing, const Dataset& dataset, const std::string& hook) {
  if (dataset.links.size() >= pool::kDatasetLinksMax) {
    return refuse(E2BIG, doing, "it has 1024 links, and more are not kept: unlink some");
  }
  const auto there = std::ranges::count_if(
      dataset.links, [&](const PinnedLink& each) { return each.hook == hook; });
  if (static_cast<size_t>(there) < pool::kPointLinksMax) return {};
  return refuse(E2BIG, doing, "it has 64 links at " + hook + ", and more do not run: unlink some");
}

// A link without an id: apply_linking() gives it one.
Attempt<Linking> plan_link(const Context& context, const Arguments& arguments) {
  const CatalogView& view = context.view();
  const std::string& target = text(arguments, "target");
  const Doing doing{"link to", target};
  PinnedLink link;
  link.name = text(arguments, "link");
  ATTEMPT(const DatasetId id, need_dataset(view, doing, target));
  if (!is_component(link.name)) {
    return refuse(EINVAL, doing, "'" + link.name + "' is no name for a link");
  }
  if (raw(view.link_owner(link.name)) != 0) {
    return refuse(EEXIST, doing,
                  "there is a link '" + link.name + "' already, of '" +
                      full_name(view, view.link_owner(link.name)) + "'");
  }
  Linking plan{.dataset = *view.dataset(id), .object = {}, .gone = {}};
  ATTEMPT(plan.object, find_object(context, doing, text(arguments, "object")));
  const pool::StoredObject& object = **plan.object;
  ATTEMPT(const auto* program, need_program(doing, object, text(arguments, "program")));
  link.hook = hook_of(*program);
  link.object = object.hash;
  link.program = program->name;
  link.instance = link.name;
  link.author = author_of(context.facts());
  link.created_s = context.facts().now_s();
  ATTEMPT_VOID(check_hook(view, doing, id, link.hook));
  ATTEMPT_VOID(check_link_room(doing, plan.dataset, link.hook));
  ATTEMPT_VOID(put_replaced(view, doing, arguments, plan.dataset, *program, link));
  ATTEMPT_VOID(put_options(context, doing, arguments, link));
  const size_t end = plan.dataset.links.size();
  ATTEMPT_VOID(place_link(view, doing, arguments, std::move(link), end, plan.dataset.links));
  return plan;
}

void apply_linking(Context& context, Linking plan, Changes& changes) {
  const DatasetId id = plan.dataset.id;
  if (plan.object) keep_object(context, *plan.object);
  for (auto& each : plan.dataset.links) {
    if (each->id != 0) continue;
    PinnedLink link = each;
    link.id = context.transaction().new_link_id();
    each = std::move(link);
  }
  context.transaction().edit_dataset(id, std::move(plan.dataset));
  drop_unused_objects(context, plan.gone);
  changes.report.changed.push_back(full_name(context.view(), id));
  links_changed(context, id, changes);
}

// --- relink and unlink ---

// The dataset of the link that is named, and the link's place in it.
Attempt<std::pair<Linking, size_t>> find_linked(const CatalogView& view, Doing doing,
                                                const Arguments& arguments) {
  const std::string& name = text(arguments, "link");
  const Dataset* owner = view.dataset(view.link_owner(name));
  if (owner == nullptr) return refuse(ENOENT, doing, "there is no such link");
  const auto place =
      std::ranges::find_if(owner->links, [&](const PinnedLink& each) { return each.name == name; });
  CHECK(place != owner->links.end());
  const std::string& expected = text(arguments, "expect");
  const pool::StoredObject* object = view.object((*place)->object);
  CHECK(object != nullptr);
  if (!expected.empty() && expected != object->hash && expected != object->name) {
    return refuse(ESTALE, doing,
                  "its object is not '" + expected + "' but " + object->hash +
                      ": somebody changed it since; look again");
  }
  Linking plan{.dataset = *owner, .object = {}, .gone = {*place}};
  return std::pair(std::move(plan), static_cast<size_t>(place - owner->links.begin()));
}

Attempt<Linking> plan_relink(const Context& context, const Arguments& arguments) {
  const CatalogView& view = context.view();
  const Doing doing{"relink", text(arguments, "link")};
  ATTEMPT(auto found, find_linked(view, doing, arguments));
  auto& [plan, at] = found;
  PinnedLink link = plan.dataset.links[at];
  const std::string instance_before = link.instance;
  const bool another = !text(arguments, "object").empty();
  if (another || !text(arguments, "program").empty()) {
    ATTEMPT(plan.object,
            find_object(context, doing, another ? text(arguments, "object") : link.object));
    const pool::StoredObject& object = **plan.object;
    ATTEMPT(const auto* program,
            need_program(
                doing, object,
                text(arguments, "program").empty() ? link.program : text(arguments, "program")));
    if (hook_of(*program) != link.hook) {
      return refuse(EINVAL, doing,
                    "it is at " + link.hook + ", and program '" + program->name + "' is for " +
                        hook_of(*program) + ": unlink it, and link the other");
    }
    link.object = object.hash;
    link.program = program->name;
  }
  // What was kept belongs to the maps of the object and instance before.
  if (arguments.contains("instance")) link.instance = text(arguments, "instance");
  if (link.object != plan.gone[0]->object || link.instance != instance_before) {
    link.contents.clear();
  }
  ATTEMPT_VOID(put_options(context, doing, arguments, link));
  plan.dataset.links.erase(plan.dataset.links.begin() + static_cast<std::ptrdiff_t>(at));
  ATTEMPT_VOID(place_link(view, doing, arguments, std::move(link), at, plan.dataset.links));
  return std::move(plan);
}

Attempt<Linking> plan_unlink(const Context& context, const Arguments& arguments) {
  const Doing doing{"unlink", text(arguments, "link")};
  ATTEMPT(auto found, find_linked(context.view(), doing, arguments));
  Linking& plan = found.first;
  const u64 id = plan.gone[0]->id;
  plan.gone.clear();
  // Replacements of its functions go with it.
  std::erase_if(plan.dataset.links, [&](const auto& each) {
    const bool goes = each->id == id || each->replaces == id;
    if (goes) plan.gone.push_back(each);
    return goes;
  });
  return std::move(plan);
}

constexpr Argument kInstance{
    "instance", Kind::text,
    -1,         false,
    "",         "links of one object and instance share maps; else the link has its own"};
constexpr Argument kBefore{"before", Kind::text, -1,
                           false,    "",         "the link that it runs just before"};
constexpr Argument kAfter{"after", Kind::text, -1, false, "", "the link that it runs just after"};
constexpr Argument kFirst{"first", Kind::flag, -1, false, "", "it runs before all others"};
constexpr Argument kLast{"last", Kind::flag, -1, false, "", "it runs after all others"};
constexpr Argument kGoOn{
    "go_on", Kind::number, -1,
    false,   "",           "results after which the next program runs, a bit each; 0: the usual"};
constexpr Argument kOnError{
    "on_error", Kind::text, -1,
    false,      "",         "what becomes of a request if the program fails: pass (usual) or deny"};
constexpr Argument kRedirects{"redirects", Kind::names, -1,
                              false,       "",          "volumes that the program may redirect to"};
constexpr Argument kInterval{"interval_ns", Kind::number, -1, false, "", "of a timer"};
constexpr Argument kKeep{
    "keep", Kind::names, -1,
    false,  "",          "maps whose contents are kept as they are now, for after a restart"};
constexpr Argument kExpect{
    "expect", Kind::text, -1, false, "", "nothing is done if the link's object is not this one"};

constexpr Argument kLinkArguments[] = {
    {"target", Kind::text, 0, true, "", "full name of a volume, a group or the pool"},
    {"object", Kind::text, 1, true, "", "name or hash of an object"},
    {"program", Kind::text, 2, true, "", "the program in it; empty: its only one"},
    {"link", Kind::text, 3, true, "", "name of the new link"},
    kInstance,
    kBefore,
    kAfter,
    kFirst,
    kLast,
    kGoOn,
    kOnError,
    kRedirects,
    kInterval,
    {"replaces", Kind::text, -1, false, "", "the link of whose program it replaces a function"},
    {"function", Kind::text, -1, false, "", "the function that it replaces"},
    kKeep,
};
constexpr Argument kRelinkArguments[] = {
    {"link", Kind::text, 0, true, "", "name of a link"},
    {"object", Kind::text, 1, false, "", "name or hash of another object"},
    {"program", Kind::text, 2, false, "", "another program; else the one of the same name"},
    kInstance,
    kBefore,
    kAfter,
    kFirst,
    kLast,
    kGoOn,
    kOnError,
    kRedirects,
    kInterval,
    kKeep,
    kExpect,
};
constexpr Argument kUnlinkArguments[] = {
    {"link", Kind::text, 0, true, "", "name of a link"},
    kExpect,
};

}  // namespace

const Row kLinkRow = row_of<plan_link, apply_linking>(
    "link", "run an eBPF program at a hook of a dataset", kLinkArguments, Right::configure);
const Row kRelinkRow = row_of<plan_relink, apply_linking>(
    "relink", "change what a link runs, where or how", kRelinkArguments, Right::configure);
const Row kUnlinkRow = row_of<plan_unlink, apply_linking>("unlink", "run an eBPF program no more",
                                                          kUnlinkArguments, Right::configure);

}  // namespace coppice::verb
