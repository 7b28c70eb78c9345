#!/usr/bin/python3
"""Section by section of what may go wrong around a pool: each gives a clear error, and nothing is lost."""
import errno
import json
import os
import random
import struct
import subprocess
import time
import unittest

import nbd

import harness
import raw_nbd

MIB = 1 << 20


def connected(uri):
    handle = nbd.NBD()
    handle.set_strict_mode(0)
    handle.connect_uri(uri)
    return handle


class PoolFiles(harness.EndToEnd):
    """Files that are no pool, or no longer one, or someone else's."""

    def test_a_file_that_is_no_pool_is_refused(self):
        for name, data in (("empty", b""), ("text", b"not a pool\n" * 10000), ("zeroes", bytes(4 * MIB)),
                           ("noise", random.Random(5).randbytes(4 * MIB))):
            with self.subTest(name):
                path = self.daemon.path(name)
                with open(path, "wb") as out:
                    out.write(data)
                self.assertIn(name, self.daemon.refused("pool", "open", path))
        self.assertIn("nowhere", self.daemon.refused("pool", "open", self.daemon.path("nowhere")))
        self.assertEqual(["tank"], [row[0] for row in self.daemon.rows("pool", "list", "-H")])

    def test_a_pool_is_not_made_over_another(self):
        before = os.path.getsize(self.daemon.pools[0])
        self.daemon.refused("pool", "create", "other", self.daemon.pools[0], "--size", "128M")
        self.daemon.refused("pool", "create", "tank", self.daemon.path("second"), "--size", "128M")
        self.assertEqual(before, os.path.getsize(self.daemon.pools[0]))

    def test_a_second_daemon_cannot_open_the_same_pool(self):
        uri = self.volume(size="8M")
        second = harness.Daemon(self)
        self.addCleanup(second.close)
        second.start()
        line = second.refused("pool", "open", self.daemon.pools[0])
        self.assertRegex(line, "(?i)in use|busy|lock|another")
        self.daemon.refused("pool", "open", self.daemon.pools[0])
        second.stop()
        handle = connected(uri)
        handle.pwrite(b"fine", 0)
        self.assertEqual(b"fine", bytes(handle.pread(4, 0)))

    def test_a_second_daemon_on_the_same_socket_is_refused(self):
        command = [os.path.join(harness.BIN, "coppiced"), "--socket", self.daemon.control]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)
        self.assertEqual(1, done.returncode, done.stderr)
        self.assertIn(self.daemon.control, done.stderr)
        self.daemon.ok("status")

    def test_a_truncated_pool_is_refused_and_left_as_it_is(self):
        uri = self.volume(size="64M")
        handle = connected(uri)
        handle.pwrite(random.Random(1).randbytes(16 * MIB), 0)
        handle.flush()
        path = self.daemon.pools.pop()
        self.daemon.ok("pool", "close", "-f", "tank")
        size = os.path.getsize(path)
        for kept in (4096, 1 * MIB, size // 2):
            with self.subTest(kept=kept):
                short = self.daemon.path(f"short-{kept}")
                subprocess.run(["cp", "--sparse=always", path, short], check=True)
                os.truncate(short, kept)
                self.daemon.refused("pool", "open", short)
                self.assertEqual(kept, os.path.getsize(short))
        self.daemon.ok("pool", "open", path)

    def test_a_grown_file_grows_the_pool(self):
        before = max(harness.find_values(self.daemon.json("pool", "status", "tank"), "size", exact=True))
        os.truncate(self.daemon.pools[0], 2 << 30)
        self.daemon.ok("pool", "grow", "tank")
        after = max(harness.find_values(self.daemon.json("pool", "status", "tank"), "size", exact=True))
        self.assertGreater(after, before + 900 * MIB)


class BitRot(harness.EndToEnd):
    def test_a_flipped_bit_is_eio_for_its_request_alone_and_is_reported(self):
        uri = self.volume(size="64M")
        data = random.Random(9).randbytes(8 * MIB)
        handle = connected(uri)
        handle.pwrite(data, 0)
        handle.flush()
        self.daemon.stop()

        victim = 1000  # The block, found in the pool file by its content.
        self.flip(self.daemon.pools[0], data[victim * 4096:(victim + 1) * 4096])
        self.daemon.start()
        handle = connected(uri)
        with self.assertRaises(nbd.Error) as caught:
            handle.pread(4096, victim * 4096)
        self.assertEqual("EIO", caught.exception.errno)
        for block in (0, victim - 1, victim + 1, 2047):
            self.assertEqual(data[block * 4096:(block + 1) * 4096], bytes(handle.pread(4096, block * 4096)), block)
        self.assertGreater(sum(harness.find_values(self.daemon.json("pool", "status", "tank"), "checksum")), 0)

        self.daemon.run("pool", "scrub", "-w", "tank")
        self.assertRegex(self.daemon.ok("pool", "status", "tank"), r"(?i)error")
        handle.pwrite(b"n" * 4096, victim * 4096)
        handle.flush()
        self.assertEqual(b"n" * 4096, bytes(handle.pread(4096, victim * 4096)))

    def flip(self, path, wanted):
        found = 0
        with open(path, "r+b") as pool:
            for offset in range(0, os.path.getsize(path), 4096):
                pool.seek(offset)
                if pool.read(4096) == wanted:
                    pool.seek(offset + 77)
                    pool.write(bytes([wanted[77] ^ 0x10]))
                    found += 1
        self.assertGreater(found, 0, "the block is not in the pool file as it is")


class FullPool(harness.EndToEnd):
    pool_size = "192M"

    def test_a_full_pool_says_enospc_keeps_its_data_and_can_be_freed(self):
        uri = self.volume(size="1G")
        handle, written = connected(uri), 0
        handle.pwrite(b"S" * (32 * MIB), 0)
        self.daemon.ok("snapshot", "tank/v@held")
        handle.pwrite(b"T" * (32 * MIB), 0)
        handle.flush()
        with self.assertRaises(nbd.Error) as caught:
            for written in range(64 * MIB, 1024 * MIB, MIB):
                handle.pwrite(written.to_bytes(8, "little") * (MIB // 8), written)
                handle.flush()
        self.assertEqual("ENOSPC", caught.exception.errno)
        self.assertGreater(written, 80 * MIB)

        for offset in range(64 * MIB, written, 8 * MIB):
            self.assertEqual(offset.to_bytes(8, "little") * 512, bytes(handle.pread(4096, offset)))
        self.assertEqual(b"T" * 4096, bytes(handle.pread(4096, 0)))
        self.daemon.ok("destroy", "tank/v@held")
        deadline = time.monotonic() + 60
        while True:  # The snapshot's space comes back in the background.
            try:
                handle.pwrite(b"more" * (MIB // 4), written)
                handle.flush()
                break
            except nbd.Error as error:
                self.assertEqual("ENOSPC", error.errno)
                self.assertLess(time.monotonic(), deadline, "space never came back")
                time.sleep(0.2)
        self.daemon.restart()
        self.assertEqual(b"T" * 4096, bytes(connected(uri).pread(4096, 0)))
        self.daemon.ok("pool", "scrub", "-w", "tank")


class BadClients(harness.EndToEnd):
    def descriptors(self):
        return len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))

    def test_clients_that_die_mid_request_leak_nothing(self):
        uri = self.volume(size="8M")
        connected(uri).shutdown()
        time.sleep(0.2)
        before = self.descriptors()
        path = self.daemon.socket("nbd")
        for round_ in range(60):
            client = raw_nbd.RawClient(path, handshake=round_ % 4 != 0)
            if round_ % 4 == 1:  # Half an option.
                client.socket.sendall(struct.pack(">QII", raw_nbd.OPTION_MAGIC, raw_nbd.OPT_GO, 5000) + b"ta")
            elif round_ % 4 == 2:  # Half a write's payload.
                client.go("tank/v")
                client.request(raw_nbd.CMD_WRITE, 0, MIB, b"x" * 70000)
            elif round_ % 4 == 3:  # Reads nobody waits for.
                client.go("tank/v")
                for cookie in range(16):
                    client.request(raw_nbd.CMD_READ, 0, MIB, cookie=cookie)
            client.close()
        handle = connected(uri)
        self.assertEqual(bytes(4), bytes(handle.pread(4, 0)), "half a write was applied")
        handle.shutdown()
        deadline = time.monotonic() + 30
        while self.descriptors() > before and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertLessEqual(self.descriptors(), before)

    def test_unknown_and_malformed_options_are_refused_without_losing_step(self):
        self.volume(size="8M")
        client = raw_nbd.RawClient(self.daemon.socket("nbd"))
        self.addCleanup(client.close)
        self.assertEqual(raw_nbd.REP_ERR_UNSUP, client.option(4242, b"whatever")[-1][0])
        self.assertEqual(raw_nbd.REP_ERR_INVALID, client.option(raw_nbd.OPT_GO, b"\0\0\0\xff")[-1][0])
        self.assertEqual(raw_nbd.REP_ERR_UNKNOWN, client.go("tank/none")[-1][0])
        self.assertEqual(raw_nbd.REP_ERR_INVALID, client.option(raw_nbd.OPT_LIST, b"junk")[-1][0])
        self.assertEqual(raw_nbd.REP_ACK, client.go("tank/v")[-1][0])
        client.request(raw_nbd.CMD_READ, 0, 512, cookie=7)
        self.assertEqual((0, 7), client.simple_reply())
        client.read(512)
        client.request(999, 0, 0, cookie=8)
        self.assertEqual((errno.EINVAL, 8), client.simple_reply())
        client.request(raw_nbd.CMD_READ, 1 << 40, 512, cookie=9)
        self.assertEqual((errno.EINVAL, 9), client.simple_reply())
        client.request(raw_nbd.CMD_READ, 0, 512, cookie=10)
        self.assertEqual((0, 10), client.simple_reply())

    def test_a_silent_and_a_babbling_client_do_not_disturb_another(self):
        uri = self.volume(size="8M")
        silent = [raw_nbd.RawClient(self.daemon.socket("nbd"), handshake=False) for _ in range(20)]
        babbling = raw_nbd.RawClient(self.daemon.socket("nbd"), handshake=False)
        try:
            for _ in range(64):
                babbling.socket.sendall(random.Random(3).randbytes(65536))
        except OSError:
            pass  # Thrown out, as it should be.
        handle = connected(uri)
        for block in range(200):
            handle.pwrite(b"calm" * 1024, block * 4096)
        self.assertEqual(b"calm" * 1024, bytes(handle.pread(4096, 4096)))
        for client in [*silent, babbling]:
            client.close()


class FaultsInFront(harness.EndToEnd):
    """nbdkit between the client and the daemon, delaying and failing requests."""

    def nbdkit(self, *arguments):
        path = self.daemon.socket("kit")
        process = subprocess.Popen(["nbdkit", "--exit-with-parent", "--foreground", "--unix", path, *arguments],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + 20
        while not os.path.exists(path):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        return f"nbd+unix://?socket={path}"

    def test_delayed_requests_verify(self):
        uri = self.volume(size="32M")
        kit = self.nbdkit("--filter=delay", "nbd", f"uri={uri}", "shared=true", "rdelay=2ms", "wdelay=3ms")
        self.client("fio", "--name=delayed", "--ioengine=nbd", f"--uri={kit}", "--rw=randwrite", "--bs=4k",
                    "--iodepth=32", "--size=4M", "--verify=crc32c", "--do_verify=1", cwd=self.daemon.folder)

    def test_failed_requests_leave_the_export_whole(self):
        uri = self.volume(size="32M")
        kit = self.nbdkit("--filter=error", "nbd", f"uri={uri}", "error=EIO", "error-rate=30%")
        handle, chance, failed = connected(kit), random.Random(11), 0
        permitted = {}
        for step in range(600):
            block = chance.randrange(256)
            data = step.to_bytes(8, "little") * 512
            try:
                handle.pwrite(data, block * 4096)
                permitted[block] = {data}
            except nbd.Error:
                failed += 1
                permitted.setdefault(block, {bytes(4096)}).add(data)
        self.assertGreater(failed, 60)
        direct = connected(uri)
        for block, versions in permitted.items():
            self.assertIn(bytes(direct.pread(4096, block * 4096)), versions, block)


class Metrics(harness.EndToEnd):
    def test_status_counts_what_was_done(self):
        handle = connected(self.volume(size="8M"))
        for block in range(100):
            handle.pwrite(b"m" * 4096, block * 4096)
        handle.flush()
        handle.pread(4096, 0)
        status = self.daemon.json("status")
        text = json.dumps(status)
        self.assertIn("tank/v", text)
        self.assertGreaterEqual(max(harness.find_values(status, "write") or [0]), 100)


if __name__ == "__main__":
    unittest.main(verbosity=2)
