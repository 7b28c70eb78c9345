// tests/fuzz/nbd_transmission_fuzz.cc — an NBD client that asks for anything of its export.
//
// The first byte chooses the dialect, the limits, and how the rest arrives. Whatever the client
// says, the connection ends, nothing of it is still running, and the device saw no request that it
// may not see (it checks its ranges itself).
#include "serve/nbd/fakes.h"

using namespace coppice;
using namespace coppice::serve;

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
  if (size == 0) return 0;
  const u8 choice = data[0];
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
  sim::Scheduler scheduler(choice);
  sim::Executor& home = scheduler.make_executor();
  nbd::fakes::MemoryDevice device(home, 1_MiB);
  nbd::fakes::FakeDirectory directory(device);
  nbd::Limits limits{.request_bytes_max = 512_KiB, .skip_bytes_max = 1_MiB};
  Prng prng(choice);
  if ((choice & 1) != 0) device.delays = &prng;
  if ((choice & 2) != 0) limits.requests_in_flight_max = 3;
  if ((choice & 4) != 0) limits.bytes_in_flight_max = 8192;
  nbd::fakes::Script script;
  script.hello();
  if ((choice & 8) != 0) script.structured();
  if ((choice & 16) != 0)
    script.contexts(nbd::wire::Option::set_meta_context, "tank/vm", {"base:allocation"});
  script.go((choice & 32) != 0 ? "tank/ro" : "tank/vm");
  script.bytes.insert(script.bytes.end(), bytes.begin(), bytes.end());
  nbd::fakes::ScriptedSocket socket(home, std::move(script.bytes));
  if ((choice & 64) != 0) socket.piece = [&] { return prng.below(100); };
  if ((choice & 128) != 0) socket.hangs_up_after = 1000;
  nbd::Counters counters;
  {
    nbd::Lobby lobby(home, directory, limits);
    (void)scheduler.run(home, nbd::fakes::visit(lobby, socket, limits, counters));
    CHECK(lobby.connected() == 0 && lobby.negotiating() == 0);
    lobby.shutdown();
    CHECK(scheduler.run(home, lobby.drained()).has_value());
  }
  CHECK(directory.leases == 0 && device.running == 0);
  CHECK(device.running_max <= limits.requests_in_flight_max + 64);  // A sparse read is several.
  return 0;
}
