"""What channel programs cost: verbs a second with the commit, lists, a round trip, plain computing, and what clients of
volumes notice of it."""
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time

import fio
import servers
from speed import KIB, MIB, goal

VOLUME_BYTES = 256 * MIB
INSTRUCTIONS = ("-t", "100000000")
MEMORY = ("-m", "100M")
LOOPS = 33_000_000  # Of three instructions each, at most.
COMPUTE = "local s = 0 for i = 1, %d do s = s + i %% 7 end return s"

MAKE = """
local a = ... local prefix, count = a.argv[1], tonumber(a.argv[2])
for i = 1, count do if pool.sync.create{prefix .. i, size = 1048576} ~= 0 then error(i) end end"""
SNAPSHOT_EACH = """
local a = ... for i = 1, tonumber(a.argv[1]) do if pool.sync.snapshot("tank/p/v" .. i .. "@s") ~= 0 then error(i) end end"""
CLONE_EACH = """
local a = ... for i = 1, tonumber(a.argv[1]) do
  if pool.sync.clone("tank/p/v" .. i .. "@s", "tank/p/c" .. i) ~= 0 then error(i) end end"""
SET_EACH = """
local a = ... for i = 1, tonumber(a.argv[1]) do
  if pool.sync.set("tank/p/v" .. i, {["ops:owner"] = "ann"}) ~= 0 then error(i) end end"""
DESTROY_CLONES = """
local a = ... for i = 1, tonumber(a.argv[1]) do if pool.sync.destroy("tank/p/c" .. i) ~= 0 then error(i) end end"""
DESTROY_SNAPSHOTS = """
local a = ... for i = 1, tonumber(a.argv[1]) do if pool.sync.destroy("tank/p/v" .. i .. "@s") ~= 0 then error(i) end end"""
SNAPSHOTS_OF_ONE = """
local a = ... local first, last = tonumber(a.argv[1]), tonumber(a.argv[2])
for i = first, last do if pool.sync.snapshot("tank/v@" .. i) ~= 0 then error(i) end end"""
DESTROY_ALL_OF_ONE = """
local n = 0 for name in pool.list.snapshots("tank/v") do
  if pool.sync.destroy(name) ~= 0 then error(name) end n = n + 1 end return n"""
LIST = "local n = 0 for _ in pool.list.snapshots('tank/v') do n = n + 1 end return n"
ASK = "local a = ... for i = 1, tonumber(a.argv[1]) do pool.exists('tank/v') end"


class Programs:
    """Programs on a running daemon, timed from the command's start to its end."""

    def __init__(self, coppice, folder):
        self.coppice = coppice
        self.folder = folder

    def run(self, source, *arguments, flags=()):
        with tempfile.NamedTemporaryFile("w", suffix=".lua", dir=self.folder) as script:
            script.write(source)
            script.flush()
            started = time.monotonic()
            text = self.coppice.command("program", "-j", *INSTRUCTIONS, *MEMORY, *flags, "tank", script.name,
                                        *map(str, arguments))
            return time.monotonic() - started, json.loads(text).get("return")

    def median(self, source, *arguments, flags=(), times=5):
        return statistics.median(self.run(source, *arguments, flags=flags)[0] for _ in range(times))


def measure_verbs(programs, count, say):
    goals = []
    programs.coppice.command("create", "tank/p")
    for what, source, arguments in (
            ("volumes made", MAKE, ("tank/p/v", count)), ("snapshots of as many volumes", SNAPSHOT_EACH, (count,)),
            ("clones", CLONE_EACH, (count,)), ("properties set", SET_EACH, (count,)),
            ("volumes destroyed", DESTROY_CLONES, (count,)), ("snapshots destroyed", DESTROY_SNAPSHOTS, (count,))):
        seconds, _ = programs.run(source, *arguments)
        say(f"{count} {what} in one program: {seconds:.3f} s, {count / seconds:.0f}/s")
        goals.append(goal(f"{what}: thousands a second, {count} in one program", count / seconds / 1000, 50, True))
    return goals


def measure_busy(programs, count, say):
    with fio.Busy(programs.coppice.uri, VOLUME_BYTES):
        made, _ = programs.run(SNAPSHOTS_OF_ONE, 1, count)
        gone, number = programs.run(DESTROY_ALL_OF_ONE)
    assert number == count, number
    say(f"{count} snapshots of one busy volume: made in {made:.3f} s, destroyed in {gone:.3f} s, one program each")
    return [goal(f"seconds to destroy {count} snapshots of a busy volume", gone, 1.0, False)]


