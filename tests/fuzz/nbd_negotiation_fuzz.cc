// tests/fuzz/nbd_negotiation_fuzz.cc — an NBD client that says anything while it negotiates.
//
// The first byte chooses how the rest arrives. Whatever the client says, the conversation ends, no
// lease of an export outlives it, and an export is only ever given to a client that named it.
#include "serve/nbd/fakes.h"

using namespace coppice;
using namespace coppice::serve;

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data, size));
  sim::Scheduler scheduler(data[0]);
  sim::Executor& home = scheduler.make_executor();
  nbd::fakes::MemoryDevice device(home, 64_KiB);
  nbd::fakes::FakeDirectory directory(device);
  const nbd::Limits limits{.options_max = 64, .option_bytes_max = 4096, .skip_bytes_max = 64_KiB};
  nbd::fakes::ScriptedSocket socket(home, {bytes.begin() + 1, bytes.end()});
  Prng prng(data[0]);
  if (data[0] % 4 != 0) socket.piece = [&] { return prng.below(data[0]); };
  {
    nbd::Lobby lobby(home, directory, limits);
    {
      auto negotiated = scheduler.run(home, lobby.negotiate(socket));
      CHECK(!negotiated || (negotiated->attachment != nullptr && directory.leases == 1));
      CHECK(!negotiated || negotiated->structured || !negotiated->allocation_context);
    }
    CHECK(lobby.connected() == 0 && lobby.negotiating() == 0);
    lobby.shutdown();
    CHECK(scheduler.run(home, lobby.drained()).has_value());
  }
  CHECK(directory.leases == 0);
  return 0;
}
