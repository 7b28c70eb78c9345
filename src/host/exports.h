// host/exports.h — Exports: which volumes and snapshots are served where, and to whom.
//
// Theory. The table lives on the sync lane, beside the catalogs that it names things by: an export
// is a dataset's or snapshot's id and an address; its name is whatever the catalog calls it at the
// moment. A listening socket belongs to an address and may serve exports of several pools; it is
// closed with the last of them. A client is counted from the moment it attaches (it has a handle on
// the volume from then on) until its lease comes home; cutting it off means to doom it, and to shut
// its socket down on the lane that serves it: a client that is between two lanes at that moment
// finds itself doomed when it arrives. start(), stop() and the like take turns; attach() only
// looks, and looks again after it waited.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cap/descriptor.h"
#include "hook/link.h"
#include "host/lanes.h"
#include "pool/pool.h"
#include "rt/event.h"
#include "serve/nbd/server.h"
#include "verb/admin.h"

namespace coppice::host {

class Hooks;
class NbdListener;
class Site;

using ExportId = u64;  // 0 is none.

// Who is at the other end of a client's socket.
struct Peer {
  u32 uid = ~u32{0}, pid = 0;  // Of a Unix socket.
  std::string text;            // "uid=0, pid=17", "192.0.2.7:51234".
};

struct ExportView {
  ExportId id = 0;
  std::string name;
  pool::ExportSpec spec;
  bool pinned = false;
  bool running = false;
  std::string problem;
  u64 volsize_bytes = 0;
  u32 connections = 0;
  pool::DatasetId volume{};  // 0: of a snapshot.
};

struct ClientView {
  u64 number = 0;
  std::string export_name, address, peer;
  bool read_only = false;
};

struct ListenerView {
  std::string address;
  u32 exports = 0;
  u32 connections = 0;
  u64 accepted = 0;
};

struct StopReport {
  std::vector<pool::ExportSpec> ended;
  std::vector<std::string> closed;  // Addresses where nobody listens any more.
};

class Exports {
 public:
  static constexpr size_t kExportsMax = 4096;

  Exports(Lanes& lanes, Hooks& hooks, std::function<void(std::string)> log);
  ~Exports();  // After shutdown().

  // The table's turn: held by whoever changes it together with a catalog.
  auto turn() { return turn_.lock(); }

  // --- With the turn held.
  // `socket` may be none: then the one at the address serves. Whatever is wrong is the entry's
  // problem.
  Task<ExportId> start(Site& site, verb::StartExport what, cap::Fd socket);
  // Gives an entry that does not run a socket. not_found: no such entry.
  Task<> resume(ExportId id, cap::Fd socket);
  Task<StopReport> stop(
      std::vector<ExportId> ids);  // Cuts clients off and waits until they are gone.
  Task<> stop_site(Site& site);
  Task<> shutdown();  // Everything, for good.
  // Those clients of the volume that may write are cut off: they come back to a read-only export.
  Task<> forbid_writing(Site& site, pool::DatasetId volume);

  // --- Questions.
  ExportId find(const Site& site, pool::DatasetId dataset, pool::SnapshotId snapshot,
                const std::string& address) const;
  std::vector<ExportId> find_all(const Site& site, pool::DatasetId dataset,
                                 pool::SnapshotId snapshot,
                                 const std::string& address) const;  // Address empty: any.
  bool listening(const std::string& address) const { return listeners_.contains(address); }
  bool full() const { return exports_.size() >= kExportsMax; }
  std::optional<ExportView> view(ExportId id) const;
  const Site* site_of(ExportId id) const;
  std::vector<ExportView> views(const Site* site) const;  // Null: of all.
  Task<std::vector<ListenerView>> listener_views();
  Task<std::vector<ClientView>> client_views();
  std::vector<verb::RunningExport> running(const Site& site, pool::DatasetId dataset) const;
  u32 clients_of(const std::vector<ExportId>& ids) const;

  // --- For NbdListener.
  Task<std::vector<serve::nbd::ExportName>> names_at(std::string address);
  // denied: a program on export.connect refuses the client.
  Task<std::unique_ptr<serve::nbd::Attachment>> attach(std::string address, std::string name,
                                                       Peer peer);

  struct Client {
    u64 number = 0;
    ExportId export_id = 0;
    IoLane* lane = nullptr;  // Where its device lives.
    hook::Target volume;     // Of a snapshot: the volume that it is of.
    pool::SnapshotId snapshot{};
    u64 served_ns = 0;  // When it got its device; 0: it has none.
    Peer peer;
    bool writes = false;
    u32 requests_max = ~u32{0};  // Under way at a time,
    u64 bytes_max = ~u64{0};     // as far as programs have lowered it.
    std::atomic<bool> doomed = false;
  };
  void leave(u64 number);  // A lease has come home.

 private:
  struct Export {
    ExportId id = 0;
    Site* site = nullptr;
    pool::DatasetId dataset{};  // Of a snapshot: 0, since promote moves it.
    pool::SnapshotId snapshot{};
    pool::ExportSpec spec;
    bool pinned = false;
    std::string problem;
    u32 clients = 0;
    bool ending = false;  // Takes no new clients.
  };
  void add(Export entry);
  void remove(ExportId id);
  std::string name_of(const Export& entry) const;  // Empty: what it served is gone.
  const Export* find_by_name(const std::string& address, const std::string& name) const;
  Task<> listen(const std::string& address, cap::Fd socket);
  Task<> cut_off(std::vector<u64> numbers);
  Task<> close_listener(std::string address);
  Result<> ask_programs(const Export& entry, const std::string& name, Client& client,
                        bool& read_only);
  bool served(const std::string& address) const;

  Lanes& lanes_;
  Hooks& hooks_;
  std::function<void(std::string)> log_;
  rt::Mutex turn_;
  rt::Event client_left_;
  std::map<ExportId, Export> exports_;
  // Where running() looks. Which volume a snapshot belongs to may change; few are exported.
  std::multimap<pool::DatasetId, ExportId> of_volumes_;
  std::set<ExportId> of_snapshots_;
  std::map<u64, std::unique_ptr<Client>> clients_;
  std::map<std::string, std::unique_ptr<NbdListener>> listeners_;  // By address.
  u64 next_ = 1;                                                   // Of exports and clients.
};

// With the turn held: stops what the views show.
Task<StopReport> stop_all(Exports& exports, std::vector<ExportView> views);

}  // namespace coppice::host
