// Frames of a daemon's, to a program that asks everything there is to ask. Property: whatever
// comes, the program ends, with no more instructions and memory than it may have, and what it says
// of that decodes.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "base/check.h"
#include "helper/lua/run.h"

namespace {

using namespace coppice;  // NOLINT(google-build-using-namespace)

constexpr u64 kInstructionsMax = 50'000;
constexpr u64 kMemoryBytesMax = 4_MiB;

// Goes on after errors, so that one input reaches many answers.
constexpr const char* kProgram = R"(
local results = {}
local function try(f, ...) results[#results + 1] = select("#", pcall(f, ...)) end
try(pool.exists, "tank")
try(pool.get, "tank", "used")
try(function()
  for name, value in pool.list.properties("tank") do
    results[#results + 1] = name
    if #results % 3 == 0 then pool.sync.set("tank", {a = value}) end
  end
end)
try(function() for a, b, c in zfs.list.holds("tank/v@s") do results[#results + 1] = {a, b, c} end end)
try(zfs.list.system_properties, "tank")
try(zfs.get_prop, "tank", "type")
try(zfs.sync.promote, "tank/c")
try(pool.check.create, "tank/v")
try(pool.savepoint, function(...) return pool.try.create{"tank/v", size = 5}, ... end, 1)
try(pool.savepoint, function() error("undo") end)
try(pool.note, "here")
return results
)";

// Answers come from `data`; what is asked is read and thrown away, so that nobody waits.
void drain(int socket) {
  char bytes[4096];
  while (recv(socket, bytes, sizeof bytes, 0) > 0) continue;
}

void run(lua::Stream& stream, const message::Begin& begin) {
  lua::Arena arena({.reserve_bytes = 1_GiB, .cap_bytes = 64_MiB});
  lua::Machine machine(arena);
  CHECK(lua::prepare(machine, {{"clone", "clone snapshot name"},
                               {"create", "create name"},
                               {"destroy", "destroy names"},
                               {"promote", "promote name"},
                               {"set", "set names properties"}}));
  const message::End end = lua::run_program(machine, stream, begin);
  CHECK(end.instructions <= begin.instructions_max);
  CHECK(end.memory_peak_bytes <= begin.memory_bytes_max);
  CHECK(machine.stop != lua::Stop::lost || end.ending == message::Ending::failed);
  const auto bytes = message::encode(end);
  CHECK(bytes.size() <= message::kFrameBytesMax + sizeof(u32));
  CHECK(message::decode<message::End>(std::span(bytes).subspan(message::kFrameHeadBytes)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr size_t kSentMax = 64 * 1024;  // What a socket takes without a reader.
  if (size == 0) return 0;
  int sockets[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
  size = std::min(size, kSentMax);
  CHECK(size == 1 || send(sockets[0], data + 1, size - 1, 0) == static_cast<ssize_t>(size - 1));
  shutdown(sockets[0], SHUT_WR);
  std::thread reader(drain, sockets[0]);
  {
    lua::Stream stream(sockets[1]);
    message::Begin begin;
    bool begun = true;
    if (data[0] % 2 == 0) {  // Else the Begin comes from there as well.
      begin = {.sync = true, .pool = "tank", .name = "fuzz", .source = kProgram};
    } else {
      const auto bytes = stream.receive(message::FrameKind::begin);
      auto decoded = bytes ? message::decode<message::Begin>(*bytes) : std::nullopt;
      begun = decoded.has_value();
      if (begun) begin = std::move(*decoded);
    }
    begin.instructions_max = kInstructionsMax;
    begin.memory_bytes_max = kMemoryBytesMax;
    if (begun) run(stream, begin);
  }
  close(sockets[1]);
  reader.join();
  close(sockets[0]);
  return 0;
}
