"""What programs on hooks cost: a request, a swap of whole sets, an attach, records to another process; beside them an
event of LTTng-UST and the kernel's empty program, where they are to be had."""
import json
import os
import subprocess
import tempfile

from speed import goal

NOTHING_NS, EMPTY_NS, TEN_NS = 1, 5, 40
HISTOGRAM_PERCENT, REQUEST_NS = 2, 1e9 / 127_000  # At the best rate of docs/performance.md.
SWAP_MS, PAUSE_US, ATTACH_US, RING_MILLIONS = 10, 1000, 200, 5


def judge(measured):
    ns = measured["request_ns"]
    each = {name: (ns[f"ten_{name}"] - ns[f"empty_{name}"]) / 9 for name in ("submit", "complete")}
    swaps = measured["swap"]
    goals = [
        goal("hooks: nothing attached, ns over the bare device", ns["nothing"] - ns["bare"], NOTHING_NS, False),
        goal("hooks: one more empty program before a request, ns", each["submit"], EMPTY_NS, False),
        goal("hooks: one more empty program after a request, ns", each["complete"], EMPTY_NS, False),
        goal("hooks: ten more empty programs before a request, ns", 10 * each["submit"], TEN_NS, False),
        goal("hooks: an enabled tracepoint with an empty program, ns", ns["tracepoint_alone"], 2 * EMPTY_NS, False),
        goal("hooks: a latency histogram, % of a request", 100 * (ns["histogram"] - ns["bare"]) / REQUEST_NS,
             HISTOGRAM_PERCENT, False),
        goal("hooks: ms to swap 64 links for 1,000 volumes", swaps["group"]["publish_ms"], SWAP_MS, False),
        goal("hooks: ms to swap 64 links on each of 1,000 volumes", swaps["volumes"]["publish_ms"], SWAP_MS, False)]
    for where, swap in swaps.items():
        goals.append(goal(f"hooks: us a request waits for a swap ({where})",
                          max(0, swap["pause_us"] - swap["pause_us_without"]), PAUSE_US, False))
    goals.append(goal("hooks: us to attach what was compiled before", measured["attach_us"], ATTACH_US, False))
    goals.append(goal("hooks: million records a second to a process", measured["ring_millions_a_second"], RING_MILLIONS,
                      True))
    if measured.get("lttng_ns") is not None:
        goals.append(goal("hooks: a recorded event over LTTng-UST's", measured["lttng_ns"] / ns["tracepoint_record"], 1,
                          True))
    return goals


def lttng_event(program):
    """Nanoseconds of an enabled event; None: LTTng is not here, or does not work here."""
    if not os.path.exists(program):
        return None
    with tempfile.TemporaryDirectory(prefix="lttng-") as folder:
        environment = dict(os.environ, LTTNG_HOME=folder, LTTNG_UST_REGISTER_TIMEOUT="3000")
        daemon = None
        command = lambda *words: subprocess.run(("lttng", *words), env=environment, check=True,  # noqa: E731
                                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30)
        try:
            daemon = subprocess.Popen(("lttng-sessiond", "--no-kernel"), env=environment, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
            wait_for(lambda: command("list"))
            command("create", "coppice-bench", "--output", os.path.join(folder, "trace"))
            command("enable-channel", "--userspace", "--overwrite", "--subbuf-size=4M", "--num-subbuf=4", "events")
            command("enable-event", "--userspace", "--channel=events", "coppice_bench:io_submit")
            command("start")
            text = subprocess.run((program,), env=environment, check=True, stdout=subprocess.PIPE, text=True,
                                  timeout=60).stdout
            command("destroy", "coppice-bench")
            return json.loads(text)
        except (OSError, subprocess.SubprocessError):
            return None
        finally:
            if daemon is not None:
                daemon.terminate()
                daemon.wait()


def wait_for(action, times=50):
    """Until the action does not fail any more."""
    for _ in range(times):
        try:
            return action()
        except subprocess.CalledProcessError:
            subprocess.run(("sleep", "0.1"), check=True)
    return action()


def run(options, say):
    program = os.path.join(options.bin, "coppice-hook-bench")
    objects = os.path.join(options.bin, "..", "bench")
    latency = os.path.join(options.bin, "..", "share", "coppice", "bpf", "latency.bpf.o")
    text = subprocess.run(
        (program, os.path.join(objects, "hooked.bpf.o"), os.path.join(objects, "measured.bpf.o"), latency,
         os.path.join(options.bin, "coppice-jit"), "40" if options.quick else "400"),
        check=True, stdout=subprocess.PIPE, text=True).stdout
    measured = json.loads(text)
    measured["lttng_ns"] = lttng_event(os.path.join(options.bin, "coppice-lttng-bench"))
    ns = measured["request_ns"]
    say("a request to a device that does nothing, ns: " + ", ".join(f"{name} {value:.1f}" for name, value in ns.items()))
    for where, swap in measured["swap"].items():
        say(f"{swap['links']} links ({where}) get another program: drafted in {swap['draft_ms']:.2f} ms, published in "
            f"{swap['publish_ms']:.2f} ms, the old set was gone {swap['settle_ms']:.2f} ms later; the longest gap between "
            f"two requests meanwhile {swap['pause_us']:.0f} us (at worst {swap['pause_us_max']:.0f}; without a swap "
            f"{swap['pause_us_without']:.0f})")
    shown = {name: "-" if value is None else f"{value:.1f} ns" for name, value in (
        ("LTTng-UST", measured["lttng_ns"]), ("the kernel", measured["kernel_empty_ns"]))}
    say(f"a recorded event: {ns['tracepoint_record']:.1f} ns, of LTTng-UST {shown['LTTng-UST']}; an empty program at a "
        f"tracepoint: {ns['tracepoint_alone']:.1f} ns, a test run of the kernel's {shown['the kernel']}")
    return judge(measured)
