// pool/metered_disk.h — a disk that counts what passes through it, and has tracepoints.
#pragma once

#include <atomic>

#include "io/disk.h"
#include "rt/executor.h"
#include "trace/point.h"

namespace coppice::pool {

class MeteredDisk final : public io::Disk {
 public:
  struct Place {
    const rt::Executor& executor;
    u64 pool_guid;
    u32 lane;
  };
  MeteredDisk(io::Disk& inner, std::atomic<u64>& read_bytes, std::atomic<u64>& written_bytes,
              Place place)
      : inner_(inner), read_bytes_(read_bytes), written_bytes_(written_bytes), place_(place) {}
  u64 size_bytes() const override { return inner_.size_bytes(); }
  Task<> read(u64 offset, std::span<std::byte> into) override;
  Task<> write(u64 offset, Parts parts) override;
  Task<> flush() override;
  Task<> punch(u64 offset, u64 length) override;

 private:
  struct Request {
    u32 operation;
    u64 offset, length;
  };
  static bool watched() {
    return trace::on(trace::Point::disk_submit) || trace::on(trace::Point::disk_complete) ||
           trace::on(trace::Point::error);
  }
  Task<> watch(Task<> inner, Request request);

  io::Disk& inner_;
  std::atomic<u64>& read_bytes_;
  std::atomic<u64>& written_bytes_;
  const Place place_;
  u64 requests_ = 0;  // Watched.
};

}  // namespace coppice::pool
