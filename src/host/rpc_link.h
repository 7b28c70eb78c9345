// host/rpc_link.h — what Host, Pool and Dataset answer about links, maps and tracepoints.
#pragma once

#include "host/rpc.h"

namespace coppice::host {

struct LinkTable {
  std::vector<LinkView> views;
  u64 revision = 0;
  hook::Table::Statistics statistics;
};

// An object of ours that carries nothing but a descriptor.
template <class Interface>
class Carrier final : public Interface::Server {
 public:
  explicit Carrier(cap::Fd fd) : fd_(std::move(fd)) {}
  kj::Maybe<int> getFd() override { return fd_.get(); }

 private:
  cap::Fd fd_;
};

// A task on the sync lane.
template <class T>
Task<Attempt<T>> on_sync(Daemon& daemon, Task<Attempt<T>> task) {
  return rt::call(daemon.loop(), daemon.lanes().sync(), std::move(task));
}

void read_options(schema::LinkOptions::Reader from, AttachOrder::Program& to);
void write(schema::LinkInfo::Builder to, const LinkView& view, const Holders& holders);
void write(schema::MapInfo::Builder to, const MapView& view);
Task<Attempt<std::vector<MapView>>> list_maps(Hooks& hooks);
void write_maps(capnp::List<schema::MapEntry>::Builder to, const Caller& caller,
                const std::vector<MapView>& views);
void write(capnp::List<schema::TracepointInfo>::Builder to);  // Of trace::kPoints.
void write(schema::HostTypes::Builder to);

struct Attachment {
  std::vector<LinkView> views;
  u64 revision = 0;
  cap::Fd handle;  // None of pinned ones.
};
// Host.attach (`pool` null) and Dataset.attach. Reads `spec` at once.
Task<Attempt<Attachment>> attach_programs(const Caller& caller, Ref<OpenPool> pool,
                                          pool::DatasetId dataset, schema::AttachSpec::Reader spec);
void write(schema::Attached::Builder to, const Caller& caller, Attachment attached);
// What the methods of Host get.
using LinksContext =
    capnp::CallContext<schema::Host::LinksParams, schema::Answer<schema::LinkTable>>;
using LinkContext = capnp::CallContext<schema::Host::LinkParams, schema::Answer<schema::Link>>;
using AdoptLinkContext =
    capnp::CallContext<schema::Host::AdoptLinkParams, schema::Answer<schema::Link>>;
using MapsContext =
    capnp::CallContext<schema::Host::MapsParams, schema::Answer<capnp::List<schema::MapEntry>>>;
using LoadObjectContext =
    capnp::CallContext<schema::Pool::LoadObjectParams, schema::Answer<schema::LoadedObject>>;
using ApplyLinksContext =
    capnp::CallContext<schema::Pool::ApplyLinksParams, schema::Answer<schema::LinkSetReport>>;
using MapContext = capnp::CallContext<schema::Host::MapParams, schema::Answer<schema::Map>>;
kj::Promise<void> reply_load(const Caller& caller, Ref<OpenPool> pool, LoadObjectContext context);
kj::Promise<void> reply_apply(const Caller& caller, Ref<OpenPool> pool, ApplyLinksContext context);
kj::Promise<void> reply_links(const Caller& caller, LinksContext context);
kj::Promise<void> reply_link(const Caller& caller, LinkContext context);
kj::Promise<void> reply_adopt(const Caller& caller, AdoptLinkContext context);
kj::Promise<void> reply_maps(const Caller& caller, MapsContext context);
kj::Promise<void> reply_map(const Caller& caller, MapContext context);

}  // namespace coppice::host
