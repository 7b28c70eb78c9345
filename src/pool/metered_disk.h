// pool/metered_disk.h — a disk that counts what passes through it.
#pragma once

#include <atomic>

#include "io/disk.h"

namespace coppice::pool {

class MeteredDisk final : public io::Disk {
 public:
  MeteredDisk(io::Disk& inner, std::atomic<u64>& read_bytes, std::atomic<u64>& written_bytes)
      : inner_(inner), read_bytes_(read_bytes), written_bytes_(written_bytes) {}
  u64 size_bytes() const override { return inner_.size_bytes(); }
  Task<> read(u64 offset, std::span<std::byte> into) override {
    read_bytes_.fetch_add(into.size(), std::memory_order_relaxed);
    return inner_.read(offset, into);
  }
  Task<> write(u64 offset, Parts parts) override {
    u64 bytes = 0;
    for (const auto& part : parts) bytes += part.size();
    written_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    return inner_.write(offset, parts);
  }
  Task<> flush() override { return inner_.flush(); }
  Task<> punch(u64 offset, u64 length) override { return inner_.punch(offset, length); }

 private:
  io::Disk& inner_;
  std::atomic<u64>& read_bytes_;
  std::atomic<u64>& written_bytes_;
};

}  // namespace coppice::pool
