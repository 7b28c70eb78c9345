#!/usr/bin/python3
"""`coppice program --check`: each kind of mistake is found where it is, without a daemon; what ships is clean."""
import glob
import os
import subprocess
import sys
import tempfile
import unittest

BIN = os.environ.get("COPPICE_BIN", os.path.join(os.path.dirname(__file__), "../../build/release/bin"))
SHIPPED = os.path.join(os.path.dirname(__file__), "../../programs/lua")


def check(text, path=None):
    """Status, findings and stderr of a check of `text`, or of the file at `path`."""
    done = subprocess.run([os.path.join(BIN, "coppice"), "program", "--check", path or "-"], input=text,
                          capture_output=True, text=True, check=False,
                          env={**os.environ, "COPPICE_SOCKET": "/nonexistent"})
    return done.returncode, done.stdout.splitlines(), done.stderr


class Findings(unittest.TestCase):
    def found(self, text, *wanted):
        status, lines, stderr = check(text)
        self.assertEqual([f"-:{each}" for each in wanted], lines, stderr)
        self.assertEqual(1 if wanted else 0, status, stderr)

    def test_what_is_wrong_as_lua_is_found(self):
        self.found("local x =\nreturn 1\n", "2:1: expected expression near 'return'")
        self.found("return os.time()\n", "1:8: accessing undefined variable 'os'")
        self.found("return string.dump\n", "1:8: accessing undefined field 'dump' of global 'string'")
        self.found("local unused = 1\nreturn 2\n", "1:7: unused variable 'unused'")
        self.found("do return 1 end\nreturn 2\n", "2:1: unreachable code")
        self.found("for _, x in pairs{} do error(x) end\nx = x + y\n", "2:9: accessing undefined variable 'y'")

    def test_unknown_verbs_and_functions_are_found_with_the_nearest_name(self):
        self.found("return pool.sync.destory('tank/a')\n",
                   "1:8: unknown verb pool.sync.destory (did you mean destroy?)")
        self.found("return zfs.check.snapshots('tank/a@b')\n",
                   "1:8: unknown verb zfs.check.snapshots (did you mean snapshot?)")
        self.found("return pool.lst\n", "1:8: unknown function pool.lst (did you mean list?)")
        self.found("for x in zfs.list.kids('tank') do error(x) end\n", "1:10: unknown function zfs.list.kids")

    def test_arguments_are_counted_and_their_names_known(self):
        self.found("return pool.sync.create('tank/a', 'tank/b')\n",
                   "1:35: pool.sync.create: 2 arguments without a name, and it takes at most 1")
        self.found("return pool.sync.create{'tank/a', sise = 5}\n",
                   "1:35: pool.sync.create: there is no argument 'sise' (did you mean size?)")
        self.found("return pool.try.hold('tag')\n", "1:8: pool.try.hold: argument 'snapshots' is missing")
        self.found("return pool.check.rename{}\n",
                   "1:8: pool.check.rename: argument 'name' is missing",
                   "1:8: pool.check.rename: argument 'new_name' is missing")
        self.found("return pool.sync.create{'tank/a', name = 'tank/b'}\n",
                   "1:35: pool.sync.create: name is given twice")
        self.found("return zfs.sync.destroy('tank/a', true)\n",
                   "1:35: zfs.sync.destroy: 2 arguments without a name, and it takes at most 1")
        self.found("return zfs.sync.destroy{'tank/a', defr = true}\n",
                   "1:35: zfs.sync.destroy: there is no argument 'defr' (did you mean defer?)")
        self.found("return zfs.get_prop('tank/a')\n", "1:8: zfs.get_prop: argument 'property' is missing")
        self.found("return pool.exists()\n", "1:8: pool.exists: argument 'name' is missing")

    def test_values_of_the_wrong_kind_are_found(self):
        self.found("return pool.sync.destroy{'tank/a', recursive = 1}\n",
                   "1:48: pool.sync.destroy: recursive is a flag, not a number")
        self.found("return pool.sync.set('tank/a', 'quota=1')\n",
                   "1:32: pool.sync.set: properties is a map of text, not a text")

    def test_properties_are_known(self):
        self.found("return pool.get('tank/a', 'usd')\n", "1:27: unknown property 'usd' (did you mean used?)")
        self.found("return pool.sync.set('tank/a', {used = 1})\n", "1:33: property 'used' cannot be set")
        self.found("return pool.sync.create{'tank/a', properties = {qota = '1G'}}\n",
                   "1:49: unknown property 'qota' (did you mean quota?)")
        self.found("return pool.sync.inherit('tank/a', 'readonyl')\n",
                   "1:36: unknown property 'readonyl' (did you mean readonly?)")

    def test_a_local_name_for_a_function_is_seen_through_unless_it_changes(self):
        self.found("local sync = pool.sync\nreturn sync.create('tank/a', 1)\n",
                   "2:30: pool.sync.create: 2 arguments without a name, and it takes at most 1")
        self.found("local f = pool.sync.create\nf = f or error\nreturn f('tank/a', 1)\n")
        self.found("local function g(pool) return pool.anything('x', 'y', 'z') end\nreturn g\n")

    def test_what_only_running_tells_is_passed_over(self):
        self.found("local args = ...\nreturn pool.sync.create(args.argv[1])\n")
        self.found("local args = ...\nreturn pool.sync.create(args.argv)\n")
        self.found("return pool.sync.create{table.unpack{'tank/a'}}\n")
        self.found("return pool.get('tank/a', 'written@monday'), pool.get('tank/a', 'ops:owner')\n")
        self.found("function walk(x) for c in zfs.list.children(x) do walk(c) end end\nwalk('tank')\n")

    def test_a_file_is_named_in_the_findings(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "bad.lua")
            with open(path, "w", encoding="utf-8") as out:
                out.write("return nothing\n")
            self.assertEqual((1, [f"{path}:1:8: accessing undefined variable 'nothing'"]), check(None, path)[:2])
            self.assertEqual(2, check(None, os.path.join(folder, "missing.lua"))[0])

    def test_without_luacheck_the_package_is_named(self):
        done = subprocess.run([os.path.join(BIN, "coppice"), "program", "--check", "-"], input="", text=True,
                              capture_output=True, check=False, env={"PATH": "/nonexistent"})
        self.assertEqual(1, done.returncode)
        self.assertIn("apt install lua-check", done.stderr)


class Shipped(unittest.TestCase):
    def test_every_program_that_ships_is_clean(self):
        programs = sorted(glob.glob(os.path.join(SHIPPED, "*.lua")))
        self.assertGreaterEqual(len(programs), 5)
        for path in programs:
            self.assertEqual((0, []), check(None, path)[:2])


if __name__ == "__main__":
    sys.exit(unittest.main())
