#!/usr/bin/python3
"""`coppice prog`: bytecode as conformance tools write it, and objects of clang's. It needs no daemon."""
import json
import os
import shutil
import struct
import subprocess
import tempfile
import unittest

BIN = os.environ.get("COPPICE_BIN", os.path.join(os.path.dirname(__file__), "../../build/release/bin"))
SOURCES = os.path.join(os.path.dirname(__file__), "../../src/bpf/testing/programs")
EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)


def slot(opcode, dst=0, src=0, offset=0, imm=0):
    return struct.pack("<BBhi", opcode, dst | src << 4, offset, imm)


def prog(*words, given=""):
    """Status, stdout, stderr of `coppice prog WORDS...` with this on its standard input."""
    given = given.encode() if isinstance(given, str) else given
    done = subprocess.run([os.path.join(BIN, "coppice"), "prog", *words], input=given, capture_output=True, check=False,
                          env={**os.environ, "COPPICE_SOCKET": "/nonexistent"})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def run(program, *words):
    """The same of a run of bytes, or of text as it is."""
    return prog("run", *words, given=program if isinstance(program, str) else program.hex(" "))


class Raw(unittest.TestCase):
    def test_r0_is_printed_in_hexadecimal(self):
        self.assertEqual((0, "7\n", ""), run(slot(0xb7, imm=7) + EXIT, "--raw"))
        self.assertEqual((0, "ffffffffffffffff\n", ""), run(slot(0xb7, imm=-1) + EXIT, "--raw", "--interpret"))
        self.assertEqual((0, "fffffffe\n", ""), run(slot(0xb4, imm=-2) + EXIT, "--raw"))

    def test_memory_is_at_r1_and_its_length_in_r2(self):
        self.assertEqual((0, "ddccbbaa\n", ""), run(slot(0x61, 0, 1) + EXIT, "--raw", "aabb ccDD"))
        self.assertEqual((0, "5\n", ""), run(slot(0xbf, 0, 2) + EXIT, "--raw", "0102030405"))
        self.assertEqual((0, "0\n", ""), run(slot(0xbf, 0, 1) + EXIT, "--raw"))

    def test_machine_code_does_the_same(self):
        self.assertEqual((0, "ffffffffffffffff\n", ""), run(slot(0xb7, imm=-1) + EXIT, "--raw", "--jit"))
        self.assertEqual((0, "ddccbbaa\n", ""), run(slot(0x61, 0, 1) + EXIT, "--raw", "--jit", "aabb ccDD"))
        # Twice the sum of the bytes, by a loop and a call.
        double = (slot(0xbf, 6, 1) + slot(0xbf, 7, 2) + slot(0xb7, 0) + slot(0x71, 1, 6) + slot(0x0f, 0, 1)
                  + slot(0x07, 6, imm=1) + slot(0x07, 7, imm=-1) + slot(0x55, 7, 0, -5) + slot(0xbf, 1, 0)
                  + slot(0x85, 0, 1, imm=1) + EXIT + slot(0xbf, 0, 1) + slot(0x0f, 0, 1) + EXIT)
        for engine in ("--jit", "--interpret"):
            self.assertEqual((0, "1e\n", ""), run(double, "--raw", engine, "0102030405"))

    def test_without_machine_code_it_is_interpreted_with_a_warning(self):
        # The second subprogram calls itself, which has no machine code: f(n) = n == 1 ? 1 : f(n - 1) + 1.
        program = (slot(0xb7, 1, imm=5) + slot(0x85, 0, 1, imm=1) + EXIT + slot(0xb7, 0, imm=1)
                   + slot(0x15, 1, offset=3, imm=1) + slot(0x07, 1, imm=-1) + slot(0x85, 0, 1, imm=-4)
                   + slot(0x07, 0, imm=1) + EXIT)
        status, out, err = run(program, "--raw", "--jit")
        self.assertEqual((0, "5\n"), (status, out))
        self.assertEqual(1, err.count("\n"))
        self.assertIn("calls itself", err)
        self.assertIn("the program is interpreted", err)

    def test_what_is_refused_says_where(self):
        for program, memory, words in (
                (slot(0x79, 0, 1) + EXIT, "aabb", "slot 0: loads from address"),
                (slot(0xe7) + EXIT, "", "slot 0: RFC 9669 defines no instruction of opcode 0xe7"),
                (slot(0xb7), "", "slot 0: the subprogram ends here"),
                (slot(0x05, offset=-1) + EXIT, "", "slot 0: it ran more instructions than it may"),
                (slot(0x85, imm=77777) + EXIT, "", "slot 0: the host has no helper 77777"),
                (b"abc", "", "3 bytes are not a multiple of 8")):
            status, out, err = run(program, "--raw", memory)
            self.assertEqual((1, ""), (status, out))
            self.assertIn(words, err)
            self.assertEqual(1, err.count("\n"))

    def test_wrong_usage(self):
        for program, words in (("zz", ["--raw"]), ("b7 0", ["--raw"]), (EXIT, []), (EXIT, ["--raw", "0"]),
                               (EXIT, ["--raw", "--jit", "--interpret"])):
            status, out, err = run(program, *words)
            self.assertEqual((2, ""), (status, out), err)


