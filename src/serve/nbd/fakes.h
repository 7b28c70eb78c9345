// serve/nbd/fakes.h — a device in memory and a scripted client, for tests and fuzzing only.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/prng.h"
#include "io/socket.h"
#include "serve/nbd/negotiation.h"
#include "serve/nbd/transmission.h"
#include "serve/nbd/wire.h"
#include "sim/scheduler.h"

namespace coppice::serve::nbd::fakes {

using Bytes = std::vector<std::byte>;

// Remembers which 4 KiB blocks were written. With `delays`, each request waits for a few turns, so
// that requests end out of order. With a fault, requests that touch its range fail.
class MemoryDevice final : public blk::Device {
 public:
  MemoryDevice(rt::Executor& executor, u64 size)
      : executor_(executor), bytes_(size), used_(size / blk::kBlock + 1) {}
  rt::Executor& executor() override { return executor_; }
  u64 size_bytes() const override { return bytes_.size(); }
  bool read_only() const override { return false; }

  Task<> read(u64 offset, std::span<std::byte> into) override {
    auto entered = co_await enter(offset, into.size());
    if (!into.empty()) std::memcpy(into.data(), bytes_.data() + offset, into.size());
    --running;
    co_return entered;
  }
  Task<> write(u64 offset, std::span<const std::byte> from, blk::WriteOptions options) override {
    auto entered = co_await enter(offset, from.size());
    --running;
    if (!entered) co_return entered;
    std::memcpy(bytes_.data() + offset, from.data(), from.size());
    mark(offset, from.size(), true);
    fua_writes += options.fua;
    co_return {};
  }
  Task<> zero(u64 offset, u64 length, blk::WriteOptions options) override {
    auto entered = co_await enter(offset, length);
    --running;
    if (!entered) co_return entered;
    std::memset(bytes_.data() + offset, 0, length);
    mark(offset, length, options.no_hole);
    fua_writes += options.fua;
    co_return {};
  }
  Task<> discard(u64 offset, u64 length, blk::WriteOptions options) override {
    ++discards;
    return zero(offset, length, {.fua = options.fua, .no_hole = false});
  }
  Task<> flush() override {
    auto entered = co_await enter(0, 0);
    --running;
    ++flushes;
    co_return entered;
  }
  Task<std::vector<blk::Extent>> extents(u64 offset, u64 length, size_t count_max) override {
    auto entered = co_await enter(offset, 0);
    --running;
    if (!entered) co_return std::unexpected(std::move(entered).error());
    std::vector<blk::Extent> found;
    for (u64 at = offset; at < offset + length;) {
      const u64 next = std::min(offset + length, (at / blk::kBlock + 1) * blk::kBlock);
      const bool hole = !used_[at / blk::kBlock];
      if (!found.empty() && found.back().hole == hole) {
        found.back().length += next - at;
      } else if (found.size() == count_max) {
        break;
      } else {
        found.push_back({at, next - at, hole, hole});
      }
      at = next;
    }
    co_return found;
  }
  Task<> prefetch(u64 offset, u64 length) override {
    auto entered = co_await enter(offset, length);
    --running;
    ++prefetches;
    co_return entered;
  }

  struct Fault {
    u64 offset = 0;
    u64 length = 0;
    Errc code = Errc::io;
    bool flushes = false;
  };
  Fault fault;
  Prng* delays = nullptr;
  u32 running = 0, running_max = 0;
  u32 flushes = 0, fua_writes = 0, discards = 0, prefetches = 0;

 private:
  Task<> enter(u64 offset, u64 length) {
    CHECK(offset <= bytes_.size() && length <= bytes_.size() - offset);
    running_max = std::max(running_max, ++running);
    for (u64 turns = delays != nullptr ? delays->below(6) : 0; turns > 0; --turns)
      co_await rt::yield(executor_);
    const bool hit = length == 0
                         ? fault.flushes
                         : offset < fault.offset + fault.length && fault.offset < offset + length;
    if (hit) co_return fail(fault.code, "asking a device that was told to fail");
    co_return {};
  }
  void mark(u64 offset, u64 length, bool used) {
    for (u64 at = offset; at < offset + length; at = (at / blk::kBlock + 1) * blk::kBlock) {
      const bool whole = at % blk::kBlock == 0 && at + blk::kBlock <= offset + length;
      if (used || whole) used_[at / blk::kBlock] = used;
    }
  }
  rt::Executor& executor_;
  Bytes bytes_;
  std::vector<bool> used_;
};

// A client that has decided beforehand what to say. The server receives it in pieces of the sizes
// that `piece` chooses; what it sends is collected.
class ScriptedSocket final : public io::Socket {
 public:
  ScriptedSocket(rt::Executor& executor, Bytes script)
      : script_(std::move(script)), executor_(executor) {}
  Task<size_t> receive(std::span<std::byte> into) override {
    co_await rt::yield(executor_);
    while (stays && said_ == script_.size() && !shut) co_await rt::sleep_for(executor_, 1'000'000);
    if (shut) co_return size_t{0};
    const size_t limit = piece ? std::max<size_t>(piece(), 1) : into.size();
    const size_t count = std::min({into.size(), limit, script_.size() - said_});
    std::copy_n(script_.begin() + said_, count, into.begin());
    said_ += count;
    co_return count;
  }
  Task<> send(Parts parts) override {
    ++sends;
    co_await rt::yield(executor_);
    while (deaf && !shut) co_await rt::sleep_for(executor_, 1'000'000);
    if (shut) co_return fail(Errc::closed, "sending to a scripted client");
    for (const auto& part : parts) heard.insert(heard.end(), part.begin(), part.end());
    if (heard.size() > hangs_up_after) {
      shutdown();
      co_return fail(Errc::closed, "sending to a scripted client");
    }
    co_return {};
  }
  void shutdown() override { shut = true; }
  int release_fd() override { return -1; }
  size_t unsaid() const { return script_.size() - said_; }

