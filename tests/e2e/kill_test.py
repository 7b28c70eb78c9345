#!/usr/bin/python3
"""kill -9 at any moment: what was flushed is there, each block is one of the versions written since, answered admin
commands are there, an ext4 image stays whole. COPPICE_KILL_ROUNDS (default 50) rounds; the seed is printed."""
import filecmp
import os
import random
import struct
import subprocess
import threading
import time
import unittest

import nbd

import harness
from harness import BLOCK

ROUNDS = int(os.environ.get("COPPICE_KILL_ROUNDS", "50"))
SEED = int(os.environ.get("COPPICE_KILL_SEED", str(int(time.time()))))
BLOCKS = 8192
MAX_RUN_BLOCKS = 24
IN_FLIGHT_MAX = 32
ZERO = 0  # The version of a block of zeroes.


def content(block, version):
    """A block's bytes name the block and the version, so that a torn or misplaced one betrays itself."""
    return bytes(BLOCK) if version == ZERO else struct.pack("<QQ", block, version) * (BLOCK // 16)


class KillLoop(harness.EndToEnd):
    pool_size = "2G"

    def test_nothing_flushed_is_lost_in_many_kills(self):
        print(f"COPPICE_KILL_SEED={SEED} rounds={ROUNDS}", flush=True)
        chance = random.Random(SEED)
        data_uri = self.volume("tank/data", str(BLOCKS * BLOCK))
        image_uri = self.volume("tank/image", "48M")
        image = harness.ext4_image(self.daemon.path("ext4"), 48, 24, self.daemon.folder)
        self.client("nbdcopy", "--flush", image, image_uri)

        state, flushes = [ZERO] * BLOCKS, 0
        answered = set()
        for number in range(ROUNDS):
            writer = BlockWriter(data_uri, chance, state)
            killer = threading.Timer(chance.uniform(0.02, 0.8), self.daemon.kill)
            killer.start()
            snapshots = SnapshotMaker(self.daemon, number)
            snapshots.start()
            writer.run()
            killer.join()
            snapshots.join()
            flushes += writer.flushes
            answered |= snapshots.answered

            self.daemon.start()
            state = self.verify(data_uri, writer, number)
            self.verify_catalog(answered, snapshots, number)
            if number % 10 == 9 or number == ROUNDS - 1:
                self.verify_image(image, image_uri)
        print(f"{ROUNDS} kills, {flushes} flushes answered, {len(answered)} snapshots answered", flush=True)
        self.assertGreater(flushes, ROUNDS, "the loop hardly flushed: it proves nothing")
        self.daemon.ok("pool", "scrub", "-w", "tank")
        self.daemon.ok("unexport", "tank/data")
        self.daemon.ok("unexport", "tank/image")
        self.daemon.ok("pool", "check", "tank")

    def verify(self, uri, writer, number):
        handle = nbd.NBD()
        handle.connect_uri(uri)
        piece, state = 256, []
        for start in range(0, BLOCKS, piece):
            data = bytes(handle.pread(piece * BLOCK, start * BLOCK))
            for block in range(start, start + piece):
                got = data[(block - start) * BLOCK:(block - start + 1) * BLOCK]
                named, version = struct.unpack_from("<QQ", got)
                where = f"seed {SEED} round {number} block {block}"
                self.assertEqual(content(block, version), got, f"{where}: torn or foreign ({named}, {version})")
                self.assertIn(version, writer.permitted(block), f"{where}: not a version it may have")
                state.append(version)
        handle.shutdown()
        return state

    def verify_catalog(self, answered, snapshots, number):
        there = set(self.daemon.names("-t", "snapshot", "-r", "tank"))
        self.assertEqual(set(), answered - there, f"seed {SEED} round {number}: answered, then lost")
        self.assertEqual(set(), there - answered - snapshots.asked, f"seed {SEED} round {number}: never asked for")
        for pair in snapshots.pairs:  # One command, two snapshots: both or neither.
            self.assertIn(len(pair & there), (0, 2), f"seed {SEED} round {number}: half a command: {pair & there}")
        answered |= there

    def verify_image(self, image, uri):
        copy = self.daemon.path("copy")
        self.client("nbdcopy", uri, copy)
        self.assertTrue(filecmp.cmp(image, copy, shallow=False), "the image changed")
        self.client(harness.tool("e2fsck"), "-fn", copy)
        os.unlink(copy)


class BlockWriter:
    """Writes ever newer versions over one connection until the daemon dies.

    A block may hold, after a crash, what it held when the last answered flush was asked for, or anything written since:
    durable[b] is the first, since[b] the rest in order. Writes in flight together never overlap, and a flush is asked
    for only when all have completed, so the newest version at that moment is known.
    """

    def __init__(self, uri, chance, state):
        self.chance = chance
        self.durable = list(state)
        self.since = {}
        self.version = max(state)
        self.flushes = 0
        self.handle = nbd.NBD()
        self.handle.connect_uri(uri)

    def permitted(self, block):
        return [self.durable[block], *self.since.get(block, ())]

    def run(self):
        try:
            while True:
                self.write_some()
                if self.chance.random() < 0.5:
                    self.flush()
        except nbd.Error:
            pass

    def write_some(self):
        cookies, taken = [], set()
        for _ in range(self.chance.randrange(1, IN_FLIGHT_MAX)):
            count = self.chance.randrange(1, MAX_RUN_BLOCKS)
            first = self.chance.randrange(0, BLOCKS - count)
            run = range(first, first + count)
            if taken.isdisjoint(run):
                taken.update(run)
                cookies.append(self.issue(run))
        while cookies:
            cookies = [cookie for cookie in cookies if not self.handle.aio_command_completed(cookie)]
            if cookies:
                self.handle.poll(-1)

    def issue(self, run):
        zero = self.chance.random() < 0.1
        if not zero:
            self.version += 1
        version = ZERO if zero else self.version
        for block in run:
            self.since.setdefault(block, []).append(version)
        offset, length = run.start * BLOCK, len(run) * BLOCK
        if zero:
            return self.handle.aio_zero(length, offset)
        data = b"".join(content(block, version) for block in run)
        return self.handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), offset)

    def flush(self):
        self.handle.flush()
        for block, versions in self.since.items():
            self.durable[block] = versions[-1]
        self.since = {}
        self.flushes += 1


class SnapshotMaker(threading.Thread):
    """Makes pairs of snapshots, one command each, until the daemon is gone."""

    def __init__(self, daemon, number):
        super().__init__()
        self.daemon, self.number = daemon, number
        self.asked, self.answered, self.pairs = set(), set(), []

    def run(self):
        for step in range(20):
            pair = {f"tank/data@r{self.number}-{step}", f"tank/image@r{self.number}-{step}"}
            self.asked |= pair
            self.pairs.append(pair)
            try:
                if self.daemon.run("snapshot", *sorted(pair)).returncode != 0:
                    return
            except (OSError, subprocess.SubprocessError):
                return
            self.answered |= pair
            time.sleep(0.05)


if __name__ == "__main__":
    unittest.main(verbosity=2)
