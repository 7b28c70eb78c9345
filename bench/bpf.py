"""eBPF engines side by side: gcc's and clang's native code of the same C, the interpreter, machine code, and the kernel's
own where bpf(2) is allowed."""
import json
import os
import subprocess

from speed import goal

OPERATIONS = 256  # Of a program with a map, in one run (bench/bpf/measured.c).
OVER_NATIVE_NS = 2
NATIVE_LEAST = 0.95
KERNEL_LEAST = 0.99  # "Never behind", as far as the clocks agree.
# program: nanoseconds an operation
MAPS = {"array_lookup": 2, "hash_lookup": 20, "hash_update": 40, "ring_record": 25}
COMPILE_MS, CACHE_HIT_US = 20, 100
ENGINES = ("gcc", "clang", "interpreter", "jit", "kernel")


def native(row):
    return min(row["gcc"], row["clang"])


def judge(measured):
    rows = measured["programs"]
    empty = rows["empty"]
    goals = [goal("eBPF: empty program, ns over a native call", empty["jit"] - native(empty), OVER_NATIVE_NS, False)]
    for name, row in rows.items():
        if name != "empty" and "gcc" in row:
            goals.append(goal(f"eBPF: {name} over native -O2", native(row) / row["jit"], NATIVE_LEAST, True))
    for name, most in MAPS.items():
        goals.append(goal(f"eBPF: {name}, ns an operation", rows[name]["jit"] / OPERATIONS, most, False))
    for name, row in rows.items():
        if name != "empty" and row["kernel"] is not None:
            # Without what each takes to begin a run.
            ratio = (row["kernel"] - empty["kernel"]) / (row["jit"] - empty["jit"])
            goals.append(goal(f"eBPF: {name} over the kernel's JIT", ratio, KERNEL_LEAST, True))
    slots = measured["compile_slots"]
    goals.append(goal(f"eBPF: ms to compile {slots} instructions", measured["compile_ms"], COMPILE_MS, False))
    goals.append(goal("eBPF: us for code that is kept", measured["cache_hit_us"], CACHE_HIT_US, False))
    return goals


def run(options, say):
    program = os.path.join(options.bin, "coppice-bpf-engines")
    object_file = os.path.join(options.bin, "..", "bench", "measured.bpf.o")
    milliseconds = "40" if options.quick else "400"
    text = subprocess.run([program, object_file, os.path.join(options.bin, "coppice-jit"), milliseconds], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    measured = json.loads(text)
    say(f"{'ns a run':14}" + "".join(f"{engine:>13}" for engine in ENGINES))
    for name, row in measured["programs"].items():
        cells = (f"{row[engine]:13.1f}" if row.get(engine) is not None else f"{'-':>13}" for engine in ENGINES)
        say(f"{name:14}" + "".join(cells))
    return judge(measured)
