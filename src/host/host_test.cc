// The control plane end to end, but for the process: a client over a socket pair, the real engine
// on a file.
#include <gmock/gmock.h>
#include <sys/un.h>

#include "host/address.h"
#include "host/testing/bed.h"
#include "trace/testing/recorder.h"

namespace coppice::host {
namespace {

using testing::Bed;
using testing::Carrier;
using testing::Client;

constexpr u64 kPoolBytes = 256_MiB;

class HostTest : public ::testing::Test {
 protected:
  ~HostTest() noexcept override = default;
  template <class Answer>
  static std::string refusal(Answer&& answer) {
    return answer.hasRefusal() ? answer.getRefusal().getMessage().cStr() : "";
  }
  template <class Answer>
  static int error(Answer&& answer) {
    return answer.hasRefusal() ? answer.getRefusal().getErrno() : 0;
  }

  schema::Pool::Client make_pool(Client& client, const char* name = "tank") {
    auto request = client.host().createPoolRequest();
    request.setFile(kj::heap<Carrier<schema::File>>(testing::duplicate(file_)));
    request.setName(name);
    auto answer = bed_.ask(request);
    EXPECT_EQ(refusal(answer), "");
    return answer.getValue();
  }
  schema::Dataset::Client make_volume(schema::Pool::Client pool, const char* name,
                                      u64 size = 16_MiB) {
    auto request = pool.createRequest();
    request.setName(name);
    request.setVolsize(size);
    auto answer = bed_.ask(request);
    EXPECT_EQ(refusal(answer), "");
    return answer.getValue();
  }
  std::string name_of(schema::Dataset::Client dataset) {
    auto answer = bed_.ask(dataset.infoRequest());
    return answer.hasRefusal() ? "" : answer.getValue().getName().cStr();
  }
  std::vector<std::string> exported(Client& client) {
    auto answer = bed_.ask(client.host().exportsRequest());
    std::vector<std::string> names;
    for (auto each : answer.getValue()) names.push_back(each.getName().cStr());
    return names;
  }
  // A socket that listens at an address of the abstract kind: nothing to clean up.
  schema::ListenSocket::Client listening() {
    cap::Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);
    socklen_t length = sizeof address_;
    EXPECT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address_), &length), 0);
    address_bytes_ = length;
    EXPECT_EQ(listen(fd.get(), 8), 0);
    return kj::heap<Carrier<schema::ListenSocket>>(std::move(fd));
  }
  cap::Fd connect_nbd() {
    cap::Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address_), address_bytes_), 0);
    return fd;
  }

  Bed bed_;
  cap::Fd file_ = testing::empty_file(kPoolBytes);
  sockaddr_un address_{};
  socklen_t address_bytes_ = 0;
};

TEST_F(HostTest, MakesAPoolAndShowsIt) {
  Client client = bed_.client();
  auto pool = make_pool(client);
  auto status = bed_.ask(pool.statusRequest());
  ASSERT_EQ(refusal(status), "");
  EXPECT_STREQ(status.getValue().getName().cStr(), "tank");
  EXPECT_EQ(status.getValue().getStats().getDeviceBytes(), kPoolBytes);
  auto host = bed_.ask(client.host().statusRequest());
  ASSERT_EQ(refusal(host), "");
  EXPECT_EQ(host.getValue().getPools().size(), 1u);
  EXPECT_EQ(host.getValue().getReactors().size(), 3u);
  EXPECT_EQ(host.getValue().getControlConnections(), 1u);
  EXPECT_GT(host.getValue().getMemoryBytes(), 0u);
}

TEST_F(HostTest, RefusesWhatMakesNoSense) {
  Client client = bed_.client();
  auto without_file = client.host().openPoolRequest();
  EXPECT_EQ(error(bed_.ask(without_file)), EINVAL);
  auto no_pool = client.host().openPoolRequest();
  no_pool.setFile(kj::heap<Carrier<schema::File>>(testing::duplicate(file_)));
  EXPECT_EQ(error(bed_.ask(no_pool)), EINVAL);
  auto unknown = client.host().poolRequest();
  unknown.setName("tank");
  EXPECT_EQ(error(bed_.ask(unknown)), ENOENT);

  auto pool = make_pool(client);
  auto again = client.host().createPoolRequest();
  again.setFile(kj::heap<Carrier<schema::File>>(testing::empty_file(kPoolBytes)));
  again.setName("tank");
  EXPECT_EQ(error(bed_.ask(again)), EEXIST);
  auto no_verb = pool.invokeRequest();
  no_verb.setVerb("explode");
  EXPECT_EQ(error(bed_.ask(no_verb)), EINVAL);
  auto no_name = pool.createRequest();
  no_name.setName("other/v");
  EXPECT_NE(error(bed_.ask(no_name)), 0);
}

