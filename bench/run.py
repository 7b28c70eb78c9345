#!/usr/bin/python3
"""`make bench`: Coppice beside its peers in one run, alternating; a table, JSON and an SVG plot, goals met and missed.

The peers come from Debian: nbdkit's file plugin, qemu-nbd over raw and qcow2, qemu-storage-daemon's null-co.
"""
import argparse
import os
import platform
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bpf  # noqa: E402
import hooks  # noqa: E402
import programs  # noqa: E402
import report  # noqa: E402
import snapshots  # noqa: E402
import speed  # noqa: E402

UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


def size(text):
    return int(text[:-1]) << UNITS[text[-1]] if text[-1:] in UNITS else int(text)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True, help="folder of coppiced and coppice")
    parser.add_argument("--out", default="build/bench", help="folder for result.json and result.svg")
    parser.add_argument("--folder", help="where the volumes lie while measured (default: --out)")
    parser.add_argument("--size", type=size, default=4 << 30, help="of the volume, e.g. 4G")
    parser.add_argument("--seconds", type=int, default=6, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds of each workload")
    parser.add_argument("--snapshots", type=int, default=100_000)
    parser.add_argument("--clone-depth", type=int, default=1000)
    parser.add_argument("--idle-volumes", type=int, default=1000)
    parser.add_argument("--program-verbs", type=int, default=10_000, help="verbs in one channel program")
    parser.add_argument("--only", choices=("speed", "snapshots", "programs", "bpf", "hooks"), help="one part alone")
    parser.add_argument("--quick", action="store_true", help="small and short: shows that it runs, not how fast")
    options = parser.parse_args()
    if options.quick:
        options.size, options.seconds, options.rounds = 256 << 20, 1, 1
        options.snapshots, options.clone_depth, options.idle_volumes = 11_000, 50, 50
        options.program_verbs = 500
    return options


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown CPU")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return f"{os.cpu_count()} x {model}, {memory} GiB, Linux {platform.release()}"


def main():
    options = arguments()
    os.makedirs(options.out, exist_ok=True)
    # Sockets need a short path; the volumes a real disk. A link from one to the other gives both.
    folder = tempfile.mkdtemp(prefix="volumes-", dir=options.folder or options.out)
    link = tempfile.mkdtemp(prefix="cpb-")
    os.symlink(os.path.abspath(folder), os.path.join(link, "v"))
    say = lambda line: print(line, flush=True)  # noqa: E731
    results, goals = {}, []
    try:
        say(machine())
        if options.only in (None, "speed"):
            results, goals = speed.run(os.path.join(link, "v"), options, say)
        if options.only in (None, "snapshots"):
            goals += snapshots.run(os.path.join(link, "v"), options, say)
        if options.only in (None, "programs"):
            goals += programs.run(os.path.join(link, "v"), options, say)
        if options.only in (None, "bpf"):
            goals += bpf.run(options, say)
        if options.only in (None, "hooks"):
            goals += hooks.run(options, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(link, ignore_errors=True)
    say("\n" + report.table(results, goals))
    with open(os.path.join(options.out, "result.json"), "w", encoding="utf-8") as out:
        out.write(report.as_json(machine(), options, results, goals))
    if results:
        with open(os.path.join(options.out, "result.svg"), "w", encoding="utf-8") as out:
            out.write(report.svg(results, machine()))
    say(f"written: {options.out}/result.json" + (f", {options.out}/result.svg" if results else ""))


if __name__ == "__main__":
    main()
