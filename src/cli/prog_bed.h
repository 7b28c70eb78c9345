// cli/prog_bed.h — the programs of an object, proved safe and ready to run here.
#pragma once

#include <chrono>
#include <map>

#include "bpf/interpreter.h"
#include "bpf/native/compiler.h"
#include "bpf/standard_types.h"
#include "bpf/verify/verifier.h"
#include "cli/failure.h"

namespace coppice::cli {

enum class Engine : u8 {
  best,       // Machine code; if there is no compiler, the interpreter, with a warning.
  jit,        // Machine code.
  interpret,  // The interpreter.
};

// One program. Views are into the object.
struct Ready {
  const bpf::ObjectProgram* source = nullptr;
  const bpf::ProgramType* type = nullptr;
  bpf::Verdict verdict;
  std::unique_ptr<bpf::Code> code;
  std::unique_ptr<bpf::Native> native;  // Null: interpreted.
  double verify_ms = 0, compile_ms = 0;
};

class ProgBed {
 public:
  // `type`: of every program; empty: what their sections say. `object` outlives the bed.
  static Attempt<std::unique_ptr<ProgBed>> make(const bpf::Object& object, std::string type);

  // The program called `name`, or the only one. Refused if it is not safe, after the verifier's
  // words on standard error; so are programs that it may tail-call.
  Attempt<Ready*> prepare(const std::string& name, Engine engine);
  bpf::Compiler& compiler() { return compiler_; }

 private:
  ProgBed(const bpf::Object& object, std::string type);
  Attempt<size_t> choose(const std::string& name) const;
  Attempt<Ready*> prepare(size_t number, Engine engine);
  Attempt<> compile(Ready& ready, Engine engine);

  const bpf::Object& object_;
  std::string type_;
  bpf::StandardTypes types_;
  std::vector<bpf::MapView> views_;
  std::vector<std::unique_ptr<bpf::Map>> owned_;
  std::vector<bpf::Map*> maps_;
  std::map<size_t, Ready> ready_;  // By number.
  bpf::Compiler compiler_;
  bool warned_ = false;
};

// What a program finds at r1: of a buffer the bytes, of a probe up to eight numbers.
class Context {
 public:
  static Attempt<Context> make(const bpf::ProgramType& type, std::vector<std::byte> data);
  u64 address() const { return reinterpret_cast<u64>(words_.data()); }

 private:
  std::vector<std::byte> data_;
  std::vector<u64> words_;
};

// r0 of one run.
Attempt<u64> run_once(bpf::Machine& machine, const Ready& ready, const Context& context);

// Milliseconds since `began`.
double milliseconds_since(std::chrono::steady_clock::time_point began);

}  // namespace coppice::cli
