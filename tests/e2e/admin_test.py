#!/usr/bin/python3
"""Datasets, snapshots, properties and exports through the command line, across restarts."""
import time
import unittest

import nbd

import harness

MIB = 1 << 20


def write(uri, data, offset=0):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    handle.pwrite(data, offset)
    handle.flush()
    handle.shutdown()


def read(uri, length, offset=0):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    data = bytes(handle.pread(length, offset))
    handle.shutdown()
    return data


class Datasets(harness.EndToEnd):
    def test_groups_and_volumes_are_made_listed_renamed_and_destroyed(self):
        self.daemon.ok("create", "tank/vms")
        self.daemon.ok("create", "tank/vms/web", "-V", "1G")
        self.daemon.ok("create", "tank/vms/db", "-V", "2G", "-o", "ops:owner=ann")
        self.assertEqual(["tank", "tank/vms", "tank/vms/db", "tank/vms/web"], self.daemon.names("-r", "tank"))
        self.assertEqual("2147483648", self.daemon.get("volsize", "tank/vms/db"))
        self.assertEqual("volume", self.daemon.get("type", "tank/vms/db"))
        self.assertEqual("ann", self.daemon.get("ops:owner", "tank/vms/db"))
        self.daemon.ok("rename", "tank/vms", "tank/machines")
        self.assertEqual(["tank/machines/db", "tank/machines/web"], self.daemon.names("-r", "-t", "volume", "tank"))
        self.daemon.refused("destroy", "tank/machines")
        listed = self.daemon.ok("destroy", "-r", "-n", "tank/machines")
        self.assertIn("tank/machines/db", listed)
        self.assertEqual(4, len(self.daemon.names("-r", "tank")))
        self.daemon.ok("destroy", "-r", "tank/machines")
        self.assertEqual(["tank"], self.daemon.names("-r", "tank"))

    def test_properties_are_set_inherited_and_shown_with_their_source(self):
        self.daemon.ok("create", "tank/g")
        self.daemon.ok("create", "tank/g/v", "-V", "16M")
        self.daemon.ok("set", "ops:tier=gold", "tank/g")
        show = ("get", "-H", "-o", "value,source", "ops:tier")
        self.assertEqual([["gold", "local"]], self.daemon.rows(*show, "tank/g"))
        self.assertEqual([["gold", "inherited from tank/g"]], self.daemon.rows(*show, "tank/g/v"))
        self.daemon.ok("set", "ops:tier=iron", "tank/g/v")
        self.assertEqual([["iron", "local"]], self.daemon.rows(*show, "tank/g/v"))
        self.daemon.ok("inherit", "ops:tier", "tank/g/v")
        self.assertEqual("gold", self.daemon.get("ops:tier", "tank/g/v"))
        self.daemon.ok("set", "ops:note=" + "x" * 8000, "tank/g")
        self.daemon.refused("set", "ops:note=" + "x" * 9000, "tank/g")
        self.daemon.refused("set", "used=5", "tank/g")
        self.daemon.refused("set", "nosuch=5", "tank/g")
        self.daemon.restart()
        self.assertEqual([["gold", "inherited from tank/g"]], self.daemon.rows(*show, "tank/g/v"))

    def test_native_properties_are_all_there(self):
        self.daemon.ok("create", "tank/v", "-V", "16M")
        self.daemon.ok("snapshot", "tank/v@s")
        shown = {row[0]: row[1] for row in self.daemon.rows("get", "-H", "-p", "-o", "property,value", "all", "tank/v")}
        for prop in ("type", "creation", "createtxg", "guid", "used", "available", "referenced", "written",
                     "logicalused", "usedbysnapshots", "usedbydataset", "usedbychildren", "volsize", "reservation",
                     "readonly"):
            self.assertIn(prop, shown)
        self.assertLess(abs(int(shown["creation"]) - time.time()), 3600)
        self.assertEqual("tank/v@s", self.daemon.names("-t", "snapshot", "-r", "tank")[0])
        self.assertEqual("0", self.daemon.get("userrefs", "tank/v@s"))
        self.assertEqual("off", self.daemon.get("defer_destroy", "tank/v@s"))

    def test_a_readonly_volume_refuses_writes(self):
        self.daemon.ok("create", "tank/v", "-V", "16M", "-o", "readonly=on")
        handle = nbd.NBD()
        handle.connect_uri(self.daemon.export("tank/v"))
        self.assertTrue(handle.is_read_only())

    def test_quota_and_reservation_hold(self):
        self.daemon.ok("create", "tank/q", "-o", "quota=32M")
        uri = self.volume("tank/q/v", "256M")
        with self.assertRaises(nbd.Error) as caught:
            for offset in range(0, 128 * MIB, MIB):
                write(uri, b"q" * MIB, offset)
        self.assertEqual("ENOSPC", caught.exception.errno)
        before = self.daemon.number("available", "tank")
        self.daemon.ok("create", "tank/r", "-V", "128M", "-o", "reservation=128M")
        self.assertLess(abs(before - 128 * MIB - self.daemon.number("available", "tank")), 4 * MIB)

    def test_resize_grows_under_a_client_and_shrinking_forgets(self):
        uri = self.volume("tank/v", "16M")
        write(uri, b"last", 16 * MIB - 4)
        self.daemon.ok("resize", "tank/v", "32M")
        self.assertEqual(str(32 * MIB), self.daemon.get("volsize", "tank/v"))
        write(uri, b"more", 32 * MIB - 4)
        self.daemon.ok("unexport", "tank/v")
        self.daemon.ok("resize", "tank/v", "8M")
        self.daemon.ok("resize", "tank/v", "32M")
        uri = self.daemon.export("tank/v")
        self.assertEqual(bytes(4), read(uri, 4, 16 * MIB - 4))


