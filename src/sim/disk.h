// sim/disk.h — one executor's view of simulated media.
#pragma once

#include "io/disk.h"
#include "rt/executor.h"
#include "sim/media.h"

namespace coppice::sim {

// Requests take random times on the executor's clock and complete in random order. After the
// media's power_loss() every request of this view, begun earlier or later, fails with `io`: make a
// new view.
class Disk final : public io::Disk {
 public:
  Disk(Media& media, rt::Executor& executor)
      : media_(media), executor_(executor), epoch_(media.epoch()) {}
  u64 size_bytes() const override { return media_.size_bytes(); }
  Task<> read(u64 offset, std::span<std::byte> into) override;
  Task<> write(u64 offset, Parts parts) override;
  Task<> flush() override;
  Task<> punch(u64 offset, u64 length) override;

 private:
  void observe(Op op) const;
  bool powered() const { return epoch_ == media_.epoch(); }

  Media& media_;
  rt::Executor& executor_;
  u64 epoch_;
};

}  // namespace coppice::sim
