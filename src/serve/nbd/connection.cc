#include "serve/nbd/connection.h"

#include <algorithm>
#include <cstring>

#include "trace/point.h"

namespace coppice::serve::nbd {

Connection::Connection(io::Socket& socket, Negotiated& negotiated, const Limits& limits)
    : socket_(socket),
      negotiated_(negotiated),
      counters_(negotiated.counters),
      device_(negotiated.attachment->device()),
      executor_(device_.executor()),
      limits_(limits),
      structured_(negotiated.structured),
      outbox_(limits.requests_in_flight_max) {
  CHECK(limits_.requests_in_flight_max > 0);
  turn_.connection = this;
  turn_.run = [](rt::Job& job) { static_cast<Turn&>(job).connection->turn(); };
  parking_.run = [](rt::Job& job) {
    auto& parking = static_cast<Parking&>(job);
    parking.posted = false;
    std::exchange(parking.waiter, nullptr).resume();
  };
  inbox_.append(negotiated.leftover);
  negotiated.leftover.clear();
}

Connection::~Connection() {
  CHECK(running_ == 0 && in_flight_.requests == 0);
  CHECK(!turn_.posted && !parking_.posted && !sending_);
}

Task<> Connection::run() {
  auto outcome = co_await read_requests();
  if (!outcome) socket_.shutdown();
  send_replies();
  while (!idle()) co_await parked();
  CHECK(in_flight_.bytes == 0);
  co_return outcome;
}

bool Connection::idle() const {
  return running_ == 0 && !sending_ && !turn_.posted && outbox_.empty();
}

// ---- Reading ----

Task<> Connection::read_requests() {
  for (;;) {
    auto parsed = parse_one();
    if (!parsed) co_return std::unexpected(std::move(parsed).error());
    if (*parsed == Parsed::end) co_return {};
    Result<> moved;
    if (*parsed == Parsed::full) {
      send_replies();
      // That may have made room already; if not, whatever makes room will wake us.
      if (!has_room(wire::Request::decode(inbox_.pending().data()))) co_await parked();
    } else if (*parsed == Parsed::incomplete) {
      if (broken_) co_return fail(Errc::closed, "answering an NBD client");
      moved = co_await receive_more();
      // The end of the stream between two requests is a goodbye without manners.
      if (!moved && moved.error().code == Errc::closed && inbox_.pending().empty()) co_return {};
    } else if (large_write_ != nullptr) {
      moved = co_await receive_large_write();
    } else if (skip_left_ > 0) {
      moved = co_await skip_payload();
    }
    if (!moved) co_return moved;
  }
}

Result<Connection::Parsed> Connection::parse_one() {
  const auto pending = inbox_.pending();
  wanted_ = wire::Request::kBytes;
  if (pending.size() < wire::Request::kBytes) return Parsed::incomplete;
  const auto header = wire::Request::decode(pending.data());
  if (header.magic != wire::kRequestMagic)
    return fail(Errc::invalid, "reading an NBD request without its magic");
  if (header.command == wire::Command::disconnect) return Parsed::end;
  if (!has_room(header)) return Parsed::full;
  if (header.command == wire::Command::write && header.length > 0) return parse_write(header);
  inbox_.consume(wire::Request::kBytes);
  execute(admit(header));
  return Parsed::request;
}

Result<Connection::Parsed> Connection::parse_write(const wire::Request& header) {
  const auto pending = inbox_.pending();
  if (const Refusal refusal = check(header)) {
    if (header.length > std::max(limits_.skip_bytes_max, limits_.request_bytes_max))
      return fail(Errc::too_big, "reading an NBD write of excessive length");
    inbox_.consume(wire::Request::kBytes);
    refuse(admit(header), refusal.status, refusal.message);
    skip_left_ = header.length;
    return Parsed::request;
  }
  if (header.length > ReceiveBuffer::kInPlaceMax) {
    inbox_.consume(wire::Request::kBytes);
    large_write_ = &admit(header);
    return Parsed::request;
  }
  wanted_ = wire::Request::kBytes + header.length;
  if (pending.size() < wanted_) return Parsed::incomplete;
  Request& request = admit(header);
  request.held = inbox_.buffer();
  request.payload = pending.subspan(wire::Request::kBytes, header.length);
  inbox_.consume(wanted_);
  execute(request);
  return Parsed::request;
}

// A client that keeps many requests in flight now works through the replies and sends a new request
// for each. Were we waiting, its first would wake us at once: an expensive step for the client, and
// then one receive and one send for a request or two. So we let some gather first, for less time
// than the client takes to send as many again. Not while requests are under way: then the client
// may be waiting for us.
Task<> Connection::gather() {
  constexpr u64 kFrom = 4;
  constexpr u64 kPerRequestNs = 4'000;
  constexpr u64 kMaxNs = 50'000;
  constexpr u64 kSmall = 16_KiB;  // Larger requests cost more than what gathering them saves.
  const u64 parsed = std::exchange(parsed_, 0);
  const u64 bytes = std::exchange(parsed_bytes_, 0);
  if (parsed >= kFrom && bytes <= parsed * kSmall && running_ == 0)
    co_await rt::sleep_for(executor_, std::min(parsed * kPerRequestNs, kMaxNs));
  co_return {};
}

Task<> Connection::receive_more() {
  send_replies();
  auto gathered = co_await gather();
  if (!gathered) co_return gathered;
  while (!inbox_.make_room(wanted_)) co_await parked();
  ++counters_.receives;
  const auto space = inbox_.space();
  auto count = co_await socket_.receive(space);
  if (!count) co_return std::unexpected(std::move(count).error());
  if (*count == 0) co_return fail(Errc::closed, "reading from an NBD client");
  inbox_.received(*count);
  co_return {};
}

// The rest of the payload goes from the socket to where the device takes it from.
Task<> Connection::receive_large_write() {
  Request& request = *std::exchange(large_write_, nullptr);
  const size_t length = request.header.length;
  request.buffer = pool_.take(length);
  request.payload = {request.buffer.payload(), length};
  size_t filled = std::min(length, inbox_.pending().size());
  std::memcpy(request.buffer.payload(), inbox_.pending().data(), filled);
  inbox_.consume(filled);
  while (filled < length) {
    send_replies();
    ++counters_.receives;
    const std::span<std::byte> rest(request.buffer.payload() + filled, length - filled);
    auto count = co_await socket_.receive(rest);
    if (!count || *count == 0) {
      release(request);
      if (!count) co_return std::unexpected(std::move(count).error());
      co_return fail(Errc::closed, "reading the payload of an NBD write");
    }
    CHECK(*count <= rest.size());
    filled += *count;
  }
  execute(request);
  co_return {};
}

Task<> Connection::skip_payload() {
  while (skip_left_ > 0) {
    const u64 step = std::min<u64>(skip_left_, inbox_.pending().size());
    inbox_.consume(step);
    skip_left_ -= step;
    if (skip_left_ == 0) break;
    wanted_ = 1;
    auto received = co_await receive_more();
    if (!received) co_return received;
  }
  co_return {};
}

bool Connection::has_room(const wire::Request& header) const {
  if (in_flight_.requests >= limits_.requests_in_flight_max) return false;
  return in_flight_.bytes == 0 ||
         in_flight_.bytes + weight_of(header) <= limits_.bytes_in_flight_max;
}

Request& Connection::admit(const wire::Request& header) {
  if (trace::on(trace::Point::nbd_receive)) [[unlikely]]
    trace::fire(trace::Point::nbd_receive,
                {this, header.cookie, header.command, header.offset, header.length});
  CHECK(has_room(header));
  if (free_requests_ == nullptr) {
    CHECK(requests_.size() < limits_.requests_in_flight_max);
    free_requests_ = &requests_.emplace_back(*this);
  }
  Request& request = *free_requests_;
  free_requests_ = std::exchange(request.link, nullptr);
  request.header = header;
  request.weight = weight_of(header);
  ++parsed_;
  parsed_bytes_ += request.weight;
  ++in_flight_.requests;
  in_flight_.bytes += request.weight;
  return request;
}

// Forgets a request that gets no answer: the client is gone.
void Connection::release(Request& request) {
  CHECK(in_flight_.requests > 0 && in_flight_.bytes >= request.weight);
  --in_flight_.requests;
  in_flight_.bytes -= request.weight;
  recycle(request);
}

void Connection::recycle(Request& request) {
  CHECK(!request.task && request.link == nullptr);
  request.buffer = Buffer{};
  request.held = Ref<ReceiveBuffer>{};
  request.payload = {};
  request.reply = {};
  request.error_offset.reset();
  request.link = std::exchange(free_requests_, &request);
}

// ---- Sending and waking ----

void Connection::send_replies() {
  if (sending_ || outbox_.empty()) return;
  sending_ = true;
  sender_.emplace(sender());
  sender_->start();
}

Task<> Connection::sender() {
  while (!outbox_.empty()) {
    const auto parts = outbox_.begin_send();
    Result<> sent;
    if (!broken_) {
      ++counters_.sends;
      sent = co_await socket_.send(parts);
    }
    const Outbox::Weight weight = outbox_.end_send();
    CHECK(in_flight_.requests >= weight.requests && in_flight_.bytes >= weight.bytes);
    in_flight_.requests -= weight.requests;
    in_flight_.bytes -= weight.bytes;
    if (!sent) {
      broken_ = true;
      socket_.shutdown();  // Ends the reader's receive, too.
    }
    wake();
  }
  sending_ = false;
  wake();
  co_return {};
}

// Answers all that ended since the last turn of the executor.
void Connection::turn() {
  CHECK(turn_.posted);
  turn_.posted = false;
  while (Request* request = ended_first_) {
    ended_first_ = std::exchange(request->link, nullptr);
    if (ended_first_ == nullptr) ended_last_ = &ended_first_;
    finish(*request);
  }
  send_replies();
  wake();
}

void Connection::wake() {
  if (!parking_.waiter || parking_.posted) return;
  parking_.posted = true;
  executor_.post(parking_);
}

}  // namespace coppice::serve::nbd
