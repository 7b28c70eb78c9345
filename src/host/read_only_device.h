// host/read_only_device.h — ReadOnlyDevice: a layer for exports that are read-only while their
// volume is not.
#pragma once

#include "blk/device.h"

namespace coppice::host {

class ReadOnlyDevice final : public blk::Device {
 public:
  explicit ReadOnlyDevice(blk::Device& below) : below_(below) {}
  rt::Executor& executor() override { return below_.executor(); }
  u64 size_bytes() const override { return below_.size_bytes(); }
  bool read_only() const override { return true; }
  Task<> read(u64 offset, std::span<std::byte> into) override { return below_.read(offset, into); }
  Task<> write(u64, std::span<const std::byte>, blk::WriteOptions) override { return refuse(); }
  Task<> zero(u64, u64, blk::WriteOptions) override { return refuse(); }
  Task<> discard(u64, u64, blk::WriteOptions) override { return refuse(); }
  Task<> flush() override { return below_.flush(); }
  Task<std::vector<blk::Extent>> extents(u64 offset, u64 length, size_t count_max) override {
    return below_.extents(offset, length, count_max);
  }
  Task<> prefetch(u64 offset, u64 length) override { return below_.prefetch(offset, length); }

 private:
  static Task<> refuse() { co_return fail(Errc::read_only, "write", "the export is read-only"); }
  blk::Device& below_;
};

}  // namespace coppice::host