class Snapshots(harness.EndToEnd):
    def test_many_snapshots_in_one_command_are_one_point_in_time(self):
        for name in ("a", "b"):
            self.volume(f"tank/{name}", "16M")
        self.daemon.ok("snapshot", "tank/a@x", "tank/b@x")
        self.assertEqual(self.daemon.get("createtxg", "tank/a@x"), self.daemon.get("createtxg", "tank/b@x"))
        self.daemon.ok("snapshot", "-r", "tank@all")
        self.assertEqual(["tank/a@all", "tank/a@x", "tank/b@all", "tank/b@x", "tank@all"],
                         sorted(self.daemon.names("-t", "snapshot", "-r", "tank")))
        self.daemon.refused("snapshot", "tank/a@new", "tank/b@x")
        self.assertNotIn("tank/a@new", self.daemon.names("-t", "snapshot", "-r", "tank"))

    def test_accounting_returns_to_where_it_was(self):
        self.daemon.ok("create", "tank/keep", "-V", "16M")
        before = self.daemon.number("used", "tank")
        uri = self.volume("tank/v", "64M")
        for generation in range(6):
            write(uri, bytes([generation + 1]) * (8 * MIB), generation * 4 * MIB)
            self.daemon.ok("snapshot", f"tank/v@{generation}")
        self.daemon.ok("clone", "tank/v@3", "tank/c")
        write(self.daemon.export("tank/c"), b"c" * (4 * MIB), 30 * MIB)
        self.daemon.ok("promote", "tank/c")
        self.daemon.ok("unexport", "tank/v")
        self.daemon.ok("unexport", "tank/c")
        self.daemon.ok("destroy", "-r", "tank/v")
        self.daemon.ok("destroy", "-r", "tank/c")
        deadline = time.monotonic() + 60
        while self.daemon.number("used", "tank") != before:
            self.assertLess(time.monotonic(), deadline,
                            f"used was {before}, is {self.daemon.number('used', 'tank')}")
            time.sleep(0.2)
        self.daemon.restart()
        self.assertEqual(before, self.daemon.number("used", "tank"))
        self.daemon.ok("pool", "check", "tank")

    def test_written_and_used_by_snapshots_count_what_they_say(self):
        uri = self.volume("tank/v", "64M")
        write(uri, b"1" * (8 * MIB))
        self.daemon.ok("snapshot", "tank/v@one")
        self.assertEqual(0, self.daemon.number("written", "tank/v"))
        write(uri, b"2" * (4 * MIB))
        self.daemon.ok("snapshot", "tank/v@two")
        for prop, name, bytes_ in (("used", "tank/v@one", 4 * MIB), ("referenced", "tank/v@one", 8 * MIB),
                                   ("usedbysnapshots", "tank/v", 4 * MIB), ("usedbydataset", "tank/v", 8 * MIB)):
            with self.subTest(prop=prop):  # The data, and the few nodes that map it.
                self.assertLess(abs(self.daemon.number(prop, name) - bytes_), 64 << 10)

    def test_rollback_past_newer_snapshots_needs_r(self):
        uri = self.volume("tank/v", "16M")
        for name in ("one", "two", "three"):
            write(uri, name.encode())
            self.daemon.ok("snapshot", f"tank/v@{name}")
        self.daemon.ok("unexport", "tank/v")
        self.daemon.refused("rollback", "tank/v@one")
        self.daemon.ok("rollback", "-r", "tank/v@one")
        self.assertEqual(["tank/v@one"], self.daemon.names("-t", "snapshot", "-r", "tank"))
        self.assertEqual(b"one", read(self.daemon.export("tank/v"), 3))

    def test_holds_and_clones_keep_a_snapshot(self):
        self.volume("tank/v", "16M")
        self.daemon.ok("snapshot", "tank/v@s")
        self.daemon.ok("hold", "mine", "tank/v@s")
        self.assertIn("mine", self.daemon.ok("holds", "tank/v@s"))
        self.assertEqual("1", self.daemon.get("userrefs", "tank/v@s"))
        self.daemon.refused("destroy", "tank/v@s")
        self.daemon.ok("destroy", "-d", "tank/v@s")
        self.assertEqual("on", self.daemon.get("defer_destroy", "tank/v@s"))
        self.daemon.ok("release", "mine", "tank/v@s")
        self.assertEqual([], self.daemon.names("-t", "snapshot", "-r", "tank"))

        self.daemon.ok("snapshot", "tank/v@t")
        self.daemon.ok("clone", "tank/v@t", "tank/c")
        self.assertIn("tank/c", self.daemon.refused("destroy", "tank/v@t"))
        self.assertEqual("tank/c", self.daemon.get("clones", "tank/v@t"))
        self.assertEqual("tank/v@t", self.daemon.get("origin", "tank/c"))

    def test_a_bookmark_outlives_its_snapshot(self):
        self.volume("tank/v", "16M")
        self.daemon.ok("snapshot", "tank/v@s")
        self.daemon.ok("bookmark", "tank/v@s", "tank/v#b")
        self.daemon.ok("destroy", "tank/v@s")
        self.assertEqual(["tank/v#b"], self.daemon.names("-t", "bookmark", "-r", "tank"))
        self.daemon.ok("destroy", "tank/v#b")
        self.assertEqual([], self.daemon.names("-t", "bookmark", "-r", "tank"))

    def test_history_tells_who_did_what(self):
        self.daemon.ok("create", "tank/v", "-V", "16M")
        self.daemon.ok("snapshot", "tank/v@s")
        history = self.daemon.ok("history", "tank")
        self.assertIn("create", history)
        self.assertIn("tank/v@s", history)
        self.daemon.kill()
        self.daemon.start()
        self.assertIn("tank/v@s", self.daemon.ok("history", "tank"))


class Exports(harness.EndToEnd):
    def test_exports_come_back_after_a_restart(self):
        uri = self.volume("tank/v", "16M")
        write(uri, b"kept")
        self.daemon.restart()
        self.assertEqual(b"kept", read(uri, 4))
        self.assertIn("tank/v", self.daemon.ok("exports"))
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(b"kept", read(uri, 4))
        self.daemon.ok("unexport", "tank/v")
        self.daemon.restart()
        self.assertNotIn("tank/v", self.daemon.ok("exports"))

    def test_an_exported_volume_is_busy(self):
        self.volume("tank/v", "16M")
        self.assertIn("tank/v", self.daemon.refused("destroy", "tank/v"))
        self.daemon.refused("export", "tank/v", "--nbd", f"unix:{self.daemon.socket('nbd')}")
        self.daemon.ok("unexport", "tank/v")
        self.daemon.ok("destroy", "tank/v")


if __name__ == "__main__":
    unittest.main(verbosity=2)
