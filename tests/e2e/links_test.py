"""Links under real clients: who holds them and how they end, what a verdict does to a client, sets that swap whole."""
import array
import json
import os
import random
import signal
import socket
import subprocess
import time
import unittest

from harness import BIN, EndToEnd

OBJECT = os.path.join(os.environ.get("COPPICE_E2E_PROGRAMS", ""), "verdicts.o")
REPLACEMENT = os.path.join(os.environ.get("COPPICE_E2E_PROGRAMS", ""), "replacement.o")
HELD_SECONDS = 30
ROUNDS = int(os.environ.get("COPPICE_LINK_ROUNDS", "20"))


class Links(EndToEnd):
    def setUp(self):
        super().setUp()
        self.uri = self.volume()

    def start(self, *arguments, **options):
        process = subprocess.Popen([os.path.join(BIN, "coppice"), *arguments], stdout=subprocess.PIPE, text=True,
                                   stderr=subprocess.DEVNULL, env={**os.environ, "COPPICE_SOCKET": self.daemon.control},
                                   **options)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def nbdsh(self, *lines, status=0):
        words = [word for line in lines for word in ("-c", line)]
        return self.client("nbdsh", "-u", self.uri, *words, status=status)

    def links(self):
        return self.daemon.json("link", "list")["links"]

    def eventually(self, condition, what):
        deadline = time.monotonic() + HELD_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.01)

    def watch_changes(self):
        """`trace stream link_change`, once it is attached."""
        stream = self.start("trace", "stream", "link_change", "--json")
        self.eventually(lambda: len(self.links()) > 0, "the stream is attached")
        return stream

    def detached_ns(self, stream, name_of_hook):
        """When the daemon let go of the next link on that hook."""
        while True:
            event = json.loads(stream.stdout.readline())
            if event["hook"] == name_of_hook and event["change"] in (2, "COPPICE_LINK_DETACHED"):
                return event["time_ns"]


class Holding(Links):
    def attach_held(self, *command):
        """An attached link that the command's process holds; the process."""
        holder = self.start("link", "attach", "tank/v", "write_guard", *command)
        holder.stdout.readline()
        return holder

    def test_a_link_ends_with_its_holder_killed(self):
        stream = self.watch_changes()
        for _ in range(5):
            holder = self.attach_held()
            killed_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            holder.send_signal(signal.SIGKILL)
            took_ms = (self.detached_ns(stream, "volume.submit") - killed_ns) / 1e6
            print(f"ended {took_ms:.2f} ms after its holder was killed")
            if "release" in BIN:
                self.assertLess(took_ms, 50, "10 ms on a machine that does nothing else")
        self.assertEqual(["tracepoint/link_change"], [each["hook"] for each in self.links()])

    def test_copies_of_the_descriptor_in_other_processes_hold_it(self):
        # The command inherits the descriptor; so does what it starts.
        holder = self.attach_held("--", "/bin/sh", "-c", "sleep 1000 & echo $!; wait")
        grandchild = int(holder.stdout.readline())
        holder.kill()
        holder.wait()
        time.sleep(0.3)
        self.assertEqual(1, len(self.links()), "the grandchild holds it")
        os.kill(grandchild, signal.SIGKILL)
        self.eventually(lambda: not self.links(), "the last copy is closed")

    def test_a_descriptor_passed_over_a_socket_holds_it(self):
        ours, theirs = socket.socketpair()
        script = ("import array, os, socket; s = socket.socket(fileno=%d); "
                  "s.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, "
                  "array.array('i', [int(os.environ['COPPICE_LINK_FD'])]))])" % theirs.fileno())
        os.set_inheritable(theirs.fileno(), True)
        holder = self.start("link", "attach", "tank/v", "write_guard", "--", "/usr/bin/python3", "-c", script,
                            pass_fds=[theirs.fileno()])
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
        received = array.array("i")
        received.frombytes(ancillary[0][2][:4])
        self.assertEqual(0, holder.wait(HELD_SECONDS))
        theirs.close()
        time.sleep(0.2)
        self.assertEqual(1, len(self.links()))
        # Whoever has it can have the link again.
        os.set_inheritable(received[0], True)
        done = subprocess.run([os.path.join(BIN, "coppice"), "link", "info", "--fd", str(received[0]), "--json"],
                              pass_fds=[received[0]], capture_output=True, text=True, check=True,
                              env={**os.environ, "COPPICE_SOCKET": self.daemon.control})
        self.assertEqual("write_guard", json.loads(done.stdout)["program"])
        os.close(received[0])
        ours.close()
        self.eventually(lambda: not self.links(), "nobody holds it")

    def test_pins_survive_restarts_and_nothing_else_does(self):
        self.daemon.ok("link", "attach", "tank/v", "write_guard", "--set", "bytes=1M", "--pin", "guard")
        self.attach_held()
        self.assertEqual(2, len(self.links()))
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(["guard"], [each["name"] for each in self.links()])
        self.assertIn("Operation not permitted", self.nbdsh("h.pwrite(bytes(512), 0)", status=1))
        self.daemon.ok("link", "unpin", "guard")
        self.eventually(lambda: not self.links(), "unpinned, and nobody holds it")
        self.nbdsh("h.pwrite(bytes(512), 0)")

    def test_kept_maps_come_back(self):
        self.daemon.ok("link", "attach", "tank/v", "latency", "--pin", "lat")
        self.daemon.ok("link", "attach", "tank/v", OBJECT, "--program", "begin", "--pin", "begin")
        self.daemon.ok("map", "set", "torn", "1", "77")
        self.daemon.ok("map", "pin", "torn")
        self.daemon.restart()
        self.assertIn("77", self.daemon.ok("map", "get", "torn", "1"))


