// A real helper process, and helpers that die, hang and lie: code or a clear error, never more.
#include "bpf/native/compiler.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "bpf/core_helpers.h"
#include "bpf/interpreter.h"
#include "helper/jit/image_file.h"

namespace coppice::jit {
namespace {

using namespace bpf;
using ::testing::HasSubstr;

constexpr u64 kSecond = 1'000'000'000;

struct Bound {
  Program program;
  Code code;
};

class CompilerTest : public ::testing::Test {
 protected:
  CompilerTest() { add_core_helpers(helpers_); }
  // Returns `number`.
  Bound constant(i32 number) {
    auto program = Program::make({{.opcode = 0xb7, .dst = 0, .imm = number}, {.opcode = 0x95}});
    CHECK(program.has_value());
    auto code = Code::bind(*program, {.helpers = helpers_});
    CHECK(code.has_value());
    return {*std::move(program), *std::move(code)};
  }
  Compiler real() { return Compiler({.helper = COPPICE_JIT_PATH, .deadline_ns = 60 * kSecond}); }
  HelperTable helpers_;
  Machine machine_{{}};
};

TEST_F(CompilerTest, MakesCodeInTheHelperAndKeepsIt) {
  Compiler compiler({.helper = COPPICE_JIT_PATH});
  const Bound seven = constant(7), eight = constant(8);
  const auto first = compiler.compile(seven.program, seven.code);
  ASSERT_TRUE(first) << describe(first.error());
  EXPECT_EQ(machine_.run(*first, 0), 7u);
  const auto second = compiler.compile(eight.program, eight.code);
  ASSERT_TRUE(second) << describe(second.error());
  EXPECT_EQ(machine_.run(*second, 0), 8u);
  const auto again = compiler.compile(seven.program, seven.code);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->entry(), first->entry());
}

TEST_F(CompilerTest, ForgetsWhatWasUsedLeastRecently) {
  Compiler compiler({.helper = COPPICE_JIT_PATH, .deadline_ns = 60 * kSecond});
  const Bound first = constant(-1);
  const auto kept = compiler.compile(first.program, first.code);
  ASSERT_TRUE(kept);
  const auto entry_of = [&](const Bound& bound) {
    const auto native = compiler.compile(bound.program, bound.code);
    EXPECT_TRUE(native);
    return native ? native->entry() : nullptr;
  };
  const Bound second = constant(-2);
  const auto other = compiler.compile(second.program, second.code);
  for (i32 i = 0; i + 2 <= static_cast<i32>(kImagesKeptMax); ++i) {
    entry_of(constant(i));
    EXPECT_EQ(entry_of(first), kept->entry());  // In use all the time.
  }
  entry_of(constant(kImagesKeptMax));
  // The one that was not used is made anew; what had it still runs.
  EXPECT_NE(entry_of(second), other->entry());
  EXPECT_EQ(machine_.run(*other, 0), ~u64{0} - 1);
}

TEST_F(CompilerTest, ListsTheCodeAsAssembler) {
  Compiler compiler({.helper = COPPICE_JIT_PATH});
  const Bound bound = constant(4711);
  const auto text = compiler.list(bound.program, bound.code);
  ASSERT_TRUE(text) << describe(text.error());
  EXPECT_THAT(*text, HasSubstr("entry:"));
  EXPECT_THAT(*text, HasSubstr("$4711"));
}

TEST_F(CompilerTest, CompilesForAnotherProcessor) {
  Compiler compiler({.helper = COPPICE_JIT_PATH, .target = Target::aarch64});
  const Bound bound = constant(4711);
  const auto text = compiler.list(bound.program, bound.code);
  ASSERT_TRUE(text) << describe(text.error());
  EXPECT_THAT(*text, HasSubstr("#4711"));
  EXPECT_THAT(*text, HasSubstr("ret"));
  EXPECT_TRUE(compiler.compile(bound.program, bound.code));  // Emitted and linked; never run here.
}

TEST_F(CompilerTest, ThreadsTakeTurns) {
  Compiler compiler({.helper = COPPICE_JIT_PATH, .deadline_ns = 60 * kSecond});
  std::vector<std::thread> threads;
  for (i32 thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      Machine machine({});
      for (i32 i = 0; i < 5; ++i) {
        const Bound bound = constant(100 * (thread % 2) + i);
        const auto native = compiler.compile(bound.program, bound.code);
        ASSERT_TRUE(native) << describe(native.error());
        EXPECT_EQ(machine.run(*native, 0), static_cast<u64>(100 * (thread % 2) + i));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// A program it refuses does not end the helper.
TEST_F(CompilerTest, RefusesRecursionInWords) {
  Compiler compiler({.helper = COPPICE_JIT_PATH});
  auto program = Program::make({{.opcode = kOpcodeCall, .src = 1, .imm = 1},
                                {.opcode = 0x95},
                                {.opcode = kOpcodeCall, .src = 1, .imm = -1},
                                {.opcode = 0x95}});
  ASSERT_TRUE(program);
  const auto code = Code::bind(*program, {.helpers = helpers_});
  ASSERT_TRUE(code);
  const auto native = compiler.compile(*program, *code);
  ASSERT_FALSE(native);
  EXPECT_THAT(describe(native.error()), HasSubstr("calls itself"));
  const Bound one = constant(1);
  EXPECT_TRUE(compiler.compile(one.program, one.code));
}

TEST_F(CompilerTest, SaysThatThereIsNoHelper) {
  Compiler compiler({.helper = "/nonexistent/coppice-jit"});
  const Bound one = constant(1);
  const auto native = compiler.compile(one.program, one.code);
  ASSERT_FALSE(native);
  EXPECT_THAT(describe(native.error()), HasSubstr("/nonexistent/coppice-jit"));
}

// A helper of the test's own, forked from it. Its socket is the argument.
using Impostor = void (*)(int socket);

Result<std::unique_ptr<HelperProcess>> start(Impostor impostor) {
  int ends[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const pid_t pid = ::fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    ::close(ends[0]);
    impostor(ends[1]);
    ::_exit(0);
  }
  ::close(ends[1]);
  return std::make_unique<HelperProcess>(ends[0], pid);
}

void swallow(int socket) {
  FrameHeader header;
  (void)!::recv(socket, &header, sizeof header, MSG_WAITALL);
  std::vector<std::byte> bytes(header.bytes);
  (void)!::recv(socket, bytes.data(), bytes.size(), MSG_WAITALL);
}

void send_with(int socket, const FrameHeader& header, std::initializer_list<int> files) {
  iovec part = {.iov_base = const_cast<FrameHeader*>(&header), .iov_len = sizeof header};
  alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (files.size() > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(files.size() * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(files.size() * sizeof(int));
    std::memcpy(CMSG_DATA(rights), files.begin(), files.size() * sizeof(int));
  }
  (void)!::sendmsg(socket, &message, MSG_NOSIGNAL);
}

int file_of(const ImageHeader& header, bool sealed, size_t bytes = 128) {
  std::vector<std::byte> image(bytes);
  std::memcpy(image.data(), &header, std::min(bytes, sizeof header));
  if (sealed) return *seal_image(image);
  const int file = ::memfd_create("unsealed", MFD_ALLOW_SEALING);
  (void)!::write(file, image.data(), image.size());
  return file;
}

constexpr ImageHeader kGood{.bytes = 128, .entry = 64};

TEST_F(CompilerTest, BelievesNoLie) {
  const struct {
    const char* name;
    Impostor impostor;
    const char* said;
  } kLies[] = {
      {"ends", [](int) {}, "ended with status 0"},
      {"dies", [](int) { ::raise(SIGABRT); }, "died of signal 6"},
      {"ends in between",
       [](int socket) {
         swallow(socket);
         (void)!::write(socket, "x", 1);
       },
       "ended with status 0"},
      {"garbage",
       [](int socket) {
         swallow(socket);
         (void)!::write(socket, "0123456789abcdef0123456789abcdef", 32);
       },
       "no answer"},
      {"endless text",
       [](int socket) {
         swallow(socket);
         send_with(socket, {.bytes = kAnswerBytesMax + 1}, {});
       },
       "no answer"},
      {"no file",
       [](int socket) {
         swallow(socket);
         send_with(socket, {}, {});
       },
       "sent no code"},
      {"no memory file",
       [](int socket) {
         swallow(socket);
         send_with(socket, {}, {socket});
       },
       "not sealed"},
      {"not sealed",
       [](int socket) {
         swallow(socket);
         send_with(socket, {}, {file_of(kGood, false)});
       },
       "not sealed"},
      {"too small",
       [](int socket) {
         swallow(socket);
         send_with(socket, {}, {file_of(kGood, true, 63)});
       },
       "63 bytes"},
      {"too large",
       [](int socket) {
         swallow(socket);
         const int file = ::memfd_create("large", MFD_ALLOW_SEALING);
         (void)!::ftruncate(file, kImageBytesMax + 1);
         (void)!::fcntl(file, F_ADD_SEALS,
                        F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
         send_with(socket, {}, {file});
       },
       "67108865 bytes"},
      {"entry outside",
       [](int socket) {
         swallow(socket);
         send_with(socket, {}, {file_of({.bytes = 128, .entry = 128}, true)});
       },
       "makes no sense"},
      {"entry in the header",
       [](int socket) {
         swallow(socket);
         send_with(socket, {}, {file_of({.bytes = 128, .entry = 8}, true)});
       },
       "makes no sense"},
      {"another size",
       [](int socket) {
         swallow(socket);
         send_with(socket, {}, {file_of({.bytes = 129, .entry = 64}, true)});
       },
       "makes no sense"},
      {"many files",
       [](int socket) {
         swallow(socket);
         const int file = file_of(kGood, false);
         send_with(socket, {}, {file, file, file, file});
       },
       "not sealed"},
      {"failed without a word",
       [](int socket) {
         swallow(socket);
         send_with(socket, {.failed = 1}, {file_of(kGood, true)});
       },
       "cannot have machine code made"},
      {"silence", [](int socket) { swallow(socket), ::pause(); }, "in time"},
      {"deafness", [](int) { ::pause(); }, "in time"},
  };
  const auto open_files = [] {
    int open = 0;
    for (int each = 0; each < 256; ++each) open += ::fcntl(each, F_GETFD) >= 0;
    return open;
  };
  const int before = open_files();
  for (const auto& lie : kLies) {
    SCOPED_TRACE(lie.name);
    Compiler compiler({.deadline_ns = kSecond / 5, .start = [&] { return start(lie.impostor); }});
    const Bound one = constant(1);
    const auto native = compiler.compile(one.program, one.code);
    ASSERT_FALSE(native);
    EXPECT_THAT(describe(native.error()), HasSubstr(lie.said));
  }
  EXPECT_EQ(open_files(), before);
}

// The helper that failed is replaced by the next request.
TEST_F(CompilerTest, StartsAnotherHelperAfterOneDied) {
  int started = 0;
  Compiler compiler({.deadline_ns = 60 * kSecond, .start = [&] {
                       if (started++ == 0) return start([](int) { ::raise(SIGKILL); });
                       return HelperProcess::start(COPPICE_JIT_PATH);
                     }});
  const Bound one = constant(1);
  EXPECT_FALSE(compiler.compile(one.program, one.code));
  const auto native = compiler.compile(one.program, one.code);
  ASSERT_TRUE(native) << describe(native.error());
  EXPECT_EQ(machine_.run(*native, 0), 1u);
  EXPECT_EQ(started, 2);
}

}  // namespace
}  // namespace coppice::jit
