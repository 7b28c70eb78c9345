#!/usr/bin/python3
"""Every client a user may have reads and writes what it should: libnbd's tools, QEMU's, fio."""
import filecmp
import json
import random
import unittest

import nbd

import harness

MIB = 1 << 20


class LibnbdTools(harness.EndToEnd):
    def test_nbdinfo_sees_what_the_export_promises(self):
        uri = self.volume(size="64M")
        info = json.loads(self.client("nbdinfo", "--json", uri))
        export = info["exports"][0]
        self.assertEqual("newstyle-fixed", info["protocol"])
        self.assertTrue(info["structured"])
        self.assertEqual(64 * MIB, export["export-size"])
        for promise in ("can_flush", "can_fua", "can_trim", "can_zero", "can_fast_zero", "can_df", "can_cache",
                        "can_multi_conn"):
            self.assertTrue(export[promise], promise)
        self.assertFalse(export["is_read_only"])
        self.assertIn("base:allocation", export["contexts"])
        self.assertEqual(1, export["block_size_minimum"])
        self.assertEqual(4096, export["block_size_preferred"])

    def test_exports_on_one_socket_are_listed(self):
        self.volume("tank/a")
        self.daemon.ok("create", "tank/group")
        self.volume("tank/group/b")
        listed = json.loads(self.client("nbdinfo", "--list", "--json",
                                        f"nbd+unix://?socket={self.daemon.socket('nbd')}"))
        self.assertEqual({"tank/a", "tank/group/b"}, {export["export-name"] for export in listed["exports"]})

    def test_an_unknown_export_is_refused_by_name(self):
        self.volume("tank/a")
        refused = self.client("nbdinfo", self.daemon.uri("tank/nothing"), status=1)
        self.assertIn("tank/nothing", refused)

    def test_nbdcopy_there_and_back_keeps_every_byte_and_hole(self):
        uri = self.volume(size="96M")
        image = harness.random_image(self.daemon.path("in"), 96 * MIB, seed=1)
        self.client("nbdcopy", image, uri)
        self.client("nbdcopy", uri, self.daemon.path("out"))
        self.assertTrue(filecmp.cmp(image, self.daemon.path("out"), shallow=False))
        self.assertLess(self.daemon.number("referenced", "tank/v"), 80 * MIB, "holes take space")

    def test_the_map_shows_data_and_holes(self):
        uri = self.volume(size="16M")
        self.client("nbdsh", "-u", uri, "-c", "h.pwrite(b'x' * 65536, 1048576)", "-c", "h.flush()")
        spans = json.loads(self.client("nbdinfo", "--map", "--json", uri))
        self.assertEqual([(0, MIB, 3), (MIB, 65536, 0), (MIB + 65536, 15 * MIB - 65536, 3)],
                         [(span["offset"], span["length"], span["type"]) for span in spans])

    def test_tcp_serves_as_the_unix_socket_does(self):
        self.daemon.ok("create", "tank/v", "-V", "16M")
        uri = self.daemon.ok("export", "tank/v", "--nbd", "tcp:127.0.0.1:0").strip()
        self.assertRegex(uri, r"^nbd://127\.0\.0\.1:\d+/tank/v$")
        image = harness.random_image(self.daemon.path("in"), 16 * MIB, seed=2)
        self.client("nbdcopy", image, uri)
        self.client("nbdcopy", uri, self.daemon.path("out"))
        self.assertTrue(filecmp.cmp(image, self.daemon.path("out"), shallow=False))


