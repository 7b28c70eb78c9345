#!/usr/bin/python3
"""`coppice prog run --raw`: what conformance tools drive. It needs no daemon."""
import os
import struct
import subprocess
import unittest

BIN = os.environ.get("COPPICE_BIN", os.path.join(os.path.dirname(__file__), "../../build/release/bin"))
EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)


def slot(opcode, dst=0, src=0, offset=0, imm=0):
    return struct.pack("<BBhi", opcode, dst | src << 4, offset, imm)


def run(program, *words):
    """Status, stdout, stderr of a run of bytes, or of text as it is."""
    text = program if isinstance(program, str) else program.hex(" ")
    done = subprocess.run([os.path.join(BIN, "coppice"), "prog", "run", *words], input=text,
                          capture_output=True, text=True, check=False,
                          env={**os.environ, "COPPICE_SOCKET": "/nonexistent"})
    return done.returncode, done.stdout, done.stderr


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


if __name__ == "__main__":
    unittest.main()
