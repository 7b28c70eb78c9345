# The compiler of eBPF programs; of what it makes here nothing goes into the host's own programs.
find_program(COPPICE_BPF_CLANG clang-19 REQUIRED)

# coppice_bpf_object(OUTPUT SOURCE CPU LEVEL): the C file SOURCE as the object OUTPUT, for instruction set CPU (v1 to v4),
# optimised by -OLEVEL. It may include the headers for programs, <coppice/bpf/...>.
function(coppice_bpf_object output source cpu level)
  add_custom_command(OUTPUT ${output}
    COMMAND ${COPPICE_BPF_CLANG} -target bpf -mcpu=${cpu} -O${level} -g -Wall -Wextra -Werror -Wno-unused-parameter -Wno-int-to-pointer-cast
            -I ${PROJECT_SOURCE_DIR}/include -MD -MF ${output}.d -c ${source} -o ${output}
    DEPENDS ${source} DEPFILE ${output}.d VERBATIM)
endfunction()
