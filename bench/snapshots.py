"""What snapshots, clones and idle volumes cost, and that the cost of one does not grow with the number of others."""
import os
import shutil
import statistics
import time

import fio
import servers
from speed import KIB, MIB, goal, middle

VOLUME_BYTES = 256 * MIB
BATCH = 10_000  # Names in one command, hence in one transaction.
PROBES = 40


def timed(action):
    started = time.monotonic()
    action()
    return time.monotonic() - started


def one_by_one(coppice, label):
    """Seconds to make and to destroy one snapshot, each by one command: medians over some probes."""
    made, gone = [], []
    for probe in range(PROBES):
        name = f"tank/v@{label}{probe}"
        made.append(timed(lambda: coppice.command("snapshot", name)))
        gone.append(timed(lambda: coppice.command("destroy", name)))
    return statistics.median(made), statistics.median(gone)


def make_batch(coppice, first, count):
    names = [f"tank/v@s{number}" for number in range(first, first + count)]
    return timed(lambda: coppice.command("snapshot", *names))


def destroy_batch(coppice, first, count):
    """All in one transaction: zfs's list of names behind one @."""
    names = ",".join(f"s{number}" for number in range(first, first + count))
    return timed(lambda: coppice.command("destroy", f"tank/v@{names}"))


def measure_snapshots(coppice, many, say):
    goals = []
    coppice.command("snapshot", "tank/v@s0")
    few_made, few_gone = one_by_one(coppice, "few")
    with fio.Busy(coppice.uri, VOLUME_BYTES):
        made = make_batch(coppice, 1_000_000, BATCH)
        gone = destroy_batch(coppice, 1_000_000, BATCH)
    say(f"{BATCH} snapshots of a busy volume: made in {made:.3f} s, destroyed in {gone:.3f} s")
    goals.append(goal(f"seconds to make {BATCH} snapshots", made, 1.0, False))
    goals.append(goal(f"seconds to destroy {BATCH} snapshots", gone, 1.0, False))

    for first in range(1, many, BATCH):
        make_batch(coppice, first, min(BATCH, many - first))
        fio.run(coppice.uri, "randwrite", 4 * KIB, 8, VOLUME_BYTES, extra=("--number_ios=256", "--end_fsync=1"))
    many_made, many_gone = one_by_one(coppice, "many")
    say(f"one snapshot: made {few_made * 1e3:.2f} ms, destroyed {few_gone * 1e3:.2f} ms; beside {many}: "
        f"{many_made * 1e3:.2f} ms, {many_gone * 1e3:.2f} ms")
    goals.append(goal(f"making one beside {many} over beside 1", many_made / few_made, 1.5, False))
    goals.append(goal(f"destroying one beside {many} over beside 1", many_gone / few_gone, 1.5, False))

    coppice.command("pool", "close", "-f", "tank")
    opening = timed(lambda: coppice.command("pool", "open", coppice.pool))
    say(f"a pool with {many} snapshots opens in {opening:.3f} s")
    goals.append(goal(f"seconds to open a pool with {many} snapshots", opening, 1.0, False))
    return goals


def measure_clones(coppice, depth, options, say):
    """Reads of the last of a chain of clones against reads of the first, both in the cache, alternating."""
    coppice.command("create", "tank/c0", "-V", str(VOLUME_BYTES))
    first = coppice.export("tank/c0")
    fio.fill(first, VOLUME_BYTES)
    for generation in range(1, depth + 1):
        coppice.command("snapshot", f"tank/c{generation - 1}@s")
        coppice.command("clone", f"tank/c{generation - 1}@s", f"tank/c{generation}")
        if generation % 50 == 0:  # Some generations change something.
            uri = coppice.export(f"tank/c{generation}")
            fio.run(uri, "randwrite", 4 * KIB, 8, VOLUME_BYTES, extra=("--number_ios=64", "--end_fsync=1"))
    last = coppice.uri_of(f"tank/c{depth}") if depth % 50 == 0 else coppice.export(f"tank/c{depth}")
    samples = {first: [], last: []}
    for uri in samples:
        fio.run(uri, "read", "1M", 8, VOLUME_BYTES)
    for round_ in range(max(3, options.rounds)):
        for uri, taken in samples.items():
            taken.append(fio.run(uri, "randread", 4 * KIB, 32, VOLUME_BYTES, options.seconds, ramp=1, seed=round_ + 1))
    cost = middle(samples[first], "iops") / middle(samples[last], "iops")
    say(f"reads through {depth} generations cost {cost:.3f} of reads of the first")
    return goal(f"reads through {depth} generations over reads of the first", cost, 1.05, False)


def measure_idle(coppice, count, say):
    coppice.command("create", "tank/idle")
    before = coppice.resident_bytes()
    for number in range(count):
        coppice.command("create", f"tank/idle/{number}", "-V", "10G")
    each = (coppice.resident_bytes() - before) / count
    say(f"an idle volume costs {each / KIB:.1f} KiB")
    return goal("KiB of memory for an idle volume", each / KIB, 16, False)


def run(folder, options, say):
    own = os.path.join(folder, "snapshots")
    os.makedirs(own)
    coppice = servers.Coppice(own, VOLUME_BYTES, options.bin, cache_bytes=4 * VOLUME_BYTES, pool_bytes=8 << 30)
    try:
        coppice.start()
        fio.fill(coppice.uri, VOLUME_BYTES)
        goals = [measure_idle(coppice, options.idle_volumes, say)]
        goals.append(measure_clones(coppice, options.clone_depth, options, say))
        goals += measure_snapshots(coppice, options.snapshots, say)
        return goals
    finally:
        coppice.stop()
        shutil.rmtree(own)
