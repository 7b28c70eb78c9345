"""Runs fio and takes from its JSON the few numbers that a comparison needs."""
import json
import subprocess
import threading
import time


class Sample:
    """One run: operations and bytes a second, and the latencies of one direction, in microseconds."""

    def __init__(self, iops, bytes_per_second, mean_us, p50_us, p99_us, total_bytes):
        self.iops = iops
        self.bytes_per_second = bytes_per_second
        self.mean_us = mean_us
        self.p50_us = p50_us
        self.p99_us = p99_us
        self.total_bytes = total_bytes

    def as_json(self):
        return dict(vars(self))


def parse(text):
    """fio's JSON, perhaps after lines of warnings, as a Sample of the direction that did the work."""
    document = json.loads(text[text.index("{"):])
    job = document["jobs"][0]
    if job.get("error", 0):
        raise RuntimeError(f"fio: error {job['error']}")
    side = max((job["read"], job["write"]), key=lambda direction: direction["io_bytes"])
    completion = side.get("clat_ns", {})
    percentiles = completion.get("percentile", {})
    return Sample(iops=side["iops"], bytes_per_second=side["bw_bytes"], mean_us=completion.get("mean", 0) / 1000,
                  p50_us=percentiles.get("50.000000", 0) / 1000, p99_us=percentiles.get("99.000000", 0) / 1000,
                  total_bytes=side["io_bytes"])


def run(target, pattern, block_size, depth, size, seconds=None, fsync=0, ramp=0, seed=1, extra=()):
    """One fio job on `target`: an NBD URI, or a path read and written with libaio and O_DIRECT."""
    engine = ["--ioengine=nbd", f"--uri={target}"] if target.startswith("nbd") else \
        ["--ioengine=libaio", "--direct=1", f"--filename={target}"]
    command = ["fio", "--name=bench", "--output-format=json", "--group_reporting", *engine, f"--rw={pattern}",
               f"--bs={block_size}", f"--iodepth={depth}", f"--size={size}", f"--randseed={seed}", "--norandommap",
               "--random_generator=tausworthe64", *extra]
    if seconds:
        command += ["--time_based", f"--runtime={seconds}", f"--ramp_time={ramp}"]
    if fsync:
        command.append(f"--fsync={fsync}")
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return parse(done.stdout)


def fill(target, size):
    """Writes all of `target` with data that no compression shortens."""
    run(target, "write", "1M", 8, size, extra=("--refill_buffers", "--end_fsync=1"))


class Busy:
    """4 KiB random writes in the background for as long as the block lasts."""

    def __init__(self, uri, size):
        self.uri, self.size, self.ending = uri, size, False
        self.thread = threading.Thread(target=self.write)

    def write(self):
        while not self.ending:
            run(self.uri, "randwrite", 4096, 8, self.size, 1)

    def __enter__(self):
        self.thread.start()
        time.sleep(0.5)

    def __exit__(self, *_):
        self.ending = True
        self.thread.join()
