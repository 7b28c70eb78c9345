#include "serve/nbd/negotiation.h"

#include <algorithm>

#include "serve/nbd/buffers.h"
#include "serve/nbd/option_stream.h"
#include "serve/nbd/wire.h"

namespace coppice::serve::nbd {
namespace {

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

wire::OptionReply reply_of(Errc code) {
  switch (code) {
    case Errc::denied:
    case Errc::busy:
    case Errc::too_big: return wire::OptionReply::err_policy;
    case Errc::closed:
    case Errc::cancelled: return wire::OptionReply::err_shutdown;
    default: return wire::OptionReply::err_unknown;
  }
}

}  // namespace

// The conversation with one client. Every option is answered before the next is read.
class Negotiation {
 public:
  Negotiation(io::Socket& socket, Lobby& lobby, Directory& directory)
      : stream_(socket,
                std::max<size_t>(lobby.limits_.option_bytes_max, wire::OptionHeader::kBytes)),
        lobby_(lobby),
        directory_(directory),
        limits_(lobby.limits_) {}
  Task<Negotiated> run();

 private:
  using Data = std::span<const std::byte>;
  Task<> greet();
  Task<> next_option();
  Task<> refuse_long_option(wire::OptionHeader header);
  Task<> dispatch(wire::Option option, Data data);
  Task<> export_name(Data data);
  Task<> list(Data data);
  Task<> info_or_go(wire::Option option, Data data);
  Task<> meta_context(wire::Option option, Data data);
  void structured_reply(Data data);
  void start_tls();
  Task<> attach(std::string name);
  bool choose();  // The attached export is the client's choice; false if no seat is free.

  u16 transmission_flags() const;
  void reply(wire::Option option, wire::OptionReply type, Data data = {});
  void refuse(wire::Option option, wire::OptionReply type, std::string_view message);
  void reply_export(wire::Option option, std::span<const wire::Info> asked);