  std::function<size_t()> piece;
  bool stays = false;  // Does not close its end after the script.
  bool deaf = false;   // Does not read.
  size_t hangs_up_after = ~size_t{0};
  bool shut = false;
  u32 sends = 0;
  Bytes heard;

 private:
  Bytes script_;
  size_t said_ = 0;
  rt::Executor& executor_;
};

class FakeDirectory final : public Directory {
 public:
  explicit FakeDirectory(blk::Device& device) : device_(device) {}
  struct Lease final : Attachment {
    Lease(FakeDirectory& d, ExportInfo info) : directory(d), fixed(std::move(info)) {
      ++directory.leases;
    }
    ~Lease() override { --directory.leases; }
    const ExportInfo& info() const override { return fixed; }
    blk::Device& device() override { return directory.device_; }
    FakeDirectory& directory;
    ExportInfo fixed;
  };
  Task<std::vector<ExportName>> list() override {
    if (failure != Errc{}) co_return fail(failure, "listing the exports");
    co_return names;
  }
  Task<std::unique_ptr<Attachment>> open(std::string name) override {
    ++opens;
    if (failure != Errc{}) co_return fail(failure, "opening an export");
    if (name.empty()) name = "tank/vm";
    const auto known = std::ranges::find(names, name, &ExportName::name);
    if (known == names.end()) co_return fail(Errc::not_found, "opening an export", std::move(name));
    co_return std::make_unique<Lease>(
        *this, ExportInfo{name, known->description, device_.size_bytes(), name == "tank/ro"});
  }
  std::vector<ExportName> names = {{"tank/vm", "a machine's disk"}, {"tank/ro", ""}};
  Errc failure{};  // Errc::io, the first, stands for none.
  u32 opens = 0;
  u32 leases = 0;