class Verdicts(Links):
    def attach(self, program, *words):
        self.daemon.ok("link", "attach", "tank/v", OBJECT, "--program", program, "--pin", program, *words)

    def test_deny_is_the_errno_at_the_client(self):
        self.attach("deny")
        self.assertIn("Operation not permitted", self.nbdsh("h.pread(512, 0)", status=1))
        self.nbdsh("h.pwrite(bytes(512), 0)")
        self.daemon.ok("link", "detach", "deny")
        self.attach("deny", "--set", "deny_with=28")
        self.assertIn("No space left", self.nbdsh("h.pread(512, 0)", status=1))
        self.assertEqual(1, self.links()[0]["denials"])

    def test_delay_is_measured_at_the_client(self):
        self.attach("delay", "--set", "delay_ms=300")
        shown = self.nbdsh("import time", "t = time.monotonic()", "h.pread(512, 0)", "print(time.monotonic() - t)")
        self.assertGreaterEqual(float(shown), 0.3)
        self.assertLess(float(shown), 3)

    def test_redirect_reads_the_other_volume(self):
        self.daemon.ok("create", "tank/other", "-V", "64M")
        other = self.daemon.export("tank/other")
        self.client("nbdsh", "-u", other, "-c", "h.pwrite(b'other' * 100, 4096)")
        self.nbdsh("h.pwrite(b'this.' * 100, 4096)")
        self.attach("redirect", "--redirect", "tank/other")
        self.nbdsh("assert bytes(h.pread(500, 4096)) == b'other' * 100", "h.pwrite(b'that.' * 100, 4096)")
        self.assertIn("in use", self.daemon.refused("destroy", "tank/other").replace("busy", "in use").replace(
            "export", "in use"))
        self.daemon.ok("link", "detach", "redirect")
        self.nbdsh("assert bytes(h.pread(500, 4096)) == b'that.' * 100")
        self.client("nbdsh", "-u", other, "-c", "assert bytes(h.pread(500, 4096)) == b'other' * 100")

    def test_complete_answers_reads_from_the_program(self):
        self.nbdsh("h.pwrite(b'd' * 4096, 0)")
        self.attach("answer", "--set", "mark=109")
        self.nbdsh("assert bytes(h.pread(4096, 0)) == b'm' * 8 + bytes(4088)")
        self.daemon.ok("link", "detach", "answer")
        self.nbdsh("assert bytes(h.pread(4096, 0)) == b'd' * 4096")

    def test_order_is_from_the_pool_down_and_results_say_who_comes_next(self):
        self.daemon.ok("link", "attach", "tank/v", OBJECT, "--program", "answer", "--set", "mark=118", "--pin", "low")
        self.daemon.ok("link", "attach", "tank", OBJECT, "--program", "answer", "--set", "mark=116", "--pin", "high")
        self.nbdsh("assert bytes(h.pread(8, 0)) == b't' * 8")
        self.daemon.ok("link", "detach", "high")
        self.daemon.ok("link", "attach", "tank", OBJECT, "--program", "answer", "--set", "mark=116", "--pin", "high",
                       "--go-on", "pass,delay,complete")
        self.nbdsh("assert bytes(h.pread(8, 0)) == b'v' * 8")


