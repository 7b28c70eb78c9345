"""coppice trace: what the tools show is what clients did."""
import json
import os
import signal
import subprocess
import time
import unittest

from harness import BIN, EndToEnd


class TraceTools(EndToEnd):
    def setUp(self):
        super().setUp()
        self.uri = self.volume()

    def start(self, *arguments):
        process = subprocess.Popen([os.path.join(BIN, "coppice"), "trace", *arguments], stdout=subprocess.PIPE, text=True,
                                   stderr=subprocess.PIPE, env={**os.environ, "COPPICE_SOCKET": self.daemon.control})
        self.addCleanup(process.kill)
        deadline = time.monotonic() + 60
        while not self.daemon.json("link", "list")["links"]:
            self.assertLess(time.monotonic(), deadline, "the tool's programs are attached")
            time.sleep(0.02)
        return process

    def nbdsh(self, *lines):
        words = [word for line in lines for word in ("-c", line)]
        return self.client("nbdsh", "-u", self.uri, *words)

    def test_list_has_tiers_and_arguments(self):
        points = {each["name"]: each for each in self.daemon.json("trace", "list")}
        self.assertEqual("stable", points["io_complete"]["tier"])
        self.assertIn("coppice_io_complete", points["io_complete"]["arguments"])
        self.assertGreaterEqual(sum(each["tier"] == "stable" for each in points.values()), 19)
        self.assertGreaterEqual(sum(each["tier"] == "internal" for each in points.values()), 20)

    def test_stream_shows_each_event_that_passes_the_filter(self):
        stream = self.start("stream", "io_submit,io_complete", "--json", "--filter",
                            "event == io_complete && operation == 1 && offset >= 8192 || length == 777")
        self.nbdsh("h.pwrite(bytes(4096), 0)", "h.pwrite(bytes(4096), 8192)", "h.pread(512, 8192)", "h.pwrite(b'x' * 777, 0)",
                   "h.pwrite(bytes(512), 1 << 20)")
        found = [json.loads(stream.stdout.readline()) for _ in range(4)]
        stream.send_signal(signal.SIGINT)
        rest, complaints = stream.communicate(timeout=60)
        self.assertEqual(("", "", 0), (rest, complaints, stream.returncode))
        self.assertEqual([("io_complete", 8192, 4096), ("io_submit", 0, 777), ("io_complete", 0, 777),
                          ("io_complete", 1 << 20, 512)],
                         [(each["event"], each["offset"], each["length"]) for each in found])
        self.assertEqual(sorted(each["time_ns"] for each in found), [each["time_ns"] for each in found])
        self.assertEqual([], self.daemon.json("link", "list")["links"])

    def test_admin_events_are_told(self):
        stream = self.start("stream", "snapshot,clone,destroy", "--count", "3")
        self.daemon.ok("snapshot", "tank/v@s")
        self.daemon.ok("clone", "tank/v@s", "tank/c")
        self.daemon.ok("destroy", "tank/c")
        out, complaints = stream.communicate(timeout=60)
        self.assertEqual("", complaints)
        self.assertEqual(["snapshot", "clone", "destroy"], [line.split()[1] for line in out.splitlines()])
        self.assertIn("tank/v@s", out)

    def test_latency_counts_what_clients_asked_for(self):
        latency = self.start("latency", "tank", "--seconds", "3", "--json")
        self.nbdsh("for i in range(500): h.pread(4096, i << 12)")
        shown = json.loads(latency.communicate(timeout=60)[0])
        self.assertEqual(500, sum(each["requests"] for each in shown["buckets"]))
        self.assertEqual(500, shown["requests"])
        self.assertGreater(shown["mean_ns"], 0)

    def test_the_report_is_of_the_slowest_request(self):
        path = self.daemon.path("slow.trace")
        record = self.start("record", path)
        self.daemon.ok("link", "attach", "tank/v", "fault", "--set", "delay_per_million=1000000", "--set", "delay_ms=200",
                       "--set", "begin=4096", "--set", "bytes=4096", "--pin", "slow")
        self.nbdsh("for i in range(100): h.pread(512, i << 14)", "h.pread(4096, 4096)")
        time.sleep(1.5)
        record.send_signal(signal.SIGINT)
        self.assertIn("events in", record.communicate(timeout=60)[0])
        self.daemon.stop()
        events = json.loads(subprocess.run([os.path.join(BIN, "coppice"), "trace", "report", path, "--json"], check=True,
                                           capture_output=True, text=True).stdout)
        self.daemon.start()
        own = [each for each in events if each["event"] in ("io_submit", "io_complete")]
        self.assertEqual(["io_submit", "io_complete"], [each["event"] for each in own])
        self.assertEqual([4096, 4096], [each["offset"] for each in own])
        self.assertGreaterEqual(own[1]["latency_ns"], 200_000_000)
        with open(path, "r+b") as damaged:
            damaged.truncate(os.path.getsize(path) - 7)
        self.daemon.ok("trace", "report", path)
        with open(path, "wb") as damaged:
            damaged.write(b"no recording")
        self.assertIn("no recording of", self.daemon.refused("trace", "report", path))

    def test_the_compiler_may_die(self):
        self.daemon.ok("link", "attach", "tank/v", "latency", "--pin", "one")
        self.assertTrue(self.daemon.json("link", "info", "one")["machine_code"])
        helpers = subprocess.run(["pgrep", "-P", str(self.daemon.process.pid), "coppice-jit"], capture_output=True, text=True,
                                 check=True).stdout.split()
        self.assertEqual(1, len(helpers))
        os.kill(int(helpers[0]), signal.SIGKILL)
        self.daemon.ok("link", "attach", "tank/v", "write_guard", "--set", "bytes=8192", "--pin", "two")
        self.nbdsh("h.pread(512, 0)")
        self.assertEqual(["one", "two"], sorted(each["name"] for each in self.daemon.json("link", "list")["links"]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
