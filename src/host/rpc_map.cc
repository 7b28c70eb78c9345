// host/rpc_map.cc — Map objects: what is in the maps of loaded programs.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "bpf/object/type_section.h"
#include "bpf/ring_buffer.h"
#include "host/rpc_link.h"

namespace coppice::host {
namespace {

// As bpftool spells it.
const char* wire_kind(bpf::MapKind kind) {
  switch (kind) {
    case bpf::MapKind::hash: return "hash";
    case bpf::MapKind::array: return "array";
    case bpf::MapKind::program_array: return "prog_array";
    case bpf::MapKind::percpu_hash: return "percpu_hash";
    case bpf::MapKind::percpu_array: return "percpu_array";
    case bpf::MapKind::lru_hash: return "lru_hash";
    case bpf::MapKind::lpm_trie: return "lpm_trie";
    case bpf::MapKind::queue: return "queue";
    case bpf::MapKind::stack: return "stack";
    case bpf::MapKind::ringbuf: return "ringbuf";
  }
  return "unknown";
}

// --- Maps ---------------------------------------------------------------------------------------

class MapServer final : public schema::Map::Server {
 public:
  MapServer(Caller caller, MapView view) : caller_(std::move(caller)), view_(std::move(view)) {}

  kj::Promise<void> info(InfoContext context) override {
    write(context.getResults().initValue(), view_);
    return kj::READY_NOW;
  }

  kj::Promise<void> get(GetContext context) override {
    const auto key = context.getParams().getKey();
    if (key.size() != spec().key_size) return wrong_size(context, "key", spec().key_size);
    std::vector<std::byte> value(map().value_bytes());
    const int result = map().read(bytes_of(key), value);
    if (result != 0) return refuse(context, -result, "there is no such element");
    context.getResults().setValue(data_of(value));
    return kj::READY_NOW;
  }

  kj::Promise<void> set(SetContext context) override {
    const auto params = context.getParams();
    const auto value = params.getValue();
    if (view_.map->frozen)
      return refuse(context, EPERM, "its programs were verified with what is in it: it is frozen");
    if (params.getKey().size() != spec().key_size)
      return wrong_size(context, "key", spec().key_size);
    if (value.size() != map().value_bytes())
      return wrong_size(context, "value", map().value_bytes());
    u64 flags = bpf::kAny;
    if (params.getCreate() && !params.getReplace()) flags = bpf::kNoExist;
    if (params.getReplace() && !params.getCreate()) flags = bpf::kExist;
    const int result =
        map().write(bytes_of(params.getKey()), {bytes_of(value), value.size()}, flags);
    if (result != 0) return refuse(context, -result, "the element was not set");
    context.getResults().initValue();
    return kj::READY_NOW;
  }

  kj::Promise<void> remove(RemoveContext context) override {
    const auto key = context.getParams().getKey();
    if (view_.map->frozen) return refuse(context, EPERM, "it is frozen");
    if (key.size() != spec().key_size) return wrong_size(context, "key", spec().key_size);
    const int result = map().remove(bytes_of(key));
    if (result != 0) return refuse(context, -result, "the element was not removed");
    context.getResults().initValue();
    return kj::READY_NOW;
  }

  kj::Promise<void> dump(DumpContext context) override {
    constexpr u32 kCountDefault = 1000, kCountMax = 10'000;
    constexpr size_t kBytesMax = 8_MiB;
    const auto params = context.getParams();
    const auto after = params.getAfter();
    if (after.size() != 0 && after.size() != spec().key_size)
      return wrong_size(context, "key", spec().key_size);
    const u32 wanted = params.getCountMax() == 0 ? kCountDefault : params.getCountMax();
    const size_t element = spec().key_size + map().value_bytes();
    const size_t count_max = std::max<size_t>(
        std::min<size_t>(std::min(wanted, kCountMax), kBytesMax / std::max<size_t>(element, 1)), 1);
    std::vector<std::byte> key(after.size() == 0 ? 0 : spec().key_size);
    std::copy(after.begin(), after.end(), reinterpret_cast<kj::byte*>(key.data()));
    std::vector<std::pair<std::vector<std::byte>, std::vector<std::byte>>> found;
    while (found.size() < count_max) {
      std::vector<std::byte> next(spec().key_size);
      if (map().next_key(key.empty() ? nullptr : key.data(), next.data()) != 0) break;
      std::vector<std::byte> value(map().value_bytes());
      if (map().read(next.data(), value) == 0) found.emplace_back(next, std::move(value));
      key = std::move(next);
    }
    auto list = context.getResults().initValue(static_cast<u32>(found.size()));
    for (u32 i = 0; i < list.size(); ++i) {
      list[i].setKey(data_of(found[i].first));
      list[i].setValue(data_of(found[i].second));
    }
    return kj::READY_NOW;
  }

