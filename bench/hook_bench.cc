// bench/hook_bench.cc — coppice-hook-bench: what programs on hooks cost those who are served.
//
//   coppice-hook-bench HOOKED-OBJECT MEASURED-OBJECT LATENCY-OBJECT COPPICE-JIT [MILLISECONDS]
//
// Prints JSON: the best nanoseconds of a request to a device that does nothing, bare and with
// programs; the least milliseconds to draft and publish 64 programs on 1,000 volumes, and the
// longest time between two requests meanwhile (the median of several swaps); microseconds to attach
// what was compiled before; records a second through a ring buffer to another process. Each
// measurement of the first kind lasts so many milliseconds (100).
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <thread>

#include "bpf/ring_buffer.h"
#include "bpf_kernel.h"
#include "hook/hooked_device.h"
#include "hook/host_types.h"
#include "hook/sink.h"
#include "hook/table.h"
#include "io/block_on.h"
#include "io/reactor.h"
#include "rounds.h"
#include "trace/fire.h"

namespace coppice::hook {
namespace {

constexpr u64 kVolumes = 1000, kPrograms = 64;
constexpr int kSwaps = 15;
constexpr u64 kRecords = 10'000'000;

template <class T, class E>
T need(std::expected<T, E> result, const char* what) {
  if (result) return *std::move(result);
  fmt::print(stderr, "coppice-hook-bench: cannot {}\n", what);
  std::exit(1);
}

class NullDevice final : public blk::Device {
 public:
  explicit NullDevice(rt::Executor& executor) : executor_(executor) {}
  rt::Executor& executor() override { return executor_; }
  u64 size_bytes() const override { return u64{1} << 40; }
  bool read_only() const override { return false; }
  Task<> read(u64, std::span<std::byte>) override { co_return {}; }
  Task<> write(u64, std::span<const std::byte>, blk::WriteOptions) override { co_return {}; }
  Task<> zero(u64, u64, blk::WriteOptions) override { co_return {}; }
  Task<> discard(u64, u64, blk::WriteOptions) override { co_return {}; }
  Task<> flush() override { co_return {}; }
  Task<std::vector<blk::Extent>> extents(u64, u64, size_t) override {
    co_return std::vector<blk::Extent>{};
  }
  Task<> prefetch(u64, u64) override { co_return {}; }

 private:
  rt::Executor& executor_;
};

// 1 is the pool; all others lie right below it.
class Flat final : public Table::Datasets {
 public:
  std::vector<Target> path_of(const Target& dataset) const override {
    if (dataset.dataset == 1) return {dataset};
    return {{.pool = dataset.pool, .dataset = 1}, dataset};
  }
};

using Object = std::shared_ptr<const std::vector<std::byte>>;
Object object_at(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
}

constexpr Target target(u64 dataset) { return {.pool = 7, .dataset = dataset}; }

// Two lanes: the table's home, and one that serves.
struct Bed {
  Bed(const char* hooked_path, const char* latency_path, const char* jit)
      : types(need(Types::make(header_types()), "read the types of hooks")),
        compiler({.helper = jit}),
        loader(*types, compiler, 2, ""),
        hooked(object_at(hooked_path)),
        latency(object_at(latency_path)) {
    std::vector<Lane*> pointers;
    for (u32 slot = 0; slot < 2; ++slot) {
      reactors.push_back(need(io::Reactor::create({.name = "lane"}), "make a reactor"));
      lanes.push_back(
          std::make_unique<Lane>(*reactors.back(), dispatch, slot, [](std::string_view) {}));
      pointers.push_back(lanes.back().get());
    }
    table = std::make_unique<Table>(pointers, dispatch, datasets, 1);
    trace::set_sink(&sink);
  }
  // Once nothing is to be forked any more.
  void start() {
    for (const auto& each : reactors) each->start();
  }
  void stop() {
    CHECK(io::block_on(*reactors[0], table->close()).has_value());
    for (const auto& each : reactors) each->stop();
    for (const auto& each : reactors) each->join();
  }
  std::shared_ptr<const Instance> load(const Object& object) {
    auto instance = need(loader.load({.object = object}), "load an object");
    for (const auto& program : instance->programs)
      need(program.native ? std::expected<bool, bool>(true) : std::unexpected(false), "compile");
    return instance;
  }
  Link link_of(const std::shared_ptr<const Instance>& instance, const std::string& program,
               u64 dataset) {
    Link link;
    link.id = table->next_id();
    link.point = {.target = target(dataset), .type = instance->find(program)->point};
    link.instance = instance;
    link.program = program;
    link.counters = std::make_shared<Counters>(table->slots());
    return link;
  }
  LinkId attach(const std::shared_ptr<const Instance>& instance, const std::string& program,
                u64 dataset) {
    Draft draft = table->draft();
    Link link = link_of(instance, program, dataset);
    const LinkId id = link.id;
    CHECK(draft.add(std::move(link), {}).has_value());
    CHECK(table->publish(std::move(draft)).has_value());
    return id;
  }
  void detach(LinkId id) {
    Draft draft = table->draft();
    draft.remove(id);
    CHECK(table->publish(std::move(draft)).has_value());
  }

