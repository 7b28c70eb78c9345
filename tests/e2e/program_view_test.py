#!/usr/bin/python3
"""What people see of programs: trace, explain, history, replay; the programs that ship; the manual's examples."""
import json
import os
import re
import subprocess
import unittest

import harness
from program_bed import ProgramCase

MANUAL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/man/coppice-program.8")
MIB = 1 << 20


class Inside(ProgramCase):
    def test_trace_shows_every_verb_with_arguments_result_and_time(self):
        done = self.program("""
          pool.sync.create{"tank/a", properties = {["ops:x"] = "1"}}
          pool.sync.create("tank/a")
          pool.note("half way")
          return pool.exists("tank/a")""", flags=("--trace",))
        self.assertEqual(0, done.returncode, done.stderr)
        lines = done.stderr.splitlines()
        self.assertEqual(4, len(lines), done.stderr)
        self.assertRegex(lines[0], r"^ +1 +[\d.]+\w+ sync +create .*tank/a.*ops:x=1.* -> ok$")
        self.assertRegex(lines[1], r"^ +2 +[\d.]+\w+ sync +create .*tank/a.* -> EEXIST \(.*exists.*\)$")
        self.assertIn("half way", lines[2])
        self.assertRegex(lines[3], r"exists +tank/a -> ok$")
        self.assertIn("return: true", done.stdout)

    def test_explain_lists_the_effects_and_asks(self):
        path = self.daemon.path("make.lua")
        with open(path, "w", encoding="utf-8") as out:
            out.write("pool.try.create('tank/a') pool.try.create('tank/b')")
        shown = "The program changes:\n  create   tank/a\n  create   tank/b\n"
        done = self.daemon.run("program", "-n", "--explain", "tank", path)
        self.assertEqual((0, shown), (done.returncode, done.stderr))
        done = self.daemon.run("program", "--explain", "tank", path, text="n\n")
        self.assertEqual(1, done.returncode)
        self.assertTrue(done.stderr.startswith(shown), done.stderr)
        self.assertEqual(["tank"], self.daemon.names("-r", "tank"))
        done = self.daemon.run("program", "--explain", "tank", path, text="y\n")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(["tank", "tank/a", "tank/b"], self.daemon.names("-r", "tank"))
        done = self.daemon.run("program", "--explain", "--yes", "tank", "-", text="pool.sync.destroy('tank/a')")
        self.assertEqual((0, "The program changes:\n  destroy  tank/a\n"), (done.returncode, done.stderr))

    def test_the_history_records_programs_that_ended_well_and_badly(self):
        self.value("pool.sync.create('tank/a') return 1", "one", "two words")
        self.fails("error('broken')")
        good, bad = self.history()[-2:]
        self.assertRegex(good["command"], r"^program - sha256=[0-9a-f]{64} one 'two words'$")
        self.assertEqual("ok", good["result"])
        self.assertIn("uid=", good["who"])
        facts = json.loads(good["effects"])["program"]
        self.assertEqual((["one", "two words"], 1, True), (facts["arguments"], facts["verbs"], facts["sync"]))
        self.assertGreater(facts["instructions"], 0)
        self.assertTrue(bad["result"].startswith("ECHRNG: "), bad["result"])
        self.assertIn("broken", bad["result"])
        shown = self.daemon.ok("history", "tank").splitlines()[-2]
        self.assertIn("program - one 'two words'", shown)
        self.assertNotIn("sha256", shown)

    def test_a_record_is_replayed_onto_another_pool(self):
        self.daemon.create_pool("other")
        self.value("""
          pool.sync.create{"tank/g", properties = {["ops:owner"] = "tank/ann"}}
          pool.sync.create{"tank/g/v", size = "8M"}
          pool.sync.snapshot("tank/g/v@s")
          pool.savepoint(function() pool.sync.create("tank/undone") error("x") end)
          pool.sync.clone("tank/g/v@s", "tank/g/c")
          pool.sync.rename("tank/g/v@s", "t")
          pool.sync.hold("tank", "tank/g/v@t")""")
        self.fails("error('nothing done')")
        good, bad = self.history()[-2:]
        said = self.daemon.ok("history", "tank", "--replay", str(good["sequence"]), "--onto", "other")
        self.assertEqual(f"6 verbs of record {good['sequence']} done again on other\n", said)
        self.assertEqual(["other", "other/g", "other/g/c", "other/g/v"], self.daemon.names("-r", "other"))
        self.assertEqual("other/g/v@t", self.daemon.get("origin", "other/g/c"))
        self.assertEqual("tank/ann", self.daemon.get("ops:owner", "other/g"))
        self.assertEqual("1", self.daemon.get("userrefs", "other/g/v@t"))
        self.assertIn("exists", self.daemon.refused("history", "tank", "--replay", str(good["sequence"]), "--onto", "other"))
        self.assertIn("no verbs", self.daemon.refused("history", "tank", "--replay", str(bad["sequence"]), "--onto", "other"))
        self.assertIn("no such record", self.daemon.refused("history", "tank", "--replay", "999999", "--onto", "other"))
        self.assertEqual(2, self.daemon.run("history", "tank", "--replay", "1").returncode)
        # Of one command the same.
        self.daemon.ok("create", "tank/single")
        self.daemon.ok("history", "tank", "--replay", str(self.history()[-1]["sequence"]), "--onto", "other")
        self.assertIn("other/single", self.daemon.names("-r", "other"))

    def test_a_record_that_was_cut_is_not_replayed(self):
        self.daemon.create_pool("other")
        names = [f"tank/v@{number}" for number in range(1500)]
        self.daemon.ok("create", "tank/v", "-V", "8M")
        self.daemon.ok("snapshot", *names)
        record = str(self.history()[-1]["sequence"])
        self.assertIn("cut", self.daemon.refused("history", "tank", "--replay", record, "--onto", "other"))


