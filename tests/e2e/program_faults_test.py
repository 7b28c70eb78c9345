#!/usr/bin/python3
"""Whatever ends a program early, its pool is as it was, other programs and clients go on, and the history tells."""
import os
import random
import signal
import subprocess
import threading
import time
import unittest

import nbd

from program_bed import ProgramCase

MIB = 1 << 20
FOREVER = "local a = ... for i = 1, 50 do pool.sync.create('tank/made' .. i) end while true do pool.exists('tank') end"
STEADY = ("-t", "100000000")


class Ends(ProgramCase):
    """Each test ends a program that has changed much and asks on; the pool must be as it was."""

    def setUp(self):
        super().setUp()
        self.daemon.ok("create", "tank/v", "-V", "8M")
        self.before = self.catalog()

    def ended(self, process, wanted):
        _, errors = process.communicate(timeout=60)
        self.assertEqual(1, process.returncode, errors)
        self.assertIn(wanted, errors)
        self.assertEqual(self.before, self.catalog())
        self.until(lambda: self.programs() == [])
        self.assertNotEqual("ok", self.history()[-1]["result"])
        self.assertTrue(self.history()[-1]["command"].startswith("program "))
        self.assertEqual(1, self.value("return 1"))

    def test_a_crash_of_the_interpreter(self):
        process = self.background(FOREVER, flags=STEADY)
        os.kill(self.running(verbs=60)["interpreter_pid"], signal.SIGSEGV)
        self.ended(process, "interpreter was killed by")

    def test_a_killed_interpreter(self):
        process = self.background(FOREVER, flags=STEADY)
        os.kill(self.running(verbs=60)["interpreter_pid"], signal.SIGKILL)
        self.ended(process, "interpreter was killed by")

    def test_kill_from_the_command_line(self):
        process = self.background(FOREVER, flags=STEADY)
        self.daemon.ok("program", "--kill", str(self.running(verbs=60)["id"]))
        self.ended(process, "killed by uid=")
        self.assertIn("there is none", self.daemon.refused("program", "--kill", "999999"))

    def test_kill_reaches_a_program_whose_observer_is_stopped(self):
        process = self.background(FOREVER, flags=(*STEADY, "--trace"))
        program = self.running(verbs=5)
        process.send_signal(signal.SIGSTOP)
        self.daemon.ok("program", "--kill", str(program["id"]))
        self.until(lambda: self.programs() == [])
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=60)
        self.assertEqual((1, self.before), (process.returncode, self.catalog()))

    def test_the_death_of_the_client(self):
        process = self.background(FOREVER, flags=STEADY)
        pid = self.running(verbs=60)["interpreter_pid"]
        process.kill()
        process.wait()
        self.until(lambda: self.programs() == [])
        self.until(lambda: not os.path.exists(f"/proc/{pid}"))
        self.assertEqual(self.before, self.catalog())
        self.assertTrue(self.history()[-1]["result"].startswith("EINTR"))

    def test_closing_the_pool_with_force(self):
        process = self.background(FOREVER, flags=STEADY)
        self.running(verbs=60)
        self.assertIn("channel program", self.daemon.refused("pool", "close", "tank"))
        self.daemon.ok("pool", "close", "-f", "tank")
        process.communicate(timeout=60)
        self.assertEqual(1, process.returncode)
        self.daemon.ok("pool", "open", self.daemon.pools[0])
        self.assertEqual(self.before, self.catalog())

    def test_stopping_the_daemon(self):
        process = self.background(FOREVER, flags=STEADY)
        self.running(verbs=60)
        self.daemon.restart()
        process.communicate(timeout=60)
        self.assertEqual((1, self.before), (process.returncode, self.catalog()))

    def test_an_error_at_the_end_and_a_savepoint_before_it(self):
        lines = self.fails("""
          pool.sync.create("tank/a")
          pool.savepoint(function() pool.sync.create("tank/b") end)
          pool.sync.set("tank/v", {["ops:x"] = "1"})
          error("late")""")
        self.assertIn("late", lines[0])
        self.assertEqual(self.before, self.catalog())

    def test_a_savepoint_undoes_its_own_and_no_more(self):
        got = self.value("""
          pool.sync.create("tank/kept")
          local ok, why = pool.savepoint(function()
            pool.sync.create("tank/undone")
            pool.sync.destroy("tank/v")
            local inner = pool.savepoint(function() pool.sync.create("tank/undone/too") end)
            error({inner = inner}, 0)
          end)
          return {ok = ok, inner = why.inner, there = pool.exists("tank/undone"), v = pool.exists("tank/v")}""")
        self.assertEqual({"ok": False, "inner": True, "there": False, "v": True}, got)
        self.assertEqual(["tank", "tank/kept", "tank/v"], self.daemon.names("-r", "tank"))


