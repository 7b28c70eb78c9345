#!/usr/bin/python3
"""`coppice prog check`: verdicts on C programs as clang makes them. It needs no daemon."""
import json
import os
import subprocess
import tempfile
import unittest

BIN = os.environ.get("COPPICE_BIN", os.path.join(os.path.dirname(__file__), "../../build/release/bin"))
HEAD = """
typedef unsigned int u32; typedef unsigned long long u64; typedef unsigned char u8;
#define SEC(name) __attribute__((section(name), used))
#define NUMBER(name, value) int (*name)[value]
#define TYPE(name, value) value *name
struct buffer { u8 *data; u8 *data_end; };
static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*probe_read)(void *to, u32 size, const void *from) = (void *)113;
static void *(*ring_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*ring_submit)(void *record, u64 flags) = (void *)132;
static long (*loop)(u32 count, void *body, void *context, u64 flags) = (void *)181;
struct { NUMBER(type, 2); NUMBER(max_entries, 16); TYPE(key, u32); TYPE(value, u64); } counts SEC(".maps");
struct { NUMBER(type, 27); NUMBER(max_entries, 4096); } events SEC(".maps");
"""
GOOD = """
const volatile u32 rounds = 7;
static __attribute__((noinline)) u32 weigh(u32 at) { return at * 3 + rounds; }
static long add(u32 at, void *raw) { u64 *sum = raw; *sum += weigh(at); return 0; }
SEC("buffer") int entry(struct buffer *b) {
  u64 sum = 0;
  if (b->data + 32 > b->data_end) return -1;
  for (u32 i = 0; i < 32; i++) sum += b->data[i];
  loop(100, add, &sum, 0);
  u32 key = sum & 15;
  u64 *count = map_lookup(&counts, &key);
  if (!count) return -1;
  *count += 1;
  u64 *record = ring_reserve(&events, 8, 0);
  if (record) { *record = sum; ring_submit(record, 0); }
  return (int)sum;
}
"""
# What is wrong, the rule, words of the message, words of the line that is blamed.
BAD = (
    ("SEC(\"buffer\") int f(struct buffer *b) { u32 k = 1; u64 *c = map_lookup(&counts, &k);\n *c += 1;\n return 0; }",
     "maybe-null", "a pointer to a value of map 'counts' (8 bytes), or null", "*c += 1"),
    ("SEC(\"buffer\") int f(struct buffer *b) {\n return b->data[3];\n }",
     "packet-bounds", "if (data + 4 > data_end) return 0;", "b->data[3]"),
    ("SEC(\"buffer\") int f(struct buffer *b) {\n u64 *r = ring_reserve(&events, 8, 0);\n if (!r) return 0;\n *r = 1;\n return 0; }",
     "not-released", "bpf_ringbuf_submit or bpf_ringbuf_discard", ""),
    ("struct { u32 a[8]; } table; u32 at;\n SEC(\"buffer\") int f(struct buffer *b) {\n return table.a[at];\n }",
     "out-of-bounds", "test that the index is small enough", "table.a[at]"),
    ("SEC(\"buffer\") int f(struct buffer *b) { u32 x[2]; probe_read(x, 4, b);\n return x[0]; }",
     "unknown-helper", "a helper that programs of type buffer may call", "probe_read"),
    ("int go;\n SEC(\"buffer\") int f(struct buffer *b) { while (*(volatile int *)&go)\n ;\n return 0; }",
     "endless-loop", "a loop that ends", ""),
)


class Check(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def compile(self, body, cpu="v3", level="2"):
        source, made = os.path.join(self.folder, "x.c"), os.path.join(self.folder, "x.o")
        with open(source, "w", encoding="utf-8") as file:
            file.write(HEAD + body)
        subprocess.run(["clang-19", "-target", "bpf", f"-mcpu={cpu}", f"-O{level}", "-g", "-c", source, "-o", made],
                       check=True)
        return made

    def check(self, made, *words):
        done = subprocess.run([os.path.join(BIN, "coppice"), "prog", "check", made, *words], capture_output=True,
                              text=True, check=False, env={**os.environ, "COPPICE_SOCKET": "/nonexistent"})
        return done.returncode, done.stdout, done.stderr

    def test_a_program_with_maps_loops_subprograms_and_callbacks_is_safe_as_every_cpu_has_it(self):
        for cpu in ("v1", "v2", "v3", "v4"):
            for level in ("1", "2"):
                with self.subTest(cpu=cpu, level=level):
                    status, out, err = self.check(self.compile(GOOD, cpu, level))
                    self.assertEqual((0, ""), (status, err), out)
                    self.assertIn("entry (section buffer, type buffer): safe: ", out)

    def test_a_refusal_names_rule_line_and_remedy_in_words_and_in_json(self):
        for body, rule, words, line in BAD:
            with self.subTest(rule=rule):
                made = self.compile(body)
                status, out, err = self.check(made)
                self.assertEqual((1, ""), (status, err))
                self.assertIn(f"refused ({rule}) at instruction ", out)
                self.assertIn(words, out)
                status, out, err = self.check(made, "--json")
                self.assertEqual(1, status)
                verdict, = json.loads(out)
                self.assertFalse(verdict["accepted"])
                self.assertEqual(rule, verdict["refusal"]["rule"])
                self.assertIn(line, verdict["refusal"]["source"]["text"])

    def test_the_type_is_the_sections_or_as_asked(self):
        reads = self.compile("SEC(\"any\") int f(u64 *args) { u32 x = 0; probe_read(&x, 4, (void *)args[0]); return x; }")
        status, _, err = self.check(reads)
        self.assertEqual(1, status)
        self.assertIn("its section 'any' names no program type; say --type: buffer probe", err)
        self.assertEqual(0, self.check(reads, "--type", "probe")[0])
        self.assertEqual(1, self.check(reads, "--type", "buffer")[0])
        status, _, err = self.check(reads, "--type", "kprobe")
        self.assertEqual(2, status)
        self.assertIn("there is no program type 'kprobe'", err)

    def test_the_log_has_every_state(self):
        status, out, _ = self.check(self.compile("SEC(\"buffer\") int f(struct buffer *b) { return 7; }"), "--log")
        self.assertEqual(0, status)
        self.assertIn("     0: w0 = 7 ", out)
        self.assertIn("r1=the context;", out)
        self.assertIn("r0=a number, 7;", out)

    def test_files_that_are_no_objects(self):
        status, _, err = self.check(os.path.join(self.folder, "none.o"))
        self.assertEqual(1, status)
        self.assertIn("No such file", err)
        status, _, err = self.check(os.path.abspath(__file__))
        self.assertEqual(1, status)
        self.assertIn("cannot read the object", err)


if __name__ == "__main__":
    unittest.main()
