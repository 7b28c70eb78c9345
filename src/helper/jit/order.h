// helper/jit/order.h — a request that makes sense: what the generator may rely on.
//
// The bytes of a request come from a process that may have been taken over, so everything is
// checked again here: the program's form and flow by Program, the tables by this. What cannot be
// checked is whether the program is safe and its addresses are right; whoever asks runs the answer.
#pragma once

#include "bpf/native/request.h"
#include "bpf/native/view.h"

namespace coppice::jit {

class Order {
 public:
  static Result<Order> check(bpf::Request request);

  const bpf::Program& program() const { return program_; }
  const bpf::Request& request() const { return request_; }
  // What the wide instruction at `slot` loads, unless it is the address of a subprogram.
  u64 wide_value(size_t slot) const;
  const bpf::HelperPlace& helper(i32 number) const;
  bpf::Fact fact(size_t slot) const;
  u32 frame_bytes(size_t subprogram) const;  // A multiple of 16.

 private:
  Order(bpf::Request request, bpf::Program program)
      : request_(std::move(request)), program_(std::move(program)) {}
  Result<> check_tables() const;
  Result<> check_facts() const;
  Result<> check_calls() const;
  const bpf::HelperPlace* find_helper(i32 number) const;
  const bpf::WideValue* find_wide(size_t slot) const;

  bpf::Request request_;
  bpf::Program program_;
};

}  // namespace coppice::jit
