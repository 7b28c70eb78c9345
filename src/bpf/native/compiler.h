// bpf/native/compiler.h — machine code for programs, made by another process.
//
// Theory. Nobody who runs programs links a compiler. A request goes to `coppice-jit`, one at a
// time; the answer is a sealed file, which is mapped and kept under the hash of its request for as
// long as there is room: the same program with the same maps and helpers has its code at once. The
// helper is started when it is first needed and again after it died, hung or lied. Whatever goes
// wrong is an Error and nothing else, and the caller can run the program in the interpreter.
#pragma once

#include <array>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "bpf/facts.h"
#include "bpf/native/helper_process.h"
#include "bpf/native/native.h"
#include "bpf/program.h"

namespace coppice::bpf {

inline constexpr size_t kImagesKeptMax = 256;
inline constexpr u64 kImageBytesKeptMax = 64_MiB;  // Of all that are kept.

// `coppice-jit` beside the program that runs, or where it was installed with it.
std::string default_jit();

// For every thread that may wait: compiling takes milliseconds, and as long as the deadline at
// worst.
class Compiler {
 public:
  struct Options {
    std::string helper = {};  // The path of coppice-jit.
    Target target = Target::host;
    u64 deadline_ns = 10'000'000'000;  // For one program.
    // How the helper is started, if not from its path.
    std::function<Result<std::unique_ptr<HelperProcess>>()> start = {};
  };
  explicit Compiler(Options options) : options_(std::move(options)) {}

  // `code` was bound from `program`. What of it the facts say must be true.
  Result<Native> compile(const Program& program, const Code& code, const Facts& facts = {});
  // The machine code as assembler, for people.
  Result<std::string> list(const Program& program, const Code& code, const Facts& facts = {});

 private:
  using Hash = std::array<std::byte, 32>;
  struct Kept {
    Hash hash;
    std::shared_ptr<const Image> image;
  };
  std::shared_ptr<const Image> find(const Hash& hash);
  void keep(const Hash& hash, std::shared_ptr<const Image> image);
  Result<Reply> ask(std::span<const std::byte> request);

  const Options options_;
  std::mutex asking_;
  std::unique_ptr<HelperProcess> process_;  // asking_ is held.
  std::mutex keeping_;                      // Of what follows.
  std::list<Kept> kept_;                    // The last used first.
  std::map<Hash, std::list<Kept>::iterator> by_hash_;
  u64 bytes_kept_ = 0;
};

// What is asked for this program.
Request request_of(const Program& program, const Code& code, const Facts& facts);

}  // namespace coppice::bpf