TEST_F(HostTest, AnObjectStaysWhatItIsWhenItIsRenamedAndEndsWhenItIsDestroyed) {
  Client client = bed_.client();
  auto volume = make_volume(make_pool(client), "tank/a");
  auto rename = volume.renameRequest();
  rename.setName("tank/b");
  EXPECT_EQ(refusal(bed_.ask(rename)), "");
  EXPECT_EQ(name_of(volume), "tank/b");
  auto destroyed = bed_.ask(volume.destroyRequest());
  EXPECT_EQ(refusal(destroyed), "");
  EXPECT_EQ(destroyed.getValue().getCount(), 1u);
  EXPECT_EQ(error(bed_.ask(volume.infoRequest())), ENOENT);
}

TEST_F(HostTest, ClosesAPoolAndOpensItAgain) {
  Client client = bed_.client();
  auto pool = make_pool(client);
  auto volume = make_volume(pool, "tank/a");
  EXPECT_EQ(refusal(bed_.ask(pool.closeRequest())), "");
  EXPECT_EQ(error(bed_.ask(pool.statusRequest())), ENOENT);
  EXPECT_EQ(error(bed_.ask(volume.infoRequest())), ENOENT);
  auto open = client.host().openPoolRequest();
  open.setFile(kj::heap<Carrier<schema::File>>(testing::duplicate(file_)));
  auto opened = bed_.ask(open);
  ASSERT_EQ(refusal(opened), "");
  auto find = opened.getValue().datasetRequest();
  find.setName("tank/a");
  EXPECT_EQ(refusal(bed_.ask(find)), "");
}

TEST_F(HostTest, ListsInPages) {
  Client client = bed_.client();
  auto pool = make_pool(client);
  make_volume(pool, "tank/a");
  for (int i = 0; i < 3; ++i) {
    auto many = pool.snapshotManyRequest();
    auto names = many.initNames(500);
    for (u32 j = 0; j < 500; ++j) names.set(j, "tank/a@s" + std::to_string(i * 500 + j));
    ASSERT_EQ(refusal(bed_.ask(many)), "");
  }
  auto list = pool.listRequest();
  auto query = list.initQuery();
  query.setTypes({schema::DatasetType::SNAPSHOT});
  query.setProperties({"used", "creation"});
  auto cursor = bed_.ask(list);
  ASSERT_EQ(refusal(cursor), "");
  size_t count = 0, pages = 0;
  while (true) {
    auto next = cursor.getValue().nextRequest();
    next.setCountMax(400);
    auto page = bed_.ask(next);
    ASSERT_EQ(refusal(page), "");
    if (page.getValue().size() == 0) break;
    for (auto row : page.getValue()) {
      EXPECT_EQ(row.getName(), kj::str("tank/a@s", count));
      EXPECT_EQ(row.getValues().size(), 2u);
      EXPECT_STREQ(row.getValues()[0].getValue().cStr(), "0");
      ++count;
    }
    ++pages;
  }
  EXPECT_EQ(count, 1500u);
  EXPECT_EQ(pages, 4u);
}

TEST_F(HostTest, RecordsWhoDidWhat) {
  Client client = bed_.client();
  auto pool = make_pool(client);
  make_volume(pool, "tank/a");
  auto answer = bed_.ask(pool.historyRequest());
  ASSERT_EQ(refusal(answer), "");
  const auto last = answer.getValue()[answer.getValue().size() - 1];
  EXPECT_THAT(last.getCommand().cStr(), ::testing::HasSubstr("create tank/a"));
  EXPECT_THAT(last.getWho().cStr(), ::testing::HasSubstr("uid=" + std::to_string(getuid())));
}

