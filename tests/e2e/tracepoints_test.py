#!/usr/bin/python3
"""The daemon's tracepoints are USDT probes: the notes in its file say so, and the kernel's tools see them fire."""
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

from harness import BIN, Daemon

COPPICED = os.path.join(BIN, "coppiced")
POINTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/trace/points.h")
ATTACH_SECONDS = 60
TOLD_SECONDS = 30


def probes():
    """{name: address of its semaphore} of the probes that the notes of coppiced describe."""
    notes = subprocess.run(["readelf", "-n", COPPICED], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"Provider: coppice\s+Name: (\w+)\s+Location: \w+, Base: \w+, Semaphore: (\w+)", notes)
    return {name: int(semaphore, 16) for name, semaphore in found}


def bpftrace_runs():
    """Whether this machine lets anybody trace a program of theirs."""
    if shutil.which("bpftrace") is None:
        return False
    program = f"usdt:{COPPICED}:coppice:txg_open {{}} BEGIN {{ exit(); }}"
    try:
        return subprocess.run(["bpftrace", "-e", program], capture_output=True, timeout=ATTACH_SECONDS, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


class Tracepoints(unittest.TestCase):
    def test_all_are_probes_with_semaphores(self):
        with open(POINTS, encoding="utf-8") as source:
            names = re.findall(r"\b(?:STABLE|INTERNAL)\((\w+)(?:, \d+, \"|\))", source.read())
        names = [name for name in names if name != "name"]
        found = probes()
        self.assertEqual(sorted(names), sorted(found))
        semaphores = sorted(found.values())
        self.assertEqual(list(range(semaphores[0], semaphores[0] + 4 * len(names), 4)), semaphores)

    def test_the_kernels_tools_see_them(self):
        if not bpftrace_runs():
            return  # The notes, which the other test reads, are all that can be had here.
        daemon = Daemon(self)
        self.addCleanup(daemon.close)
        daemon.start()
        daemon.create_pool()
        point = f"usdt:{COPPICED}:coppice:"
        program = (f'{point}snapshot {{ printf("snapshot %s\\n", str(arg4)); }} '
                   f'{point}destroy {{ printf("destroy %s\\n", str(arg4)); }} '
                   f'{point}program_begin {{ printf("begin %s\\n", str(arg2)); }} '
                   f'{point}program_verb {{ printf("verb %s %d\\n", str(arg2), arg3); }} '
                   f'{point}program_end {{ printf("end %d\\n", arg2); }} '
                   f'{point}txg_sync {{ printf("sync %d\\n", arg5); }}')
        output = daemon.path("bpftrace.txt")
        with open(output, "wb") as into:
            tracer = subprocess.Popen(["bpftrace", "-B", "line", "-p", str(daemon.process.pid), "-e", program], stdout=into,
                                      stderr=subprocess.STDOUT)
        self.addCleanup(tracer.kill)

        def told():
            with open(output, encoding="utf-8") as text:
                return text.read().splitlines()

        def wait_for(line, seconds):
            deadline = time.monotonic() + seconds
            while line not in told():
                self.assertLess(time.monotonic(), deadline, f"never told: {line}; but {told()}")
                time.sleep(0.05)

        wait_for("Attaching 6 probes...", ATTACH_SECONDS)
        time.sleep(1)  # It says so before it does so.
        daemon.ok("create", "-V", "16M", "tank/v")
        daemon.ok("snapshot", "tank/v@monday")
        daemon.ok("program", "tank", "-", text="zfs.sync.destroy('tank/v@monday')")
        for line in ("snapshot tank/v@monday", "begin -", "verb destroy 0", "destroy tank/v@monday", "end 0", "sync 0"):
            wait_for(line, TOLD_SECONDS)
        tracer.send_signal(signal.SIGINT)
        self.assertEqual(0, tracer.wait(ATTACH_SECONDS))
        daemon.ok("snapshot", "tank/v@tuesday")  # Nobody listens any more: the daemon goes on as before.
        self.assertNotIn("snapshot tank/v@tuesday", told())
        daemon.stop()


if __name__ == "__main__":
    unittest.main()
