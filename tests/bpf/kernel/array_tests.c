/* array_tests.c: writes out the kernel's verifier tests that are arrays of instructions in C.
 *
 * The kernel's test program is included whole, so that its own code lays the programs out; what it would ask libbpf for is
 * answered here. A map is made by taking down what was asked for. Each test becomes lines of "word value":
 *
 *   test FILE DESCRIPTION
 *   type NUMBER                  of BPF_PROG_TYPE_*
 *   verdict accept|refuse
 *   strict|any|call              it is to be aligned strictly; it need not be; it calls a function of the kernel
 *   map KIND KEY VALUE ENTRIES FLAGS WHOLE    in the order of their indices; WHOLE: 1 unless the kernel has a part in values
 *   code HEX                     maps named by their indices
 *   message TEXT                 what the kernel says of a refused one, if that is tested
 */
#define main main_of_the_kernels
#include "test_verifier.c"
#undef main

enum { FIRST_MAP = 1000, NO_MAP = 0x7fffffff }; /* Numbers below were put in by no fix-up. */

static int maps_made;

int bpf_map_create(enum bpf_map_type kind, const char *name, __u32 key_size, __u32 value_size, __u32 entries,
                   const struct bpf_map_create_opts *options)
{
  printf("map %d %u %u %u %u %d\n", kind, key_size, value_size, entries, options ? options->map_flags : 0,
         !options || !options->btf_fd);
  return FIRST_MAP + maps_made++;
}

int bpf_map_update_elem(int map, const void *key, const void *value, __u64 flags) { return 0; }
int libbpf_probe_bpf_map_type(enum bpf_map_type kind, const void *options) { return 1; }
int bpf_btf_load(const void *types, size_t size, struct bpf_btf_load_opts *options) { return 1; }
int bpf_prog_load(enum bpf_prog_type type, const char *name, const char *license, const struct bpf_insn *code,
                  size_t count, struct bpf_prog_load_opts *options)
{
  return 1;
}

static void name_maps(struct bpf_insn *code, int count)
{
  for (int i = 0; i + 1 < count; ++i) {
    if (code[i].code != (BPF_LD | BPF_IMM | BPF_DW)) continue;
    if (code[i].src_reg == BPF_PSEUDO_MAP_FD || code[i].src_reg == BPF_PSEUDO_MAP_VALUE)
      code[i].imm = code[i].imm >= FIRST_MAP ? code[i].imm - FIRST_MAP : NO_MAP;
    ++i;
  }
}

static void write_code(const struct bpf_insn *code, int count)
{
  const unsigned char *bytes = (const unsigned char *)code;

  printf("code ");
  for (size_t i = 0; i < count * sizeof(*code); ++i) printf("%02x", bytes[i]);
  printf("\n");
}

static void write_test(struct bpf_test *test, const char *file)
{
  int map_fds[MAX_NR_MAPS], fd_array[2] = {-1, -1};
  struct bpf_insn *code = test->insns;
  enum bpf_prog_type type = test->prog_type ? test->prog_type : BPF_PROG_TYPE_SOCKET_FILTER;
  int count;

  printf("test %s %s\ntype %d\n", file, test->descr, type);
  printf("verdict %s\n", test->result == REJECT ? "refuse" : "accept");
  if (test->flags & F_LOAD_WITH_STRICT_ALIGNMENT) printf("strict\n");
  if (test->flags & F_NEEDS_EFFICIENT_UNALIGNED_ACCESS) printf("any\n");
  if (test->fixup_kfunc_btf_id[0].kfunc) printf("call\n");
  test->fixup_kfunc_btf_id[0].kfunc = NULL; /* It would look for a running kernel's. */
  maps_made = 0;
  do_test_fixup(test, type, code, map_fds, fd_array);
  count = test->fill_insns ? test->prog_len : probe_filter_length(code);
  if (test->fill_insns) code = test->fill_insns;
  name_maps(code, count);
  write_code(code, count);
  if (test->result == REJECT && test->errstr) {
    printf("message ");
    for (const char *c = test->errstr; *c; ++c) putchar(*c == '\t' || *c == '\n' ? ' ' : *c);
    printf("\n");
  }
}

int main(void)
{
  const char *file = "";

  for (size_t i = 0; i < ARRAY_SIZE(tests); ++i) {
    if (strncmp(tests[i].descr, "file:", 5) == 0)
      file = tests[i].descr + 5;
    else
      write_test(&tests[i], file);
  }
  return 0;
}