TEST_F(HostTest, AnUnpinnedExportEndsWithItsLastHolder) {
  Client keeper = bed_.client();
  auto pool = make_pool(keeper);
  make_volume(pool, "tank/a");
  {
    Client client = bed_.client();
    auto find = client.host().poolRequest();
    find.setName("tank");
    auto dataset = bed_.ask(find).getValue().datasetRequest();
    dataset.setName("tank/a");
    auto request = bed_.ask(dataset).getValue().exportRequest();
    request.setSocket(listening());
    request.initSpec().setProtocol("nbd");
    request.getSpec().setAddress("unix:/test/one");
    auto exported_now = bed_.ask(request);
    ASSERT_EQ(refusal(exported_now), "");
    EXPECT_THAT(exported(keeper), ::testing::ElementsAre("tank/a"));
    const cap::Fd nbd = connect_nbd();  // Somebody who says nothing does not keep it.
    bed_.settle();
  }
  EXPECT_TRUE(bed_.eventually([&] { return exported(keeper).empty(); }));
}

TEST_F(HostTest, APinnedExportIsServedUntilItIsUnexported) {
  Client client = bed_.client();
  auto pool = make_pool(client);
  auto volume = make_volume(pool, "tank/a");
  const auto request = [&] {
    auto made = volume.exportRequest();
    made.initSpec().setProtocol("nbd");
    made.getSpec().setAddress("unix:/test/two");
    made.setPinned(true);
    return made;
  };
  EXPECT_EQ(error(bed_.ask(request())), ENOENT);  // Nobody listens, and no socket came with it.
  auto with_socket = request();
  with_socket.setSocket(listening());
  ASSERT_EQ(refusal(bed_.ask(with_socket)), "");
  EXPECT_EQ(error(bed_.ask(request())), EEXIST);

  const cap::Fd nbd = connect_nbd();
  char greeting[18];
  ASSERT_EQ(recv(nbd.get(), greeting, sizeof greeting, MSG_WAITALL), 18);
  EXPECT_EQ(std::string(greeting, 8), "NBDMAGIC");
  EXPECT_EQ(error(bed_.ask(volume.destroyRequest())), EBUSY);

  auto unexport = bed_.ask(volume.unexportRequest());
  ASSERT_EQ(refusal(unexport), "");
  EXPECT_EQ(unexport.getValue().getEnded().size(), 1u);
  EXPECT_EQ(unexport.getValue().getClosed().size(), 1u);
  EXPECT_EQ(recv(nbd.get(), greeting, sizeof greeting, 0), 0);  // Cut off.
  EXPECT_EQ(error(bed_.ask(volume.unexportRequest())), ENOENT);
}

// Tracepoints: who connects and who goes, with the same number and what is exported.
TEST_F(HostTest, ClientsOfExportsAreToldOf) {
  Client client = bed_.client();
  auto volume = make_volume(make_pool(client), "tank/a");
  auto request = volume.exportRequest();
  request.initSpec().setProtocol("nbd");
  request.getSpec().setAddress("unix:/test/three");
  request.getSpec().setReadOnly(true);
  request.setPinned(true);
  request.setSocket(listening());
  ASSERT_EQ(refusal(bed_.ask(request)), "");
  trace::Recorder recorder({trace::Point::export_connect, trace::Point::export_disconnect});
  {
    const cap::Fd nbd = connect_nbd();
    char greeting[18], answer[10];
    ASSERT_EQ(recv(nbd.get(), greeting, sizeof greeting, MSG_WAITALL), 18);
    // No zeroes are wanted; the export by its name.
    const std::string choice("\0\0\0\3IHAVEOPT\0\0\0\1\0\0\0\6tank/a", 26);
    ASSERT_EQ(send(nbd.get(), choice.data(), choice.size(), 0), 26);
    ASSERT_EQ(recv(nbd.get(), answer, sizeof answer, MSG_WAITALL), 10);
  }
  using Gone = coppice_export_disconnect;
  const auto gone = [&] { return recorder.all<Gone>(trace::Point::export_disconnect); };
  ASSERT_TRUE(bed_.eventually([&] { return !gone().empty(); }));
  const auto came = recorder.all<coppice_export_connect>(trace::Point::export_connect);
  ASSERT_EQ(came.size(), 1u);
  EXPECT_STREQ(came[0].name, "tank/a");
  EXPECT_EQ(came[0].size_bytes, 16_MiB);
  EXPECT_EQ(came[0].read_only, 1u);
  EXPECT_EQ(came[0].error, 0u);
  EXPECT_EQ(came[0].snapshot, 0u);
  EXPECT_GT(came[0].volume, 0u);
  ASSERT_EQ(gone().size(), 1u);
  EXPECT_EQ(gone()[0].client, came[0].client);
  EXPECT_EQ(gone()[0].volume, came[0].volume);
  EXPECT_EQ(gone()[0].pool, came[0].pool);
  EXPECT_EQ(gone()[0].connected_ns, gone()[0].time_ns - came[0].time_ns);
}

