#include "host/exports.h"

#include <fmt/format.h>

#include <algorithm>

#include "host/hooks.h"
#include "host/nbd_listener.h"
#include "host/site.h"
#include "trace/fire.h"
#include "verb/properties.h"

namespace coppice::host {
namespace {

void fire_connect(const Exports::Client& client, u64 now_ns, const serve::nbd::ExportInfo& info,
                  int error) {
  coppice_export_connect view{.time_ns = now_ns,
                              .pool = client.volume.pool,
                              .volume = client.volume.dataset,
                              .snapshot = raw(client.snapshot),
                              .client = client.number,
                              .size_bytes = info.size_bytes,
                              .read_only = info.read_only,
                              .error = static_cast<u32>(error),
                              .name = {}};
  trace::set_text(view.name, info.name);
  trace::fire(view);
}

// On an I/O lane: ends the connections of these clients, as far as they are served there.
Task<> shut_down(IoLane& lane, std::vector<u64> numbers) {
  for (const u64 number : numbers)
    if (const auto found = lane.clients.find(number); found != lane.clients.end())
      found->second->shutdown();
  co_return {};
}

}  // namespace

Exports::Exports(Lanes& lanes, Hooks& hooks, std::function<void(std::string)> log)
    : lanes_(lanes), hooks_(hooks), log_(std::move(log)), turn_(lanes.sync()) {}

Exports::~Exports() { CHECK(exports_.empty() && clients_.empty() && listeners_.empty()); }

// --- The table ----------------------------------------------------------------------------------

void Exports::add(Export entry) {
  if (raw(entry.snapshot) != 0)
    of_snapshots_.insert(entry.id);
  else
    of_volumes_.emplace(entry.dataset, entry.id);
  const bool added = exports_.emplace(entry.id, entry).second;
  CHECK(added);
}

void Exports::remove(ExportId id) {
  const auto found = exports_.find(id);
  if (found == exports_.end()) return;
  const auto [begin, end] = of_volumes_.equal_range(found->second.dataset);
  const auto place = std::find_if(begin, end, [id](const auto& each) { return each.second == id; });
  if (place != end) of_volumes_.erase(place);
  of_snapshots_.erase(id);
  exports_.erase(found);
  CHECK(of_volumes_.size() + of_snapshots_.size() == exports_.size());
}

// --- Starting -----------------------------------------------------------------------------------

Task<> Exports::listen(const std::string& address, cap::Fd socket) {
  auto& listener = listeners_[address];
  if (!listener)
    listener = std::make_unique<NbdListener>(lanes_, lanes_.choose(), *this, address, log_);
  auto start = listener->start(std::move(socket));
  auto started = co_await rt::call(lanes_.sync(), *listener->home().reactor, std::move(start));
  CHECK(started.has_value());
  for (auto& [id, entry] : exports_)
    if (entry.spec.address == address) entry.problem.clear();  // They waited for it.
  co_return {};
}

Task<ExportId> Exports::start(Site& site, verb::StartExport what, cap::Fd socket) {
  CHECK(turn_.held());
  Export entry;
  entry.id = next_++;
  entry.site = &site;
  entry.dataset = raw(what.snapshot) != 0 ? pool::DatasetId{} : what.dataset;
  entry.snapshot = what.snapshot;
  entry.spec = what.spec;
  entry.pinned = what.pinned;
  const ExportId id = entry.id;
  if (full()) {
    entry.problem = fmt::format("no more than {} exports", kExportsMax);
  } else if (what.spec.protocol != "nbd") {
    entry.problem = "unknown protocol: " + what.spec.protocol;
  } else if (socket) {
    co_await ok(listen(what.spec.address, std::move(socket)));
  } else if (!listening(what.spec.address)) {
    entry.problem = fmt::format("nobody listens at {}: export it again, which passes a socket",
                                what.spec.address);
  }
  if (!entry.problem.empty()) log_(fmt::format("export {}: {}", what.name, entry.problem));
  add(std::move(entry));
  co_return id;
}

Task<> Exports::resume(ExportId id, cap::Fd socket) {
  CHECK(turn_.held());
  const auto found = exports_.find(id);
  if (found == exports_.end()) co_return fail(Errc::not_found, "resume an export");
  const std::string address = found->second.spec.address;
  if (socket)
    co_await ok(listen(address, std::move(socket)));
  else if (!listening(address))
    co_return fail(Errc::not_found, "resume an export", "nobody listens at " + address);
  exports_.at(id).problem.clear();
  co_return {};
}

// --- Stopping -----------------------------------------------------------------------------------

Task<> Exports::cut_off(std::vector<u64> numbers) {
  for (const u64 number : numbers) clients_.at(number)->doomed = true;
  for (size_t i = 0; i < lanes_.io_count(); ++i) {
    IoLane& lane = lanes_.io(i);
    auto work = shut_down(lane, numbers);
    co_await ok(rt::call(lanes_.sync(), *lane.reactor, std::move(work)));
  }
  co_return {};
}

bool Exports::served(const std::string& address) const {
  return std::ranges::any_of(exports_, [&](const auto& each) {
    return each.second.spec.address == address && !each.second.ending;
  });
}

Task<> Exports::close_listener(std::string address) {
  const auto found = listeners_.find(address);
  CHECK(found != listeners_.end());
  NbdListener& listener = *found->second;
  auto stop = listener.stop();
  auto stopped = co_await rt::call(lanes_.sync(), *listener.home().reactor, std::move(stop));
  CHECK(stopped.has_value());
  listeners_.erase(address);
  co_return {};
}

Task<StopReport> Exports::stop(std::vector<ExportId> ids) {
  CHECK(turn_.held());
  StopReport report;
  std::vector<u64> numbers;
  for (const ExportId id : ids) {
    const auto found = exports_.find(id);
    if (found == exports_.end()) continue;
    found->second.ending = true;
    report.ended.push_back(found->second.spec);
    for (const auto& [number, client] : clients_)
      if (client->export_id == id) numbers.push_back(number);
  }
  co_await ok(cut_off(std::move(numbers)));
  for (const auto& spec : report.ended) {
    if (!listening(spec.address) || served(spec.address)) continue;
    report.closed.push_back(spec.address);
    co_await ok(close_listener(spec.address));
  }
  // Those left are negotiating at a socket that goes on: they have a few seconds.
  while (clients_of(ids) > 0) co_await client_left_.wait();
  for (const ExportId id : ids) remove(id);
  co_return report;
}

Task<StopReport> stop_all(Exports& exports, std::vector<ExportView> views) {
  std::vector<ExportId> ids;
  for (const auto& view : views) ids.push_back(view.id);
  auto report = co_await exports.stop(std::move(ids));
  co_return report;
}

Task<> Exports::stop_site(Site& site) {
  auto listed = views(&site);
  auto report = co_await stop_all(*this, std::move(listed));
  CHECK(report.has_value());
  co_return {};
}

Task<> Exports::shutdown() {
  CHECK(turn_.held());
  auto listed = views(nullptr);
  auto report = co_await stop_all(*this, std::move(listed));
  CHECK(report.has_value() && listeners_.empty());
  co_return {};
}

Task<> Exports::forbid_writing(Site& site, pool::DatasetId volume) {
  std::vector<u64> numbers;
  for (const auto& [number, client] : clients_) {
    const auto entry = exports_.find(client->export_id);
    if (!client->writes || entry == exports_.end()) continue;
    if (entry->second.site == &site && entry->second.dataset == volume) numbers.push_back(number);
  }
  co_await ok(cut_off(std::move(numbers)));
  co_return {};
}

void Exports::leave(u64 number) {
  const auto client = clients_.find(number);
  CHECK(client != clients_.end());
  const auto entry = exports_.find(client->second->export_id);
  CHECK(entry != exports_.end() && entry->second.clients > 0);
  --entry->second.clients;
  const Client& gone = *client->second;
  if (gone.served_ns != 0 && trace::on(trace::Point::export_disconnect)) [[unlikely]] {
    const u64 now_ns = lanes_.sync().now_ns();
    trace::fire(coppice_export_disconnect{.time_ns = now_ns,
                                          .pool = gone.volume.pool,
                                          .volume = gone.volume.dataset,
                                          .snapshot = raw(gone.snapshot),
                                          .client = number,
                                          .connected_ns = now_ns - gone.served_ns});
  }
  hooks_.table().unwatch(client->second->volume);
  clients_.erase(client);
  client_left_.pulse();
}

// --- Questions ----------------------------------------------------------------------------------

std::string Exports::name_of(const Export& entry) const {
  const pool::Catalog& catalog = entry.site->pool().catalog();
  if (raw(entry.snapshot) != 0)
    return catalog.snapshot(entry.snapshot) ? pool::full_name(catalog, entry.snapshot) : "";
  return catalog.dataset(entry.dataset) ? pool::full_name(catalog, entry.dataset) : "";
}

std::vector<ExportId> Exports::find_all(const Site& site, pool::DatasetId dataset,
                                        pool::SnapshotId snapshot,
                                        const std::string& address) const {
  std::vector<ExportId> found;
  for (const auto& [id, entry] : exports_) {
    const bool same = raw(snapshot) != 0 ? entry.snapshot == snapshot
                                         : raw(entry.snapshot) == 0 && entry.dataset == dataset;
    if (entry.site == &site && same && (address.empty() || entry.spec.address == address))
      found.push_back(id);
  }
  return found;
}

ExportId Exports::find(const Site& site, pool::DatasetId dataset, pool::SnapshotId snapshot,
                       const std::string& address) const {
  const auto found = find_all(site, dataset, snapshot, address);
  return found.empty() ? 0 : found.front();
}

std::optional<ExportView> Exports::view(ExportId id) const {
  const auto found = exports_.find(id);
  if (found == exports_.end()) return std::nullopt;
  const Export& entry = found->second;
  const pool::Catalog& catalog = entry.site->pool().catalog();
  ExportView view{.id = id,
                  .name = name_of(entry),
                  .spec = entry.spec,
                  .pinned = entry.pinned,
                  .running = entry.problem.empty(),
                  .problem = entry.problem,
                  .connections = entry.clients,
                  .volume = entry.dataset};
  if (const auto* snapshot = catalog.snapshot(entry.snapshot)) {
    view.volsize_bytes = snapshot->volsize_bytes;
    view.spec.read_only = true;
  } else if (const auto* dataset = catalog.dataset(entry.dataset)) {
    view.volsize_bytes = dataset->volsize_bytes;
  }
  return view;
}

const Site* Exports::site_of(ExportId id) const {
  const auto found = exports_.find(id);
  return found == exports_.end() ? nullptr : found->second.site;
}

std::vector<ExportView> Exports::views(const Site* site) const {
  std::vector<ExportView> found;
  for (const auto& [id, entry] : exports_)
    if (site == nullptr || entry.site == site) found.push_back(*view(id));
  std::ranges::sort(found, [](const ExportView& a, const ExportView& b) {
    return std::tie(a.name, a.spec.address) < std::tie(b.name, b.spec.address);
  });
  return found;
}

Task<std::vector<ListenerView>> Exports::listener_views() {
  std::vector<std::string> addresses;
  for (const auto& [address, listener] : listeners_) addresses.push_back(address);
  std::vector<ListenerView> found;
  for (const auto& address : addresses) {
    const auto listener = listeners_.find(address);
    if (listener == listeners_.end()) continue;  // Closed while we asked another one.
    auto ask = listener->second->view();
    auto view = co_await rt::call(lanes_.sync(), *listener->second->home().reactor, std::move(ask));
    if (!view) continue;
    for (const auto& [id, entry] : exports_) view->exports += entry.spec.address == address;
    found.push_back(*std::move(view));
  }
  co_return found;
}

Task<std::vector<ClientView>> Exports::client_views() {
  std::vector<ClientView> views;
  for (const auto& [number, client] : clients_) {
    const auto entry = exports_.find(client->export_id);
    CHECK(entry != exports_.end());
    views.push_back({.number = number,
                     .export_name = name_of(entry->second),
                     .address = entry->second.spec.address,
                     .peer = client->peer.text,
                     .read_only = !client->writes});
  }
  co_return views;
}

std::vector<verb::RunningExport> Exports::running(const Site& site, pool::DatasetId dataset) const {
  std::vector<verb::RunningExport> found;
  const pool::Catalog& catalog = site.pool().catalog();
  std::vector<ExportId> candidates(of_snapshots_.begin(), of_snapshots_.end());
  const auto [begin, end] = of_volumes_.equal_range(dataset);
  for (auto each = begin; each != end; ++each) candidates.push_back(each->second);
  std::ranges::sort(candidates);
  for (const ExportId id : candidates) {
    const Export& entry = exports_.at(id);
    if (entry.site != &site || !entry.problem.empty() || entry.ending) continue;
    const auto* snapshot = catalog.snapshot(entry.snapshot);
    const pool::DatasetId of = snapshot != nullptr ? snapshot->dataset : entry.dataset;
    if (of == dataset)
      found.push_back(
          {.dataset = of, .snapshot = entry.snapshot, .spec = entry.spec, .pinned = entry.pinned});
  }
  return found;
}

u32 Exports::clients_of(const std::vector<ExportId>& ids) const {
  u32 count = 0;
  for (const ExportId id : ids)
    if (const auto found = exports_.find(id); found != exports_.end())
      count += found->second.clients;
  return count;
}

// --- For the listeners ---------------------------------------------------------------------------

const Exports::Export* Exports::find_by_name(const std::string& address,
                                             const std::string& name) const {
  const Export* only = nullptr;
  size_t count = 0;
  for (const auto& [id, entry] : exports_) {
    if (entry.spec.address != address || entry.ending) continue;
    ++count;
    only = &entry;
    if (!name.empty() && name_of(entry) == name) return &entry;
  }
  return name.empty() && count == 1 ? only : nullptr;  // The default export: the only one.
}

Task<std::vector<serve::nbd::ExportName>> Exports::names_at(std::string address) {
  std::vector<serve::nbd::ExportName> names;
  for (const auto& [id, entry] : exports_) {
    if (entry.spec.address != address || entry.ending) continue;
    std::string name = name_of(entry);
    if (!name.empty()) names.push_back({.name = std::move(name), .description = ""});
  }
  std::ranges::sort(names, {}, &serve::nbd::ExportName::name);
  co_return names;
}

// Whether the client may be served; what they lower is lowered.
Result<> Exports::ask_programs(const Export& entry, const std::string& name, Client& client,
                               bool& read_only) {
  const serve::nbd::Limits limits;
  coppice_connect context{};
  context.time_ns = lanes_.sync().now_ns();
  context.pool = client.volume.pool;
  context.volume = client.volume.dataset;
  context.snapshot = raw(entry.snapshot);
  context.client = client.number;
  context.bytes_max = limits.bytes_in_flight_max;
  context.uid = client.peer.uid;
  context.pid = client.peer.pid;
  context.read_only = read_only ? 1 : 0;
  context.requests_max = limits.requests_in_flight_max;
  hook::Call call;
  call.texts[COPPICE_TEXT_EXPORT] = name;
  call.texts[COPPICE_TEXT_ADDRESS] = entry.spec.address;
  call.texts[COPPICE_TEXT_PEER] = client.peer.text;
  const auto objection = hook::ask(hooks_.table(), hooks_.connect(), client.volume, context, call);
  if (objection)
    return fail(Errc::denied, "attach",
                objection->message.empty() ? fmt::format("a program refuses {}", client.peer.text)
                                           : objection->message);
  read_only = read_only || context.read_only != 0;
  client.requests_max = std::max(context.requests_max, u32{1});
  client.bytes_max = context.bytes_max;
  return {};
}

Task<std::unique_ptr<serve::nbd::Attachment>> Exports::attach(std::string address, std::string name,
                                                              Peer peer) {
  const Export* entry = find_by_name(address, name);
  if (entry == nullptr)
    co_return fail(Errc::not_found, "attach", fmt::format("no export '{}' here", name));
  Site& site = *entry->site;
  const pool::DatasetId dataset = entry->dataset;
  const pool::SnapshotId snapshot = entry->snapshot;
  bool read_only = entry->spec.read_only ||
                   (raw(snapshot) == 0 && verb::read_only(site.pool().catalog(), dataset));
  serve::nbd::ExportInfo info;
  info.name = name_of(*entry);

  // It counts from now on, so that stop() waits for what follows.
  auto made = std::make_unique<Client>();
  Client& client = *made;
  client.number = next_++;
  client.export_id = entry->id;
  client.snapshot = snapshot;
  client.peer = std::move(peer);
  const pool::Snapshot* frozen = site.pool().catalog().snapshot(snapshot);
  client.volume = {.pool = site.guid(),
                   .dataset = raw(frozen != nullptr ? frozen->dataset : dataset)};
  if (auto asked = ask_programs(*entry, info.name, client, read_only); !asked) {
    if (trace::on(trace::Point::export_connect)) [[unlikely]]
      fire_connect(client, lanes_.sync().now_ns(), info, errno_of(asked.error().code));
    co_return std::unexpected(asked.error());
  }
  hooks_.table().watch(client.volume);
  client.writes = !read_only;
  const u64 number = client.number;
  clients_.emplace(number, std::move(made));
  ++exports_.at(entry->id).clients;

  auto opening =
      raw(snapshot) != 0 ? site.pool().open_snapshot(snapshot) : site.pool().open_volume(dataset);
  auto handle = co_await std::move(opening);
  if (!handle || client.doomed) {
    if (trace::on(trace::Point::export_connect)) [[unlikely]]
      fire_connect(client, lanes_.sync().now_ns(), info,
                   errno_of(handle ? Errc::closed : handle.error().code));
    if (handle) handle->reset();
    leave(number);
    if (!handle) co_return std::unexpected(handle.error());
    co_return fail(Errc::closed, "attach", "the export has ended");
  }
  blk::Device& device = (*handle)->device();
  client.lane = &lanes_.io_of(device.executor());
  client.writes = !read_only && !device.read_only();  // Others may write to the same volume.
  info.size_bytes = device.size_bytes();
  info.read_only = !client.writes;
  client.served_ns = lanes_.sync().now_ns();
  if (trace::on(trace::Point::export_connect)) [[unlikely]]
    fire_connect(client, client.served_ns, info, 0);
  std::unique_ptr<serve::nbd::Attachment> lease =
      std::make_unique<Lease>(*this, lanes_.sync(), client, *std::move(handle), std::move(info));
  co_return lease;
}

}  // namespace coppice::host
