#!/usr/bin/python3
"""The main job on a real file system: an ext4 image on a volume, snapshotted, cloned, changed, rolled back."""
import filecmp
import os
import unittest

import harness

SIZE_MIB = 64


class Ext4Image(harness.EndToEnd):
    def setUp(self):
        super().setUp()
        self.uri = self.volume("tank/root", f"{SIZE_MIB}M")
        self.image = harness.ext4_image(self.daemon.path("ext4"), SIZE_MIB, 30, self.daemon.folder)
        self.client("nbdcopy", "--flush", self.image, self.uri)

    def read_back(self, name, label):
        path = self.daemon.path(label)
        self.client("nbdcopy", self.daemon.uri(name), path)
        return path

    def assert_holds(self, name, image):
        path = self.read_back(name, "back")
        self.assertTrue(filecmp.cmp(image, path, shallow=False), name)
        self.client(harness.tool("e2fsck"), "-fn", path)
        os.unlink(path)

    def changed_image(self):
        """The image with a file added, made by e2fsprogs itself."""
        changed = self.daemon.path("changed")
        self.client("cp", self.image, changed)
        self.client(harness.tool("debugfs"), "-w", "-R", f"write {os.path.abspath(__file__)} added.py", changed)
        return changed

    def test_snapshots_clones_and_rollback_keep_a_file_system_whole(self):
        self.assert_holds("tank/root", self.image)
        self.daemon.ok("snapshot", "tank/root@base")
        self.daemon.ok("clone", "tank/root@base", "tank/branch")
        self.daemon.export("tank/branch")

        changed = self.changed_image()
        self.client("nbdcopy", "--flush", changed, self.daemon.uri("tank/branch"))
        self.assert_holds("tank/branch", changed)
        self.assert_holds("tank/root", self.image)

        self.daemon.kill()
        self.daemon.start()
        self.assert_holds("tank/branch", changed)
        self.assert_holds("tank/root", self.image)

        self.client("nbdcopy", "--flush", changed, self.uri)
        self.daemon.ok("unexport", "tank/root")
        self.daemon.ok("rollback", "tank/root@base")
        self.daemon.export("tank/root")
        self.assert_holds("tank/root", self.image)

    def test_a_promoted_clone_outlives_its_origin(self):
        self.daemon.ok("snapshot", "tank/root@base")
        self.daemon.ok("clone", "tank/root@base", "tank/branch")
        self.daemon.ok("promote", "tank/branch")
        self.daemon.ok("unexport", "tank/root")
        self.daemon.ok("destroy", "tank/root")
        self.daemon.export("tank/branch")
        self.assert_holds("tank/branch", self.image)
        self.daemon.export("tank/branch@base")
        self.assert_holds("tank/branch@base", self.image)
        self.daemon.ok("pool", "scrub", "-w", "tank")


if __name__ == "__main__":
    unittest.main(verbosity=2)
