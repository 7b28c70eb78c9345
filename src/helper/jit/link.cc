#include "helper/jit/link.h"

#include <fmt/format.h>
#include <llvm/BinaryFormat/ELF.h>
#include <llvm/ExecutionEngine/RTDyldMemoryManager.h>
#include <llvm/ExecutionEngine/RuntimeDyld.h>
#include <llvm/Object/ObjectFile.h>

#include <memory>

#include "base/check.h"
#include "bpf/native/request.h"

namespace coppice::jit {
namespace {

constexpr u64 kPage = 4096;  // What distances on aarch64 are counted in.

std::unexpected<Error> refuse(std::string why) {
  return fail(Errc::invalid, "cannot link the machine code", std::move(why));
}

// The block: sections one after the other behind the header, at a page's start.
class Block final : public llvm::RuntimeDyld::MemoryManager {
 public:
  Block() : bytes_(new(std::align_val_t{kPage}) std::byte[1]) {}

  bool needsToReserveAllocationSpace() override { return true; }
  void reserveAllocationSpace(uintptr_t code_bytes, llvm::Align code, uintptr_t read_bytes,
                              llvm::Align read, uintptr_t write_bytes, llvm::Align write) override {
    size_ = sizeof(bpf::ImageHeader);
    capacity_ =
        size_ + code_bytes + read_bytes + write_bytes + code.value() + read.value() + write.value();
    if (capacity_ > bpf::kImageBytesMax) capacity_ = 0;
    bytes_.reset(new (std::align_val_t{kPage}) std::byte[capacity_ + 1]{});
  }
  uint8_t* allocateCodeSection(uintptr_t bytes, unsigned align, unsigned,
                               llvm::StringRef) override {
    return take(bytes, align);
  }
  uint8_t* allocateDataSection(uintptr_t bytes, unsigned align, unsigned, llvm::StringRef,
                               bool) override {
    return take(bytes, align);
  }
  void registerEHFrames(uint8_t*, uint64_t, size_t) override {}
  void deregisterEHFrames() override {}
  bool finalizeMemory(std::string*) override { return false; }

  std::byte* data() { return bytes_.get(); }
  size_t size() const { return size_; }
  bool failed() const { return failed_; }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { ::operator delete[](bytes, std::align_val_t{kPage}); }
  };
  uint8_t* take(size_t bytes, size_t align) {
    const size_t begin = round_up(size_, std::max<size_t>(align, 1));
    if (align > kPage || begin > capacity_ || bytes > capacity_ - begin) {
      failed_ = true;
      return nullptr;
    }
    size_ = begin + bytes;
    return reinterpret_cast<uint8_t*>(bytes_.get() + begin);
  }
  std::unique_ptr<std::byte[], Free> bytes_;
  size_t capacity_ = 0, size_ = 0;
  bool failed_ = false;
};

// There is nothing outside that the code could be linked with.
class Nothing final : public llvm::JITSymbolResolver {
 public:
  void lookup(const LookupSet& symbols, OnResolvedFunction resolved) override {
    resolved(llvm::createStringError(
        "it needs " + (symbols.empty() ? std::string("?") : symbols.begin()->str())));
  }
  llvm::Expected<LookupSet> getResponsibilitySet(const LookupSet&) override { return LookupSet(); }
};

bool is_distance(llvm::Triple::ArchType processor, u64 type) {
  using namespace llvm::ELF;
  if (processor == llvm::Triple::x86_64)
    return type == R_X86_64_PC32 || type == R_X86_64_PLT32 || type == R_X86_64_PC64;
  switch (type) {
    case R_AARCH64_CALL26:
    case R_AARCH64_JUMP26:
    case R_AARCH64_PREL32:
    case R_AARCH64_PREL64:
    case R_AARCH64_ADR_PREL_LO21:
    case R_AARCH64_ADR_PREL_PG_HI21:
    case R_AARCH64_ADD_ABS_LO12_NC:  // Within its page, which the block begins at the start of.
    case R_AARCH64_LDST8_ABS_LO12_NC:
    case R_AARCH64_LDST16_ABS_LO12_NC:
    case R_AARCH64_LDST32_ABS_LO12_NC:
    case R_AARCH64_LDST64_ABS_LO12_NC:
    case R_AARCH64_LDST128_ABS_LO12_NC: return processor == llvm::Triple::aarch64;
    default: return false;
  }
}

Result<> check_relocations(const llvm::object::ObjectFile& object) {
  for (const auto& section : object.sections()) {
    for (const auto& relocation : section.relocations()) {
      if (!is_distance(object.getArch(), relocation.getType()))
        return refuse(fmt::format("relocation type {} is no distance", relocation.getType()));
    }
  }
  return {};
}

}  // namespace

Result<std::vector<std::byte>> link(std::span<const char> bytes, std::string_view entry) {
  const llvm::MemoryBufferRef buffer(llvm::StringRef(bytes.data(), bytes.size()), "program");
  auto object = llvm::object::ObjectFile::createObjectFile(buffer);
  if (!object) return refuse(llvm::toString(object.takeError()));
  TRY_VOID(check_relocations(**object));
  Block block;
  Nothing nothing;
  llvm::RuntimeDyld linker(block, nothing);
  const auto loaded = linker.loadObject(**object);
  if (!linker.hasError()) linker.resolveRelocations();
  if (linker.hasError()) return refuse(linker.getErrorString().str());
  if (block.failed()) return refuse(fmt::format("it has more than {} bytes", bpf::kImageBytesMax));
  const auto* start = static_cast<const std::byte*>(linker.getSymbolLocalAddress(entry));
  if (start == nullptr) return refuse("the object has no entry");
  CHECK(start >= block.data() + sizeof(bpf::ImageHeader) && start < block.data() + block.size());
  const bpf::ImageHeader header{.bytes = block.size(),
                                .entry = static_cast<u64>(start - block.data())};
  std::memcpy(block.data(), &header, sizeof header);
  return std::vector<std::byte>(block.data(), block.data() + block.size());
}

}  // namespace coppice::jit
