"""The servers that are compared: each serves one volume on a Unix socket of its own and is stopped by its process id."""
import os
import signal
import subprocess
import time

READY_SECONDS = 60


class Server:
    """A running process that listens on a socket; `uri` reaches its volume."""

    name = ""
    filled = True  # Whether the volume is to be fully written before the first measurement.

    def __init__(self, folder, size):
        self.folder = folder
        self.size = size
        self.socket = os.path.join(folder, self.name + ".sock")
        self.uri = f"nbd+unix://?socket={self.socket}"
        self.process = None

    def file(self, suffix):
        return os.path.join(self.folder, f"{self.name}.{suffix}")

    def launch(self, *command):
        with open(self.file("log"), "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_for(self, ready):
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.file("log"), encoding="utf-8", errors="replace") as log:
                    raise RuntimeError(f"{self.name} does not serve:\n{log.read()[-3000:]}")
            time.sleep(0.005)

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
            self.process = None
        if os.path.exists(self.socket):
            os.unlink(self.socket)

    def device_bytes_written(self):
        """Bytes this process caused to be written to storage, as the kernel counts them."""
        with open(f"/proc/{self.process.pid}/io", encoding="ascii") as counters:
            return next(int(line.split()[1]) for line in counters if line.startswith("write_bytes"))

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as counters:
            return int(counters.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class NbdkitFile(Server):
    name = "nbdkit-file"

    def start(self):
        raw = self.file("raw")
        with open(raw, "ab") as out:
            out.truncate(self.size)
        self.launch("nbdkit", "--foreground", "--unix", self.socket, "file", raw)
        self.wait_for(lambda: os.path.exists(self.socket))


class QemuRaw(Server):
    name = "qemu-nbd-raw"

    def start(self):
        raw = self.file("raw")
        with open(raw, "ab") as out:
            out.truncate(self.size)
        self.launch("qemu-nbd", "--persistent", "--format=raw", "--cache=writeback", "--shared=16",
                    f"--socket={self.socket}", raw)
        self.wait_for(lambda: os.path.exists(self.socket))


class QemuQcow2(Server):
    name = "qemu-nbd-qcow2"

    def start(self):
        image = self.file("qcow2")
        if not os.path.exists(image):
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, str(self.size)], check=True)
        self.launch("qemu-nbd", "--persistent", "--format=qcow2", "--cache=writeback", "--shared=16",
                    f"--socket={self.socket}", image)
        self.wait_for(lambda: os.path.exists(self.socket))


class QemuNull(Server):
    name = "qsd-null-co"
    filled = False

    def start(self):
        self.launch("qemu-storage-daemon", "--blockdev",
                    f"driver=null-co,node-name=null,size={self.size},read-zeroes=on", "--nbd-server",
                    f"addr.type=unix,addr.path={self.socket},max-connections=16", "--export",
                    "type=nbd,id=export,node-name=null,name=,writable=on")
        self.wait_for(lambda: os.path.exists(self.socket))


class Coppice(Server):
    name = "coppice"

    def __init__(self, folder, size, binaries, cache_bytes=None, pool_bytes=None):
        super().__init__(folder, size)
        self.binaries = binaries
        self.control = os.path.join(folder, "control.sock")
        self.pool = self.file("pool")
        self.cache_bytes = cache_bytes
        self.pool_bytes = pool_bytes or 4 * size + (1 << 30)
        self.uri = self.uri_of("tank/v")

    def uri_of(self, name):
        return f"nbd+unix:///{name}?socket={self.socket}"

    def command(self, *arguments):
        """`coppice ARGUMENTS`; its output. A refusal is an exception."""
        done = subprocess.run([os.path.join(self.binaries, "coppice"), *arguments], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, check=False,
                              env={**os.environ, "COPPICE_SOCKET": self.control})
        if done.returncode != 0:
            raise RuntimeError(f"coppice {' '.join(arguments)[:300]}: {done.stderr}")
        return done.stdout

    def is_ready(self):
        try:
            self.command("status")
            return True
        except RuntimeError:
            return False

    def start(self):
        command = [os.path.join(self.binaries, "coppiced"), "--socket", self.control]
        if self.cache_bytes:
            command += ["--cache", str(self.cache_bytes)]
        made = os.path.exists(self.pool)
        self.launch(*command, *(["--pool", self.pool] if made else []))
        self.wait_for(self.is_ready)
        if not made:
            self.command("pool", "create", "tank", self.pool, "--size", str(self.pool_bytes))
            if self.size:
                self.command("create", "tank/v", "-V", str(self.size))
                self.export("tank/v")

    def export(self, name):
        self.command("export", name, "--nbd", f"unix:{self.socket}")
        return self.uri_of(name)

    def restart(self, cache_bytes):
        self.stop()
        self.cache_bytes = cache_bytes
        self.start()
