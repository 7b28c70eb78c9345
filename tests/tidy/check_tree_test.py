#!/usr/bin/python3
"""Each rule of check_tree.py catches a planted violation and lets the innocent neighbour pass."""
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check_tree  # noqa: E402

TABLE = """# A map
| module | what it is | may use |
|---|---|---|
| `base` | ground | - |
| `io` | disks | base |
| `pool` | engine | io |
| `serve` | servers | io |
| `sim` | tests' disk | io |
| `host` | daemon | all |

The end.
"""


class PlantedViolations(unittest.TestCase):
    def violations(self, files):
        with tempfile.TemporaryDirectory() as root:
            for path, text in {"ARCHITECTURE.md": TABLE, **files}.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as out:
                    out.write(text)
            return check_tree.check_tree(root)

    def test_a_clean_tree_passes(self):
        self.assertEqual([], self.violations({
            "src/pool/a.cc": '#include "pool/a.h"\n#include <vector>\n#include "io/disk.h"\n#include "base/x.h"\n',
            "src/pool/a.h": "#pragma once\n",
            "src/pool/a_test.cc": '#include "sim/disk.h"\n#include "pool/bed.h"\n',
            "src/pool/bed.h": '#pragma once\n#include "sim/disk.h"\n',
            "src/serve/nbd/CMakeLists.txt": "coppice_module(nbd USES io TEST_USES sim)\n",
            "src/host/main.cc": '#include "serve/nbd/server.h"\n#include "pool/a.h"\n'}))

    def test_an_upward_include_is_caught(self):
        found = self.violations({"src/io/a.cc": '#include "pool/a.h"\n'})
        self.assertEqual(["src/io/a.cc:1: io may not include from pool (pool/a.h)"], found)

    def test_a_sideways_include_is_caught(self):
        self.assertIn("serve may not include from pool",
                      self.violations({"src/serve/nbd/a.cc": '#include "pool/a.h"\n'})[0])

    def test_only_tests_include_sim(self):
        self.assertIn("may not include from sim", self.violations({"src/pool/a.cc": '#include "sim/d.h"\n'})[0])

    def test_a_header_that_production_reaches_is_no_test_header(self):
        found = self.violations({"src/pool/a.cc": '#include "pool/bed.h"\n', "src/pool/a_test.cc": '#include "pool/bed.h"\n',
                                 "src/pool/bed.h": '#pragma once\n#include "sim/disk.h"\n'})
        self.assertEqual(["src/pool/bed.h:2: pool may not include from sim (sim/disk.h)"], found)

    def test_a_link_the_table_forbids_is_caught(self):
        found = self.violations({"src/io/CMakeLists.txt": "coppice_module(io USES base pool)\n"})
        self.assertEqual(["src/io/CMakeLists.txt: io may not link pool"], found)

    def test_an_unknown_module_is_caught(self):
        self.assertIn("no module 'extra'", self.violations({"src/extra/a.cc": "\n"})[0])

    def test_a_relative_include_is_caught(self):
        self.assertIn("include as", self.violations({"src/pool/a.cc": '#include "a.h"\n'})[0])

    def test_a_long_file_is_caught(self):
        self.assertIn("801 lines", self.violations({"src/io/a.cc": "\n" * 801})[0])

    def test_unfinished_work_is_caught(self):
        self.assertIn("unfinished", self.violations({"docs/a.md": "TO" + "DO: write\n"})[0])

    def test_a_header_without_guard_is_caught(self):
        self.assertIn("#pragma once", self.violations({"src/io/a.h": "int x;\n"})[0])

    def test_a_vague_name_is_caught(self):
        self.assertIn("says nothing", self.violations({"src/io/disk_util.cc": "\n"})[0])


if __name__ == "__main__":
    unittest.main()
