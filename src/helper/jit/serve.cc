#include "helper/jit/serve.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "bpf/native/request.h"
#include "helper/jit/compile.h"
#include "helper/jit/image_file.h"
#include "helper/jit/seal.h"

namespace coppice::jit {
namespace {

constexpr long kCpuSecondsMax = 60;  // Of one request; the owner's patience ends sooner.

bool receive(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::recv(kSocket, bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(got));
  }
  return true;
}

// The descriptor, if there is one, goes with the first byte.
bool send(std::span<const std::byte> bytes, int descriptor) {
  while (!bytes.empty()) {
    iovec part = {.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header = {};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (descriptor >= 0) {
      header.msg_control = control;
      header.msg_controllen = sizeof control;
      cmsghdr* rights = CMSG_FIRSTHDR(&header);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(rights), &descriptor, sizeof(int));
    }
    const ssize_t sent = ::sendmsg(kSocket, &header, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    descriptor = -1;
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return true;
}

bool reply(bool failed, const std::string& text, int descriptor) {
  const bpf::FrameHeader header{.failed = failed ? 1u : 0u, .bytes = text.size()};
  return send(std::as_bytes(std::span(&header, 1)), descriptor) &&
         send(std::as_bytes(std::span(text)), -1);
}

struct Made {
  std::string listing;
  int descriptor = -1;
};

Result<Made> make(std::span<const std::byte> bytes) {
  TRY(bpf::Request request, bpf::decode_request(bytes));
  TRY(const Order order, Order::check(std::move(request)));
  Made made;
  if (order.request().wanted == bpf::Wanted::listing) {
    TRY(made.listing, list(order));
  } else {
    TRY(const auto image, compile(order));
    TRY(made.descriptor, seal_image(image));
  }
  return made;
}

bool answer(std::span<const std::byte> bytes) {
  const auto made = make(bytes);
  if (!made) return reply(true, describe(made.error()), -1);
  const bool sent = reply(false, made->listing, made->descriptor);
  if (made->descriptor >= 0) ::close(made->descriptor);
  return sent;
}

// A program with a loop and a switch of sorts: after it, LLVM has looked up all it looks up once.
void warm_up() {
  using bpf::Instruction;
  const std::vector<Instruction> slots{{.opcode = 0xbf, .dst = 6, .src = 1},
                                       {.opcode = 0xb7, .dst = 0},
                                       {.opcode = 0x71, .dst = 2, .src = 6},
                                       {.opcode = 0x0f, .dst = 0, .src = 2},
                                       {.opcode = 0x07, .dst = 6, .imm = 1},
                                       {.opcode = 0x07, .dst = 1, .imm = -1},
                                       {.opcode = 0x55, .dst = 1, .offset = -5},
                                       {.opcode = 0x7b, .dst = 10, .src = 0, .offset = -8},
                                       {.opcode = bpf::kOpcodeExit}};
  const auto order = Order::check({.slots = slots});
  CHECK(order.has_value());
  CHECK(compile(*order).has_value());
}

}  // namespace

int serve(int socket) {
  prepare();
  warm_up();
  if (!seal(socket)) {
    std::fprintf(stderr, "coppice-jit: cannot seal the process: %s\n", std::strerror(errno));
    return 1;
  }
  std::vector<std::byte> bytes;
  while (true) {
    bpf::FrameHeader header;
    if (!receive(std::as_writable_bytes(std::span(&header, 1)))) return 0;
    if (header.magic != bpf::kFrameMagic || header.bytes > bpf::kRequestBytesMax) return 1;
    bytes.resize(header.bytes);
    if (!receive(bytes)) return 1;
    limit_cpu(kCpuSecondsMax);
    if (!answer(bytes)) return 1;
    limit_cpu(0);
  }
}

}  // namespace coppice::jit
