// bench/program_bench.cc — coppice-program-bench: the daemon's side of channel programs.
//
//   coppice-program-bench [COUNT] [FOLDER]
//
// Programs of COUNT verbs each (10,000) on a pool in an unlinked file in FOLDER (/tmp), asked for
// by an interpreter in this process that costs nothing: what is left is the daemon's work, from the
// first question to the durable commit. Then the time of a round trip over a real socket.
#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "channel/testing/fake_interpreter.h"
#include "channel/testing/workshop.h"
#include "io/net.h"

namespace coppice::channel {
namespace {

using message::Ask;
using message::Call;
using message::List;
using message::Record;

struct Series {
  size_t count = 0;
  Ask (*make)(size_t index) = nullptr;
  u64 asked_ns = 0;  // Of all questions, without begin and commit.

  static Task<> play(Series& self, Peer& peer) {
    Task<message::Begin> beginning = peer.begin();
    co_await ok(std::move(beginning));
    const u64 begun = peer.executor.now_ns();
    for (size_t i = 0; i < self.count; ++i) {
      Task<message::Answer> asking = peer.ask(self.make(i));
      const message::Answer answer = co_await ok(std::move(asking));
      if (answer.error != 0) {
        std::fprintf(stderr, "%zu: %s\n", i, answer.message.c_str());
        std::abort();
      }
    }
    self.asked_ns = peer.executor.now_ns() - begun;
    Task<> ending = peer.end({});
    co_return co_await std::move(ending);
  }
};

struct Walk {  // Of one long list, page by page.
  std::string what, name;
  size_t rows = 0;

  static Task<> play(Walk& self, Peer& peer) {
    Task<message::Begin> beginning = peer.begin();
    co_await ok(std::move(beginning));
    Task<message::Answer> listing = peer.ask(ask(Call::list, {self.what, self.name}));
    const message::Answer cursor = co_await ok(std::move(listing));
    for (i64 from = 0;;) {
      // Not decoded: that is the other side's work.
      Task<> sending = peer.raw(message::encode(ask(Call::page, {cursor.value, from, i64{4096}})));
      co_await ok(std::move(sending));
      Task<FrameStream::Frame> receiving = peer.next();
      const FrameStream::Frame frame = co_await ok(std::move(receiving));
      // error, fatal, [, 2, [, rows ... next
      const u32 rows = load_le<u32>(frame.body.data() + 4 + 1 + 5 + 1);
      const i64 next = load_le<i64>(frame.body.data() + frame.body.size() - 4 - 8);
      self.rows += rows;
      from = next;
      if (next == 0) break;
    }
    Task<> ending = peer.end({});
    co_return co_await std::move(ending);
  }
};

class Bench {
 public:
  Bench(size_t count, const std::string& folder)
      : count_(count),
        workshop_({.pool_bytes = 16_GiB, .folder = folder}),
        interpreters_(workshop_.sync()),
        programs_(interpreters_, workshop_.sync()) {}
  ~Bench() { must(workshop_.run(programs_.close()), "close"); }

  void series(const char* name, Ask (*make)(size_t), size_t count = 0) {
    Series series{.count = count != 0 ? count : count_, .make = make};
    interpreters_.script = [&series](Peer& peer) { return Series::play(series, peer); };
    const u64 ns = run();
    const double n = static_cast<double>(series.count);
    std::printf("%-38s %8zu %9.0f/s   of it asking %9.0f/s\n", name, series.count,
                n * 1e9 / static_cast<double>(ns), n * 1e9 / static_cast<double>(series.asked_ns));
    std::fflush(stdout);
  }
  void walk(const char* name, std::string what, std::string of) {
    Walk walk{.what = std::move(what), .name = std::move(of)};
    interpreters_.script = [&walk](Peer& peer) { return Walk::play(walk, peer); };
    const u64 ns = run();
    std::printf("%-38s %8zu %9.0f/s\n", name, walk.rows,
                static_cast<double>(walk.rows) * 1e9 / static_cast<double>(ns));
  }
  size_t count() const { return count_; }

