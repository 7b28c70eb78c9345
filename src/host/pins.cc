#include "host/pins.h"

#include <fmt/format.h>

#include <algorithm>

#include "host/site.h"
#include "verb/properties.h"

namespace coppice::host {
namespace {

using hook::LinkId;
using pool::DatasetId;
using pool::PinnedLink;

pool::StoredObject stored_form(const hook::Instance& instance) {
  pool::StoredObject stored;
  stored.hash = instance.hash;
  stored.bytes.assign(reinterpret_cast<const char*>(instance.object->data()),
                      instance.object->size());
  stored.settings = instance.settings;
  // Beside a replacement stands what it was made for, which is another object's.
  const bool replaces = std::ranges::any_of(
      instance.programs, [](const auto& program) { return !program.function.empty(); });
  for (const hook::LoadedProgram& program : instance.programs) {
    if (replaces && program.function.empty()) continue;
    stored.programs.push_back(
        {.name = program.name,
         .hook = replaces ? fmt::format("{}/{}", pool::kReplaceHook, program.function)
                          : program.point->name,
         .tier = program.tier == hook::Tier::stable ? pool::Tier::stable : pool::Tier::internal});
  }
  return stored;
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// What was kept of the maps, put back. An element that does not fit is left out: the object has
// changed no more than its settings, so none is.
void fill_maps(const hook::Instance& instance, const pool::MapContents& contents) {
  for (const auto& map : instance.maps) {
    const auto kept = contents.find(map->name);
    if (kept == contents.end() || map->frozen) continue;
    for (const auto& [key, value] : kept->second)
      if (key.size() == map->map->spec().key_size && value.size() == map->map->value_bytes())
        (void)map->map->write(bytes_of(key).data(), bytes_of(value), bpf::kAny);
  }
}

}  // namespace

Pins::Pins(Hooks& hooks, rt::Executor& sync) : hooks_(hooks), sync_(sync), turn_(sync) {}

// --- Objects at hand ----------------------------------------------------------------------------

Pins::Offer::Offer(Pins& pins, std::shared_ptr<const hook::Instance> instance)
    : pins_(pins), hash_(instance->hash) {
  const auto known = pins_.offered_.find(hash_);
  if (known != pins_.offered_.end()) {
    ++known->second.count;
    return;
  }
  pool::SharedValue<pool::StoredObject> stored(stored_form(*instance));
  pins_.offered_.emplace(hash_, Offered{std::move(instance), std::move(stored), 1});
}

Pins::Offer::~Offer() {
  const auto known = pins_.offered_.find(hash_);
  if (--known->second.count == 0) pins_.offered_.erase(known);
}

std::optional<pool::SharedValue<pool::StoredObject>> Pins::loaded_object(
    std::string_view hash) const {
  const auto found = offered_.find(hash);
  if (found == offered_.end()) return std::nullopt;
  return found->second.stored;
}

std::optional<pool::MapEntries> Pins::map_entries(const Site& site,
                                                  const verb::MapName& name) const {
  const auto found =
      instances_.find({site.guid(), std::string(name.object), std::string(name.instance)});
  const auto instance = found == instances_.end() ? nullptr : found->second.lock();
  if (!instance) return std::nullopt;
  const auto map = std::ranges::find(
      instance->maps, name.map, [](const auto& each) -> const std::string& { return each->name; });
  if (map == instance->maps.end() || (*map)->frozen) return std::nullopt;
  bpf::Map& live = *(*map)->map;
  const bpf::MapSpec& spec = live.spec();
  pool::MapEntries entries;
  std::string key(spec.key_size, '\0'), next(spec.key_size, '\0'), value(live.value_bytes(), '\0');
  const auto at = [](std::string& text) { return reinterpret_cast<std::byte*>(text.data()); };
  bool first = true;
  while (live.next_key(first ? nullptr : at(key), at(next)) == 0) {
    first = false;
    key = next;
    if (live.read(at(key), std::as_writable_bytes(std::span(value))) == 0)
      entries.emplace_back(key, value);
    if (entries.size() > spec.max_entries) break;  // It changes under our hands.
  }
  return entries;
}

// --- From the catalog to the table --------------------------------------------------------------

namespace {
// What replaces functions comes behind all that may have some.
pool::PinnedLinks targets_first(const pool::PinnedLinks& links) {
  pool::PinnedLinks ordered;
  for (const bool replaces : {false, true})
    for (const auto& link : links)
      if ((link->hook == pool::kReplaceHook) == replaces) ordered.push_back(link);
  return ordered;
}
}  // namespace

// What a pass has at hand: it lives until the table has taken what it wants.
struct Pins::Ready {
  std::map<Key, std::shared_ptr<const hook::Instance>> instances;
  std::map<Key, std::string> problems;
  std::map<u64, std::shared_ptr<hook::Redirect>> redirects;  // By dataset id; null: it is gone.
};

// A link without an instance of its own name has one that nobody shares.
Pins::Key Pins::key_of(const Site& site, const PinnedLink& link) {
  Key key{site.guid(), link.object,
          link.instance.empty() ? fmt::format("#{}", link.id) : link.instance};
  if (const PinnedLink* target = find_target(site, link)) {
    const Key whole = key_of(site, *target);  // With another program around it, it is another one.
    key.instance += fmt::format("@{}/{}", whole.object, whole.instance);
  }
  return key;
}

std::shared_ptr<const hook::Link> Pins::find_pinned(const Site& site, u64 pin) const {
  for (const auto& [point, list] : hooks_.table().points())
    if (point.target.pool == site.guid())
      for (const auto& link : *list)
        if (link->pin == pin) return link;
  return nullptr;
}

const PinnedLink* Pins::find_target(const Site& site, const PinnedLink& link) {
  if (link.replaces == 0) return nullptr;
  const pool::DatasetId owner = site.pool().catalog().link_owner(link.name);
  const pool::Dataset* dataset = site.pool().catalog().dataset(owner);
  if (dataset == nullptr) return nullptr;
  const auto found = std::ranges::find_if(
      dataset->links, [&](const auto& each) { return each->id == link.replaces; });
  return found == dataset->links.end() ? nullptr : &**found;
}

Task<std::shared_ptr<const hook::Instance>> Pins::load_stored(Site& site, const PinnedLink& link,
                                                              const Ready& ready,
                                                              std::string& problem) {
  const pool::StoredObject* stored = site.pool().catalog().object(link.object);
  if (stored == nullptr) co_return std::shared_ptr<const hook::Instance>();
  const auto* data = reinterpret_cast<const std::byte*>(stored->bytes.data());
  hook::Loader::Order order{
      .object = std::make_shared<const std::vector<std::byte>>(data, data + stored->bytes.size()),
      .settings = stored->settings,
      .programs = {}};
  for (const auto& program : stored->programs) order.programs.push_back(program.name);
  const pool::MapContents contents = link.contents;
  std::optional<Hooks::Replaced> replaced;
  if (link.hook == pool::kReplaceHook) {
    const PinnedLink* target = find_target(site, link);
    const auto of =
        target == nullptr ? ready.instances.end() : ready.instances.find(key_of(site, *target));
    if (of == ready.instances.end()) {
      problem = "the program whose function it replaces does not run";
      co_return std::shared_ptr<const hook::Instance>();
    }
    order.programs = {link.program};
    replaced = {.target = of->second, .program = target->program, .function = link.function};
  }
  auto loading = replaced ? hooks_.load_replacement(sync_, std::move(order), *std::move(replaced))
                          : hooks_.load(sync_, std::move(order));
  auto loaded = co_await ok(std::move(loading));
  if (!loaded) {
    problem = loaded.error().message;
    co_return std::shared_ptr<const hook::Instance>();
  }
  fill_maps(**loaded, contents);
  co_return *std::move(loaded);
}

// One thing at a time that is missing. False: nothing was.
Task<bool> Pins::make_ready(Site& site, const std::vector<DatasetId>& datasets, Ready& ready) {
  const pool::Catalog& catalog = site.pool().catalog();
  for (const DatasetId id : datasets) {
    const pool::Dataset* dataset = catalog.dataset(id);
    if (dataset == nullptr) continue;
    for (const auto& shared : targets_first(dataset->links)) {
      const auto kept = shared;  // The record may go while we wait.
      const PinnedLink& link = *kept;
      const Key key = key_of(site, link);
      if (!ready.instances.contains(key) && !ready.problems.contains(key)) {
        auto instance = instances_[key].lock();
        std::string problem;
        if (!instance) instance = co_await ok(load_stored(site, link, ready, problem));
        instances_[key] = instance;
        if (instance)
          ready.instances.emplace(key, std::move(instance));
        else
          ready.problems.emplace(key, std::move(problem));
        co_return true;
      }
      for (const DatasetId volume : link.redirects) {
        if (ready.redirects.contains(raw(volume))) continue;
        auto opened = co_await ok(hooks_.open_redirect(site, volume));
        ready.redirects.emplace(raw(volume), opened ? *std::move(opened) : nullptr);
        co_return true;
      }
    }
  }
  co_return false;
}

// `before`: the link as the table has it; null: it has none.
hook::Link Pins::link_of(Site& site, DatasetId id, const PinnedLink& pinned, Ready& ready,
                         const hook::Link* before) const {
  hook::Link link;
  if (before != nullptr) link = *before;
  link.pin = pinned.id;
  link.name = pinned.name;
  link.program = pinned.program;
  link.author = pinned.author;
  link.created_s = pinned.created_s;
  link.options = {.goes_on = pinned.go_on,
                  .on_error = pinned.on_error == pool::OnError::deny ? hook::ErrorPolicy::deny
                                                                     : hook::ErrorPolicy::pass,
                  .redirects = {},
                  .interval_ns = pinned.interval_ns,
                  .replaces = 0,
                  .function = pinned.function};
  const Key key = key_of(site, pinned);
  const auto found = ready.instances.find(key);
  link.instance = found == ready.instances.end() ? nullptr : found->second;
  link.problem = link.instance ? "" : ready.problems.at(key);
  if (link.instance && link.instance->find(pinned.program) == nullptr) {
    link.problem = fmt::format("the object has no program '{}'", pinned.program);
    link.instance = nullptr;
  }
  link.redirects.clear();
  for (const DatasetId volume : pinned.redirects) {
    link.options.redirects.push_back(raw(volume));
    const auto& redirect = ready.redirects.at(raw(volume));
    if (redirect) {
      link.redirects.push_back(redirect);
    } else {
      link.problem = "a volume that it redirects to is gone";
      link.instance = nullptr;
    }
  }
  link.state = link.instance ? hook::LinkState::attached : hook::LinkState::broken;
  // A function of the old program is replaced no more, if there is another one.
  if (before != nullptr && before->instance != link.instance) link.patched = nullptr;
  link.point = {.target = {.pool = site.guid(), .dataset = raw(id)},
                .type = link.instance ? link.instance->find(pinned.program)->point
                                      : hooks_.types().of_section(pinned.hook)};
  return link;
}

void Pins::draft_dataset(Site& site, DatasetId id, Ready& ready, hook::Draft& draft) {
  const hook::Target target{.pool = site.guid(), .dataset = raw(id)};
  const pool::Dataset* dataset = site.pool().catalog().dataset(id);
  std::map<u64, std::shared_ptr<const hook::Link>> known;  // By pin.
  std::vector<std::shared_ptr<const hook::Link>> loose;
  for (const auto& [point, list] : hooks_.table().points())
    if (point.target == target)
      for (const auto& link : *list) {
        if (link->pinned()) {
          known.emplace(link->pin, link);
        } else {
          loose.push_back(link);
        }
      }
  std::map<hook::Point, std::vector<LinkId>> order;
  if (dataset != nullptr) {
    std::map<u64, LinkId> runs_as;  // By the catalog's number.
    for (const auto& pinned : targets_first(dataset->links)) {
      auto before = known.contains(pinned->id) ? known.at(pinned->id) : nullptr;
      known.erase(pinned->id);
      if (const auto asked = being_pinned_.find({site.guid(), pinned->name});
          !before && asked != being_pinned_.end())
        before = draft.find(asked->second);
      hook::Link link = link_of(site, id, pinned, ready, before.get());
      const bool replaces = pinned->hook == pool::kReplaceHook;
      const auto target = replaces && runs_as.contains(pinned->replaces)
                              ? draft.find(runs_as.at(pinned->replaces))
                              : nullptr;
      if (target) {
        link.point = target->point;
        link.options.replaces = target->id;
      }
      // Of a hook that this version does not have, or whose target is not there.
      if (link.point.type == nullptr || (replaces && !target)) continue;
      if (before && before->point != link.point) {
        draft.remove(before->id);
        before = nullptr;
      }
      if (!before) {
        link.id = hooks_.table().next_id();
        link.counters = std::make_shared<hook::Counters>(hooks_.table().slots());
      }
      runs_as.emplace(pinned->id, link.id);
      order[link.point].push_back(link.id);
      if (target && link.instance) {
        hook::Link patched = *target;
        patched.patched = link.instance;
        draft.replace(std::move(patched));
      }
      if (before)
        draft.replace(std::move(link));
      else
        (void)draft.add(std::move(link), {});  // A full point is one with links not pinned.
    }
  }
  for (const auto& [pin, link] : known) {
    if (!being_unpinned_.contains(link->id)) {
      draft.remove(link->id);
      continue;
    }
    hook::Link free = *link;
    free.pin = 0;
    free.name.clear();
    draft.replace(std::move(free));
  }
  if (dataset == nullptr)
    for (const auto& link : loose) draft.remove(link->id);
  for (const auto& [point, ids] : order) {
    std::vector<LinkId> present;
    for (const LinkId each : ids)
      if (draft.find(each)) present.push_back(each);
    const auto arranged = draft.arrange(point, present);
    CHECK(arranged.has_value());
  }
}

Task<> Pins::reconcile(Site& site, std::vector<DatasetId> datasets) {
  const auto turn = co_await turn_.lock();
  auto reconciling = reconcile_held(site, std::move(datasets), {});
  co_await ok(std::move(reconciling));
  co_return {};
}

Task<> Pins::reconcile_held(Site& site, std::vector<DatasetId> datasets,
                            std::vector<hook::Point> emptied) {
  std::ranges::sort(datasets);  // One effect a verb: many name the same dataset.
  datasets.erase(std::ranges::unique(datasets).begin(), datasets.end());
  Ready ready;
  while (co_await ok(make_ready(site, datasets, ready))) {}
  hook::Draft draft = hooks_.table().draft();
  for (const DatasetId id : datasets) draft_dataset(site, id, ready, draft);
  for (const hook::Point& point : emptied)
    for (const auto& link : hook::LinkList(draft.at(point)))
      if (!link->pinned()) draft.remove(link->id);
  hooks_.publish_changes(std::move(draft));
  std::erase_if(instances_, [](const auto& each) { return each.second.expired(); });
  co_return {};
}

Task<> Pins::restore(Site& site) {
  const pool::Catalog& catalog = site.pool().catalog();
  std::vector<DatasetId> with_links, front{catalog.root()};
  while (!front.empty()) {
    const DatasetId id = front.back();
    front.pop_back();
    const pool::Dataset* dataset = catalog.dataset(id);
    if (dataset == nullptr) continue;
    if (!dataset->links.empty()) with_links.push_back(id);
    for (const DatasetId child : catalog.children(id)) front.push_back(child);
  }
  if (!with_links.empty()) co_await ok(reconcile(site, std::move(with_links)));
  co_return {};
}

}  // namespace coppice::host
