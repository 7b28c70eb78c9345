"""The eBPF programs that ship, each attached to a volume with the one command that its comment shows, under real clients."""
import json
import os
import signal
import subprocess
import time
import unittest

from harness import BIN, EndToEnd

EPERM = "Operation not permitted"


class Shipped(EndToEnd):
    def setUp(self):
        super().setUp()
        self.uri = self.volume()

    def nbdsh(self, *lines, status=0):
        words = [word for line in lines for word in ("-c", line)]
        return self.client("nbdsh", "-u", self.uri, *words, status=status)

    def attach(self, program, *words, target="tank/v"):
        settings = [word for each in words for word in ("--set", each)]
        self.daemon.ok("link", "attach", target, program, *settings, "--pin", program)

    def counter(self, program, variable):
        return self.daemon.json("map", "dump", ".bss", "--link", program)[0]["value"][variable]

    def requests_in(self, seconds, depth, jobs=1):
        """Reads of 4 KiB that fio had answered, a second."""
        said = self.client(
            "fio", "--name=load", "--ioengine=nbd", f"--uri={self.uri}", "--rw=randread", "--bs=4k", "--size=64m",
            f"--iodepth={depth}", f"--numjobs={jobs}", "--time_based", f"--runtime={seconds}", "--group_reporting",
            "--output-format=json")
        report = json.loads(said[said.index("{"):])  # Notes may come first.
        job = report["jobs"][0]["read"]
        return job["total_ios"] / (job["runtime"] / 1000)

    def test_rate_limit_holds_clients_to_the_rate(self):
        self.attach("rate_limit", "iops=500")
        for depth, jobs in ((16, 1), (16, 4)):  # Deep enough to keep the bucket in debt.
            self.assertAlmostEqual(500, self.requests_in(10, depth, jobs), delta=10, msg=f"{depth} x {jobs}")

    def test_rate_limit_counts_bytes(self):
        self.attach("rate_limit", "bytes_per_second=4M")
        self.assertAlmostEqual(1024, self.requests_in(10, 8), delta=20)
        bucket = self.daemon.json("map", "dump", "buckets")[0]["value"]
        self.assertGreater(bucket["delayed"], 5000)

    def test_latency_counts_every_request(self):
        self.attach("latency")
        self.nbdsh("for i in range(100): h.pread(4096, i << 12)")
        found = [each for each in self.daemon.json("map", "dump", "latencies") if each["key"]["operation"] == 0]
        self.assertEqual(1, len(found))
        slots = found[0]["value"]
        self.assertEqual(100, sum(each["requests"] for each in slots))
        self.assertEqual(100, sum(sum(each["log2_ns"]) for each in slots))

    def test_write_guard_protects_both_ends(self):
        self.attach("write_guard", "bytes=1M", "end_bytes=1M")
        self.assertIn(EPERM, self.nbdsh("h.pwrite(bytes(512), 0)", status=1))
        self.assertIn(EPERM, self.nbdsh("h.zero(4096, (63 << 20) - 512)", status=1))
        self.assertIn(EPERM, self.nbdsh("h.trim(4096, (1 << 20) - 512)", status=1))
        self.nbdsh("h.pwrite(bytes(512), 1 << 20)", "h.pread(512, 0)", "h.flush()")
        self.assertEqual([1, 0, 0, 0, 0, 0, 0, 0, 1], [min(each, 1) for each in self.counter("write_guard", "denied")])

    def test_mirror_hands_every_write_to_a_reader(self):
        self.attach("mirror")
        watch = subprocess.Popen([os.path.join(BIN, "coppice"), "map", "watch", "writes", "--json", "--count", "3"],
                                 stdout=subprocess.PIPE, text=True,
                                 env={**os.environ, "COPPICE_SOCKET": self.daemon.control})
        self.addCleanup(watch.kill)
        self.nbdsh("h.pwrite(b'ab' * 3072, 8192)", "h.trim(4096, 0)")
        records = [json.loads(line) for line in watch.communicate(timeout=60)[0].splitlines()]
        self.assertEqual([(1, 8192, 4096), (1, 12288, 2048), (3, 0, 0)],
                         [(each["operation"], each["offset"], each["bytes"]) for each in records])
        data = "".join(each["data"][:2 * each["bytes"]] for each in records)
        self.assertEqual("6162" * 3072, data)

    def test_admin_window_refuses_verbs_outside_of_it(self):
        now = time.gmtime()
        minute = now.tm_hour * 60 + now.tm_min
        closed = [f"from_minute={(minute + 600) % 1440}", f"to_minute={(minute + 660) % 1440}"]
        self.daemon.ok("snapshot", "tank/v@before")
        self.attach("admin_window", *closed, f"exempt_uid={os.getuid()}", target="tank")
        self.daemon.ok("snapshot", "tank/v@exempt")
        self.daemon.ok("link", "update", "admin_window", "admin_window",
                       *(word for each in closed for word in ("--set", each)))
        for verb in (("snapshot", "tank/v@s"), ("link", "detach", "admin_window")):
            self.assertIn("administration is possible from", self.daemon.refused(*verb))
        self.assertEqual(2, self.counter("admin_window", "refused"))

    def test_slow_log_tells_of_what_fault_delays(self):
        self.attach("fault", "delay_per_million=1000000", "delay_ms=40", "on_write=0")
        self.attach("slow_log", "slower_ms=40")
        self.nbdsh("h.pwrite(bytes(4096), 0)", "h.pread(4096, 4096)")
        record = json.loads(self.daemon.ok("map", "watch", "slow", "--json", "--count", "1"))
        self.assertEqual((0, 4096, 2), (record["operation"], record["offset"], record["verdict"]))
        self.assertGreaterEqual(record["latency_ns"], 40_000_000)
        self.assertEqual(1, self.counter("fault", "delayed"))

    def test_fault_fails_what_it_is_told_to(self):
        self.attach("fault", "error_per_million=1000000", "on_read=0", "begin=1M", "bytes=4K")
        self.nbdsh("h.pread(4096, 1 << 20)", "h.pwrite(bytes(4096), 0)")
        self.assertIn("Input/output error", self.nbdsh("h.pwrite(bytes(4096), 1 << 20)", status=1))