  kj::Promise<void> ring(RingContext context) override {
    if (spec().kind != bpf::MapKind::ringbuf)
      return refuse(context, EINVAL, "it is no ring buffer");
    const auto& ring = static_cast<bpf::RingBuffer&>(map());
    const auto copy = [](int fd) { return cap::Fd(fcntl(fd, F_DUPFD_CLOEXEC, 3)); };
    cap::Fd consumer = copy(ring.consumer_fd()), data = copy(ring.ring_fd()),
            event = copy(ring.event_fd());
    if (!consumer || !data || !event)
      return refuse(context, EMFILE, "there are no descriptors left");
    auto files = context.getResults().initValue();
    files.setConsumer(kj::heap<Carrier<schema::File>>(std::move(consumer)));
    files.setRing(kj::heap<Carrier<schema::File>>(std::move(data)));
    files.setEvent(kj::heap<Carrier<schema::File>>(std::move(event)));
    files.setBytes(spec().max_entries);
    return kj::READY_NOW;
  }

  kj::Promise<void> pin(PinContext context) override {
    Daemon& daemon = *caller_.daemon;
    return reply(daemon, context,
                 on_sync(daemon, daemon.pins().keep_map(view_.map->id, caller_.who)), done);
  }

  kj::Promise<void> types(TypesContext context) override {
    const auto file = bpf::ElfFile::read(*view_.map->object);
    const auto types = file ? bpf::read_type_section(*file) : std::vector<std::byte>();
    if (types) context.getResults().setValue(data_of(*types));
    return kj::READY_NOW;
  }

 private:
  static const std::byte* bytes_of(capnp::Data::Reader data) {
    return reinterpret_cast<const std::byte*>(data.begin());
  }
  static capnp::Data::Reader data_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
  }
  bpf::Map& map() { return *view_.map->map; }
  const bpf::MapSpec& spec() { return map().spec(); }
  template <class Context>
  kj::Promise<void> refuse(Context& context, int error, std::string_view why) {
    write_refusal(context.getResults().initRefusal(),
                  {error, fmt::format("the map '{}': {}", view_.map->name, why), {}});
    return kj::READY_NOW;
  }
  template <class Context>
  kj::Promise<void> wrong_size(Context& context, std::string_view what, size_t size) {
    return refuse(context, EINVAL, fmt::format("a {} has {} bytes", what, size));
  }
  static void write(schema::MapInfo::Builder to, const MapView& view) { host::write(to, view); }

  Caller caller_;
  MapView view_;
};

}  // namespace

Task<Attempt<std::vector<MapView>>> list_maps(Hooks& hooks) {
  co_return Attempt<std::vector<MapView>>(hooks.maps());
}

void write_maps(capnp::List<schema::MapEntry>::Builder to, const Caller& caller,
                const std::vector<MapView>& views) {
  for (u32 i = 0; i < to.size(); ++i) {
    to[i].setMap(kj::heap<MapServer>(caller, views[i]));
    write(to[i].initInfo(), views[i]);
  }
}

void write(schema::MapInfo::Builder to, const MapView& view) {
  const hook::SharedMap& map = *view.map;
  const bpf::MapSpec& spec = map.map->spec();
  to.setId(map.id);
  to.setName(map.name);
  to.setKind(wire_kind(spec.kind));
  to.setKeySize(spec.key_size);
  to.setValueSize(spec.value_size);
  to.setValueBytes(static_cast<u32>(map.map->value_bytes()));
  to.setMaxEntries(spec.max_entries);
  to.setReadOnly(map.read_only);
  to.setFrozen(map.frozen);
  to.setKeyType(map.key_type);
  to.setValueType(map.value_type);
  auto links = to.initLinks(static_cast<u32>(view.links.size()));
  for (u32 i = 0; i < links.size(); ++i) links.set(i, view.links[i]);
}

kj::Promise<void> reply_maps(const Caller& caller, MapsContext context) {
  Daemon& daemon = *caller.daemon;
  return reply(daemon, context, on_sync(daemon, list_maps(daemon.hooks())),
               [caller](auto& results, const std::vector<MapView>& views) {
                 write_maps(results.initValue(static_cast<u32>(views.size())), caller, views);
               });
}

kj::Promise<void> reply_map(const Caller& caller, MapContext context) {
  Daemon& daemon = *caller.daemon;
  return reply(
      daemon, context, on_sync(daemon, list_maps(daemon.hooks())),
      [caller, id = context.getParams().getId()](auto& results, const std::vector<MapView>& views) {
        for (const MapView& view : views) {
          if (view.map->id != id) continue;
          results.setValue(kj::heap<MapServer>(caller, view));
          return;
        }
        write_refusal(results.initRefusal(), {ENOENT, fmt::format("there is no map {}", id), {}});
      });
}

}  // namespace coppice::host