class Tiers(Links):
    def test_a_program_is_of_the_least_tier_that_it_touches(self):
        for program, tier in (("answer", "stable"), ("prober", "internal")):
            shown = json.loads(self.daemon.ok("prog", "check", OBJECT, "--program", program, "--json"))
            self.assertEqual([tier], [each["tier"] for each in shown])
        self.assertIn("tier internal", self.daemon.refused("link", "attach", "tank", OBJECT, "--program", "prober",
                                                           "--pin", "p", "--min-tier", "stable"))
        self.assertEqual([], self.links())
        self.daemon.ok("link", "attach", "tank", OBJECT, "--program", "prober", "--pin", "p")
        self.assertEqual("internal", self.daemon.json("link", "info", "p")["tier"])

    def test_reads_of_what_is_not_there_harm_nobody(self):
        self.daemon.ok("link", "attach", "tank", OBJECT, "--program", "prober", "--pin", "p")
        self.nbdsh("for i in range(2000): h.pread(512, i * 512)")
        self.assertGreater(self.daemon.json("map", "dump", ".bss")[0]["value"]["unreadable"], 1900)


class Replacing(Links):
    """A program takes the place of a function of an attached one, and leaves with it."""

    def reads(self, letter):
        self.nbdsh(f"assert bytes(h.pread(8, 0)) == b'{letter}' * 8")

    def attach(self, *words):
        self.daemon.ok("link", "attach", "tank/v", OBJECT, "--program", "chosen", "--pin", "target")
        self.reads("c")
        self.daemon.ok("link", "attach", "tank/v", REPLACEMENT, "--program", "other_mark", "--replace",
                       "target:choose_mark", *words)

    def test_a_function_is_replaced_and_comes_back(self):
        self.attach("--pin", "other")
        self.reads("o")
        self.assertIn("replaces", self.daemon.refused(
            "link", "attach", "tank/v", REPLACEMENT, "--program", "other_mark", "--replace", "target:choose_mark",
            "--pin", "third"))
        self.daemon.restart()
        self.reads("o")
        self.daemon.ok("link", "update", "target", OBJECT, "--program", "chosen", "--set", "version=9")
        self.reads("o")
        self.daemon.ok("link", "detach", "other")
        self.reads("c")

    def test_it_leaves_with_its_target(self):
        self.attach("--pin", "other")
        self.daemon.ok("link", "detach", "target")
        self.assertEqual([], self.links())

    def test_another_prototype_is_refused(self):
        self.daemon.ok("link", "attach", "tank/v", OBJECT, "--program", "chosen", "--pin", "target")
        self.daemon.run("link", "attach", "tank/v", REPLACEMENT, "--program", "wrong_mark", "--replace",
                        "target:choose_mark", "--pin", "other")
        self.assertEqual(["target"], [each["name"] for each in self.links()])
        self.reads("c")