  std::unique_ptr<Types> types;
  bpf::Compiler compiler;
  Loader loader;
  Object hooked, latency;
  std::vector<std::unique_ptr<io::Reactor>> reactors;
  Dispatch dispatch;
  Flat datasets;
  std::vector<std::unique_ptr<Lane>> lanes;
  std::unique_ptr<Table> table;
  Sink sink;
};

void request(blk::Device& device) {
  auto task = device.read(0, {});
  task.start();
  CHECK(task.finished());
}

// --- Requests -----------------------------------------------------------------------------------

bpf::RingBuffer& ring_of(const Instance& instance) {
  bpf::Map& map = *instance.maps.front()->map;
  CHECK(map.spec().kind == bpf::MapKind::ringbuf);
  return static_cast<bpf::RingBuffer&>(map);
}
bpf::RingReader reader_of(const bpf::RingBuffer& ring) {
  return need(bpf::RingReader::open(ring.consumer_fd(), ring.ring_fd(), ring.spec().max_entries),
              "map");
}

// A tracepoint whose program records what it sees; the ring is emptied outside of the time.
Engine emptied(const coppice_io_submit& view, bpf::RingBuffer& ring) {
  static constexpr u64 kPiece = 65'536;  // Of 32 bytes: half of the ring.
  return [view, &ring](u64 times) {
    auto reader = reader_of(ring);
    double taken = 0;
    for (u64 left = times; left > 0;) {
      const u64 piece = std::min(left, kPiece), begun = now_ns();
      for (u64 i = 0; i < piece; ++i) trace::fire(view);
      taken += static_cast<double>(now_ns() - begun);
      CHECK(reader.poll([](std::span<const std::byte>) {}) == piece);
      left -= piece;
    }
    return taken;
  };
}

// Volumes of different datasets, so that all are measured in one generation; what a tracepoint
// costs comes last, for it is everybody's.
Task<> measure_requests(Bed& bed, u64 round_ns, std::string& json) {
  Lane& lane = *bed.lanes[0];
  lane.bind_thread();
  NullDevice null(*bed.reactors[0]);
  const auto hooked = bed.load(bed.hooked), latency = bed.load(bed.latency);
  struct Case {
    const char* name;
    std::vector<std::string> programs;
    u32 times = 1;
  };
  const std::vector<Case> cases = {{"nothing", {}},
                                   {"empty_submit", {"submit"}},
                                   {"empty_complete", {"complete"}},
                                   {"empty_both", {"submit", "complete"}},
                                   {"ten_submit", {"submit"}, 10},
                                   {"ten_complete", {"complete"}, 10},
                                   {"histogram", {"latency"}}};
  std::vector<std::unique_ptr<HookedDevice>> devices;
  std::vector<Measured> all;
  all.push_back({"bare", timed([&] { request(null); })});
  u64 dataset = 10;
  for (const Case& each : cases) {
    bed.table->watch(target(++dataset));
    for (u32 i = 0; i < each.times; ++i)
      for (const auto& program : each.programs)
        bed.attach(program == "latency" ? latency : hooked, program, dataset);
    devices.push_back(std::make_unique<HookedDevice>(
        lane, null, HookedDevice::Who{.volume = target(dataset), .client = 1}));
    all.push_back({each.name, timed([device = devices.back().get()] { request(*device); })});
  }
  measure(all, round_ns);
  const LinkId tracing = bed.attach(hooked, "seen", 0);
  all.push_back({"tracepoint", timed([device = devices.front().get()] { request(*device); })});
  const coppice_io_submit view{};
  all.push_back({"tracepoint_alone", timed([&] { trace::fire(view); })});
  std::vector<Measured> traced(all.end() - 2, all.end());
  measure(traced, round_ns);
  std::copy(traced.begin(), traced.end(), all.end() - 2);
  bed.detach(tracing);
  const LinkId recording = bed.attach(hooked, "record", 0);
  std::vector<Measured> recorded{{"tracepoint_record", emptied(view, ring_of(*hooked))}};
  measure(recorded, round_ns);
  all.push_back(recorded.front());
  bed.detach(recording);
  for (const Measured& each : all)
    json += fmt::format("{}\"{}\": {:.2f}", json.empty() ? "" : ", ", each.name, each.best_ns);
  devices.clear();
  co_await ok(bed.table->settled());
  co_return {};
}

// --- Swaps --------------------------------------------------------------------------------------

// The longest time from one request's end to the next one's, since it was asked last.
struct Client {
  Bed& bed;
  std::atomic<bool> done = false;
  std::atomic<u64> longest_ns = 0;
  Task<> serve() {
    NullDevice null(*bed.reactors[1]);
    HookedDevice device(*bed.lanes[1], null, {.volume = target(1001), .client = 1});
    for (u64 last = now_ns(); !done;) {
      for (int i = 0; i < 100; ++i) {
        request(device);
        const u64 now = now_ns();
        if (now - last > longest_ns.load(std::memory_order_relaxed)) longest_ns = now - last;
        last = now;
      }
      co_await rt::yield(*bed.reactors[1]);
    }
    co_return {};
  }
};

struct Swapped {
  std::vector<double> draft_ms, publish_ms, settle_ms, pause_us, idle_us;
};
double middle(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}
double since(u64 begun, double unit) { return static_cast<double>(now_ns() - begun) / unit; }

// All links change their program, between two instances of it.
Task<> swap_all(Bed& bed, std::vector<LinkId> links, std::shared_ptr<const Instance> next,
                Client& client, Swapped& swapped) {
  client.longest_ns = 0;
  co_await rt::sleep_for(*bed.reactors[0], 20'000'000);
  swapped.idle_us.push_back(static_cast<double>(client.longest_ns.exchange(0)) / 1e3);
  u64 begun = now_ns();
  Draft draft = bed.table->draft();
  for (const LinkId id : links) {
    Link link = *draft.find(id);
    link.instance = next;
    draft.replace(std::move(link));
  }
  swapped.draft_ms.push_back(since(begun, 1e6));
  begun = now_ns();
  CHECK(bed.table->publish(std::move(draft)).has_value());
  swapped.publish_ms.push_back(since(begun, 1e6));
  begun = now_ns();
  co_await ok(bed.table->settled());
  swapped.settle_ms.push_back(since(begun, 1e6));
  co_await rt::sleep_for(*bed.reactors[0], 1'000'000);
  swapped.pause_us.push_back(static_cast<double>(client.longest_ns.exchange(0)) / 1e3);
  co_return {};
}

// The links of one place: 64 on the pool, or 64 on each volume.
Task<> measure_swaps(Bed& bed, bool on_each, Client& client, std::string& json) {
  const std::shared_ptr<const Instance> versions[] = {bed.load(bed.hooked), bed.load(bed.hooked)};
  for (u64 i = 0; i < kVolumes; ++i) bed.table->watch(target(1001 + i));
  std::vector<LinkId> links;
  Draft first = bed.table->draft();
  for (u64 i = 0; i < (on_each ? kVolumes : 1); ++i) {
    for (u64 n = 0; n < kPrograms; ++n) {
      Link link = bed.link_of(versions[0], "submit", on_each ? 1001 + i : 1);
      links.push_back(link.id);
      CHECK(first.add(std::move(link), {}).has_value());
    }
  }
  CHECK(bed.table->publish(std::move(first)).has_value());
  Swapped swapped;
  for (int i = 1; i <= kSwaps; ++i)
    co_await ok(swap_all(bed, links, versions[i % 2], client, swapped));
  json += fmt::format(
      "\"links\": {}, \"draft_ms\": {:.3f}, \"publish_ms\": {:.3f}, \"settle_ms\": {:.3f}, "
      "\"pause_us\": {:.1f}, \"pause_us_max\": {:.1f}, \"pause_us_without\": {:.1f}",
      links.size(), middle(swapped.draft_ms), middle(swapped.publish_ms), middle(swapped.settle_ms),
      middle(swapped.pause_us), std::ranges::max(swapped.pause_us), middle(swapped.idle_us));
  Draft last = bed.table->draft();
  for (const LinkId id : links) last.remove(id);
  CHECK(bed.table->publish(std::move(last)).has_value());
  for (u64 i = 0; i < kVolumes; ++i) bed.table->unwatch(target(1001 + i));
  co_await ok(bed.table->settled());
  co_return {};
}

// --- Attaching ----------------------------------------------------------------------------------

// From the object's bytes to a generation that runs it: its code is in the compiler's cache.
Task<> measure_attach(Bed& bed, std::string& json) {
  double best_us = 1e300, load_us = 1e300;
  for (int i = 0; i < kRounds; ++i) {
    const u64 begun = now_ns();
    auto instance = need(bed.loader.load({.object = bed.hooked, .programs = {"submit"}}), "load");
    load_us = std::min(load_us, since(begun, 1e3));
    const LinkId id = bed.attach(instance, "submit", 1);
    best_us = std::min(best_us, since(begun, 1e3));
    bed.detach(id);
    co_await ok(bed.table->settled());
  }
  json += fmt::format("\"attach_us\": {:.1f}, \"load_us\": {:.1f}", best_us, load_us);
  co_return {};
}

// --- Records to another process -----------------------------------------------------------------

// The consumer: sleeps until there are records, takes all there are.
[[noreturn]] void consume(bpf::RingBuffer& ring, std::atomic<u64>& consumed) {
  auto reader = reader_of(ring);
  for (;;) {
    pollfd waiting{.fd = ring.event_fd(), .events = POLLIN, .revents = 0};
    ::poll(&waiting, 1, 10);
    u64 wakes = 0;
    [[maybe_unused]] const auto got = ::read(ring.event_fd(), &wakes, sizeof wakes);
    while (const u64 taken = reader.poll([](std::span<const std::byte>) {})) consumed += taken;
  }
}

std::string measure_ring(Bed& bed) {
  const auto instance = bed.load(bed.hooked);
  auto& ring = ring_of(*instance);
  void* shared = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
  auto& consumed = *new (shared) std::atomic<u64>(0);
  const pid_t child = ::fork();
  CHECK(child >= 0);
  if (child == 0) consume(ring, consumed);
  const auto bound = bind(bed.link_of(instance, "record", 0));
  Runner& runner = bed.lanes[0]->runner();
  const u64 begun = now_ns();
  u64 full = 0, result = 0;
  coppice_io_submit view{};
  for (view.request = 0; view.request < kRecords;) {
    CHECK(runner.run(*bound, &view, nullptr, result) == Ran::ok);
    if (result == 0) {
      ++view.request;
    } else if (++full % 64 == 0) {
      std::this_thread::yield();
    }
  }
  while (consumed < kRecords) std::this_thread::yield();
  const double seconds = since(begun, 1e9);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::munmap(shared, 4096);
  return fmt::format("\"ring_millions_a_second\": {:.2f}, \"ring_full\": {}",
                     static_cast<double>(kRecords) / seconds / 1e6, full);
}

// The kernel's empty program, where it lets us.
std::string measure_kernel(const char* path) {
  const Object bytes = object_at(path);
  const auto object = need(bpf::Object::read(*bytes, {.only = "empty"}), "read an object");
  const auto peer = bpf::KernelPeer::make(object);
  const int loaded = peer != nullptr ? peer->load(object.programs().front()) : -1;
  if (loaded < 0) return "null";
  double best = 1e300;
  for (int round = 0; round < kRounds; ++round)
    if (const double ns = peer->run(loaded, 10'000); ns >= 0) best = std::min(best, ns);
  return best < 1e300 ? fmt::format("{:.2f}", best) : "null";
}

int run(int argc, char** argv) {
  if (argc < 5) {
    fmt::print(stderr,
               "usage: coppice-hook-bench HOOKED-OBJECT MEASURED-OBJECT LATENCY-OBJECT COPPICE-JIT "
               "[MILLISECONDS]\n");
    return 2;
  }
  const u64 round_ns = (argc > 5 ? std::strtoull(argv[5], nullptr, 10) : 100) * 1'000'000 / kRounds;
  Bed bed(argv[1], argv[3], argv[4]);
  const std::string ring = measure_ring(bed);
  bed.start();
  rt::Executor& home = *bed.reactors[0];
  std::string requests, group, each, attach;
  CHECK(io::block_on(home, measure_requests(bed, round_ns, requests)).has_value());
  CHECK(io::block_on(home, measure_attach(bed, attach)).has_value());
  Client client{.bed = bed};
  std::thread serving([&] { CHECK(io::block_on(*bed.reactors[1], client.serve()).has_value()); });
  CHECK(io::block_on(home, measure_swaps(bed, false, client, group)).has_value());
  CHECK(io::block_on(home, measure_swaps(bed, true, client, each)).has_value());
  client.done = true;
  serving.join();
  bed.stop();
  fmt::print(
      "{{\"request_ns\": {{{}}},\n \"swap\": {{\"group\": {{{}}},\n  \"volumes\": {{{}}}}},\n "
      "{}, {}, \"kernel_empty_ns\": {}}}\n",
      requests, group, each, attach, ring, measure_kernel(argv[2]));
  return 0;
}

}  // namespace
}  // namespace coppice::hook

int main(int argc, char** argv) { return coppice::hook::run(argc, argv); }
