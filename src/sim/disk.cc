#include "sim/disk.h"

#include <cerrno>

namespace coppice::sim {
namespace {

bool aligned(u64 value) { return value % io::kDiskBlock == 0; }
bool aligned(const std::byte* address) {
  return aligned(reinterpret_cast<std::uintptr_t>(address));
}
auto no_power(const char* what) { return fail(Errc::io, what, EIO); }

}  // namespace

void Disk::observe(Op op) const {
  if (media_.observer) media_.observer(op);
}

Task<> Disk::read(u64 offset, std::span<std::byte> into) {
  CHECK(aligned(offset) && aligned(into.size()) && aligned(into.data()));
  observe({Op::read, offset, into.size()});
  co_await rt::sleep_for(executor_, media_.delay_ns(Op::read));
  if (!powered()) co_return no_power("reading from a disk without power");
  co_return media_.read(offset, into);
}

Task<> Disk::write(u64 offset, Parts parts) {
  CHECK(aligned(offset) && parts.size() <= io::kPartsMax);
  u64 length = 0;
  for (const auto part : parts) {
    CHECK(aligned(part.size()) && aligned(part.data()));
    length += part.size();
  }
  observe({Op::write, offset, length});
  if (!powered()) co_return no_power("writing to a disk without power");
  const u64 request = media_.begin_write(offset, parts);
  co_await rt::sleep_for(executor_, media_.delay_ns(Op::write));
  if (!powered()) co_return no_power("writing to a disk without power");
  co_return media_.end_write(request, offset, length);
}

Task<> Disk::flush() {
  observe({Op::flush});
  const u64 completed = media_.begin_flush();
  co_await rt::sleep_for(executor_, media_.delay_ns(Op::flush));
  if (!powered()) co_return no_power("flushing a disk without power");
  co_return media_.end_flush(completed);
}

Task<> Disk::punch(u64 offset, u64 length) {
  CHECK(aligned(offset) && aligned(length));
  observe({Op::punch, offset, length});
  co_await rt::sleep_for(executor_, media_.delay_ns(Op::punch));
  if (!powered()) co_return no_power("punching a disk without power");
  if (offset + length > size_bytes())
    co_return fail(Errc::io, "punching past the disk's end", EINVAL);
  media_.punch(offset, length);
  co_return {};
}

}  // namespace coppice::sim
