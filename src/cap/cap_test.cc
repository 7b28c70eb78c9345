// The bridge between coroutines and promises, and the transport: clients that die, that lie, that
// send much.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/io.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "cap/descriptor.h"
#include "cap/loop.h"
#include "cap/server.h"
#include "schema/coppice.capnp.h"

namespace coppice::cap {
namespace {

// A thread that runs what is posted to it: the simplest reactor.
class Lane final : public rt::Executor {
 public:
  Lane() : thread_([this] { loop(); }) {}
  ~Lane() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  void post(rt::Job& job) override {
    {
      const std::lock_guard lock(mutex_);
      jobs_.push_back(&job);
    }
    changed_.notify_one();
  }
  void post_at(u64, rt::Job& job) override { post(job); }
  u64 now_ns() const override { return 0; }
  u64 wall_ns() const override { return 0; }
  std::thread::id thread() const { return thread_.get_id(); }

 private:
  void loop() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return ending_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      rt::Job* job = jobs_.front();
      jobs_.erase(jobs_.begin());
      lock.unlock();
      job->run(*job);
      lock.lock();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<rt::Job*> jobs_;
  bool ending_ = false;
  std::thread thread_;
};

Task<std::thread::id> where_am_i() { co_return std::this_thread::get_id(); }

Task<std::thread::id> ask(rt::Executor& home, rt::Executor& there) {
  auto task = where_am_i();
  auto answer = co_await rt::call(home, there, std::move(task));
  EXPECT_TRUE(answer.has_value());
  co_return *answer;
}

Task<> refuse() { co_return fail(Errc::busy, "test", "as it should"); }

Task<> sleep_and_set(rt::Executor& executor, u64 ns, bool& done) {
  co_await rt::sleep_for(executor, ns);
  done = true;
  co_return {};
}

TEST(Loop, TakesATaskToAnotherThreadAndBack) {
  auto io = kj::setupAsyncIo();
  Lane lane;
  Loop loop(io);
  for (int i = 0; i < 200; ++i) {
    auto answer = loop.start(ask(loop, lane)).wait(io.waitScope);
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(*answer, lane.thread());
  }
  EXPECT_EQ(loop.running(), 0u);
}

TEST(Loop, GivesBackTheError) {
  auto io = kj::setupAsyncIo();
  Loop loop(io);
  auto answer = loop.start(refuse()).wait(io.waitScope);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code, Errc::busy);
}

TEST(Loop, ATaskGoesOnWhenNobodyWaitsForIt) {
  auto io = kj::setupAsyncIo();
  Loop loop(io);
  bool done = false;
  { auto dropped = loop.start(sleep_and_set(loop, 5'000'000, done)); }
  EXPECT_FALSE(done);
  EXPECT_EQ(loop.running(), 1u);
  loop.idle().wait(io.waitScope);
  EXPECT_TRUE(done);
}

// What the tests talk to: answers with as many names as asked for.
class Echo final : public schema::Host::Server {
 public:
  explicit Echo(int& alive) : alive_(alive) { ++alive_; }
  ~Echo() noexcept(false) { --alive_; }
  kj::Promise<void> version(VersionContext context) override {
    context.getResults().setVersion("test");
    return kj::READY_NOW;
  }
  kj::Promise<void> openPool(OpenPoolContext context) override {
    return take_descriptor(context.getParams().getFile()).then([context](Result<Fd> fd) mutable {
      auto refusal = context.getResults().initRefusal();
      if (!fd) {
        refusal.setErrno(EINVAL);
        return;
      }
      struct stat status{};
      refusal.setErrno(fstat(fd->get(), &status) == 0 ? 0 : EBADF);
      refusal.setMessage(kj::str(status.st_size));
    });
  }

 private:
  int& alive_;
};

class FileHolder final : public schema::File::Server {
 public:
  explicit FileHolder(int fd) : fd_(fd) {}
  kj::Maybe<int> getFd() override { return fd_; }

