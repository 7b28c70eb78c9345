// Links through the control plane: who holds them, what is pinned, what a set is; on a real pool.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <fstream>

#include "host/testing/bed.h"

namespace coppice::host {
namespace {

using testing::Bed;
using testing::Carrier;
using testing::Client;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::byte> shipped(const std::string& name) {
  std::ifstream file(std::string(COPPICE_SHIPPED_PROGRAMS) + "/" + name + ".bpf.o");
  CHECK(file.good());
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
  return {data, data + bytes.size()};
}

void write_object(schema::ObjectSpec::Builder to, const std::string& name) {
  const auto bytes = shipped(name);
  to.setObject({reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()});
}

class LinkTest : public ::testing::Test {
 protected:
  LinkTest() : client_(bed_.client()), pool_(make_pool()), volume_(make_volume("tank/v")) {}
  ~LinkTest() noexcept override = default;

  template <class Answer>
  static std::string refusal(Answer&& answer) {
    return answer.hasRefusal() ? answer.getRefusal().getMessage().cStr() : "";
  }
  template <class Answer>
  static int error(Answer&& answer) {
    return answer.hasRefusal() ? answer.getRefusal().getErrno() : 0;
  }
  schema::Pool::Client make_pool() {
    auto request = client_.host().createPoolRequest();
    request.setFile(kj::heap<Carrier<schema::File>>(testing::duplicate(file_)));
    request.setName("tank");
    return bed_.ask(request).getValue();
  }
  schema::Dataset::Client make_volume(const char* name) {
    auto request = pool_.createRequest();
    request.setName(name);
    request.setVolsize(16_MiB);
    auto answer = bed_.ask(request);
    EXPECT_EQ(refusal(answer), "");
    return answer.getValue();
  }
  // An object of several programs is attached whole.
  auto attach(schema::Dataset::Client to, const std::string& object, const char* pin = "") {
    auto request = to.attachRequest();
    write_object(request.getSpec().initObject(), object);
    request.getSpec().setPin(pin);
    return bed_.ask(request);
  }
  // "name program hook position", of all links.
  std::vector<std::string> links() {
    auto answer = bed_.ask(client_.host().linksRequest());
    std::vector<std::string> found;
    for (auto each : answer.getValue().getLinks()) {
      auto info = each.getInfo();
      found.push_back(fmt::format("{}:{} {} {}", info.getName().cStr(), info.getProgram().cStr(),
                                  info.getTarget().cStr(), info.getPosition()));
    }
    return found;
  }
  u64 revision() { return bed_.ask(client_.host().linksRequest()).getValue().getRevision(); }
  bool ends() {
    return bed_.eventually([&] { return links().empty(); });
  }

