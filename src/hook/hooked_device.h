// hook/hooked_device.h — HookedDevice: the layer that asks programs about one client's requests.
//
// Theory. A request is shown to the programs of volume.submit, in order, before it reaches the
// device below, and to those of volume.complete when it is done: of the same generation, whatever
// was changed meanwhile. For that the device keeps an Epoch for each generation that has requests
// under way. Where no program is attached, a request is passed down as it is; that costs one look
// at the current generation. Programs of volume.submit are asked when the request is made, before
// its task is started; what they pass goes down as it is where nobody asked to know of its end.
//
// What programs answer: delays add up; of deny, redirect and complete the last one counts; pass
// undoes nothing. Flags can only be taken away. A redirected request goes to the other volume
// itself, not to its hooks. A program that fails, or says what makes no sense here, is counted, and
// its link says whether the request is refused for it.
#pragma once

#include "base/ref.h"
#include "hook/lane.h"

namespace coppice::hook {

class HookedDevice final : public blk::Device {
 public:
  struct Who {
    Target volume;
    u64 client = 0;
    // Set from elsewhere when the client is cut off: delays end. May be null.
    const std::atomic<bool>* doomed = nullptr;
  };
  // On the lane; `below` is of the same. Destroyed there, with no request under way.
  HookedDevice(Lane& lane, blk::Device& below, Who who);
  ~HookedDevice() override;

  rt::Executor& executor() override { return below_.executor(); }
  u64 size_bytes() const override { return below_.size_bytes(); }
  bool read_only() const override { return below_.read_only(); }
  Task<> read(u64 offset, std::span<std::byte> into) override;
  Task<> write(u64 offset, std::span<const std::byte> from, blk::WriteOptions options) override;
  Task<> zero(u64 offset, u64 length, blk::WriteOptions options) override;
  Task<> discard(u64 offset, u64 length, blk::WriteOptions options) override;
  Task<> flush() override;
  // Where programs may answer otherwise, all is data.
  Task<std::vector<blk::Extent>> extents(u64 offset, u64 length, size_t count_max) override;
  Task<> prefetch(u64 offset, u64 length) override { return below_.prefetch(offset, length); }

  // On to the current generation; lets go of older ones that no request is under way on.
  void refresh();

 private:
  struct Epoch : Counted {
    explicit Epoch(const Generation& g, const Target& volume)
        : generation(g), chains(g.chains_of(volume)) {
      generation.take();
    }
    ~Epoch() { generation.let_go(); }
    const Generation& generation;
    const VolumeChains* chains;  // Null: no programs.
  };
  struct Request {
    u32 operation = 0;
    u64 offset = 0, length = 0;
    blk::WriteOptions options = {};
    std::span<std::byte> into = {};
    std::span<const std::byte> from = {};
  };
  struct Begun {
    u64 number = 0, time_ns = 0;
  };
  struct Decision {
    u32 verdict = COPPICE_PASS;
    u32 error = 0;
    u64 delay_ns = 0;
    Redirect* redirect = nullptr;
  };

  // Nobody wants to know of requests. On the way of every one: two looks, and no call.
  bool idle() const {
    return &epoch_->generation == current_.load(std::memory_order_acquire) &&
           epoch_->chains == nullptr && !trace::on(trace::Point::io_submit) &&
           !trace::on(trace::Point::io_complete);
  }
  // Somebody wants to know of the end of such a request.
  static bool watched_to_its_end(u32 operation, const VolumeChains* chains);
  Task<> submit(Request&& request);
  Task<> carry_out(Ref<Epoch> taken, Request request, Begun begun, Decision decision);
  Decision ask(const Chain& chain, coppice_submit& context, Request& request);
  bool judge(const Bound& bound, u64 result, const coppice_submit& context, const Request& request,
             Decision& decision);
  template <class View>
  View view_of(const Request& request, u64 number, u64 time_ns) const;
  void tell_complete(const Request& request, const coppice_complete& done);
  Task<> wait(u64 ns);
  Task<> perform(const Request& request, const Decision& decision);
  static Task<> pass_to(blk::Device& device, const Request& request);
  static Task<> carry_over(blk::Device& device, Request request);

  Lane& lane_;
  blk::Device& below_;
  const std::atomic<const Generation*>& current_;
  Ref<Epoch> epoch_;  // The newest that was looked at.
  const Who who_;
  Call call_;  // Of the submit programs; nothing waits while they run.
};

}  // namespace coppice::hook