class Shipped(ProgramCase):
    def setUp(self):
        super().setUp()
        self.daemon.ok("create", "tank/vms")
        for name in ("a", "b"):
            self.daemon.ok("create", f"tank/vms/{name}", "-V", "8M")

    def snapshots(self, name):
        return [each.split("@")[1] for each in self.daemon.names("-t", "snapshot", name)]

    def test_rotate_keeps_the_newest_of_each_period(self):
        times = [f"2026-11-{day:02}T{hour:02}:00" for day in (19, 20, 21, 22) for hour in (0, 12)]
        self.daemon.ok("snapshot", "tank/vms/a@mine")
        for time in times:
            result = self.shipped("rotate.lua", "tank/vms", time, "hourly=2", "daily=3", "weekly=2")
            self.assertGreaterEqual(result["created"], 2)
        kept = ["auto-2026-11-20T12:00", "auto-2026-11-21T12:00", "auto-2026-11-22T00:00", "auto-2026-11-22T12:00"]
        self.assertEqual(kept, self.snapshots("tank/vms/b"))
        self.assertEqual(["mine", *kept], self.snapshots("tank/vms/a"))
        # The 23rd is a Monday: the week before keeps its newest, and what is held stays.
        self.daemon.ok("hold", "keep", "tank/vms/b@auto-2026-11-20T12:00")
        result = self.shipped("rotate.lua", "tank/vms", "2026-11-23T00:00", "hourly=1", "daily=1", "weekly=2")
        self.assertEqual(["auto-2026-11-22T12:00", "auto-2026-11-23T00:00"], self.snapshots("tank/vms/a")[1:])
        self.assertEqual({"1": "tank/vms/b@auto-2026-11-20T12:00"}, result["busy"])
        self.assertEqual(1, self.daemon.run("program", "tank", "-", text="error('x')").returncode)

    def test_destroy_matching_takes_all_or_nothing(self):
        self.daemon.ok("snapshot", "-r", "tank/vms@old-1")
        self.daemon.ok("snapshot", "-r", "tank/vms@old-2")
        self.daemon.ok("snapshot", "-r", "tank/vms@new")
        dry = self.shipped("destroy_matching.lua", "tank/vms", "^old%-", flags=("-n",))
        self.assertIn("tank/vms/b@old-2", dry["destroyed"].values())
        self.assertEqual(["old-1", "old-2", "new"], self.snapshots("tank/vms/a"))
        self.daemon.ok("hold", "keep", "tank/vms/b@old-2")
        done = self.daemon.run("program", "tank", os.path.join(os.path.dirname(MANUAL), "../../programs/lua/destroy_matching.lua"),
                               "tank/vms", "^old%-")
        self.assertEqual(1, done.returncode)
        self.assertEqual(["old-1", "old-2", "new"], self.snapshots("tank/vms/a"))
        result = self.shipped("destroy_matching.lua", "tank/vms", "^old%-", "skip-busy")
        self.assertEqual({"1": "tank/vms/b@old-2"}, result["busy"])
        self.assertEqual((["new"], ["old-2", "new"]), (self.snapshots("tank/vms/a"), self.snapshots("tank/vms/b")))

    def test_clone_tree_copies_groups_volumes_and_their_own_properties(self):
        self.daemon.ok("create", "tank/vms/db", "-o", "ops:tier=gold")
        self.daemon.ok("create", "tank/vms/db/one", "-V", "8M")
        result = self.shipped("clone_tree.lua", "tank/vms", "test", "tank/test", "ops:owner=qa")
        self.assertEqual({"clones": 3, "groups": 2, "snapshot": "test"}, result)
        self.assertEqual(["tank/test", "tank/test/a", "tank/test/b", "tank/test/db", "tank/test/db/one"],
                         self.daemon.names("-r", "tank/test"))
        self.assertEqual("tank/vms/db/one@test", self.daemon.get("origin", "tank/test/db/one"))
        self.assertEqual("gold", self.daemon.get("ops:tier", "tank/test/db/one"))
        self.assertEqual("qa", self.daemon.get("ops:owner", "tank/test/db/one"))
        before = self.catalog()
        path = os.path.join(os.path.dirname(MANUAL), "../../programs/lua/clone_tree.lua")
        self.assertEqual(1, self.daemon.run("program", "tank", path, "tank/vms", "other", "tank/test").returncode)
        self.assertEqual(before, self.catalog())

    def test_swap_puts_the_clone_in_its_origins_place_and_back(self):
        self.daemon.ok("snapshot", "tank/vms/a@s")
        self.daemon.ok("clone", "tank/vms/a@s", "tank/vms/next")
        guid = self.daemon.get("guid", "tank/vms/next")
        self.assertEqual({"live": "tank/vms/a", "old": "tank/vms/a-old"},
                         self.shipped("swap.lua", "tank/vms/a", "tank/vms/next"))
        self.assertEqual(guid, self.daemon.get("guid", "tank/vms/a"))
        self.assertEqual("tank/vms/a@s", self.daemon.get("origin", "tank/vms/a-old"))
        self.shipped("swap.lua", "tank/vms/a", "tank/vms/a-old", "tank/vms/again")
        self.assertEqual(guid, self.daemon.get("guid", "tank/vms/again"))
        self.assertEqual("tank/vms/a@s", self.daemon.get("origin", "tank/vms/again"))

    def test_space_by_owner_sums_what_volumes_take(self):
        self.daemon.ok("set", "ops:owner=ann", "tank/vms/a")
        uri = self.daemon.export("tank/vms/a")
        self.client("qemu-io", "-f", "raw", "-c", "write -P 7 0 2M", "-c", "flush", uri)
        self.daemon.ok("pool", "sync", "tank")
        result = self.shipped("space_by_owner.lua", "tank", flags=("-n",))
        self.assertEqual({"ann", "-"}, set(result))
        self.assertEqual((1, 1), (result["ann"]["volumes"], result["-"]["volumes"]))
        self.assertEqual(self.daemon.number("usedbydataset", "tank/vms/a"), result["ann"]["used"])
        self.assertGreaterEqual(result["ann"]["used"], 2 * MIB)


