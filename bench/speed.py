"""The comparison of servers: workloads, alternating rounds, ratios, and the goals they are held to."""
import os
import statistics

import fio
import servers

KIB, MIB = 1 << 10, 1 << 20

# name: (pattern, block size, depth, flush every, what is compared: operations or bytes)
WORKLOADS = {
    "randread-4k-qd32": ("randread", 4 * KIB, 32, 0, "iops"),
    "randwrite-4k-qd32": ("randwrite", 4 * KIB, 32, 0, "iops"),
    "randwrite-4k-flush32": ("randwrite", 4 * KIB, 32, 32, "iops"),
    "randread-4k-qd1": ("randread", 4 * KIB, 1, 0, "iops"),
    "randwrite-4k-qd1": ("randwrite", 4 * KIB, 1, 0, "iops"),
    "seqread-256k": ("read", 256 * KIB, 8, 0, "bytes_per_second"),
    "seqwrite-256k": ("write", 256 * KIB, 8, 0, "bytes_per_second"),
}
PEERS = ("qsd-null-co", "nbdkit-file", "qemu-nbd-raw", "qemu-nbd-qcow2")

# (workload, peer or "best peer", least ratio)
GOALS = (
    ("randread-4k-qd32", "qsd-null-co", 1.0),
    ("randread-4k-qd32", "nbdkit-file", 1.0),
    ("randwrite-4k-qd32", "qsd-null-co", 1.0),
    ("randwrite-4k-qd32", "qemu-nbd-qcow2", 3.0),
    ("randwrite-4k-flush32", "qemu-nbd-qcow2", 1.5),
    ("randread-4k-qd1", "best peer", 1.0),
    ("randwrite-4k-qd1", "best peer", 1.0),
    ("seqread-256k", "nbdkit-file", 1.0),
    ("seqwrite-256k", "nbdkit-file", 1.0),
)
UNCACHED_LEAST = 0.9
AMPLIFICATION_MOST = 1.3
UNCACHED_CACHE_BYTES = 16 * MIB


def goal(what, measured, bound, at_least):
    return {"what": what, "measured": measured, "goal": bound, "at_least": at_least,
            "met": measured >= bound if at_least else measured <= bound}


def compare(running, options, say):
    """Alternating rounds of every workload over every server: {workload: {server: [Sample]}}."""
    results = {}
    for workload, (pattern, block_size, depth, fsync, _) in WORKLOADS.items():
        results[workload] = {server.name: [] for server in running}
        for round_ in range(options.rounds):
            # The order turns with the round, so that no server always runs on another's heels.
            turn = round_ % len(running)
            for server in running[turn:] + running[:turn]:
                sample = fio.run(server.uri, pattern, block_size, depth, options.size, options.seconds, fsync,
                                 ramp=1, seed=round_ + 1)
                results[workload][server.name].append(sample)
                say(f"{workload:22} round {round_ + 1} {server.name:15} {sample.iops:10.0f} IOPS "
                    f"{sample.bytes_per_second / MIB:8.0f} MiB/s  p99 {sample.p99_us:8.0f} us")
    return results


def middle(samples, measure):
    return statistics.median(getattr(sample, measure) for sample in samples)


def judge(results):
    found = []
    for workload, peer, least in GOALS:
        measure = WORKLOADS[workload][4]
        rates = {name: middle(samples, measure) for name, samples in results[workload].items()}
        against = max(rates[name] for name in PEERS if name in rates) if peer == "best peer" else rates[peer]
        found.append(goal(f"{workload} over {peer}", rates["coppice"] / against, least, True))
    return found


def uncached(coppice, raw_file, options, say):
    """Random reads with next to no cache, against fio itself on a raw file with O_DIRECT."""
    coppice.restart(UNCACHED_CACHE_BYTES)
    ours, theirs = [], []
    for round_ in range(options.rounds):
        for target, samples in ((coppice.uri, ours), (raw_file, theirs)):
            samples.append(fio.run(target, "randread", 4 * KIB, 32, options.size, options.seconds, ramp=1,
                                   seed=round_ + 1))
            say(f"{'randread-4k-uncached':22} round {round_ + 1} {'coppice' if samples is ours else 'libaio':15} "
                f"{samples[-1].iops:10.0f} IOPS")
    ratio = middle(ours, "iops") / middle(theirs, "iops")
    return {"coppice": ours, "libaio O_DIRECT": theirs}, \
        goal("randread-4k uncached over libaio O_DIRECT", ratio, UNCACHED_LEAST, True)


def amplification(coppice, options, say):
    """Bytes written to the device for each byte a user writes at random, counted until all is durable."""
    before = coppice.device_bytes_written()
    sample = fio.run(coppice.uri, "randwrite", 4 * KIB, 32, options.size, options.seconds * 2,
                     extra=("--end_fsync=1",))
    coppice.command("pool", "sync", "tank")  # Merges into the trees count too.
    written = coppice.device_bytes_written() - before
    ratio = written / sample.total_bytes
    say(f"write amplification: {written / MIB:.0f} MiB for {sample.total_bytes / MIB:.0f} MiB")
    return goal("device bytes per user byte, randwrite-4k", ratio, AMPLIFICATION_MOST, False)


def run(folder, options, say):
    coppice = servers.Coppice(folder, options.size, options.bin, cache_bytes=options.size + options.size // 4)
    running = [coppice, *(kind(folder, options.size) for kind in
                          (servers.QemuNull, servers.NbdkitFile, servers.QemuRaw, servers.QemuQcow2))]
    try:
        for server in running:
            server.start()
            if server.filled:
                say(f"writing {options.size / MIB:.0f} MiB through {server.name}")
                fio.fill(server.uri, options.size)
        for server in running:
            if server.filled:
                fio.run(server.uri, "read", "1M", 8, options.size)  # Into the cache.
        results = compare(running, options, say)
        goals = judge(results)
        goals.append(amplification(coppice, options, say))
        raw_file = next(server for server in running if server.name == "nbdkit-file").file("raw")
        results["randread-4k-uncached"], last = uncached(coppice, raw_file, options, say)
        goals.append(last)
        return results, goals
    finally:
        for server in running:
            server.stop()
            for suffix in ("raw", "qcow2", "pool"):
                if os.path.exists(server.file(suffix)):
                    os.unlink(server.file(suffix))