class Hang(ProgramCase):
    def setUp(self):
        super().setUp()
        self.daemon.stop()
        self.daemon.arguments = ["--program-stall-max", "1", "--program-cpu-max", "1"]
        self.daemon.start()

    def test_a_stopped_interpreter_is_ended_and_others_go_on(self):
        process = self.background(FOREVER, flags=STEADY)
        os.kill(self.running(verbs=60)["interpreter_pid"], signal.SIGSTOP)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(1, process.returncode, errors)
        self.assertEqual(["tank"], self.daemon.names("-r", "tank"))
        self.assertEqual(2, self.value("return 2"))

    def test_library_calls_that_run_long_end_by_processor_time(self):
        started = time.monotonic()
        self.fails("return (('a'):rep(30000)):find(('.-'):rep(60) .. 'b')", flags=STEADY)
        self.assertLess(time.monotonic() - started, 20)


class Refused(ProgramCase):
    def test_without_an_interpreter_the_daemon_works_and_says_so(self):
        self.daemon.stop()
        self.daemon.arguments = ["--lua", "/nonexistent/coppice-lua"]
        self.daemon.start()
        self.assertIn("no interpreter", self.daemon.refused("program", "tank", "-", text="return 1"))
        self.assertTrue(any("programs" in each for each in self.daemon.json("status")["warnings"]))
        self.daemon.ok("create", "tank/a")

    def test_the_operators_limits_hold(self):
        self.daemon.stop()
        self.daemon.arguments = ["--program-instructions", "1000", "--program-instructions-max", "5000",
                                 "--program-memory-max", "12M"]
        self.daemon.start()
        self.assertEqual("1000 Lua instructions", self.fails("while true do end")[-1])
        self.assertEqual("5000 Lua instructions", self.fails("while true do end", flags=("-t", "5000"))[-1])
        self.fails("return 1", flags=("-t", "5001"))
        self.fails("return 1", flags=("-m", "13M"))


class PowerCut(ProgramCase):
    def test_a_killed_daemon_has_all_of_a_program_or_nothing(self):
        seed = int(os.environ.get("COPPICE_KILL_SEED", random.randrange(1 << 32)))
        dice = random.Random(seed)
        source = """
          local round = ... round = round.argv[1]
          for i = 1, 40 do
            assert(pool.sync.create("tank/r" .. round .. "-" .. i) == 0)
          end"""
        done = set()
        for round_ in range(8):
            process = self.background(source, str(round_))
            time.sleep(dice.random() * 0.06)
            self.daemon.kill()
            process.communicate(timeout=60)
            self.daemon.start()
            names = [name for name in self.daemon.names("-r", "tank") if name.startswith(f"tank/r{round_}-")]
            self.assertIn(len(names), (0, 40), f"seed {seed}, round {round_}")
            if process.returncode == 0:
                self.assertEqual(40, len(names), f"seed {seed}: an answered program is durable")
            done.add(len(names))


class Beside(ProgramCase):
    """While a long program runs."""

    def test_io_goes_on_and_commands_wait_and_say_why(self):
        uri = self.volume("tank/v", "16M")
        handle = nbd.NBD()
        handle.connect_uri(uri)
        process = self.background(FOREVER, flags=STEADY)
        program = self.running(verbs=100)
        slowest, flushes, ending = 0.0, 0, time.monotonic() + 3
        while time.monotonic() < ending:
            started = time.monotonic()
            handle.pwrite(os.urandom(4096), 4096 * (flushes % 4096))
            handle.flush()
            self.assertEqual(4096, len(handle.pread(4096, 4096 * (flushes % 4096))))
            slowest, flushes = max(slowest, time.monotonic() - started), flushes + 1
        self.assertGreater(flushes, 50)
        self.assertLess(slowest, 2)
        waiting = threading.Thread(target=self.daemon.run, args=("create", "tank/waited"))
        waiting.start()
        line = f"wait for program {program['id']}"
        self.until(lambda: line in self.daemon.ok("status"))
        self.assertIn("1 command and 0 programs " + line, self.daemon.ok("status"))
        self.assertTrue(waiting.is_alive())
        self.assertEqual(["tank", "tank/v"], self.daemon.names("-r", "tank"))  # Questions do not wait.
        self.daemon.ok("program", "--kill", str(program["id"]))
        waiting.join(30)
        process.communicate(timeout=60)
        self.assertEqual(["tank", "tank/v", "tank/waited"], self.daemon.names("-r", "tank"))
        handle.shutdown()

    def test_programs_of_two_pools_run_at_once(self):
        self.daemon.create_pool("other")
        process = self.background(FOREVER, flags=STEADY)
        program = self.running(verbs=10)
        self.assertEqual(0, self.value("return (pool.sync.create('other/a'))", pool="other"))
        self.daemon.ok("program", "--kill", str(program["id"]))
        process.communicate(timeout=60)


if __name__ == "__main__":
    unittest.main()