class Objects(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="coppice-prog-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.objects = {name: cls.compiled(name) for name in ("counters", "relocated", "host")}

    @classmethod
    def compiled(cls, name):
        path = os.path.join(cls.folder.name, name + ".o")
        subprocess.run(["clang-19", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wno-int-to-pointer-cast", "-c",
                        os.path.join(SOURCES, name + ".c"), "-o", path], check=True)
        return path

    def test_a_program_runs_on_its_data(self):
        for engine, words in (("--interpret", "interpreted"), ("--jit", "machine code")):
            status, out, err = prog("run", self.objects["counters"], "--program", "sum_by_calls", "--type", "probe",
                                    "--data", "0a 00 00 00 00 00 00 00", "--repeat", "10", engine)
            self.assertEqual((0, ""), (status, err))
            self.assertRegex(out, r"\Ar0 100314 \(0x187da\)\n[0-9.]+ ns a run \(10 runs, " + words)

    def test_both_engines_are_timed(self):
        status, out, err = prog("bench", self.objects["counters"], "--program", "sum_by_loop", "--type", "probe",
                                "--seconds", "0.02", "--json")
        self.assertEqual((0, ""), (status, err))
        figures = json.loads(out)
        self.assertEqual("sum_by_loop", figures["program"])
        for name in ("verify_ms", "compile_ms", "compile_cached_us", "interpreter_ns", "machine_code_ns"):
            self.assertGreater(figures[name], 0, name)

    def test_the_readmes_commands_run_as_printed(self):
        root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
        with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
            (block,) = (each for each in file.read().split("```") if "first_bytes.o" in each)
        place = os.path.join(self.folder.name, "readme")
        os.makedirs(place)
        os.symlink(os.path.join(root, "tests"), os.path.join(place, "tests"))
        done = subprocess.run(["sh", "-e"], input=block, cwd=place, capture_output=True, text=True, check=False,
                              env={**os.environ, "PATH": os.path.abspath(BIN) + ":" + os.environ["PATH"]})
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        self.assertIn("first_bytes (section buffer, type buffer): safe: ", done.stdout)
        self.assertIn("r0 1000000 ", done.stdout)
        self.assertRegex(done.stdout, r"machine code +[0-9.]+ ns a run")

    def test_machine_code_can_be_looked_at(self):
        status, out, err = prog("dump", self.objects["counters"], "--program", "sum_by_loop", "--type", "probe", "--jit")
        self.assertEqual((0, ""), (status, err))
        self.assertRegex(out, r"\bret")

    def test_without_the_compiler_programs_are_interpreted_and_said_so(self):
        lonely = os.path.join(self.folder.name, "bin", "coppice")
        os.makedirs(os.path.dirname(lonely))
        shutil.copy(os.path.join(BIN, "coppice"), lonely)
        words = ["prog", "run", self.objects["counters"], "--program", "start", "--type", "probe"]
        done = subprocess.run([lonely, *words], capture_output=True, text=True, check=False)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn("interpreted", done.stdout)
        self.assertRegex(done.stderr, r"\Acoppice: warning: .*; the program is interpreted\n\Z")
        done = subprocess.run([lonely, *words, "--jit"], capture_output=True, text=True, check=False)
        self.assertEqual(1, done.returncode)

    def test_a_program_of_a_type_finds_its_context(self):
        source = os.path.join(self.folder.name, "typed.c")
        with open(source, "w", encoding="utf-8") as file:
            file.write("""
typedef unsigned char u8; typedef unsigned long long u64;
__attribute__((section("buffer"))) int third(u8 **at) { u8 *p = at[0]; return p + 3 > at[1] ? -1 : p[2]; }
__attribute__((section("probe"))) u64 second(u64 *numbers) { return numbers[1] + numbers[7]; }
""")
        path = source[:-1] + "o"
        subprocess.run(["clang-19", "-target", "bpf", "-O2", "-g", "-c", source, "-o", path], check=True)
        for program, data, r0 in (("third", "010203", 3), ("third", "", (1 << 32) - 1), ("second", "00" * 8 + "2a", 42)):
            status, out, err = prog("run", path, "--program", program, "--data", data)
            self.assertEqual((0, ""), (status, err))
            self.assertTrue(out.startswith(f"r0 {r0} "), out)
        status, out, err = prog("run", path, "--program", "second", "--data", "00" * 65)
        self.assertEqual((2, ""), (status, out))
        self.assertIn("--data has 65 bytes, and the context of type probe has 64", err)

    def test_data_and_objects_come_from_files_and_standard_input(self):
        data = os.path.join(self.folder.name, "data")
        with open(data, "wb") as file:
            file.write(struct.pack("<Q", 10))
        with open(self.objects["counters"], "rb") as file:
            status, out, err = prog("run", "-", "--program", "sum_near", "--type", "probe", "--data", data, given=file.read())
        self.assertEqual((0, ""), (status, err))
        self.assertTrue(out.startswith("r0 9 "), out)

    def test_tail_calls_lead_to_programs_of_the_object(self):
        status, out, _ = prog("run", self.objects["counters"], "--program", "start", "--type", "probe")
        self.assertEqual(0, status)
        self.assertTrue(out.startswith(f"r0 {ord('e')} "), out)

    def test_what_is_not_safe_is_not_run(self):
        status, out, err = prog("run", self.objects["counters"], "--program", "sum_near", "--type", "buffer")
        self.assertEqual((1, ""), (status, out))
        self.assertTrue(err.startswith("refused ("), err)
        self.assertTrue(err.endswith("program 'sum_near' is not run: it is not proved safe\n"), err)

    def test_a_dump_has_maps_source_and_names(self):
        status, out, err = prog("dump", self.objects["counters"])
        self.assertEqual((0, ""), (status, err))
        for line in ("license Dual BSD/GPL", "hash 'counts', key of 8 bytes (struct key), value of 16 bytes (struct count)",
                     "program count_it of section 'count'", ": calls += 1;", "static weigh:"):
            self.assertIn(line, out)
        self.assertRegex(out, r"call #1 +; map_lookup_elem")
        self.assertRegex(out, r"r\d = map\[\d\] ll +; counts")
        self.assertRegex(out, r"call pc[+-]\d+ \(slot \d+\) +; weigh")

    def test_a_dump_for_tools(self):
        status, out, err = prog("dump", self.objects["counters"], "--program", "report_it", "--json")
        self.assertEqual((0, ""), (status, err))
        dump = json.loads(out)
        self.assertEqual(["events"], [each["name"] for each in dump["maps"]])
        (program,) = dump["programs"]
        self.assertEqual(("report_it", "report"), (program["name"], program["section"]))
        self.assertEqual("exit", program["instructions"][-1]["text"])
        self.assertTrue(any("u64 record" in each.get("source", "") for each in program["instructions"]))

    def test_types_are_the_hosts_if_it_says_them(self):
        for words, size in (([], 4_032_010), (["--btf", self.objects["host"]], 2_064_010)):
            status, out, err = prog("run", self.objects["relocated"], "--program", "sizes", "--type", "probe",
                                    *words)
            self.assertEqual((0, ""), (status, err))
            self.assertTrue(out.startswith(f"r0 {size} "), out)

    def test_a_program_that_asks_first_is_machine_code_though_the_host_lacks_a_field(self):
        status, out, err = prog("run", self.objects["relocated"], "--program", "either", "--type", "probe", "--jit",
                                "--btf", self.objects["host"], "--data", "00" * 8 + "2a" + "00" * 55)
        self.assertEqual((0, ""), (status, err))
        self.assertTrue(out.startswith("r0 42 "), out)

    def test_what_is_refused_is_said_in_one_line(self):
        elf = self.objects["counters"]
        for words, status, text in (
                ((elf,), 2, "several programs: say --program with one of"),
                ((elf, "--program", "nobody"), 1, "has no program 'nobody'"),
                ((elf, "--data", "/nonexistent", "--program", "start", "--type", "probe"), 1, "cannot read '/nonexistent'"),
                ((elf, "--program", "start"), 1, "its section 'tail' names no program type; say --type"),
                ((elf, "--program", "start", "--no-verify"), 2, "programs of objects are always verified"),
                (("/nonexistent",), 1, "cannot read '/nonexistent': No such file"),
                ((self.objects["host"],), 1, "has no programs"),
                (("-",), 1, "0 bytes are no header of an ELF file"),
                ((elf, "--repeat", "0", "--program", "start"), 2, "--repeat"),
                (("--raw", "--program", "start"), 2, "are for objects")):
            done, out, err = prog("run", *words)
            self.assertEqual((status, ""), (done, out), err)
            self.assertIn(text, err)
            self.assertEqual(1, err.count("\n"), err)


if __name__ == "__main__":
    unittest.main()