def measure_flat(programs, many, say):
    """The cost of one verb in a small program and in a large one, and of a list."""
    few = 1000
    start = programs.median("return 1")
    small = programs.median(SNAPSHOTS_OF_ONE, 1, few, times=1)
    programs.run(DESTROY_ALL_OF_ONE)
    large, _ = programs.run(SNAPSHOTS_OF_ONE, 1, many)
    ratio = ((large - start) / many) / ((small - start) / few)
    say(f"a snapshot costs {(small - start) / few * 1e6:.1f} us among {few} and {(large - start) / many * 1e6:.1f} us among {many}")
    listed = programs.median(LIST, flags=("-n",)) - programs.median("return 1", flags=("-n",))
    say(f"{many} snapshots are listed in {listed:.3f} s, {many / listed:.0f}/s")
    gone, _ = programs.run(DESTROY_ALL_OF_ONE)
    say(f"{many} snapshots are destroyed in {gone:.3f} s")
    return [goal(f"cost of a verb among {many} over among {few}", ratio, 1.5, False),
            goal(f"listing {many} snapshots: thousands a second", many / listed / 1000, 1000, True)]


def measure_small(programs, say):
    asked = 100_000
    empty = programs.median("return 1", flags=("-n",), times=41)
    plain = statistics.median(timed(lambda: programs.coppice.command("version")) for _ in range(41))
    trip = (programs.median(ASK, asked, flags=("-n",), times=3) - empty) / asked * 1e6
    say(f"a round trip costs {trip:.2f} us; an empty read-only program {1e3 * empty:.2f} ms as a command, "
        f"{1e3 * (empty - plain):.2f} ms more than `coppice version`")
    return [goal("microseconds for a verb's round trip", trip, 10, False),
            goal("milliseconds for an empty program beyond the command itself", 1e3 * (empty - plain), 1, False)]


def timed(action):
    started = time.monotonic()
    action()
    return time.monotonic() - started


def measure_computing(programs, say):
    source = COMPUTE % LOOPS
    with tempfile.NamedTemporaryFile("w", suffix=".lua", dir=programs.folder) as script:
        script.write(source)
        script.flush()
        plain = statistics.median(timed(lambda: subprocess.run(["lua5.4", script.name], check=True)) for _ in range(3))
    ours = programs.median(source, flags=("-n",), times=3)
    record = programs.run(source)
    used = json.loads(json.loads(programs.coppice.command("history", "-n", "1", "--json", "tank"))[0]["effects"])
    count = used["program"]["instructions"]
    say(f"{count} instructions: {ours:.3f} s, in lua5.4 {plain:.3f} s; the result was {record[1]}")
    return [goal(f"{count / 1e6:.0f}M instructions over plain lua5.4", ours / plain, 1.5, False)]


def steady(programs, seconds):
    sample = fio.run(programs.coppice.uri, "randrw", 4 * KIB, 4, VOLUME_BYTES, seconds, ramp=1,
                     extra=("--rwmixread=70", "--rate_iops=2000,1000"))
    return sample.p99_us


def beside(programs, seconds, source, *arguments):
    """The steady mix's p99 while programs run one after the other."""
    ending, runs = threading.Event(), []

    def go():
        while not ending.is_set():
            runs.append(programs.run(source, *arguments, flags=("-n",))[0])
    thread = threading.Thread(target=go)
    thread.start()
    try:
        return steady(programs, seconds), runs
    finally:
        ending.set()
        thread.join()


def measure_latency(programs, options, say):
    fio.run(programs.coppice.uri, "read", "1M", 8, VOLUME_BYTES)
    seconds, rounds = max(3, options.seconds), max(1, options.rounds)
    idle, computing, asking = [], [], []
    for _ in range(rounds):
        idle.append(steady(programs, seconds))
        computing.append(beside(programs, seconds, COMPUTE % LOOPS)[0])
        asking.append(beside(programs, seconds, ASK, 100_000)[0])
    idle, computing, asking = map(statistics.median, (idle, computing, asking))
    say(f"p99 of a steady 4 KiB mix: idle {idle:.0f} us, beside 100M instructions {computing:.0f} us, beside 100,000 verbs "
        f"{asking:.0f} us")
    return [goal("p99 beside 100M instructions over idle", computing / idle, 1.5, False),
            goal("p99 beside 100,000 verbs over idle", asking / idle, 1.5, False)]


def run(folder, options, say):
    own = os.path.join(folder, "programs")
    os.makedirs(own)
    coppice = servers.Coppice(own, VOLUME_BYTES, options.bin, cache_bytes=2 * VOLUME_BYTES, pool_bytes=8 << 30)
    try:
        coppice.start()
        fio.fill(coppice.uri, VOLUME_BYTES)
        programs = Programs(coppice, own)
        goals = measure_small(programs, say)
        goals += measure_computing(programs, say)
        goals += measure_verbs(programs, options.program_verbs, say)
        goals += measure_busy(programs, options.program_verbs, say)
        goals += measure_flat(programs, options.snapshots, say)
        goals += measure_latency(programs, options, say)
        return goals
    finally:
        coppice.stop()
        shutil.rmtree(own)