class Commands(EndToEnd):
    """What the words of `coppice link` and `coppice map` do besides."""

    def setUp(self):
        super().setUp()
        self.daemon.ok("create", "tank/v", "-V", "64M")

    def spawn(self, *words, **options):
        process = subprocess.Popen([os.path.join(BIN, "coppice"), *words], stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "COPPICE_SOCKET": self.daemon.control}, **options)
        self.addCleanup(process.__exit__, None, None, None)  # Closes its pipes and waits.
        self.addCleanup(process.kill)
        return process

    def links(self):
        return [each["program"] for each in self.daemon.json("link", "list")["links"]]

    def expect_links(self, *programs):
        deadline = time.monotonic() + 10
        while self.links() != list(programs):
            self.assertLess(time.monotonic(), deadline, f"{self.links()}, not {programs}")
            time.sleep(0.01)

    def test_a_link_in_the_foreground_ends_with_its_command(self):
        for ended_by in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            process = self.spawn("link", "attach", "tank/v", "latency")
            self.assertIn("volume.complete of tank/v (stable)", process.stdout.readline())
            self.assertEqual(["latency"], self.links())
            process.send_signal(ended_by)
            self.assertEqual(-9 if ended_by == signal.SIGKILL else 0, process.wait(60))
            self.expect_links()

    def test_a_command_holds_the_link_and_may_pin_it(self):
        process = self.spawn("link", "attach", "tank/v", "latency", "--json", "--",
                             "sh", "-c", f"{BIN}/coppice link pin --fd $COPPICE_LINK_FD mine; read x; exit 7",
                             stdin=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while "mine" not in [each["name"] for each in self.daemon.json("link", "list")["links"]]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        process.communicate("\n", timeout=60)
        self.assertEqual(7, process.returncode)
        self.assertEqual(["latency"], self.links())
        self.daemon.ok("link", "unpin", "mine")
        self.expect_links()

    def test_who_stays_is_told_that_the_link_was_detached(self):
        process = self.spawn("link", "attach", "tank/v", "latency", stderr=subprocess.PIPE)
        link = process.stdout.readline().split()[1].rstrip(":")
        self.daemon.ok("link", "detach", link)
        self.assertEqual("coppice: the link was detached\n", process.communicate(timeout=60)[1])
        self.assertEqual(1, process.returncode)

    def test_places_and_refusals_of_attach(self):
        for name, words in (("a", ()), ("b", ("--first",)), ("c", ("--after", "b")), ("d", ("--before", "tank:a"))):
            self.daemon.ok("link", "attach", "tank/v", "fault", "--pin", name, *words)
        names = [each["name"] for each in self.daemon.json("link", "list", "tank/v", "--hook", "volume.submit")["links"]]
        self.assertEqual(["b", "c", "d", "a"], names)
        self.assertIn("rate_limit", self.daemon.refused("link", "attach", "tank/v", "no_such_object", "--pin", "x"))
        self.assertIn("a", self.daemon.refused("link", "attach", "tank/v", "fault", "--pin", "a"))
        self.assertIn("iops", self.daemon.refused("link", "attach", "tank/v", "rate_limit", "--pin", "x", "--set", "iop=1"))
        self.assertIn("no_link", self.daemon.refused("link", "info", "no_link"))
        self.assertEqual(4, len(self.links()))

    def test_update_keeps_the_link_and_expects_its_object(self):
        self.daemon.ok("link", "attach", "tank/v", "rate_limit", "--set", "iops=10", "--pin", "limit")
        before = self.daemon.json("link", "info", "limit")
        self.daemon.ok("link", "replace", "limit", "rate_limit", "--set", "iops=20", "--expect", before["object"])
        after = self.daemon.json("link", "info", "limit")
        self.assertEqual(before["id"], after["id"])
        self.assertEqual({"iops": "20"}, after["settings"])
        self.daemon.refused("link", "update", "limit", "rate_limit", "--expect", before["object"])

    def test_apply_makes_a_point_exactly_what_the_file_says(self):
        self.daemon.ok("link", "attach", "tank/v", "mirror", "--pin", "old")
        file = self.daemon.path("set.json")
        wanted = {"objects": {"l": {"file": "rate_limit", "set": {"iops": 5}}, "f": {"file": "fault"}},
                  "points": [{"target": "tank/v", "hook": "volume.submit",
                              "links": [{"name": "f", "object": "f"}, {"name": "l", "object": "l"}]}]}
        revision = self.daemon.json("link", "list")["revision"]
        for dry in (["-n"], []):
            with open(file, "w", encoding="utf-8") as out:
                json.dump({"revision": revision, **wanted}, out)
            report = self.daemon.json("link", "apply", *dry, file)
            self.assertEqual((["f", "l"], ["old"]), (sorted(report["attached"]), report["detached"]))
        self.assertEqual(["fault", "rate_limit"], self.links())
        self.daemon.refused("link", "apply", file)  # Links were changed since.
        done = self.daemon.run("link", "apply", "-", text='{"points": [{"target": "tank/v"}]}')
        self.assertEqual((2, True), (done.returncode, "'hook' is missing" in done.stderr), done.stderr)

    def test_maps_are_read_and_changed_by_their_types(self):
        self.daemon.ok("link", "attach", "tank/v", "rate_limit", "--set", "iops=10", "--pin", "limit")
        names = [each["name"] for each in self.daemon.json("map", "list")]
        self.assertIn("buckets", names)
        self.assertEqual(10, self.daemon.json("map", "dump", ".rodata")[0]["value"]["iops"])
        self.daemon.ok("map", "set", "buckets", "7", '{"passed": 5, "denied": "0x10"}', "--create")
        self.daemon.ok("map", "set", "buckets", "7", '{"delayed": 6}', "--replace")
        self.assertIn("passed: 5, delayed: 6", self.daemon.ok("map", "get", "buckets", "7"))
        self.assertEqual([7], [each["key"] for each in self.daemon.json("map", "dump", "buckets")])
        self.daemon.refused("map", "set", "buckets", "7", "{}", "--create")
        self.daemon.refused("map", "set", ".rodata", "0", '{"iops": 1}')
        self.assertEqual(2, self.daemon.run("map", "set", "buckets", "7", '{"nothing": 1}').returncode)
        self.daemon.ok("map", "remove", "buckets", "7")
        self.assertEqual([], self.daemon.json("map", "dump", "buckets"))

    def test_words_complete(self):
        self.daemon.ok("link", "attach", "tank/v", "rate_limit", "--pin", "limit")
        complete = lambda *words: self.daemon.ok("complete", *words).split()
        self.assertEqual(["limit"], complete("link", "info", "li"))
        self.assertEqual(["buckets"], complete("map", "dump", "bu"))
        self.assertEqual(["rate_limit"], complete("link", "attach", "tank/v", "ra"))
        self.assertEqual(["tank", "tank/v"], complete("link", "attach", "ta"))
        self.assertEqual(["volume.complete", "volume.submit"], complete("link", "list", "--hook", "vol"))


if __name__ == "__main__":
    unittest.main()