 private:
  int fd_;
};

struct Client {
  kj::Own<kj::AsyncCapabilityStream> stream;
  capnp::TwoPartyVatNetwork network;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc;
  Client(kj::AsyncIoContext& io, int fd)
      : stream(io.lowLevelProvider->wrapUnixSocketFd(kj::AutoCloseFd(fd))),
        network(*stream, 2, capnp::rpc::twoparty::Side::CLIENT),
        rpc(capnp::makeRpcClient(network)) {}
  schema::Host::Client host() {
    capnp::MallocMessageBuilder message;
    auto vat = message.initRoot<capnp::rpc::twoparty::VatId>();
    vat.setSide(capnp::rpc::twoparty::Side::SERVER);
    return rpc.bootstrap(vat).castAs<schema::Host>();
  }
};

class ServerTest : public testing::Test {
 protected:
  ServerTest()
      : server_(
            io_,
            [this](const Peer& peer) {
              peer_ = peer;
              return schema::Host::Client(kj::heap<Echo>(alive_));
            },
            ServerLimits{.connections_max = 2, .message_words_max = 1 << 20}) {}
  ~ServerTest() noexcept override = default;
  int connect() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server_.serve(Fd(ends[0]));
    return ends[1];
  }
  void turn() {  // Lets the loop do all it can.
    for (int i = 0; i < 10; ++i) {
      io_.waitScope.poll();
      io_.provider->getTimer().afterDelay(kj::MILLISECONDS).wait(io_.waitScope);
    }
  }
  kj::AsyncIoContext io_ = kj::setupAsyncIo();
  int alive_ = 0;
  Peer peer_;
  Server server_;
};

TEST_F(ServerTest, KnowsWhoCallsAndForgetsWhoLeft) {
  {
    Client client(io_, connect());
    auto answer = client.host().versionRequest().send().wait(io_.waitScope);
    EXPECT_STREQ(answer.getVersion().cStr(), "test");
    EXPECT_EQ(peer_.uid, getuid());
    EXPECT_EQ(peer_.pid, static_cast<u32>(getpid()));
    EXPECT_EQ(server_.connections(), 1u);
    EXPECT_EQ(alive_, 1);
  }
  turn();
  EXPECT_EQ(server_.connections(), 0u);
  EXPECT_EQ(alive_, 0);
}

TEST_F(ServerTest, TakesADescriptorFromACapability) {
  Client client(io_, connect());
  const int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
  ASSERT_GE(file, 0);
  ASSERT_EQ(ftruncate(file, 4711), 0);
  auto request = client.host().openPoolRequest();
  request.setFile(kj::heap<FileHolder>(file));
  auto answer = request.send().wait(io_.waitScope);
  EXPECT_EQ(answer.getRefusal().getErrno(), 0);
  EXPECT_STREQ(answer.getRefusal().getMessage().cStr(), "4711");
  close(file);

  auto without = client.host().openPoolRequest();
  EXPECT_EQ(without.send().wait(io_.waitScope).getRefusal().getErrno(), EINVAL);
}

TEST_F(ServerTest, AMessageThatIsTooLongEndsThatConnectionOnly) {
  Client good(io_, connect());
  Client bad(io_, connect());
  auto request = bad.host().openPoolRequest();
  const std::string long_name(16_MiB, 'x');
  request.setName(long_name.c_str());
  EXPECT_ANY_THROW(request.send().wait(io_.waitScope));
  auto answer = good.host().versionRequest().send().wait(io_.waitScope);
  EXPECT_STREQ(answer.getVersion().cStr(), "test");
  turn();
  EXPECT_EQ(server_.connections(), 1u);
}

TEST_F(ServerTest, RefusesMoreConnectionsThanItsLimit) {
  Client first(io_, connect());
  Client second(io_, connect());
  const int third = connect();
  char byte;
  EXPECT_EQ(read(third, &byte, 1), 0);  // Closed at once.
  close(third);
  EXPECT_EQ(server_.connections(), 2u);
}

TEST_F(ServerTest, NonsenseEndsTheConnection) {
  const int client = connect();
  const std::string nonsense(4096, '\x7f');
  ASSERT_GT(write(client, nonsense.data(), nonsense.size()), 0);
  turn();
  EXPECT_EQ(server_.connections(), 0u);
  close(client);
}

TEST_F(ServerTest, ListensWhereNobodyDoesAndReplacesAStaleSocket) {
  const std::string path = "/tmp/cap_test." + std::to_string(getpid());
  {
    auto first = listen_at(path);
    ASSERT_TRUE(first.has_value()) << describe(first.error());
    struct stat status{};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    auto second = listen_at(path);
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error().code, Errc::busy);
  }
  auto third = listen_at(path);
  ASSERT_TRUE(third.has_value()) << describe(third.error());
  server_.listen(kj::mv(*third));
  auto stream = io_.provider->getNetwork()
                    .parseAddress(kj::str("unix:", path.c_str()))
                    .wait(io_.waitScope)
                    ->connect()
                    .wait(io_.waitScope);
  turn();
  EXPECT_EQ(server_.connections(), 1u);
  server_.stop();
  server_.disconnect_all();
  EXPECT_EQ(server_.connections(), 0u);
  unlink(path.c_str());
}

}  // namespace
}  // namespace coppice::cap