 private:
  u64 run() {
    Program program{.name = "bench", .source = "-", .arguments = {}, .caller = "bench"};
    Task<Outcome> running = programs_.run(programs_.next_id(), workshop_.pool(), workshop_.exports,
                                          std::move(program), nullptr);
    const Outcome outcome = must(workshop_.run(std::move(running)), "run");
    if (outcome.error != 0) {
      std::fprintf(stderr, "%s\n", outcome.message.c_str());
      std::exit(1);
    }
    return outcome.elapsed_ns;
  }
  size_t count_;
  Workshop workshop_;
  FakeInterpreters interpreters_;
  Programs programs_;
};

std::string v(size_t i) { return "tank/v" + std::to_string(i); }
std::string c(size_t i) { return "tank/c" + std::to_string(i); }

void run_verbs(Bench& bench) {
  bench.series("create volumes",
               [](size_t i) { return do_verb("create", {v(i)}, {{"size", i64{1} << 20}}); });
  bench.series("snapshot each", [](size_t i) { return do_verb("snapshot", {v(i) + "@s"}); });
  bench.series("clone each", [](size_t i) { return do_verb("clone", {v(i) + "@s", c(i)}); });
  bench.series("set each", [](size_t i) {
    return do_verb("set", {v(i), Record{{"my:key", std::to_string(i)}}});
  });
  bench.series("reserve for each",
               [](size_t i) { return do_verb("set", {v(i), Record{{"reservation", "4K"}}}); });
  bench.series("reserve no more",
               [](size_t i) { return do_verb("set", {v(i), Record{{"reservation", "none"}}}); });
  bench.series("hold each", [](size_t i) { return do_verb("hold", {"t", v(i) + "@s"}); });
  bench.series("release each", [](size_t i) { return do_verb("release", {"t", v(i) + "@s"}); });
  bench.series("rename each clone",
               [](size_t i) { return do_verb("rename", {c(i), "tank/d" + std::to_string(i)}); });
  bench.series("promote each",
               [](size_t i) { return do_verb("promote", {"tank/d" + std::to_string(i)}); });
  bench.series("promote back", [](size_t i) { return do_verb("promote", {v(i)}); });
  bench.series("get used", [](size_t i) { return ask(Call::get, {v(i), "used"}); });
  bench.series("get available", [](size_t i) { return ask(Call::get, {v(i), "available"}); });
  bench.series("check destroy", [](size_t i) {
    return ask_verb(Call::check, "destroy", {"tank/d" + std::to_string(i)});
  });
  bench.series("set and get used in turn", [](size_t i) {
    return i % 2 == 0 ? do_verb("set", {v(i), Record{{"my:key", "x"}}})
                      : ask(Call::get, {v(i), "used"});
  });
  bench.series("destroy clones",
               [](size_t i) { return do_verb("destroy", {"tank/d" + std::to_string(i)}); });
  bench.series("destroy the snapshots", [](size_t i) { return do_verb("destroy", {v(i) + "@s"}); });
  bench.series("snapshot one volume",
               [](size_t i) { return do_verb("snapshot", {"tank/v0@" + std::to_string(i)}); });
  bench.walk("list its snapshots", "snapshots", "tank/v0");
  bench.series("get used of its snapshots",
               [](size_t i) { return ask(Call::get, {"tank/v0@" + std::to_string(i), "used"}); });
  bench.series("destroy them one by one",
               [](size_t i) { return do_verb("destroy", {"tank/v0@" + std::to_string(i)}); });
  bench.series("destroy the volumes", [](size_t i) { return do_verb("destroy", {v(i)}); });
  bench.walk("list children", "children", "tank");
}

// --- A round trip: a thread asks, a reactor answers, over a socket as a program's is.

Task<> answer_all(io::RingSocket& socket) {
  FrameStream stream(socket);
  const std::vector<std::byte> answer = message::encode(message::Answer{});
  for (;;) {
    Task<FrameStream::Frame> receiving = stream.next();
    const Result<FrameStream::Frame> frame = co_await std::move(receiving);
    if (!frame) co_return {};
    Task<> sending = stream.send(answer);
    co_await ok(std::move(sending));
  }
}

void round_trip(const char* name, u64 poll_ns, io::RingSocket::Options options) {
  constexpr int kTrips = 50'000;
  int ends[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  auto reactor = must(io::Reactor::create({.name = "sync", .poll_ns = poll_ns}), "reactor");
  reactor->start();
  io::RingSocket socket(*reactor, ends[0], options);
  std::thread asker([fd = ends[1]] {
    const std::vector<std::byte> question = message::encode(ask(Call::exists, {"tank"}));
    std::byte buffer[256];
    for (int i = 0; i < kTrips; ++i) {
      CHECK(::send(fd, question.data(), question.size(), 0) > 0);
      CHECK(::recv(fd, buffer, sizeof buffer, 0) > 0);
    }
    ::close(fd);
  });
  const u64 begun = reactor->now_ns();
  must(io::block_on(*reactor, answer_all(socket)), "answer");
  asker.join();
  std::printf("%-38s %8.2f us\n", name,
              static_cast<double>(reactor->now_ns() - begun) / 1000 / kTrips);
  reactor->stop();
  reactor->join();
}

int run(size_t count, const std::string& folder) {
  {
    Bench bench(count, folder);
    run_verbs(bench);
  }
  using Try = io::RingSocket::Try;
  round_trip("round trip, no polling, ring", 0, {.direct_receive = Try::never});
  round_trip("round trip, no polling, direct", 0, {.direct_receive = Try::always});
  round_trip("round trip, polling, ring", 30'000, {.direct_receive = Try::never});
  round_trip("round trip, polling, direct", 30'000, {.direct_receive = Try::always});
  return 0;
}

}  // namespace
}  // namespace coppice::channel

int main(int argc, char** argv) {
  const long count = argc > 1 ? std::atol(argv[1]) : 10'000;
  if (count <= 0 || argc > 3) {
    std::fprintf(stderr, "usage: coppice-program-bench [COUNT] [FOLDER]\n");
    return 2;
  }
  return coppice::channel::run(static_cast<size_t>(count), argc > 2 ? argv[2] : "/tmp");
}