class Manual(ProgramCase):
    """The examples of coppice-program(8): its files are written, its commands run, and they print what it says."""

    def blocks(self):
        kind, name, lines = None, None, None
        with open(MANUAL, encoding="utf-8") as page:
            for line in page.read().splitlines():
                mark = re.match(r'\.\\" (file|run) ?(\S*)$', line)
                if mark:
                    kind, name = mark.groups()
                elif line.startswith(".Bd") and kind:
                    lines = []
                elif line == ".Ed" and kind:
                    yield kind, name, lines
                    kind, lines = None, None
                elif lines is not None:
                    lines.append(line.removeprefix("\\&"))

    def test_the_examples_run_as_printed(self):
        folder, count = self.daemon.path("examples"), 0
        os.mkdir(folder)
        for kind, name, lines in self.blocks():
            if kind == "file":
                with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
                    out.write("\n".join(lines) + "\n")
                continue
            for block in re.split(r"^\$ ", "\n".join(lines) + "\n", flags=re.M)[1:]:
                command, wanted = block.split("\n", 1)
                done = subprocess.run(["bash", "-c", command], cwd=folder, text=True, check=False, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      env={**os.environ, "COPPICE_SOCKET": self.daemon.control,
                                           "PATH": f"{os.path.abspath(harness.BIN)}:{os.environ['PATH']}"})
                pattern = re.escape(wanted).replace(re.escape("...\n"), "(.*\n)*")
                self.assertRegex(done.stdout, f"^{pattern}\\Z", command)
                count += 1
        self.assertGreaterEqual(count, 12)


if __name__ == "__main__":
    unittest.main()
