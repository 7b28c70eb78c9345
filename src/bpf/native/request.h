// bpf/native/request.h — what is asked of `coppice-jit`, what it answers, and the machine code
// itself, as bytes.
//
// Theory. A request has everything that the machine code will depend on: the program, the addresses
// its immediates and helpers stand for, what is known of it. So the same request has the same
// answer for as long as the process lives, and its bytes can be the key of a cache. A frame is a
// header and so many bytes; the answer's frame carries the descriptor of a sealed memory file when
// there is code. The code runs at any address: nothing in it names its own.
#pragma once

#include <span>
#include <vector>

#include "bpf/facts.h"
#include "bpf/helper.h"
#include "bpf/program.h"

namespace coppice::bpf {

inline constexpr u32 kFrameMagic = 0x314a5043;  // The last digit counts versions of all below.
inline constexpr u32 kImageMagic = 0x31495043;
inline constexpr u64 kRequestBytesMax = 64_MiB;
inline constexpr u64 kAnswerBytesMax = 64_MiB;  // Of text.
inline constexpr u64 kImageBytesMax = 64_MiB;

enum class Target : u8 {
  host,    // This processor, with all it can do.
  x86_64,  // Any of the kind; for comparison and tests.
  aarch64,
};
enum class Wanted : u8 { code, listing };  // To run, or as assembler for people.

struct WideValue {  // What a 64-bit immediate stands for, if not the number it is.
  u32 slot = 0;
  u64 value = 0;
};
struct HelperPlace {
  i32 number = 0;
  Shortcut shortcut = Shortcut::none;
  u64 address = 0;
};
struct MapPlace {
  u64 values = 0;       // Of an array: where its values begin. 0: it is none.
  u64 stride = 0;       // From one value to the next.
  u64 slot_stride = 0;  // From one reactor's values to the next's; 0 if all share them.
  u32 entries = 0;
  u32 slots = 0;
};

struct Request {
  Target target = Target::host;
  Wanted wanted = Wanted::code;
  bool shows_frames = false;  // A helper may be asked to read the stack: tell it where that is.
  u32 entry = 0;
  std::vector<Instruction> slots = {};
  std::vector<WideValue> wides = {};  // Ascending.
  std::vector<HelperPlace> helpers = {};
  std::vector<MapPlace> maps = {};
  Facts facts = {};
};

std::vector<std::byte> encode(const Request& request);
// Refused: what cannot be such a request. Whether its program is one is asked of Program::make.
Result<Request> decode_request(std::span<const std::byte> bytes);

struct FrameHeader {
  u32 magic = kFrameMagic;
  u32 failed = 0;  // Of an answer: the text says why there is no code.
  u64 bytes = 0;   // That follow: a request, or text.
};
static_assert(sizeof(FrameHeader) == 16);

// The memory file begins with this; the offsets are from its start.
struct ImageHeader {
  u32 magic = kImageMagic;
  u32 reserved = 0;
  u64 bytes = 0;  // Of the file.
  u64 entry = 0;  // Where the program begins.
  u64 zeroes[5] = {};
};
static_assert(sizeof(ImageHeader) == 64);

}  // namespace coppice::bpf
