#include "bpf/native/compiler.h"

#include <nettle/sha2.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "bpf/array_map.h"
#include "bpf/interpreter.h"

namespace coppice::bpf {
namespace {

std::array<std::byte, 32> hash_of(std::span<const std::byte> bytes) {
  static_assert(SHA256_DIGEST_SIZE == 32);
  std::array<std::byte, 32> hash;
  sha256_ctx state;
  sha256_init(&state);
  sha256_update(&state, bytes.size(), reinterpret_cast<const u8*>(bytes.data()));
  sha256_digest(&state, hash.size(), reinterpret_cast<u8*>(hash.data()));
  return hash;
}

MapPlace place_of(Map& map) {
  const MapSpec& spec = map.spec();
  if (spec.kind != MapKind::array && spec.kind != MapKind::percpu_array) return {};
  const auto& array = static_cast<ArrayMap&>(map);
  return {.values = reinterpret_cast<u64>(array.values()),
          .stride = stride_of(spec.value_size),
          .slot_stride = array.slot_stride(),
          .entries = spec.max_entries,
          .slots = spec.slots};
}

void note_helper(Request& request, const HelperPlace& place) {
  const bool known = std::ranges::find(request.helpers, place.number, &HelperPlace::number) !=
                     request.helpers.end();
  if (!known) request.helpers.push_back(place);
}

// What the slot needs to know that is not in the program.
void note_slot(Request& request, const Instruction& in, const Step& step, size_t slot) {
  if (step.operation == Operation::tail_call) {
    note_helper(request, {.number = in.imm,
                          .shortcut = Shortcut::tail_call,
                          .address = reinterpret_cast<u64>(&Machine::find_tail)});
  } else if (step.operation == Operation::call_helper) {
    const auto& helper = *reinterpret_cast<const Helper*>(step.imm);
    note_helper(request, {.number = in.imm,
                          .shortcut = helper.shortcut,
                          .address = reinterpret_cast<u64>(helper.function)});
    request.shows_frames |= helper.asks_may_read;
  } else if (in.is_wide() && in.src != static_cast<u8>(Immediate::number) &&
             in.src != static_cast<u8>(Immediate::code)) {
    request.wides.push_back({.slot = static_cast<u32>(slot), .value = step.imm});
  }
}

}  // namespace

std::string default_jit() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto beside = self.parent_path() / "coppice-jit";
  if (std::filesystem::exists(beside, error)) return beside;
  return self.parent_path().parent_path() / "libexec" / "coppice" / "coppice-jit";
}

Request request_of(const Program& program, const Code& code, const Facts& facts) {
  const auto slots = program.slots();
  Request request{.entry = static_cast<u32>(program.entry()),
                  .slots = {slots.begin(), slots.end()},
                  .facts = facts};
  for (size_t i = 0; i < slots.size(); i += slots[i].is_wide() ? 2 : 1)
    note_slot(request, slots[i], code.steps()[i], i);
  for (Map* map : code.maps()) request.maps.push_back(place_of(*map));
  return request;
}

std::shared_ptr<const Image> Compiler::find(const Hash& hash) {
  const std::lock_guard lock(keeping_);
  const auto found = by_hash_.find(hash);
  if (found == by_hash_.end()) return nullptr;
  kept_.splice(kept_.begin(), kept_, found->second);
  return found->second->image;
}

void Compiler::keep(const Hash& hash, std::shared_ptr<const Image> image) {
  const std::lock_guard lock(keeping_);
  if (by_hash_.contains(hash)) return;  // Two threads asked for the same.
  bytes_kept_ += image->bytes();
  kept_.push_front({hash, std::move(image)});
  by_hash_[hash] = kept_.begin();
  while (kept_.size() > kImagesKeptMax || bytes_kept_ > kImageBytesKeptMax) {
    bytes_kept_ -= kept_.back().image->bytes();
    by_hash_.erase(kept_.back().hash);
    kept_.pop_back();
  }
  CHECK(kept_.size() == by_hash_.size());
}

Result<Reply> Compiler::ask(std::span<const std::byte> request) {
  const std::lock_guard lock(asking_);
  if (process_ == nullptr) {
    auto started = options_.start ? options_.start() : HelperProcess::start(options_.helper);
    if (!started) return std::unexpected(std::move(started).error());
    process_ = *std::move(started);
  }
  auto reply = process_->ask(request, options_.deadline_ns);
  if (!reply) process_.reset();
  return reply;
}

Result<Native> Compiler::compile(const Program& program, const Code& code, const Facts& facts) {
  Request request = request_of(program, code, facts);
  request.target = options_.target;
  const auto bytes = encode(request);
  if (bytes.size() > kRequestBytesMax)
    return fail(Errc::too_big, "cannot have machine code made", "the program is too large");
  const Hash hash = hash_of(bytes);
  if (auto image = find(hash)) return Native(code, std::move(image));
  TRY(Reply reply, ask(bytes));
  if (reply.failed || reply.descriptor < 0) {
    if (reply.descriptor >= 0) ::close(reply.descriptor);
    if (!reply.failed) reply.text = "coppice-jit sent no code";
    return fail(Errc::invalid, "cannot have machine code made", std::move(reply.text));
  }
  auto image = Image::map(reply.descriptor);
  ::close(reply.descriptor);
  if (!image) return std::unexpected(std::move(image).error());
  keep(hash, *image);
  return Native(code, *std::move(image));
}

Result<std::string> Compiler::list(const Program& program, const Code& code, const Facts& facts) {
  Request request = request_of(program, code, facts);
  request.target = options_.target;
  request.wanted = Wanted::listing;
  TRY(Reply reply, ask(encode(request)));
  if (reply.descriptor >= 0) ::close(reply.descriptor);
  if (reply.failed)
    return fail(Errc::invalid, "cannot have machine code made", std::move(reply.text));
  return std::move(reply.text);
}

}  // namespace coppice::bpf