  OptionStream stream_;
  Lobby& lobby_;
  Directory& directory_;
  const Limits& limits_;
  bool fixed_newstyle_ = false;
  bool no_zeroes_ = false;
  bool chosen_ = false;        // The end of the conversation.
  std::string attached_name_;  // As the client called it; valid if result_.attachment.
  std::string context_name_;   // The export that set_meta_context was about.
  Negotiated result_;
};

Task<Negotiated> Negotiation::run() {
  auto greeted = co_await greet();
  if (!greeted) co_return std::unexpected(std::move(greeted).error());
  for (u32 options = 0; !chosen_; ++options) {
    if (options == limits_.options_max)
      co_return fail(Errc::too_big, "negotiating with an NBD client that keeps asking");
    auto answered = co_await next_option();
    if (!answered) co_return std::unexpected(std::move(answered).error());
  }
  auto sent = co_await stream_.flush();
  if (!sent) co_return std::unexpected(std::move(sent).error());
  CHECK(result_.attachment != nullptr && result_.seat);
  // The contexts were chosen for one export; another one has none.
  if (context_name_ != attached_name_) result_.allocation_context = false;
  result_.leftover = stream_.leftover();
  co_return std::move(result_);
}

Task<> Negotiation::greet() {
  auto& out = stream_.out();
  wire::append_be<u64>(out, wire::kGreetingMagic);
  wire::append_be<u64>(out, wire::kOptionMagic);
  wire::append_be<u16>(out, wire::kHandshakeFixedNewstyle | wire::kHandshakeNoZeroes);
  auto bytes = co_await stream_.take(4);
  if (!bytes) co_return std::unexpected(std::move(bytes).error());
  const u32 flags = load_be<u32>(bytes->data());
  if ((flags & ~u32{wire::kHandshakeFixedNewstyle | wire::kHandshakeNoZeroes}) != 0)
    co_return fail(Errc::invalid, "greeting an NBD client with unknown flags");
  fixed_newstyle_ = (flags & wire::kHandshakeFixedNewstyle) != 0;
  no_zeroes_ = (flags & wire::kHandshakeNoZeroes) != 0;
  co_return {};
}

Task<> Negotiation::next_option() {
  auto bytes = co_await stream_.take(wire::OptionHeader::kBytes);
  if (!bytes) co_return std::unexpected(std::move(bytes).error());
  const auto header = wire::OptionHeader::decode(bytes->data());
  if (header.magic != wire::kOptionMagic)
    co_return fail(Errc::invalid, "reading an NBD option without its magic");
  if (!fixed_newstyle_ && header.option != wire::Option::export_name)
    co_return fail(Errc::invalid, "reading an option of an NBD client that may send none");
  if (header.length > limits_.option_bytes_max) co_return co_await refuse_long_option(header);
  auto data = co_await stream_.take(header.length);
  if (!data) co_return std::unexpected(std::move(data).error());
  co_return co_await dispatch(header.option, *data);
}

Task<> Negotiation::refuse_long_option(wire::OptionHeader header) {
  if (header.option == wire::Option::export_name || header.length > limits_.skip_bytes_max)
    co_return fail(Errc::too_big, "reading an NBD option of excessive length");
  auto skipped = co_await stream_.skip(header.length);
  if (!skipped) co_return skipped;
  refuse(header.option, wire::OptionReply::err_too_big, "the option is too long");
  co_return {};
}

Task<> Negotiation::dispatch(wire::Option option, Data data) {
  switch (option) {
    case wire::Option::export_name: co_return co_await export_name(data);
    case wire::Option::list: co_return co_await list(data);
    case wire::Option::info:
    case wire::Option::go: co_return co_await info_or_go(option, data);
    case wire::Option::list_meta_context:
    case wire::Option::set_meta_context: co_return co_await meta_context(option, data);
    case wire::Option::structured_reply: structured_reply(data); co_return {};
    case wire::Option::starttls: start_tls(); co_return {};
    case wire::Option::abort: {
      reply(option, wire::OptionReply::ack);
      auto sent = co_await stream_.flush();  // The client need not wait for it.
      (void)sent;
      co_return fail(Errc::closed, "negotiating with an NBD client that gave up");
    }
    default: refuse(option, wire::OptionReply::err_unsup, "unknown option"); co_return {};
  }
}

// This option has no way to say no: an error ends the connection.
Task<> Negotiation::export_name(Data data) {
  if (data.size() > limits_.name_bytes_max)
    co_return fail(Errc::too_big, "reading the name of an NBD export");
  std::string name = text(data);
  auto attached = co_await attach(std::move(name));
  if (!attached) co_return attached;
  if (!choose()) co_return fail(Errc::too_big, "connecting one more NBD client");
  auto& out = stream_.out();
  wire::append_be<u64>(out, result_.attachment->info().size_bytes);
  wire::append_be<u16>(out, transmission_flags());
  if (!no_zeroes_) out.resize(out.size() + wire::kExportNamePadding);
  co_return {};
}

Task<> Negotiation::list(Data data) {
  constexpr auto kOption = wire::Option::list;
  if (!data.empty()) {
    refuse(kOption, wire::OptionReply::err_invalid, "this option has no data");
    co_return {};
  }
  auto names = co_await directory_.list();
  if (!names) {
    refuse(kOption, reply_of(names.error().code), describe(names.error()));
    co_return {};
  }
  if (names->size() > limits_.exports_listed_max) {
    refuse(kOption, wire::OptionReply::err_too_big, "there are too many exports to list");
    co_return {};
  }
  constexpr size_t kSendAt = 64_KiB;
  std::vector<std::byte> entry;
  for (const ExportName& name : *names) {
    entry.clear();
    wire::append_be<u32>(entry, name.name.size());
    wire::append_text(entry, name.name);
    wire::append_text(entry, name.description);
    reply(kOption, wire::OptionReply::server, entry);
    if (stream_.out().size() < kSendAt) continue;
    auto sent = co_await stream_.flush();
    if (!sent) co_return sent;
  }
  reply(kOption, wire::OptionReply::ack);
  co_return {};
}

Task<> Negotiation::info_or_go(wire::Option option, Data data) {
  Reader fields(data);
  std::string name = text(fields.bytes(fields.get_be<u32>()));
  std::vector<wire::Info> asked(fields.get_be<u16>());
  for (auto& each : asked) each = fields.get_be<wire::Info>();
  if (!fields.done()) {
    refuse(option, wire::OptionReply::err_invalid, "the lengths inside the option do not add up");
    co_return {};
  }
  if (name.size() > limits_.name_bytes_max) {
    refuse(option, wire::OptionReply::err_too_big, "the export's name is too long");
    co_return {};
  }
  auto attached = co_await attach(std::move(name));
  if (!attached) {
    refuse(option, reply_of(attached.error().code), describe(attached.error()));
    co_return {};
  }
  if (option == wire::Option::go && !choose()) {
    refuse(option, wire::OptionReply::err_policy, "too many clients are connected");
    co_return {};
  }
  reply_export(option, asked);
  reply(option, wire::OptionReply::ack);
  co_return {};
}

void Negotiation::reply_export(wire::Option option, std::span<const wire::Info> asked) {
  const ExportInfo& info = result_.attachment->info();
  std::vector<std::byte> data;
  const auto start = [&](wire::Info type) {
    data.clear();
    wire::append_be<u16>(data, static_cast<u16>(type));
  };
  start(wire::Info::export_);
  wire::append_be<u64>(data, info.size_bytes);
  wire::append_be<u16>(data, transmission_flags());
  reply(option, wire::OptionReply::info, data);

  start(wire::Info::block_size);  // Also to those who did not ask: it only helps them.
  wire::append_be<u32>(data, 1);
  wire::append_be<u32>(data, blk::kBlock);
  wire::append_be<u32>(data, limits_.request_bytes_max);
  reply(option, wire::OptionReply::info, data);

  const auto was_asked = [&](wire::Info type) {
    return std::ranges::find(asked, type) != asked.end();
  };
  if (was_asked(wire::Info::name)) {
    start(wire::Info::name);
    wire::append_text(data, info.name);
    reply(option, wire::OptionReply::info, data);
  }
  if (was_asked(wire::Info::description) && !info.description.empty()) {
    start(wire::Info::description);
    wire::append_text(data, info.description);
    reply(option, wire::OptionReply::info, data);
  }
}

void Negotiation::structured_reply(Data data) {
  constexpr auto kOption = wire::Option::structured_reply;
  if (!data.empty())
    return refuse(kOption, wire::OptionReply::err_invalid, "this option has no data");
  result_.structured = true;
  reply(kOption, wire::OptionReply::ack);
}

// The place of TLS: acknowledge, flush, wrap the socket in one that speaks TLS (an io::Socket like
// any), and begin again after the greeting with everything forgotten that was said in the clear.
void Negotiation::start_tls() {
  refuse(wire::Option::starttls, wire::OptionReply::err_unsup, "this server does not speak TLS");
}

Task<> Negotiation::meta_context(wire::Option option, Data data) {
  const bool set = option == wire::Option::set_meta_context;
  if (set) result_.allocation_context = false;  // A failed choice leaves none.
  if (!result_.structured) {
    refuse(option, wire::OptionReply::err_invalid, "structured replies come first");
    co_return {};
  }
  Reader fields(data);
  std::string name = text(fields.bytes(fields.get_be<u32>()));
  const u32 count = fields.get_be<u32>();
  bool matched = count == 0 && !set;  // To list nothing in particular lists all.
  for (u32 i = 0; fields.good() && i < count; ++i) {
    const std::string query = text(fields.bytes(fields.get_be<u32>()));
    matched |= query == wire::kBaseAllocation || (!set && query == wire::kBaseNamespace);
  }
  if (!fields.done()) {
    refuse(option, wire::OptionReply::err_invalid, "the lengths inside the option do not add up");
    co_return {};
  }
  if (name.size() > limits_.name_bytes_max) {
    refuse(option, wire::OptionReply::err_too_big, "the export's name is too long");
    co_return {};
  }
  std::string copy = name;
  auto attached = co_await attach(std::move(copy));
  if (!attached) {
    refuse(option, reply_of(attached.error().code), describe(attached.error()));
    co_return {};
  }
  if (matched) {
    std::vector<std::byte> reply_data;
    wire::append_be<u32>(reply_data, set ? wire::kBaseAllocationId : 0);
    wire::append_text(reply_data, wire::kBaseAllocation);
    reply(option, wire::OptionReply::meta_context, reply_data);
  }
  if (set) {
    result_.allocation_context = matched;
    context_name_ = std::move(name);
  }
  reply(option, wire::OptionReply::ack);
  co_return {};
}

// Clients ask about an export (info, contexts) before they take it: one lease serves all of that.
Task<> Negotiation::attach(std::string name) {
  if (result_.attachment && attached_name_ == name) co_return {};
  result_.attachment.reset();
  attached_name_ = name;
  auto opened = co_await directory_.open(std::move(name));
  if (!opened) co_return std::unexpected(std::move(opened).error());
  CHECK(*opened != nullptr);
  result_.attachment = *std::move(opened);
  co_return {};
}

bool Negotiation::choose() {
  CHECK(result_.attachment != nullptr && !chosen_);
  result_.seat = lobby_.take_seat();
  chosen_ = static_cast<bool>(result_.seat);
  return chosen_;
}

u16 Negotiation::transmission_flags() const {
  const ExportInfo& info = result_.attachment->info();
  u16 flags = wire::kFlagHasFlags | wire::kFlagSendFlush | wire::kFlagSendFua |
              wire::kFlagSendCache | wire::kFlagCanMultiConn;
  if (info.read_only) {
    flags |= wire::kFlagReadOnly;
  } else {
    flags |= wire::kFlagSendTrim | wire::kFlagSendWriteZeroes | wire::kFlagSendFastZero;
  }
  if (result_.structured) flags |= wire::kFlagSendDf;
  return flags;
}

void Negotiation::reply(wire::Option option, wire::OptionReply type, Data data) {
  auto& out = stream_.out();
  wire::append_be<u64>(out, wire::kOptionReplyMagic);
  wire::append_be<u32>(out, static_cast<u32>(option));
  wire::append_be<u32>(out, static_cast<u32>(type));
  wire::append_be<u32>(out, data.size());
  out.insert(out.end(), data.begin(), data.end());
}

void Negotiation::refuse(wire::Option option, wire::OptionReply type, std::string_view message) {
  constexpr size_t kMessageMax = 4096;  // The protocol's own limit of a string.
  CHECK((static_cast<u32>(type) & wire::kReplyError) != 0);
  reply(option, type, std::as_bytes(std::span(message.substr(0, kMessageMax))));
}

Lobby::Lobby(rt::Executor& home, Directory& directory, const Limits& limits)
    : home_(home), directory_(directory), limits_(limits) {
  CHECK(limits_.option_bytes_max <= ReceiveBuffer::kBytes);  // A client's leftover fits into one.
  tick_.lobby = this;
  tick_.run = [](rt::Job& job) { static_cast<Tick&>(job).lobby->tick(); };
}

Lobby::~Lobby() {
  CHECK(visitors_.empty() && seats_taken_ == 0);
  CHECK(!tick_.posted);
}

Task<Negotiated> Lobby::negotiate(io::Socket& socket, Directory* directory) {
  if (closed_) co_return fail(Errc::closed, "negotiating with an NBD client");
  if (visitors_.size() >= limits_.negotiations_max)
    co_return fail(Errc::too_big, "negotiating with one more NBD client");
  visitors_.push_back({socket, home_.now_ns() + limits_.negotiation_ns});
  const auto visitor = std::prev(visitors_.end());
  watch();
  Negotiation negotiation(socket, *this, directory != nullptr ? *directory : directory_);
  auto negotiated = co_await negotiation.run();
  const bool overdue = visitor->overdue;
  visitors_.erase(visitor);
  if (overdue) co_return fail(Errc::timed_out, "negotiating with a slow NBD client");
  co_return std::move(negotiated);
}

void Lobby::shutdown() {
  closed_ = true;
  for (Visitor& visitor : visitors_) visitor.socket.shutdown();
}

// One timer for all: its period bounds how late a client is cut off, and how long drained() may
// take.
void Lobby::watch() {
  constexpr u64 kPeriodNs = 250'000'000;
  if (tick_.posted || visitors_.empty()) return;
  tick_.posted = true;
  home_.post_at(home_.now_ns() + kPeriodNs, tick_);
}

void Lobby::tick() {
  CHECK(tick_.posted);
  tick_.posted = false;
  const u64 now = home_.now_ns();
  for (Visitor& visitor : visitors_) {
    if (visitor.due_ns > now) break;
    visitor.overdue = true;
    visitor.socket.shutdown();
  }
  watch();
  if (tick_.waiter && !tick_.posted) std::exchange(tick_.waiter, nullptr).resume();
}

Task<> Lobby::drained() {
  CHECK(closed_ && visitors_.empty());
  struct Wait {
    Tick& tick;
    bool await_ready() const noexcept { return !tick.posted; }
    void await_suspend(std::coroutine_handle<> handle) noexcept {
      CHECK(!tick.waiter);
      tick.waiter = handle;
    }
    void await_resume() const noexcept {}
  };
  co_await Wait{tick_};
  co_return {};
}

Seat Lobby::take_seat() {
  if (seats_taken_ >= limits_.connections_max) return Seat{};
  ++seats_taken_;
  return Seat(this);
}

Seat::~Seat() {
  if (lobby_ == nullptr) return;
  CHECK(lobby_->seats_taken_ > 0);
  --lobby_->seats_taken_;
}

}  // namespace coppice::serve::nbd