class Sets(Links):
    def described(self, **versions):
        """A set: on each volume begin and end of the version."""
        objects = {name: {"file": OBJECT, "set": {"version": version}} for name, version in versions.items()}
        points = []
        for name in versions:
            for hook, program in (("volume.submit", "begin"), ("volume.complete", "end")):
                points.append({"target": "tank/" + name, "hook": hook, "links": [
                    {"name": f"{name}-{program}", "object": name, "program": program}]})
        path = self.daemon.path("set.json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump({"objects": objects, "points": points}, out)
        return path

    def test_no_request_sees_two_versions(self):
        load = subprocess.Popen(
            ["fio", "--name=load", "--ioengine=nbd", f"--uri={self.uri}", "--rw=randwrite", "--bs=4k", "--size=32m",
             "--iodepth=16", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--time_based", "--runtime=12", "--do_verify=1"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(load.kill)
        swaps = 0
        while load.poll() is None:
            self.daemon.ok("link", "apply", self.described(v=swaps % 2 + 1))
            swaps += 1
        self.assertEqual(0, load.returncode, load.stdout.read())
        load.stdout.close()
        same, torn = (int(self.daemon.json("map", "get", "torn", str(i))) for i in (0, 1))
        print(f"{swaps} swaps under load, {same} requests that saw one version")
        self.assertGreater(swaps, 1)
        self.assertGreater(same, 1000)
        self.assertEqual(0, torn)

    def test_a_concurrent_change_is_a_conflict(self):
        path = self.described(v=1)
        with open(path, encoding="utf-8") as out:
            described = json.load(out)
        shown = self.daemon.ok("link", "apply", path)
        self.assertIn("v-begin", shown)
        described["revision"] = 1
        with open(path, "w", encoding="utf-8") as out:
            json.dump(described, out)
        self.assertIn("changed", self.daemon.refused("link", "apply", path))
        self.assertEqual(2, len(self.links()))

    def test_a_daemon_killed_during_apply_has_the_old_set_or_the_new(self):
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        source = random.Random(seed)
        self.daemon.ok("create", "tank/w", "-V", "16M")
        versions = {"1": 0, "2": 0}
        self.daemon.ok("link", "apply", self.described(v=1, w=1))
        for round_number in range(ROUNDS):
            wanted = round_number % 2 + 1
            apply = self.start("link", "apply", self.described(v=wanted, w=wanted))
            time.sleep(source.random() * 0.06)
            self.daemon.kill()
            apply.wait(HELD_SECONDS)
            self.daemon.start()
            found = [self.daemon.json("link", "info", each["name"])["settings"]["version"] for each in self.links()]
            self.assertEqual(4, len(found), f"round {round_number}")
            self.assertEqual(1, len(set(found)), f"round {round_number}: a mixture: {found}")
            versions[found[0]] += 1
            self.daemon.ok("link", "apply", self.described(v=wanted, w=wanted))
        print(f"found after {ROUNDS} kills: {versions}")

    def test_a_channel_program_snapshots_and_swaps_filters(self):
        self.daemon.ok("prog", "load", "tank", OBJECT, "verdicts", "--set", "mark=112")
        script = self.daemon.path("swap.lua")
        with open(script, "w", encoding="utf-8") as out:
            out.write("""
                assert(pool.sync.snapshot{"tank/v@before"} == 0)
                assert(pool.sync.link{"tank/v", "verdicts", "answer", "reader"} == 0)
                return pool.exists("tank/v@before")
            """)
        self.daemon.ok("program", "tank", script)
        self.nbdsh("assert bytes(h.pread(8, 0)) == b'p' * 8")
        self.assertEqual(["reader"], [each["name"] for each in self.links()])
        self.assertIn("tank/v@before", self.daemon.ok("list", "-t", "snapshot", "-H", "-o", "name"))
        with open(script, "w", encoding="utf-8") as out:
            out.write("""
                assert(pool.sync.unlink{"reader"} == 0)
                error("and then it fails")
            """)
        self.assertNotEqual(0, self.daemon.run("program", "tank", script).returncode)
        self.nbdsh("assert bytes(h.pread(8, 0)) == b'p' * 8")


class DoneWhen(Links):
    def test_limited_watched_swapped_and_only_pins_are_left(self):
        load = subprocess.Popen(["fio", "--name=load", "--ioengine=nbd", f"--uri={self.uri}", "--rw=randread", "--bs=4k",
                                 "--size=32m", "--iodepth=8", "--time_based", "--runtime=60"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(load.wait)
        self.addCleanup(load.kill)
        self.daemon.ok("link", "attach", "tank/v", "rate_limit", "--set", "iops=400", "--pin", "limit")
        holder = self.start("link", "attach", "tank/v", "latency")
        holder.stdout.readline()
        time.sleep(1)
        top = self.daemon.json("trace", "top", "--seconds", "4")
        self.assertEqual("tank/v", top[0]["volume"])
        self.assertAlmostEqual(400, top[0]["reads"], delta=60)
        self.assertIn("limit", self.daemon.ok("top", "--once"))
        path = self.daemon.path("set.json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump({"objects": {"fast": {"file": "rate_limit", "set": {"iops": 800}}},
                       "points": [{"target": "tank/v", "hook": "volume.submit",
                                   "links": [{"name": "faster", "object": "fast"}]}]}, out)
        self.daemon.ok("link", "apply", path)
        time.sleep(1)
        self.assertAlmostEqual(800, self.daemon.json("trace", "top", "--seconds", "4")[0]["reads"], delta=120)
        holder.kill()
        load.kill()
        self.eventually(lambda: [each["name"] for each in self.links()] == ["faster"], "the pinned one is left")


if __name__ == "__main__":
    unittest.main(verbosity=2)
