// host.h — a host for verifier cases: what it promises, and what it gives to programs that run.
//
// Program types: `packet` (may change its packet), `filter` (may not, and may not tail-call),
// `strict` and `lenient` (as `packet`, by the kernel's rules and by wider ones), `trace`
// (structures of the host's, described by BTF). Types of a global function: `int`, `ctx`, `void`,
// `memN` (a pointer to a structure of N bytes), `opaque` (a pointer to nobody knows what), `whole`
// (a structure by value). A parameter's may be followed by `:ctx` or `:nonnull`, as attributes say.
#pragma once

#include <memory>
#include <optional>

#include "base/prng.h"
#include "bpf/interpreter.h"
#include "bpf/program_type.h"
#include "bpf/verify/verifier.h"
#include "btf_builder.h"
#include "case_file.h"

namespace coppice::bpf {

// What r1 points to.
struct Context {
  u64 data, data_end, data_meta;
  u32 length;  // Read-only.
  u32 mark;
  u64 cookie;
  u64 hidden;  // Neither read nor written.
  u64 device;  // Of Device; never null.
  u64 queue;   // Of Queue, or null.
  u64 flow;    // As a whole only.
  u32 pair[2];
  u64 task;        // Described by BTF; never null.
  u64 maybe_task;  // Or null.
};

class Host {
 public:
  Host();
  const ProgramType* type(const std::string& name) const;  // Null: there is none.
  const Btf& btf() const { return *btf_; }
  const HelperTable& helpers() const { return helpers_; }

 private:
  Layout context_layout() const;

  std::optional<Btf> btf_;
  u32 task_type_ = 0;
  Layout device_, queue_;
  HelperTable helpers_;
  std::vector<ProgramType> types_;
};

// A program with its maps: what a case says, made real.
class Subject {
 public:
  static Result<std::unique_ptr<Subject>> make(const Host& host, const Case& from);

  const Program& program() const { return *program_; }
  Verdict verify(bool log) const;
  // The slot that a label or number names.
  std::optional<u32> slot_of(const std::string& place) const;
  // Runs it once on random inputs, every access checked and every value held against the claims and
  // facts. What went wrong; empty: nothing.
  std::string run(const Verdict& verdict, Prng& prng);

 private:
  Subject(const Host& host, const Case& from) : host_(host), from_(from) {}
  Result<> make_maps();
  Result<> make_functions();
  void fill_maps(Prng& prng);

  const Host& host_;
  const Case& from_;
  const ProgramType* type_ = nullptr;
  std::optional<Program> program_;
  std::map<std::string, size_t, std::less<>> labels_;
  std::vector<std::unique_ptr<Map>> owned_;
  std::vector<Map*> maps_;
  std::vector<MapView> views_;
  std::optional<Btf> btf_;
  std::vector<Function> functions_;
};

}  // namespace coppice::bpf