 private:
  blk::Device& device_;
};

// What a client says.
class Script {
 public:
  Bytes bytes;
  Script& hello(u32 flags = 3) { return be(flags); }
  Script& option(wire::Option option, const Bytes& data = {}) {
    be(wire::kOptionMagic).be(static_cast<u32>(option)).be(static_cast<u32>(data.size()));
    bytes.insert(bytes.end(), data.begin(), data.end());
    return *this;
  }
  Script& info(wire::Option kind, std::string_view name, std::vector<wire::Info> asked = {}) {
    Bytes data = named(name);
    wire::append_be<u16>(data, asked.size());
    for (wire::Info each : asked) wire::append_be(data, each);
    return option(kind, data);
  }
  Script& go(std::string_view name = "tank/vm") { return info(wire::Option::go, name); }
  Script& structured() { return option(wire::Option::structured_reply); }
  Script& contexts(wire::Option kind, std::string_view name, std::vector<std::string> queries) {
    Bytes data = named(name);
    wire::append_be<u32>(data, queries.size());
    for (const std::string& query : queries) {
      wire::append_be<u32>(data, query.size());
      wire::append_text(data, query);
    }
    return option(kind, data);
  }
  Script& request(wire::Command command, u64 cookie, u64 offset, u32 length, u16 flags = 0) {
    be(wire::kRequestMagic).be(flags).be(static_cast<u16>(command)).be(cookie);
    return be(offset).be(length);
  }
  Script& write(u64 cookie, u64 offset, const Bytes& payload, u16 flags = 0) {
    request(wire::Command::write, cookie, offset, payload.size(), flags);
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return *this;
  }
  Script& goodbye() { return request(wire::Command::disconnect, 0, 0, 0); }
  template <class T>
  Script& be(T value) {
    wire::append_be(bytes, value);
    return *this;
  }
  static Bytes named(std::string_view name) {
    Bytes data;
    wire::append_be<u32>(data, name.size());
    wire::append_text(data, name);
    return data;
  }
};

struct OptionAnswer {
  wire::Option option;
  wire::OptionReply type;
  Bytes data;
};
struct Chunk {
  u16 flags;
  wire::ChunkType type;
  Bytes body;
};
struct Reply {
  wire::Status status = wire::Status::ok;
  bool simple = false;
  std::vector<Chunk> chunks;
  Bytes data;  // Of a read: put together from its chunks.
  std::string message;
};

// Understands what the server said. Anything malformed is reported by good().
class Listener {
 public:
  explicit Listener(const Bytes& heard) : reader_(heard) {}
  bool greeting() {
    return reader_.get_be<u64>() == wire::kGreetingMagic &&
           reader_.get_be<u64>() == wire::kOptionMagic && reader_.get_be<u16>() == 3;
  }
  OptionAnswer answer() {
    bad_ |= reader_.get_be<u64>() != wire::kOptionReplyMagic;
    OptionAnswer answer{reader_.get_be<wire::Option>(), reader_.get_be<wire::OptionReply>(), {}};
    answer.data = take(reader_.get_be<u32>());
    return answer;
  }
  // All answers to one option, the last of which ends it.
  std::vector<OptionAnswer> answers() {
    std::vector<OptionAnswer> all;
    do {
      all.push_back(answer());
    } while (good() && all.back().type != wire::OptionReply::ack &&
             (static_cast<u32>(all.back().type) & wire::kReplyError) == 0);
    return all;
  }
  // Every reply to the end of the stream, by cookie. `reads` has the offset and length of each
  // read.
  std::map<u64, Reply> replies(const std::map<u64, std::pair<u64, u32>>& reads) {
    std::map<u64, Reply> all;
    while (good() && reader_.remaining() > 0) {
      const u32 magic = reader_.get_be<u32>();
      if (magic == wire::kSimpleReplyMagic) {
        const auto status = reader_.get_be<wire::Status>();
        const u64 cookie = reader_.get_be<u64>();
        bad_ |= all.contains(cookie);
        Reply& reply = all[cookie];
        reply.simple = true;
        reply.status = status;
        if (reads.contains(cookie) && status == wire::Status::ok)
          reply.data = take(reads.at(cookie).second);
      } else if (magic == wire::kStructuredReplyMagic) {
        chunk(all, reads);
      } else {
        bad_ = true;
      }
    }
    return all;
  }
  size_t remaining() const { return reader_.remaining(); }
  Bytes take(size_t count) {
    const auto bytes = reader_.bytes(count);
    return {bytes.begin(), bytes.end()};
  }
  bool good() const { return reader_.good() && !bad_; }

 private:
  void chunk(std::map<u64, Reply>& all, const std::map<u64, std::pair<u64, u32>>& reads) {
    const u16 flags = reader_.get_be<u16>();
    const auto type = reader_.get_be<wire::ChunkType>();
    const u64 cookie = reader_.get_be<u64>();
    Reply& reply = all[cookie];
    bad_ |= reply.simple ||
            (!reply.chunks.empty() && (reply.chunks.back().flags & wire::kChunkDone) != 0);
    reply.chunks.push_back({flags, type, take(reader_.get_be<u32>())});
    Reader body(reply.chunks.back().body);
    if (type == wire::ChunkType::offset_data || type == wire::ChunkType::offset_hole) {
      const auto [offset, length] =
          reads.contains(cookie) ? reads.at(cookie) : std::pair{u64{0}, u32{0}};
      const u64 at = body.get_be<u64>();
      bad_ |= at != offset + reply.data.size();  // We send them in order.
      if (type == wire::ChunkType::offset_hole) {
        reply.data.resize(reply.data.size() + body.get_be<u32>());
      } else {
        const auto data = body.bytes(body.remaining());
        reply.data.insert(reply.data.end(), data.begin(), data.end());
      }
      bad_ |= reply.data.size() > length;
    } else if (type == wire::ChunkType::error || type == wire::ChunkType::error_offset) {
      reply.status = body.get_be<wire::Status>();
      const auto message = body.bytes(body.get_be<u16>());
      reply.message.assign(reinterpret_cast<const char*>(message.data()), message.size());
      if (type == wire::ChunkType::error_offset) body.get_be<u64>();
      bad_ |= !body.done();
    }
  }
  Reader reader_;
  bool bad_ = false;
};

// A client's whole visit.
inline Task<> visit(Lobby& lobby, io::Socket& socket, Limits limits, Counters& counters) {
  auto negotiated = co_await lobby.negotiate(socket);
  if (!negotiated) co_return std::unexpected(std::move(negotiated).error());
  auto served = co_await serve_transmission(socket, *negotiated, limits);
  counters = negotiated->counters;
  co_return served;
}

}  // namespace coppice::serve::nbd::fakes
