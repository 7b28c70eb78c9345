// bench/nbd_null.cc — coppice-nbd-null: an NBD server over nothing, to measure the server alone.
//
//   coppice-nbd-null SOCKET [--size BYTES] [--memory] [--poll-us N]
//
// Reads yield zeroes and writes vanish; with --memory the export keeps its content, in memory. One
// reactor serves all clients, until the process is killed.
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "io/net.h"
#include "rt/scope.h"
#include "serve/nbd/negotiation.h"
#include "serve/nbd/transmission.h"

namespace coppice {
namespace {

struct Arguments {
  std::string_view socket;
  u64 size_bytes = 4_GiB;
  bool memory = false;
  u64 poll_ns = 0;
};

class NullDevice final : public blk::Device {
 public:
  NullDevice(rt::Executor& executor, const Arguments& arguments)
      : executor_(executor), size_bytes_(arguments.size_bytes) {
    if (!arguments.memory) return;
    void* memory = ::mmap(nullptr, size_bytes_, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED);
    memory_ = static_cast<std::byte*>(memory);
  }
  NullDevice(const NullDevice&) = delete;
  ~NullDevice() override {
    if (memory_ != nullptr) ::munmap(memory_, size_bytes_);
  }
  rt::Executor& executor() override { return executor_; }
  u64 size_bytes() const override { return size_bytes_; }
  bool read_only() const override { return false; }
  Task<> read(u64 offset, std::span<std::byte> into) override {
    if (memory_ != nullptr) {
      std::memcpy(into.data(), memory_ + offset, into.size());
    } else {
      std::memset(into.data(), 0, into.size());
    }
    co_return {};
  }
  Task<> write(u64 offset, std::span<const std::byte> from, blk::WriteOptions) override {
    if (memory_ != nullptr) std::memcpy(memory_ + offset, from.data(), from.size());
    co_return {};
  }
  Task<> zero(u64 offset, u64 length, blk::WriteOptions) override {
    if (memory_ != nullptr) std::memset(memory_ + offset, 0, length);
    co_return {};
  }
  Task<> discard(u64 offset, u64 length, blk::WriteOptions options) override {
    return zero(offset, length, options);
  }
  Task<> flush() override { co_return {}; }
  // All data, so that reads are measured as reads of data.
  Task<std::vector<blk::Extent>> extents(u64 offset, u64 length, size_t) override {
    std::vector<blk::Extent> all{{.offset = offset, .length = length}};
    co_return std::move(all);
  }
  Task<> prefetch(u64, u64) override { co_return {}; }

 private:
  rt::Executor& executor_;
  u64 size_bytes_;
  std::byte* memory_ = nullptr;
};

using namespace serve::nbd;

// Every name is the one export.
class OneExport final : public Directory {
 public:
  explicit OneExport(blk::Device& device) : device_(device) {}
  class Lease final : public Attachment {
   public:
    Lease(blk::Device& device, std::string name) : device_(device) {
      info_.name = std::move(name);
      info_.size_bytes = device.size_bytes();
    }
    const ExportInfo& info() const override { return info_; }
    blk::Device& device() override { return device_; }

   private:
    blk::Device& device_;
    ExportInfo info_;
  };
  Task<std::vector<ExportName>> list() override {
    std::vector<ExportName> names(1);
    names[0].name = "null";
    co_return std::move(names);
  }
  Task<std::unique_ptr<Attachment>> open(std::string name) override {
    std::unique_ptr<Attachment> lease = std::make_unique<Lease>(device_, std::move(name));
    co_return std::move(lease);
  }

 private:
  blk::Device& device_;
};

Task<> serve(io::Reactor& reactor, Lobby& lobby, int fd) {
  io::RingSocket socket(reactor, fd);
  const Limits limits;
  auto negotiated = co_await lobby.negotiate(socket);
  if (!negotiated) co_return {};
  auto served = co_await serve_transmission(socket, *negotiated, limits);
  if (!served) std::fprintf(stderr, "%s\n", describe(served.error()).c_str());
  const Counters& counters = negotiated->counters;
  std::printf("%lu reads, %lu writes, %lu receives, %lu sends\n", counters.reads, counters.writes,
              counters.receives, counters.sends);
  std::fflush(stdout);
  co_return {};
}

Task<> accept_all(io::Reactor& reactor, Lobby& lobby, int fd) {
  io::Listener listener(reactor, fd);
  rt::Scope clients;
  for (;;) {
    auto accepted = co_await listener.accept();
    if (!accepted) break;
    clients.spawn(serve(reactor, lobby, *accepted));
  }
  auto joined = co_await clients.join();
  co_return joined;
}

Result<int> listen_on(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail(Errc::invalid, "naming a socket");
  std::memcpy(address.sun_path, path.data(), path.size());
  ::unlink(address.sun_path);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(Errc::io, "making a socket", errno);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd, 128) != 0)
    return fail(Errc::io, "listening on a socket", errno);
  return fd;
}

Result<> run(const Arguments& arguments) {
  TRY(const int fd, listen_on(arguments.socket));
  TRY(auto reactor, io::Reactor::create({.name = "nbd-null", .poll_ns = arguments.poll_ns}));
  NullDevice device(*reactor, arguments);
  OneExport exports(device);
  Lobby lobby(*reactor, exports, Limits{});
  struct Start : rt::Job {
    Task<> task;
    explicit Start(Task<> t) : task(std::move(t)) {
      run = [](rt::Job& job) { static_cast<Start&>(job).task.start(); };
    }
  };
  Start start(accept_all(*reactor, lobby, fd));
  reactor->post(start);
  reactor->run();
  return {};
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--memory")
      arguments.memory = true;
    else if (word == "--size" && i + 1 < argc)
      arguments.size_bytes = std::strtoull(argv[++i], nullptr, 0);
    else if (word == "--poll-us" && i + 1 < argc)
      arguments.poll_ns = 1000 * std::strtoull(argv[++i], nullptr, 0);
    else
      arguments.socket = word;
  }
  return arguments;
}

}  // namespace
}  // namespace coppice

int main(int argc, char** argv) {
  const auto arguments = coppice::parse(argc, argv);
  if (arguments.socket.empty()) {
    std::fprintf(stderr,
                 "usage: coppice-nbd-null SOCKET [--size BYTES] [--memory] [--poll-us N]\n");
    return 2;
  }
  const auto outcome = coppice::run(arguments);
  if (outcome) return 0;
  std::fprintf(stderr, "%s\n", coppice::describe(outcome.error()).c_str());
  return 1;
}