  Bed bed_;
  cap::Fd file_ = testing::empty_file(256_MiB);
  Client client_;
  schema::Pool::Client pool_;
  schema::Dataset::Client volume_;
};

TEST_F(LinkTest, LivesAsLongAsItIsHeld) {
  {
    auto answer = attach(volume_, "write_guard");
    ASSERT_EQ(refusal(answer), "");
    ASSERT_EQ(answer.getValue().getLinks().size(), 1u);
    auto info = answer.getValue().getLinks()[0].getInfo();
    EXPECT_STREQ(info.getHook().cStr(), "volume.submit");
    EXPECT_STREQ(info.getTarget().cStr(), "tank/v");
    EXPECT_EQ(info.getTier(), schema::Tier::STABLE);
    EXPECT_GT(info.getInstructionsMax(), 0u);
    EXPECT_EQ(info.getState(), schema::LinkInfo::State::ATTACHED);
    bed_.settle();
    EXPECT_EQ(links().size(), 1u);
  }
  EXPECT_TRUE(ends());
}

// The handle's descriptor alone holds it: in another process, and until that one is killed.
TEST_F(LinkTest, ADescriptorHoldsItInWhateverProcess) {
  int fd = -1;
  {
    auto answer = attach(volume_, "write_guard");
    auto taken = cap::take_descriptor(answer.getValue().getHandle()).wait(bed_.io.waitScope);
    ASSERT_TRUE(taken.has_value());
    fd = taken->release();
  }
  bed_.settle();
  ASSERT_EQ(links().size(), 1u);
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  close(fd);
  bed_.settle();
  EXPECT_EQ(links().size(), 1u);
  const auto killed = std::chrono::steady_clock::now();
  kill(child, SIGKILL);
  EXPECT_TRUE(ends());
  const auto took = std::chrono::steady_clock::now() - killed;
  EXPECT_LT(std::chrono::duration_cast<std::chrono::milliseconds>(took).count(), 1000);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

TEST_F(LinkTest, ADescriptorIsTheLinkAgain) {
  auto answer = attach(volume_, "write_guard");
  auto taken = cap::take_descriptor(answer.getValue().getHandle()).wait(bed_.io.waitScope);
  ASSERT_TRUE(taken.has_value());
  auto adopt = client_.host().adoptLinkRequest();
  adopt.setHandle(kj::heap<Carrier<schema::LinkHandle>>(testing::duplicate(*taken)));
  auto link = bed_.ask(adopt);
  ASSERT_EQ(refusal(link), "");
  EXPECT_EQ(bed_.ask(link.getValue().infoRequest()).getValue().getId(),
            answer.getValue().getLinks()[0].getInfo().getId());
  auto other = client_.host().adoptLinkRequest();
  other.setHandle(kj::heap<Carrier<schema::LinkHandle>>(testing::duplicate(file_)));
  EXPECT_EQ(error(bed_.ask(other)), EINVAL);
}

TEST_F(LinkTest, DetachedByForceTheHandleSaysSo) {
  auto answer = attach(volume_, "write_guard");
  auto link = answer.getValue().getLinks()[0].getLink();
  EXPECT_EQ(refusal(bed_.ask(link.detachRequest())), "");
  EXPECT_EQ(refusal(bed_.ask(link.detachRequest())), "");
  EXPECT_THAT(links(), IsEmpty());
  auto info = bed_.ask(link.infoRequest());
  EXPECT_EQ(info.getValue().getState(), schema::LinkInfo::State::DETACHED);
  auto update = link.updateRequest();
  write_object(update.initObject(), "write_guard");
  EXPECT_EQ(error(bed_.ask(update)), ENOLINK);
}

TEST_F(LinkTest, AnUpdateExpectsWhatItReplaces) {
  auto answer = attach(volume_, "write_guard");
  auto link = answer.getValue().getLinks()[0].getLink();
  const std::string hash = answer.getValue().getLinks()[0].getInfo().getHash().cStr();
  auto update = link.updateRequest();
  write_object(update.initObject(), "fault");
  update.setExpected(std::string(64, '0'));
  EXPECT_EQ(error(bed_.ask(update)), ESTALE);
  update = link.updateRequest();
  write_object(update.initObject(), "fault");
  update.setExpected(hash);
  auto updated = bed_.ask(update);
  ASSERT_EQ(refusal(updated), "");
  EXPECT_NE(updated.getValue().getHash().cStr(), hash);
  EXPECT_EQ(updated.getValue().getId(), answer.getValue().getLinks()[0].getInfo().getId());
  update = link.updateRequest();
  write_object(update.initObject(), "admin_window");
  EXPECT_EQ(error(bed_.ask(update)), EINVAL);  // Of another hook.
}

TEST_F(LinkTest, APinnedLinkStaysAndComesBackWithItsPool) {
  {
    auto answer = attach(volume_, "write_guard", "guard");
    ASSERT_EQ(refusal(answer), "");
  }
  bed_.settle();
  EXPECT_THAT(links(), ElementsAre("guard:write_guard tank/v 0"));
  EXPECT_EQ(error(attach(volume_, "fault", "guard")), EEXIST);
  EXPECT_THAT(links(), ElementsAre("guard:write_guard tank/v 0"));
  EXPECT_EQ(refusal(bed_.ask(pool_.closeRequest())), "");
  EXPECT_THAT(links(), IsEmpty());
  auto open = client_.host().openPoolRequest();
  open.setFile(kj::heap<Carrier<schema::File>>(testing::duplicate(file_)));
  ASSERT_EQ(refusal(bed_.ask(open)), "");
  EXPECT_THAT(links(), ElementsAre("guard:write_guard tank/v 0"));
}

TEST_F(LinkTest, PinningAndUnpinningHandOwnershipOver) {
  u64 id = 0;
  {
    auto answer = attach(volume_, "write_guard");
    id = answer.getValue().getLinks()[0].getInfo().getId();
    auto pin = answer.getValue().getLinks()[0].getLink().pinRequest();
    pin.setName("kept");
    ASSERT_EQ(refusal(bed_.ask(pin)), "");
  }
  bed_.settle();
  EXPECT_THAT(links(), ElementsAre("kept:write_guard tank/v 0"));
  {
    auto find = client_.host().linkRequest();
    find.setId(id);
    auto link = bed_.ask(find);
    ASSERT_EQ(refusal(link), "");
    auto unpinned = bed_.ask(link.getValue().unpinRequest());
    ASSERT_EQ(refusal(unpinned), "");
    EXPECT_THAT(links(), ElementsAre(":write_guard tank/v 0"));
    bed_.settle();
    EXPECT_EQ(links().size(), 1u);
  }
  EXPECT_TRUE(ends());
}

TEST_F(LinkTest, ASetIsExactlyWhatIsDescribed) {
  auto loose = attach(volume_, "latency");
  ASSERT_EQ(refusal(loose), "");
  ASSERT_EQ(refusal(attach(volume_, "write_guard", "old")), "");
  const auto apply = [&](std::vector<std::pair<const char*, u32>> wanted, u64 revision = 0) {
    auto request = pool_.applyLinksRequest();
    auto objects = request.getSet().initObjects(2);
    write_object(objects[0], "write_guard");
    write_object(objects[1], "fault");
    auto points = request.getSet().initPoints(1);
    points[0].setTarget("tank/v");
    points[0].setHook("volume.submit");
    auto list = points[0].initLinks(static_cast<u32>(wanted.size()));
    for (u32 i = 0; i < list.size(); ++i) {
      list[i].setName(wanted[i].first);
      list[i].setObject(wanted[i].second);
    }
    request.setRevision(revision);
    return bed_.ask(request);
  };
  const u64 before = revision();
  auto applied = apply({{"b", 1}, {"a", 0}}, before);
  ASSERT_EQ(refusal(applied), "");
  EXPECT_EQ(applied.getValue().getAttached().size(), 2u);
  EXPECT_EQ(applied.getValue().getRevision(), before + 1);  // One swap.
  const auto of_submit = [&] {
    std::vector<std::string> found;
    for (const auto& each : links())
      if (each.find("latency") == each.npos) found.push_back(each);
    return found;
  };
  EXPECT_THAT(of_submit(), ElementsAre("b:fault tank/v 0", "a:write_guard tank/v 1"));
  EXPECT_EQ(error(apply({{"a", 0}}, before)), ESTALE);
  EXPECT_EQ(of_submit().size(), 2u);
  ASSERT_EQ(refusal(apply({{"a", 0}, {"b", 1}})), "");  // Another order.
  EXPECT_THAT(of_submit(), ElementsAre("a:write_guard tank/v 0", "b:fault tank/v 1"));
  ASSERT_EQ(refusal(apply({})), "");
  EXPECT_THAT(of_submit(), IsEmpty());
}

// Programs that fail half way through a set change nothing.
TEST_F(LinkTest, ASetIsAllOrNothing) {
  ASSERT_EQ(refusal(attach(volume_, "write_guard", "old")), "");
  auto request = pool_.applyLinksRequest();
  auto objects = request.getSet().initObjects(1);
  write_object(objects[0], "write_guard");
  auto points = request.getSet().initPoints(2);
  points[0].setTarget("tank/v");
  points[0].setHook("volume.submit");
  points[0].initLinks(1)[0].setName("new");
  points[1].setTarget("tank/nothing");
  points[1].setHook("volume.submit");
  EXPECT_EQ(error(bed_.ask(request)), ENOENT);
  EXPECT_THAT(links(), ElementsAre("old:write_guard tank/v 0"));
}

TEST_F(LinkTest, AnAdminProgramRefusesVerbs) {
  {
    auto request = pool_.datasetRequest();
    request.setName("tank");
    auto root = bed_.ask(request).getValue();
    auto attach_to = root.attachRequest();
    write_object(attach_to.getSpec().initObject(), "admin_window");
    auto settings = attach_to.getSpec().getObject().initSettings(1);
    settings[0].setName("to_minute");
    settings[0].setValue("0");
    auto answer = bed_.ask(attach_to);
    ASSERT_EQ(refusal(answer), "");
    auto create = pool_.createRequest();
    create.setName("tank/w");
    create.setVolsize(16_MiB);
    auto refused = bed_.ask(create);
    EXPECT_EQ(error(refused), EACCES);
    EXPECT_THAT(refusal(refused), HasSubstr("refuses it"));
  }
  EXPECT_TRUE(ends());
  make_volume("tank/w");
}

TEST_F(LinkTest, MapsAreReadAndWrittenFromOutside) {
  auto answer = attach(volume_, "latency");
  ASSERT_EQ(refusal(answer), "");
  auto maps = bed_.ask(answer.getValue().getLinks()[0].getLink().mapsRequest());
  ASSERT_GT(maps.getValue().size(), 0u);
  for (auto each : maps.getValue()) {
    auto info = each.getInfo();
    auto map = each.getMap();
    EXPECT_GT(bed_.ask(map.typesRequest()).getValue().size(), 0u);
    auto wrong = map.getRequest();
    const kj::byte byte[1] = {0};
    wrong.setKey({byte, 1});
    if (info.getKeySize() != 1) {
      EXPECT_EQ(error(bed_.ask(wrong)), EINVAL);
    }
    auto dump = bed_.ask(map.dumpRequest());
    ASSERT_EQ(refusal(dump), "");
    for (auto element : dump.getValue()) {
      auto get = map.getRequest();
      get.setKey(element.getKey());
      EXPECT_EQ(bed_.ask(get).getValue().size(), info.getValueBytes());
    }
  }
}

}  // namespace
}  // namespace coppice::host
