#include "hook/hooked_device.h"

#include <algorithm>
#include <cstring>

#include <coppice/bpf/views.h>
#include "trace/fire.h"

namespace coppice::hook {
namespace {

constexpr u64 kDelaySliceNs = 50'000'000;  // So often it is looked whether the client is gone.

u32 flags_of(const blk::WriteOptions& options) {
  return (options.fua ? u32{COPPICE_FUA} : 0) | (options.no_hole ? u32{COPPICE_NO_HOLE} : 0);
}

// What a client that gets this errno can be told.
Errc code_of(u32 error) {
  switch (error) {
    case 0:
    case EPERM:
    case EACCES: return Errc::denied;
    case ENOSPC: return Errc::no_space;
    case EDQUOT: return Errc::quota;
    case EROFS: return Errc::read_only;
    case EINVAL: return Errc::invalid;
    case ENOTSUP: return Errc::unsupported;
    case ESHUTDOWN: return Errc::closed;
    default: return Errc::io;
  }
}

}  // namespace

HookedDevice::HookedDevice(Lane& lane, blk::Device& below, Who who)
    : lane_(lane), below_(below), current_(lane.dispatch().current), who_(who) {
  CHECK(&lane.executor() == &below.executor());
  refresh();
  lane_.add(*this);
}

HookedDevice::~HookedDevice() { lane_.remove(*this); }

void HookedDevice::refresh() {
  const Generation* current = current_.load(std::memory_order_acquire);
  if (!epoch_ || &epoch_->generation != current)
    epoch_ = Ref<Epoch>(new Epoch(*current, who_.volume));
}

bool HookedDevice::watched_to_its_end(u32 operation, const VolumeChains* chains) {
  return (chains != nullptr && !chains->complete.empty()) || trace::on(trace::Point::io_complete) ||
         (operation == COPPICE_DISCARD && trace::on(trace::Point::discard)) ||
         (operation == COPPICE_FLUSH && trace::on(trace::Point::flush));
}

Task<> HookedDevice::read(u64 offset, std::span<std::byte> into) {
  if (idle()) [[likely]]
    return below_.read(offset, into);
  return submit({.operation = COPPICE_READ, .offset = offset, .length = into.size(), .into = into});
}

Task<> HookedDevice::write(u64 offset, std::span<const std::byte> from, blk::WriteOptions options) {
  if (idle()) [[likely]]
    return below_.write(offset, from, options);
  return submit({.operation = COPPICE_WRITE,
                 .offset = offset,
                 .length = from.size(),
                 .options = options,
                 .from = from});
}

Task<> HookedDevice::zero(u64 offset, u64 length, blk::WriteOptions options) {
  if (idle()) return below_.zero(offset, length, options);
  return submit(
      {.operation = COPPICE_ZERO, .offset = offset, .length = length, .options = options});
}

Task<> HookedDevice::discard(u64 offset, u64 length, blk::WriteOptions options) {
  if (idle() && !trace::on(trace::Point::discard)) return below_.discard(offset, length, options);
  return submit(
      {.operation = COPPICE_DISCARD, .offset = offset, .length = length, .options = options});
}

Task<> HookedDevice::flush() {
  if (idle() && !trace::on(trace::Point::flush)) return below_.flush();
  return submit({.operation = COPPICE_FLUSH});
}

Task<std::vector<blk::Extent>> HookedDevice::extents(u64 offset, u64 length, size_t count_max) {
  refresh();
  const VolumeChains* chains = epoch_->chains;
  if (chains == nullptr || chains->submit.empty() || length == 0)
    return below_.extents(offset, length, count_max);
  const auto all = [](u64 at, u64 bytes) -> Task<std::vector<blk::Extent>> {
    co_return std::vector<blk::Extent>{{.offset = at, .length = bytes}};
  };
  return all(offset, length);
}

Task<> HookedDevice::submit(Request&& request) {
  refresh();
  const VolumeChains* chains = epoch_->chains;
  if (chains == nullptr && !trace::on(trace::Point::io_submit) &&
      !watched_to_its_end(request.operation, nullptr))
    return pass_to(below_, request);
  const Begun begun{.number = lane_.next_request(), .time_ns = lane_.executor().now_ns()};
  if (trace::on(trace::Point::io_submit)) [[unlikely]]
    trace::fire(view_of<coppice_io_submit>(request, begun.number, begun.time_ns));
  Decision decision;
  if (chains != nullptr && !chains->submit.empty()) {
    auto context = view_of<coppice_submit>(request, begun.number, begun.time_ns);
    context.volume_bytes = below_.size_bytes();
    context.data = reinterpret_cast<const __u8*>(request.from.data());
    context.data_end = context.data + request.from.size();
    decision = ask(chains->submit, context, request);
  }
  if (decision.verdict == COPPICE_PASS && !watched_to_its_end(request.operation, chains))
    return pass_to(below_, request);
  return carry_out(epoch_, request, begun, decision);
}

Task<> HookedDevice::carry_out(Ref<Epoch> taken, Request request, Begun begun, Decision decision) {
  const Ref<Epoch> epoch = std::move(taken);  // Let go of at the end; parameters stay for longer.
  if (decision.delay_ns > 0) co_await wait(decision.delay_ns);
  Result<> result = co_await perform(request, decision);

  auto done = view_of<coppice_complete>(request, begun.number, lane_.executor().now_ns());
  done.latency_ns = done.time_ns - begun.time_ns;
  done.error = result ? 0 : errno_of(result.error().code);
  done.verdict = decision.verdict;
  if (epoch->chains != nullptr) lane_.runner().run_all(epoch->chains->complete, &done);
  tell_complete(request, done);
  co_return result;
}

template <class View>
View HookedDevice::view_of(const Request& request, u64 number, u64 time_ns) const {
  View view{};
  view.time_ns = time_ns;
  view.request = number;
  view.pool = who_.volume.pool;
  view.volume = who_.volume.dataset;
  view.client = who_.client;
  view.offset = request.offset;
  view.length = request.length;
  view.operation = request.operation;
  view.flags = flags_of(request.options);
  return view;
}

void HookedDevice::tell_complete(const Request& request, const coppice_complete& done) {
  const auto tell = [&]<class View>(View view) {
    view.latency_ns = done.latency_ns;
    view.error = static_cast<u32>(done.error);
    view.verdict = done.verdict;
    trace::fire(view);
  };
  const u64 number = done.request, now = done.time_ns;
  if (trace::on(trace::Point::io_complete))
    tell(view_of<coppice_io_complete>(request, number, now));
  if (request.operation == COPPICE_FLUSH && trace::on(trace::Point::flush))
    tell(view_of<coppice_flush>(request, number, now));
  if (request.operation == COPPICE_DISCARD && trace::on(trace::Point::discard))
    tell(view_of<coppice_discard>(request, number, now));
}

// Runs the chain as far as it goes; narrows the request's flags.
HookedDevice::Decision HookedDevice::ask(const Chain& chain, coppice_submit& context,
                                         Request& request) {
  Decision decision;
  call_.answer = request.into;
  call_.payload = request.from;
  call_.answered = false;
  for (const Bound* bound : chain) {
    const u32 flags = context.flags;
    context.error = context.target = 0;
    context.delay_ns = 0;
    u64 result = 0;
    const Ran ran = lane_.runner().run(*bound, &context, &call_, result);
    context.flags &= flags;
    bool sane = ran == Ran::ok;
    if (sane && result != COPPICE_PASS && !judge(*bound, result, context, request, decision)) {
      Counters::count(lane_.runner().counts_of(*bound).errors);
      sane = false;
    }
    if (!sane) {
      if (bound->on_error == ErrorPolicy::pass) continue;
      decision.verdict = COPPICE_DENY;
      decision.error = EPERM;
      break;
    }
    if ((bound->goes_on >> result & 1) == 0) break;
  }
  request.options.fua = request.options.fua && (context.flags & COPPICE_FUA) != 0;
  request.options.no_hole = request.options.no_hole && (context.flags & COPPICE_NO_HOLE) != 0;
  if (decision.verdict == COPPICE_COMPLETE && !call_.answered && !request.into.empty())
    std::memset(request.into.data(), 0, request.into.size());
  return decision;
}

// Of an answer other than pass. False: it makes no sense here.
bool HookedDevice::judge(const Bound& bound, u64 result, const coppice_submit& context,
                         const Request& request, Decision& decision) {
  switch (result) {
    case COPPICE_DELAY:
      decision.delay_ns =
          std::min<u64>(decision.delay_ns + std::min<u64>(context.delay_ns, COPPICE_DELAY_NS_MAX),
                        COPPICE_DELAY_NS_MAX);
      if (decision.verdict == COPPICE_PASS) decision.verdict = COPPICE_DELAY;
      return true;
    case COPPICE_DENY:
      decision.error = context.error;
      Counters::count(lane_.runner().counts_of(bound).denials);
      break;
    case COPPICE_REDIRECT:
      if (context.target >= bound.redirects.size()) return false;
      decision.redirect = bound.redirects[context.target];
      break;
    case COPPICE_COMPLETE:
      if (request.operation != COPPICE_READ) return false;
      break;
    default: return false;
  }
  decision.verdict = static_cast<u32>(result);
  return true;
}

Task<> HookedDevice::wait(u64 ns) {
  rt::Executor& executor = lane_.executor();
  const u64 until = executor.now_ns() + ns;
  for (u64 now = executor.now_ns(); now < until; now = executor.now_ns()) {
    if (who_.doomed != nullptr && who_.doomed->load(std::memory_order_relaxed)) break;
    co_await rt::sleep_for(executor, std::min(until - now, kDelaySliceNs));
  }
  co_return {};
}

Task<> HookedDevice::pass_to(blk::Device& device, const Request& request) {
  switch (request.operation) {
    case COPPICE_READ: return device.read(request.offset, request.into);
    case COPPICE_WRITE: return device.write(request.offset, request.from, request.options);
    case COPPICE_ZERO: return device.zero(request.offset, request.length, request.options);
    case COPPICE_DISCARD: return device.discard(request.offset, request.length, request.options);
    default: return device.flush();
  }
}

// Begins where it is awaited: on the other volume's lane.
Task<> HookedDevice::carry_over(blk::Device& device, Request request) {
  auto passed = pass_to(device, request);
  auto result = co_await std::move(passed);
  co_return result;
}

Task<> HookedDevice::perform(const Request& request, const Decision& decision) {
  const auto deny = [](u32 error) -> Task<> {
    co_return fail(code_of(error), "carry out a request", "a program attached to it denied it");
  };
  const auto nothing = []() -> Task<> { co_return {}; };
  switch (decision.verdict) {
    case COPPICE_DENY: return deny(decision.error);
    case COPPICE_COMPLETE: return nothing();
    case COPPICE_REDIRECT: {
      blk::Device& other = decision.redirect->device();
      if (&other.executor() == &lane_.executor()) return pass_to(other, request);
      return rt::call(lane_.executor(), other.executor(), carry_over(other, request));
    }
    default: return pass_to(below_, request);
  }
}

}  // namespace coppice::hook
