# Compiler-wide settings: warnings, the CPU baseline, sanitizers, the compiler cache and a fast linker.

add_compile_options(-Wall -Wextra -Werror -march=x86-64-v2)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # Optimising, it takes the error of a std::expected that holds a value, and sums of strings, for mistakes.
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized> $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

# Both compilers find `ld.lld` in the folder that -B names; without lld their default linker serves.
find_program(COPPICE_LLD ld.lld PATHS /usr/lib/llvm-19/bin)
if(COPPICE_LLD)
  get_filename_component(lld_folder ${COPPICE_LLD} DIRECTORY)
  add_link_options(-B${lld_folder} -fuse-ld=lld)
endif()

# By it programs on internal tracepoints know which build they are on.
add_link_options(-Wl,--build-id=sha1)

if(COPPICE_SANITIZE)
  add_compile_options(-fsanitize=${COPPICE_SANITIZE})
  add_link_options(-fsanitize=${COPPICE_SANITIZE})
  if(COPPICE_SANITIZE MATCHES undefined)
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()

if(COPPICE_FUZZ AND NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "COPPICE_FUZZ needs clang: use the preset dev or fuzz")
endif()
if(COPPICE_FUZZ_COVERAGE)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# The distribution's interpreter, because the NBD bindings are installed for no other.
find_program(COPPICE_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
