// host/nbd_listener.h — NbdListener: accepts clients of one address and sees each through.
//
// Theory. It lives on one I/O reactor, its home, where clients negotiate. Once a client has chosen
// an export, its socket moves to the reactor of the export's volume, if that is another one, and is
// served there. Everything a client needs is in the frame of its serve() task; the scope joins them
// all.
#pragma once

#include <atomic>
#include <optional>

#include "hook/hooked_device.h"
#include "host/exports.h"
#include "host/read_only_device.h"
#include "io/net.h"
#include "rt/scope.h"
#include "serve/nbd/negotiation.h"

namespace coppice::host {

// One client's hold on an export; comes home to the sync lane when the client has left.
class Lease final : public serve::nbd::Attachment {
 public:
  Lease(Exports& exports, rt::Executor& sync, Exports::Client& client,
        std::unique_ptr<pool::Pool::Handle> handle, serve::nbd::ExportInfo info);
  ~Lease() override;
  const serve::nbd::ExportInfo& info() const override { return info_; }
  blk::Device& device() override { return hooked_ ? *hooked_ : unhooked(); }
  Exports::Client& client() { return client_; }
  // On the device's lane, while it is served: its requests are shown to programs.
  void begin_hooks();
  void end_hooks() { hooked_.reset(); }

 private:
  blk::Device& unhooked() { return info_.read_only ? guard_ : handle_->device(); }

  Exports& exports_;
  rt::Executor& sync_;
  Exports::Client& client_;  // Lives until leave().
  std::unique_ptr<pool::Pool::Handle> handle_;
  ReadOnlyDevice guard_;
  std::optional<hook::HookedDevice> hooked_;
  serve::nbd::ExportInfo info_;
};

class NbdListener final : public serve::nbd::Directory {
 public:
  NbdListener(Lanes& lanes, IoLane& home, Exports& exports, std::string address,
              std::function<void(std::string)> log);

  IoLane& home() { return home_; }
  // All on the home lane.
  Task<> start(cap::Fd socket);  // Again: the new socket takes the place of the old one.
  Task<>
  stop();  // Nobody attached is left; those who negotiate are cut off. Then it may be destroyed.
  Task<ListenerView> view();

  Task<std::vector<serve::nbd::ExportName>> list() override;
  Task<std::unique_ptr<serve::nbd::Attachment>> open(std::string name) override;
  Task<std::unique_ptr<serve::nbd::Attachment>> open_for(std::string name, Peer peer);

 private:
  Task<> accept_all(std::unique_ptr<io::Listener> listener);
  Task<> serve(int fd);
  Task<> serve_here(io::Socket& socket, serve::nbd::Negotiated& negotiated);
  Task<> serve_there(IoLane& lane, int fd, serve::nbd::Negotiated& negotiated);

  Lanes& lanes_;
  IoLane& home_;
  Exports& exports_;
  std::string address_;
  std::function<void(std::string)> log_;
  serve::nbd::Limits limits_;
  serve::nbd::Lobby lobby_;
  io::Listener* listener_ = nullptr;  // accept_all() owns it.
  rt::Scope scope_;
  u64 accepted_ = 0;
};

}  // namespace coppice::host