TEST_F(HostTest, AClientThatGoesAwayInTheMiddleLeavesNothingBehind) {
  Client keeper = bed_.client();
  auto pool = make_pool(keeper);
  for (int i = 0; i < 20; ++i) {
    Client client = bed_.client();
    auto find = client.host().poolRequest();
    find.setName("tank");
    auto held = bed_.ask(find).getValue();
    auto create = held.createRequest();
    create.setName("tank/v" + std::to_string(i));
    create.setVolsize(1_MiB);
    auto dropped = create.send();
    bed_.io.waitScope.poll();
  }
  EXPECT_TRUE(bed_.eventually([&] { return bed_.server().connections() == 1; }));
  EXPECT_EQ(refusal(bed_.ask(pool.statusRequest())), "");
}

TEST_F(HostTest, ABigAnswerAndABigQuestionPass) {
  Client client = bed_.client();
  auto pool = make_pool(client);
  auto many = pool.snapshotManyRequest();
  auto names = many.initNames(20'000);
  for (u32 j = 0; j < names.size(); ++j)
    names.set(j, "tank/no-such-volume@snapshot" + std::to_string(j));
  EXPECT_EQ(error(bed_.ask(many)), ENOENT);
}

TEST(Address, MakesUris) {
  EXPECT_EQ(nbd_uri("unix:/run/a b.sock", "tank/vm@s"),
            "nbd+unix:///tank/vm@s?socket=/run/a%20b.sock");
  EXPECT_EQ(nbd_uri("tcp:localhost:10809", "tank"), "nbd://localhost:10809/tank");
  EXPECT_FALSE(bind_address("/run/x.sock").has_value());
  EXPECT_FALSE(bind_address("tcp:localhost").has_value());
}

// A new pool of this name, in a file that only the daemon holds.
schema::Pool::Client make_tank(Bed& bed, schema::Host::Client host) {
  const cap::Fd file = testing::empty_file(64_MiB);
  auto create = host.createPoolRequest();
  create.setFile(kj::heap<Carrier<schema::File>>(testing::duplicate(file)));
  create.setName("tank");
  return bed.ask(std::move(create)).getValue();
}

TEST(Programs, AreRefusedWithoutAnInterpreterAndNoneCanBeKilled) {
  Bed bed;
  auto client = bed.client();
  auto host = client.host();
  auto pool = make_tank(bed, host);
  auto start = pool.startProgramRequest();
  auto spec = start.initSpec();
  spec.setName("x.lua");
  spec.setSource(kj::StringPtr("return 1").asBytes());
  const auto refused = bed.ask(std::move(start));
  ASSERT_TRUE(refused.hasRefusal());
  EXPECT_EQ(refused.getRefusal().getErrno(), ENOTSUP);
  auto kill = host.killProgramRequest();
  kill.setId(1);
  const auto none = bed.ask(std::move(kill));
  ASSERT_TRUE(none.hasRefusal());
  EXPECT_EQ(none.getRefusal().getErrno(), ENOENT);
}

TEST(Verbs, ManyAreOneTransaction) {
  Bed bed;
  auto client = bed.client();
  auto host = client.host();
  auto pool = make_tank(bed, host);
  const auto make = [&](std::vector<std::string> names) {
    auto request = pool.invokeManyRequest();
    auto list = request.initInvocations(static_cast<u32>(names.size()));
    for (u32 i = 0; i < list.size(); ++i) {
      list[i].setVerb("create");
      auto arguments = list[i].initArguments(1);
      arguments[0].setName("name");
      arguments[0].initValue().setText(names[i]);
    }
    return bed.ask(std::move(request));
  };
  EXPECT_FALSE(make({"tank/a", "tank/a/b"}).hasRefusal());
  EXPECT_EQ(make({"tank/c", "tank/a"}).getRefusal().getErrno(), EEXIST);
  for (const auto& [name, there] : {std::pair("tank/a/b", true), std::pair("tank/c", false)}) {
    auto ask = pool.datasetRequest();
    ask.setName(name);
    EXPECT_EQ(bed.ask(std::move(ask)).hasValue(), there) << name;
  }
}

}  // namespace
}  // namespace coppice::host
