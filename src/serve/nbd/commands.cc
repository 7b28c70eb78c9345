// serve/nbd/commands.cc — Connection's other half: what each command asks of the device.
#include <algorithm>

#include "rt/scope.h"
#include "serve/nbd/connection.h"
#include "trace/point.h"

namespace coppice::serve::nbd {
namespace {

using wire::Command;
using wire::Status;

constexpr u32 kSparseFrom = 64_KiB;         // Shorter reads do not ask where the holes are.
constexpr size_t kSparseExtentsMax = 64;    // Of one read; what lies behind them is read as data.
constexpr size_t kStatusExtentsMax = 1024;  // Of one answer to block_status.
constexpr size_t kLargeReply = 32_KiB;      // Not worth waiting with for others.
constexpr u64 kStatusWeight = wire::Chunk::kBytes + 4 + 8 * kStatusExtentsMax;

Status status_of(Errc code) {
  switch (code) {
    case Errc::no_space:
    case Errc::quota: return Status::enospc;
    case Errc::read_only:
    case Errc::denied: return Status::eperm;
    case Errc::invalid:
    case Errc::too_big: return Status::einval;
    case Errc::unsupported: return Status::enotsup;
    case Errc::closed:
    case Errc::cancelled: return Status::eshutdown;
    default: return Status::eio;
  }
}

bool changes(Command command) {
  return command == Command::write || command == Command::trim || command == Command::write_zeroes;
}

}  // namespace

Connection::Refusal Connection::check_flags(const wire::Request& header) const {
  u16 allowed = wire::kCommandFua;  // Valid, if mostly without meaning, for every command.
  switch (header.command) {
    case Command::read:
      if (structured_) allowed |= wire::kCommandDf;
      break;
    case Command::write_zeroes: allowed |= wire::kCommandNoHole | wire::kCommandFastZero; break;
    case Command::block_status: allowed |= wire::kCommandReqOne; break;
    case Command::write:
    case Command::flush:
    case Command::trim:
    case Command::cache: break;
    default: return {Status::einval, "unknown command"};
  }
  if ((header.flags & ~allowed) != 0) return {Status::einval, "a flag this command does not have"};
  return {};
}

Connection::Refusal Connection::check(const wire::Request& header) const {
  if (const Refusal refusal = check_flags(header)) return refusal;
  if (header.command == Command::flush) return {};
  if (changes(header.command) && (negotiated_.attachment->info().read_only || device_.read_only()))
    return {Status::eperm, "the export is read-only"};
  const u64 size = device_.size_bytes();
  if (header.offset > size || header.length > size - header.offset) {
    const bool grows = header.command == Command::write || header.command == Command::write_zeroes;
    return {grows ? Status::enospc : Status::einval,
            "the request reaches past the end of the export"};
  }
  const bool carries = header.command == Command::read || header.command == Command::write;
  if (carries && header.length > limits_.request_bytes_max)
    return {Status::einval, "the request is longer than the maximum block size"};
  constexpr u16 kNeverFast = wire::kCommandNoHole | wire::kCommandFastZero;
  if (header.command == Command::write_zeroes && (header.flags & kNeverFast) == kNeverFast)
    return {Status::enotsup, "zeroes that keep their space are not fast"};
  if (header.command == Command::block_status) {
    if (!negotiated_.allocation_context) return {Status::einval, "no metadata context was chosen"};
    if (header.length == 0) return {Status::einval, "the block status of nothing"};
  }
  return {};
}

u64 Connection::weight_of(const wire::Request& header) const {
  switch (header.command) {
    case Command::read:
    case Command::write: return header.length <= limits_.request_bytes_max ? header.length : 0;
    case Command::block_status: return kStatusWeight;
    default: return 0;
  }
}

void Connection::execute(Request& request) {
  const wire::Request& header = request.header;
  if (const Refusal refusal = check(header))
    return refuse(request, refusal.status, refusal.message);
  switch (header.command) {
    case Command::read:
      ++counters_.reads;
      counters_.bytes_read += header.length;
      break;
    case Command::write:
      ++counters_.writes;
      counters_.bytes_written += header.length;
      break;
    case Command::flush: ++counters_.flushes; break;
    case Command::trim: ++counters_.trims; break;
    case Command::write_zeroes: ++counters_.zeroes; break;
    case Command::cache: ++counters_.caches; break;
    default: ++counters_.statuses; break;
  }
  if (header.length == 0 && header.command != Command::flush && header.command != Command::read)
    return succeed(request);  // The protocol leaves it open; nothing was to be done.
  start(request, command(request));
}

// The task that does it; for the frequent commands it is the device's own, without a frame around
// it.
Task<> Connection::command(Request& request) {
  const wire::Request& header = request.header;
  const blk::WriteOptions options{.fua = (header.flags & wire::kCommandFua) != 0,
                                  .no_hole = (header.flags & wire::kCommandNoHole) != 0};
  switch (header.command) {
    case Command::read:
      if (structured_ && header.length >= kSparseFrom && (header.flags & wire::kCommandDf) == 0)
        return read_sparse(request);
      return read(request);
    case Command::write: return device_.write(header.offset, request.payload, options);
    case Command::trim: return device_.discard(header.offset, header.length, options);
    case Command::write_zeroes: return device_.zero(header.offset, header.length, options);
    case Command::cache: return device_.prefetch(header.offset, header.length);
    case Command::block_status: return block_status(request);
    default: return device_.flush();
  }
}

// Frames the reply first: its header stands right before the payload, so that both are one part.
Task<> Connection::read(Request& request) {
  const wire::Request& header = request.header;
  request.buffer = pool_.take(header.length);
  std::byte* payload = request.buffer.payload();
  size_t framing = wire::SimpleReply::kBytes;
  if (!structured_) {
    wire::SimpleReply{Status::ok, header.cookie}.encode(payload - framing);
  } else if (header.length == 0) {
    framing = wire::Chunk::kBytes;  // A chunk of data must have some; this one is empty.
    wire::Chunk{wire::kChunkDone, wire::ChunkType::none, header.cookie, 0}.encode(payload -
                                                                                  framing);
  } else {
    framing = wire::Chunk::kDataBytes;
    const wire::Chunk chunk{wire::kChunkDone, wire::ChunkType::offset_data, header.cookie,
                            header.length + 8};
    wire::put_be(chunk.encode(payload - framing), header.offset);
  }
  static_assert(Buffer::kHeadroom >= wire::Chunk::kDataBytes);
  request.reply = {payload - framing, framing + header.length};
  return device_.read(header.offset, {payload, header.length});
}

Task<> Connection::read_part(Request& request, u64 offset, std::span<std::byte> into) {
  auto outcome = co_await device_.read(offset, into);
  if (!outcome && !request.error_offset) request.error_offset = offset;
  co_return outcome;
}

// A read that sends no zeroes over the wire: one chunk for each run of data or of zeroes.
Task<> Connection::read_sparse(Request& request) {
  const wire::Request header = request.header;
  auto extents = co_await device_.extents(header.offset, header.length, kSparseExtentsMax);
  if (!extents) co_return std::unexpected(std::move(extents).error());
  struct Run {
    u64 offset;
    u64 length;
    bool zero;
  };
  std::vector<Run> runs;
  u64 reached = header.offset;
  const u64 end = header.offset + header.length;
  const auto add = [&](u64 length, bool zero) {
    if (length == 0) return;
    if (!runs.empty() && runs.back().zero == zero) {
      runs.back().length += length;
    } else {
      runs.push_back({reached, length, zero});
    }
    reached += length;
  };
  for (const blk::Extent& extent : *extents) {
    CHECK(extent.offset == reached && extent.length <= end - reached);
    add(extent.length, extent.zero);
  }
  add(end - reached, false);
  if (runs.size() == 1 && !runs[0].zero) {
    auto whole = co_await read(request);
    co_return whole;
  }
  u64 bytes = 0;
  for (const Run& run : runs)
    bytes += run.zero ? wire::Chunk::kHoleBytes : wire::Chunk::kDataBytes + run.length;
  request.buffer = pool_.take(bytes);
  request.reply = {request.buffer.payload(), bytes};
  std::byte* at = request.buffer.payload();
  rt::Scope reads;
  for (const Run& run : runs) {
    const u16 flags = run.offset + run.length == end ? wire::kChunkDone : 0;
    const u32 length = static_cast<u32>(run.length);
    if (run.zero) {
      at = wire::Chunk{flags, wire::ChunkType::offset_hole, header.cookie, 8 + 4}.encode(at);
      at = wire::put_be(wire::put_be(at, run.offset), length);
    } else {
      at = wire::Chunk{flags, wire::ChunkType::offset_data, header.cookie, 8 + length}.encode(at);
      at = wire::put_be(at, run.offset);
      reads.spawn(read_part(request, run.offset, {at, length}));
      at += length;
    }
  }
  CHECK(at == request.buffer.payload() + bytes);
  auto joined = co_await reads.join();
  co_return joined;
}

Task<> Connection::block_status(Request& request) {
  const wire::Request header = request.header;
  const bool one = (header.flags & wire::kCommandReqOne) != 0;
  const size_t count_max = one ? 1 : kStatusExtentsMax;
  auto extents = co_await device_.extents(header.offset, header.length, count_max);
  if (!extents) co_return std::unexpected(std::move(extents).error());
  CHECK(!extents->empty() && extents->size() <= count_max);
  std::vector<std::byte> descriptors;
  u64 reached = header.offset;
  u64 length = 0;
  u32 state = 0;
  const auto close = [&] {
    if (length == 0) return;
    wire::append_be<u32>(descriptors, static_cast<u32>(length));
    wire::append_be<u32>(descriptors, state);
  };
  for (const blk::Extent& extent : *extents) {
    CHECK(extent.offset == reached && extent.length <= header.offset + header.length - reached);
    const u32 next = (extent.hole ? wire::kStateHole : 0) | (extent.zero ? wire::kStateZero : 0);
    if (next != state) {
      close();
      length = 0;
      state = next;
    }
    length += extent.length;
    reached += extent.length;
  }
  close();
  const u32 body = static_cast<u32>(4 + descriptors.size());
  request.buffer = pool_.take(wire::Chunk::kBytes + body);
  request.reply = {request.buffer.payload(), wire::Chunk::kBytes + body};
  std::byte* at = request.buffer.payload();
  at = wire::Chunk{wire::kChunkDone, wire::ChunkType::block_status, header.cookie, body}.encode(at);
  at = wire::put_be(at, wire::kBaseAllocationId);
  std::memcpy(at, descriptors.data(), descriptors.size());
  co_return {};
}

void Connection::start(Request& request, Task<> task) {
  CHECK(starting_ == nullptr && !request.task);
  request.done = false;
  request.task.emplace(std::move(task));
  ++running_;
  starting_ = &request;
  request.task->start(&Connection::task_done, &request);
  starting_ = nullptr;
  if (request.done) finish(request);
}

// The task is suspended for good, but the frames that led here are still on the stack: it is
// destroyed later, by start() or by turn().
std::coroutine_handle<> Connection::task_done(PromiseBase& promise) {
  auto& request = *static_cast<Request*>(promise.owner);
  Connection& self = request.connection;
  CHECK(!request.done);
  request.done = true;
  if (self.starting_ == &request) return std::noop_coroutine();
  *self.ended_last_ = &request;
  self.ended_last_ = &request.link;
  if (!self.turn_.posted) {
    self.turn_.posted = true;
    self.executor_.post(self.turn_);
  }
  return std::noop_coroutine();
}

void Connection::finish(Request& request) {
  CHECK(running_ > 0 && request.task->finished());
  --running_;
  const Result<> outcome = request.task->take();
  request.task.reset();
  if (outcome) return succeed(request);
  refuse(request, status_of(outcome.error().code), describe(outcome.error()));
}

void Connection::succeed(Request& request) {
  if (broken_) return release(request);
  if (trace::on(trace::Point::nbd_reply)) [[unlikely]]
    trace::fire(trace::Point::nbd_reply,
                {this, request.header.cookie, Status::ok, request.reply.size()});
  const bool large = request.reply.size() >= kLargeReply;
  if (request.reply.empty()) {
    outbox_.add_simple(request.header.cookie, Status::ok);
  } else {
    outbox_.add_payload(request.reply, std::move(request.buffer));
  }
  outbox_.weigh(request.weight);
  recycle(request);
  if (large) send_replies();
}

void Connection::refuse(Request& request, Status status, std::string_view message) {
  ++counters_.errors;
  if (broken_) return release(request);
  if (trace::on(trace::Point::nbd_reply)) [[unlikely]]
    trace::fire(trace::Point::nbd_reply, {this, request.header.cookie, status, 0});
  if (!structured_) {
    outbox_.add_simple(request.header.cookie, status);
  } else if (request.error_offset) {
    outbox_.add_error_at(request.header.cookie, status, *request.error_offset, message);
  } else {
    outbox_.add_error(request.header.cookie, status, message);
  }
  outbox_.weigh(request.weight);
  recycle(request);
}

}  // namespace coppice::serve::nbd
