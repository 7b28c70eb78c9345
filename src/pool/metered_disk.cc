#include "pool/metered_disk.h"

#include "pool/events.h"

namespace coppice::pool {

Task<> MeteredDisk::read(u64 offset, std::span<std::byte> into) {
  read_bytes_.fetch_add(into.size(), std::memory_order_relaxed);
  if (watched()) [[unlikely]]
    return watch(inner_.read(offset, into), {COPPICE_READ, offset, into.size()});
  return inner_.read(offset, into);
}

Task<> MeteredDisk::write(u64 offset, Parts parts) {
  u64 bytes = 0;
  for (const auto& part : parts) bytes += part.size();
  written_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  if (watched()) [[unlikely]]
    return watch(inner_.write(offset, parts), {COPPICE_WRITE, offset, bytes});
  return inner_.write(offset, parts);
}

Task<> MeteredDisk::flush() {
  if (watched()) [[unlikely]]
    return watch(inner_.flush(), {COPPICE_FLUSH, 0, 0});
  return inner_.flush();
}

Task<> MeteredDisk::punch(u64 offset, u64 length) {
  if (watched()) [[unlikely]]
    return watch(inner_.punch(offset, length), {COPPICE_DISCARD, offset, length});
  return inner_.punch(offset, length);
}

Task<> MeteredDisk::watch(Task<> inner, Request request) {
  constexpr u32 kLaneShift = 56;  // So that numbers of different lanes differ.
  const u64 number = u64{place_.lane} << kLaneShift | ++requests_;
  const u64 begun_ns = place_.executor.now_ns();
  if (trace::on(trace::Point::disk_submit))
    trace::fire(coppice_disk_submit{.time_ns = begun_ns,
                                    .request = number,
                                    .pool = place_.pool_guid,
                                    .offset = request.offset,
                                    .length = request.length,
                                    .operation = request.operation,
                                    .lane = place_.lane});
  Result<> result = co_await std::move(inner);
  const u64 ended_ns = place_.executor.now_ns();
  if (trace::on(trace::Point::disk_complete)) {
    const u32 error = result ? 0 : static_cast<u32>(errno_of(result.error().code));
    const u32 system_error = result ? 0 : static_cast<u32>(result.error().sys);
    trace::fire(coppice_disk_complete{.time_ns = ended_ns,
                                      .request = number,
                                      .pool = place_.pool_guid,
                                      .offset = request.offset,
                                      .length = request.length,
                                      .operation = request.operation,
                                      .lane = place_.lane,
                                      .latency_ns = ended_ns - begun_ns,
                                      .error = error,
                                      .system_error = system_error});
  }
  const bool hint = request.operation == COPPICE_DISCARD;  // That it failed is no error.
  if (!result && !hint && trace::on(trace::Point::error))
    fire_error({.time_ns = ended_ns,
                .pool_guid = place_.pool_guid,
                .disk_offset = request.offset,
                .kind = COPPICE_ERROR_DISK},
               result.error());
  co_return std::move(result);
}

}  // namespace coppice::pool
