#include "host/site.h"

#include <fmt/format.h>

#include "hook/gate.h"
#include "host/hooks.h"
#include "host/pins.h"
#include "verb/properties.h"

namespace coppice::host {
namespace {

Task<> set_size(io::FileDisk& disk, u64 size_bytes) {
  disk.set_size_bytes(size_bytes);
  co_return {};
}

// What the verb names first, as people wrote it.
std::string dataset_named(const verb::Arguments& arguments) {
  for (const std::string_view name :
       {"name", "names", "snapshot", "snapshots", "target", "source"}) {
    const auto found = arguments.find(name);
    if (found == arguments.end()) continue;
    if (const auto* text = std::get_if<std::string>(&found->second)) return *text;
    if (const auto* texts = std::get_if<verb::Names>(&found->second); texts && !texts->empty())
      return texts->front();
  }
  return "";
}

// The dataset of that name, or the deepest there is above it; `exact`: the dataset itself.
pool::DatasetId deepest(const pool::CatalogView& view, std::string_view name, bool& exact) {
  name = name.substr(0, name.find_first_of("@#"));
  exact = true;
  while (!name.empty()) {
    const auto target = verb::find_target(view, name);
    if (target) return target->dataset;
    exact = false;
    const size_t slash = name.rfind('/');
    name = slash == name.npos ? "" : name.substr(0, slash);
  }
  exact = false;
  return view.root();
}

// "uid=0, pid=17".
u32 number_behind(std::string_view caller, std::string_view word) {
  const size_t at = caller.find(word);
  u64 number = 0;
  if (at == caller.npos) return 0;
  for (const char digit : caller.substr(at + word.size())) {
    if (digit < '0' || digit > '9') break;
    number = number * 10 + static_cast<u64>(digit - '0');
  }
  return static_cast<u32>(number);
}

}  // namespace

std::optional<pool::SharedValue<pool::StoredObject>> Site::loaded_object(
    std::string_view hash) const {
  return pins_.loaded_object(hash);
}

std::optional<pool::MapEntries> Site::map_entries(const verb::MapName& map) const {
  return pins_.map_entries(*this, map);
}

std::optional<verb::Refusal> Site::admit(const Question& question) {
  if (!hooks_.table().any(hooks_.admin())) return std::nullopt;
  const std::string name = dataset_named(question.arguments);
  bool exact = false;
  const pool::DatasetId dataset = deepest(pool_->catalog(), name, exact);
  coppice_admin context{};
  context.time_ns = sync_.now_ns();
  context.wall_ns = sync_.wall_ns();
  context.pool = guid_;
  context.dataset = exact ? raw(dataset) : 0;
  context.uid = number_behind(question.caller, "uid=");
  context.pid = number_behind(question.caller, "pid=");
  context.right = static_cast<u32>(question.row.right);
  context.in_program = question.in_program ? 1 : 0;
  context.dry_run = question.dry_run ? 1 : 0;
  const std::string command = verb::command_text(question.row, question.arguments);
  hook::Call call;
  call.texts[COPPICE_TEXT_VERB] = question.row.name;
  call.texts[COPPICE_TEXT_DATASET] = name;
  call.texts[COPPICE_TEXT_CALLER] = question.caller;
  call.texts[COPPICE_TEXT_COMMAND] = command;
  auto objection = hook::ask(hooks_.table(), hooks_.admin(),
                             {.pool = guid_, .dataset = raw(dataset)}, context, call);
  if (!objection) return std::nullopt;
  const auto link = hooks_.table().find(objection->link);
  const std::string who = link && link->pinned() ? link->name : fmt::format("#{}", objection->link);
  return verb::Refusal{
      objection->error,
      fmt::format("cannot {}: the program of link {} refuses it{}{}", question.row.name, who,
                  objection->message.empty() ? "" : ": ", objection->message),
      {}};
}

Result<std::unique_ptr<PoolFile>> PoolFile::adopt(cap::Fd fd, Lanes& lanes) {
  TRY(const io::DiskFile file, io::adopt_disk_file(fd.get()));
  auto adopted = std::make_unique<PoolFile>();
  adopted->fd_ = std::move(fd);
  const auto add = [&](io::Reactor& reactor) {
    adopted->views_.push_back(
        std::unique_ptr<View>(new View{&reactor, io::FileDisk(reactor, file)}));
  };
  add(lanes.sync());
  for (size_t i = 0; i < lanes.io_count(); ++i) add(*lanes.io(i).reactor);
  return adopted;
}

std::vector<pool::Lane> PoolFile::pool_lanes() {
  std::vector<pool::Lane> lanes;
  for (auto& view : views_) lanes.push_back({.executor = view->reactor, .disk = &view->disk});
  return lanes;
}

Task<> PoolFile::refresh(Lanes& lanes) {
  const u64 size_bytes = co_await ok(size_now());
  for (auto& view : views_) {
    auto change = set_size(view->disk, size_bytes);
    co_await ok(rt::call(lanes.sync(), *view->reactor, std::move(change)));
  }
  co_return {};
}

}  // namespace coppice::host
