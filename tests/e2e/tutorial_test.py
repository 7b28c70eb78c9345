"""The tutorial docs/tutorial-bpf.md: every command in it works, in order, and does what the page says."""
import os
import re
import subprocess
import unittest

from harness import BIN, EndToEnd

ROOT = os.path.join(os.path.dirname(__file__), "../..")
PAGE = os.path.join(ROOT, "docs/tutorial-bpf.md")


def commands():
    """The shell commands of the page, block by block."""
    with open(PAGE, encoding="utf-8") as page:
        return re.findall(r"^```sh\n(.*?)^```$", page.read(), re.DOTALL | re.MULTILINE)


class Tutorial(EndToEnd):
    pool_size = None

    def test_every_command_does_what_the_page_says(self):
        # Each block says when it begins, so that its output can be told apart.
        script = "set -eu\n" + "".join(f"echo '### {number}'\n{block}" for number, block in enumerate(commands()))
        folder = self.daemon.socket("tutorial")  # A short path: the export's socket lies in it.
        os.mkdir(folder)
        environment = {**os.environ, "COPPICE_SOCKET": self.daemon.control, "HEADERS": os.path.abspath(os.path.join(ROOT, "include")),
                       "PATH": f"{os.path.abspath(BIN)}:/usr/lib/llvm-19/bin:/usr/bin:/bin"}
        done = subprocess.run(["/bin/bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=300, check=False)
        shown = f"{done.stdout}\n--- errors ---\n{done.stderr}\n--- daemon ---\n{self.daemon.log()[-4000:]}"
        self.assertEqual(0, done.returncode, shown)
        blocks = re.split(r"^### \d+\n", done.stdout, flags=re.MULTILINE)[1:]
        self.assertEqual(len(commands()), len(blocks), shown)
        attached, used, updated, applied, held = blocks[2:7]
        self.assertRegex(attached, r"first +volume\.submit +play/disk +first +stable +attached", shown)
        self.assertIn("Operation not permitted", done.stderr, shown)
        self.assertRegex(used, r"(?m)^0: \{requests: 1, bytes: 4096\}$", shown)
        self.assertRegex(used, r"(?m)^1: \{requests: 2, bytes: 8192\}$", shown)
        self.assertRegex(updated, r"(?m)^settings +\{protect_bytes: \"0\"\}$", shown)
        self.assertRegex(applied, r"would be attached: .*limit", shown)
        self.assertRegex(applied, r"(?s)revision \d+.*limit .*first .*latency ", shown)
        self.assertRegex(held, r"(?m)^program +slow_log$", shown)
        self.assertNotRegex(held.split("maps", 1)[1], r"slow_log +stable", shown)


if __name__ == "__main__":
    unittest.main()
