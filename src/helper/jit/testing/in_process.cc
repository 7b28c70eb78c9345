#include "helper/jit/testing/in_process.h"

#include <unistd.h>

#include "helper/jit/compile.h"
#include "helper/jit/image_file.h"

namespace coppice::jit {

Result<bpf::Native> compile_here(const bpf::Program& program, const bpf::Code& code,
                                 const bpf::Facts& facts, bpf::Target target) {
  static const bool kPrepared = (prepare(), true);
  static_cast<void>(kPrepared);
  bpf::Request request = request_of(program, code, facts);
  request.target = target;
  // By way of its bytes, as the helper gets it.
  TRY(bpf::Request arrived, bpf::decode_request(encode(request)));
  TRY(const Order order, Order::check(std::move(arrived)));
  TRY(const auto bytes, compile(order));
  TRY(const int file, seal_image(bytes));
  auto image = bpf::Image::map(file);
  ::close(file);
  if (!image) return std::unexpected(std::move(image).error());
  return bpf::Native(code, *std::move(image));
}

}  // namespace coppice::jit
