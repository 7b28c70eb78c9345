// bpf/native/native.h — machine code of a program, mapped.
//
// Theory. The code comes as a memory file that its maker sealed: nobody can change it any more, and
// it is mapped to be read and executed, never written. What it does was decided by the helper that
// made it: an Image is as trusted as that process, which is why that one is sealed too.
#pragma once

#include <memory>

#include "base/result.h"
#include "bpf/code.h"

namespace coppice::bpf {

class Image {
 public:
  // Maps the file and keeps no descriptor. Refused: a file that is not sealed, or is no image.
  static Result<std::shared_ptr<const Image>> map(int descriptor);
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;
  ~Image();

  const std::byte* entry() const { return base_ + entry_; }
  size_t bytes() const { return bytes_; }

 private:
  Image(const std::byte* base, size_t bytes, size_t entry)
      : base_(base), bytes_(bytes), entry_(entry) {}
  const std::byte* base_;
  size_t bytes_, entry_;
};

// Its Code must live longer; its maps and helpers too, as ever.
class Native {
 public:
  using Entry = HelperFunction;  // u64 (*)(Machine&, r1, ..., r5)

  Native(const Code& code, std::shared_ptr<const Image> image)
      : entry_(reinterpret_cast<Entry>(const_cast<std::byte*>(image->entry()))),
        code_(&code),
        image_(std::move(image)) {}
  Entry entry() const { return entry_; }
  const Code& code() const { return *code_; }
  const Image& image() const { return *image_; }

 private:
  Entry entry_;
  const Code* code_;
  std::shared_ptr<const Image> image_;
};

}  // namespace coppice::bpf