class Commands(harness.EndToEnd):
    """Each NBD command by itself, through libnbd's bindings."""

    def connect(self, uri, **settings):
        handle = nbd.NBD()
        handle.add_meta_context("base:allocation")
        handle.set_strict_mode(settings.get("strict", nbd.STRICT_MASK))
        handle.connect_uri(uri)
        return handle

    def test_any_byte_range_reads_back_as_a_model_says(self):
        uri = self.volume(size="8M")
        handle, model, chance = self.connect(uri), bytearray(8 * MIB), random.Random(7)
        for step in range(400):
            length = chance.choice((1, 511, 512, 4096, 5000, 65536, 300000))
            offset = chance.randrange(0, len(model) - length)
            action = chance.randrange(6)
            if action <= 2:
                data = chance.randbytes(length)
                handle.pwrite(data, offset, nbd.CMD_FLAG_FUA if step % 7 == 0 else 0)
                model[offset:offset + length] = data
            elif action == 3:
                handle.zero(length, offset, nbd.CMD_FLAG_NO_HOLE if step % 2 else 0)
                model[offset:offset + length] = bytes(length)
            else:
                self.assertEqual(bytes(model[offset:offset + length]), bytes(handle.pread(length, offset)),
                                 f"step {step}: {length} bytes at {offset}")
        handle.flush()
        self.assertEqual(bytes(model), bytes(handle.pread(len(model), 0)))
        handle.shutdown()

    def test_a_trimmed_range_reads_as_zeroes_and_gives_its_space_back(self):
        uri = self.volume(size="32M")
        handle = self.connect(uri)
        handle.pwrite(b"x" * (16 * MIB), 0)
        self.daemon.ok("pool", "sync", "tank")  # Accounting follows once a group is in the trees.
        full = self.daemon.number("referenced", "tank/v")
        handle.trim(16 * MIB, 0)
        handle.flush()
        self.assertEqual(bytes(MIB), bytes(handle.pread(MIB, 0)))
        self.daemon.ok("pool", "sync", "tank")
        self.assertLess(self.daemon.number("referenced", "tank/v"), full // 4)

    def test_fast_zero_cache_and_df_work(self):
        handle = self.connect(self.volume(size="8M"))
        handle.pwrite(b"y" * MIB, 0)
        handle.zero(MIB, 0, nbd.CMD_FLAG_FAST_ZERO)
        handle.cache(MIB, 0)
        chunks = []
        handle.pread_structured(2 * MIB, 0, lambda data, offset, status, error: chunks.append((offset, status)),
                                nbd.CMD_FLAG_DF)
        self.assertEqual([0], [offset for offset, _ in chunks])

    def test_a_read_past_the_end_is_refused_and_the_connection_stays(self):
        handle = self.connect(self.volume(size="8M"), strict=0)
        for refused in (lambda: handle.pread(4096, 8 * MIB), lambda: handle.pread(4096, (1 << 62))):
            with self.assertRaises(nbd.Error) as caught:
                refused()
            self.assertEqual("EINVAL", caught.exception.errno)
        with self.assertRaises(nbd.Error) as caught:
            handle.pwrite(b"z" * 4096, 8 * MIB - 1)
        self.assertIn(caught.exception.errno, ("ENOSPC", "EINVAL"))
        self.assertEqual(bytes(10), bytes(handle.pread(10, 0)))

    def test_a_read_only_export_refuses_writes(self):
        self.volume("tank/v", "8M")
        handle = self.connect(self.daemon.export("tank/v", "--read-only", socket="ro"), strict=0)
        self.assertTrue(handle.is_read_only())
        with self.assertRaises(nbd.Error) as caught:
            handle.pwrite(b"x" * 512, 0)
        self.assertEqual("EPERM", caught.exception.errno)

    def test_a_snapshot_is_exported_read_only(self):
        handle = self.connect(self.volume("tank/v", "8M"))
        handle.pwrite(b"old" * 1000, 0)
        self.daemon.ok("snapshot", "tank/v@one")
        handle.pwrite(b"new" * 1000, 0)
        frozen = self.connect(self.daemon.export("tank/v@one"))
        self.assertTrue(frozen.is_read_only())
        self.assertEqual(b"old" * 1000, bytes(frozen.pread(3000, 0)))

    def test_a_flush_covers_what_another_connection_wrote(self):
        uri = self.volume(size="8M")
        writer, flusher = self.connect(uri), self.connect(uri)
        self.assertTrue(writer.can_multi_conn())
        writer.pwrite(b"kept" * 1024, 0)
        flusher.flush()
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(b"kept" * 1024, bytes(self.connect(uri).pread(4096, 0)))

    def test_many_requests_in_flight_all_complete(self):
        handle = self.connect(self.volume(size="16M"))
        cookies = [handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(block.to_bytes(4, "little") * 1024)),
                                     block * 4096) for block in range(1000)]
        while cookies:
            cookies = [cookie for cookie in cookies if not handle.aio_command_completed(cookie)]
            if cookies:
                handle.poll(-1)
        for block in range(1000):
            self.assertEqual(block.to_bytes(4, "little") * 1024, bytes(handle.pread(4096, block * 4096)))

    def test_volumes_of_extreme_sizes_work_at_both_ends(self):
        for name, size in (("tank/small", 4096), ("tank/huge", (8 << 60) - 4096)):
            with self.subTest(size=size):
                self.daemon.ok("create", name, "-V", str(size))
                self.assertEqual(size, self.daemon.number("volsize", name))
                handle = self.connect(self.daemon.export(name))
                self.assertEqual(size, handle.get_size())
                handle.pwrite(b"start", 0)
                handle.pwrite(b"end!", size - 4)
                handle.flush()
                self.assertEqual(b"end!", bytes(handle.pread(4, size - 4)))
                self.assertEqual(b"start", bytes(handle.pread(5, 0)))


class QemuAndFio(harness.EndToEnd):
    def test_qemu_img_converts_compares_and_maps(self):
        uri = self.volume(size="64M")
        image = harness.random_image(self.daemon.path("in"), 64 * MIB, seed=3)
        self.client("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, uri)
        self.client("qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri)
        self.client("qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri, self.daemon.path("out.qcow2"))
        self.client("qemu-img", "compare", image, "-f", "raw", self.daemon.path("out.qcow2"), "-F", "qcow2")
        self.assertIn("64 MiB", self.client("qemu-img", "info", "-f", "raw", uri))
        spans = json.loads(self.client("qemu-img", "map", "-f", "raw", "--output=json", uri))
        self.assertTrue(any(span["zero"] for span in spans) and any(span["data"] for span in spans))

    def test_qemu_io_patterns_hold(self):
        uri = self.volume(size="16M")
        out = self.client("qemu-io", "-f", "raw", "-c", "write -P 0x5a 3k 70k", "-c", "write -z 64k 4k",
                          "-c", "discard 1M 1M", "-c", "write -f -P 0xa5 1M 4k", "-c", "flush",
                          "-c", "read -P 0x5a 3k 61k", "-c", "read -P 0 64k 4k", "-c", "read -P 0xa5 1M 4k",
                          "-c", "read -P 0 1028k 100k", uri)
        self.assertNotIn("failed", out)

    def test_fio_verifies_over_several_connections(self):
        uri = self.volume(size="64M")
        self.client("fio", "--name=verify", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite", "--bsrange=512-64k",
                    "--bs_unaligned", "--iodepth=16", "--numjobs=4", "--size=16M", "--offset_increment=16M",
                    "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--fsync=64", "--group_reporting",
                    cwd=self.daemon.folder)


if __name__ == "__main__":
    unittest.main(verbosity=2)
