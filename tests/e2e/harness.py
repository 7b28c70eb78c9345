"""What every end-to-end test starts from: a daemon in a folder of its own, its command line, and real clients.

COPPICE_BIN names the folder of coppiced and coppice; COPPICE_E2E_FOLDER one for pool files (on a real disk). Sockets live
in a short path of their own, because a Unix socket's name holds 107 bytes.
"""
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

BIN = os.environ.get("COPPICE_BIN", os.path.join(os.path.dirname(__file__), "../../build/release/bin"))
FOLDER = os.environ.get("COPPICE_E2E_FOLDER", "/var/tmp")
READY_SECONDS = 60
COMMAND_SECONDS = 300
STOP_SECONDS = 60
BLOCK = 4096
CLIENT_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"  # The distribution's clients, and its Python for nbdsh.


class Daemon:
    """One coppiced: start, kill, start again with the pools it had."""

    def __init__(self, case):
        self.case = case
        self.folder = tempfile.mkdtemp(prefix="coppice-", dir=FOLDER)
        self.sockets = tempfile.mkdtemp(prefix="cpc-")
        self.control = os.path.join(self.sockets, "ctl")
        self.log_path = os.path.join(self.folder, "coppiced.log")
        self.pools = []
        self.process = None
        self.arguments = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def socket(self, name):
        return os.path.join(self.sockets, name)

    def start(self):
        assert self.process is None
        command = [os.path.join(BIN, "coppiced"), "--socket", self.control, *self.arguments]
        for pool in self.pools:
            command += ["--pool", pool]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_SECONDS
        while self.run("status").returncode != 0:
            if self.process.poll() is not None:
                raise AssertionError(f"coppiced ended with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"coppiced is not ready after {READY_SECONDS} s:\n{self.log()}")
            time.sleep(0.02)

    def stop(self):
        """SIGTERM; the daemon ends by itself, with status 0: sanitizers and leak checks have their say."""
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"coppiced does not end on SIGTERM:\n{self.log()}") from None
        assert status == 0, f"coppiced ended with {status}:\n{self.log()}"

    def kill(self):
        process, self.process = self.process, None
        if process.poll() not in (None, -signal.SIGKILL):
            raise AssertionError(f"coppiced ended by itself with {process.returncode}:\n{self.log()}")
        process.kill()
        process.wait()

    def restart(self):
        self.stop()
        self.start()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()[-20000:]

    def run(self, *arguments, text=None, timeout=COMMAND_SECONDS):
        """`coppice ARGUMENTS`: what came back, whatever it was."""
        return subprocess.run([os.path.join(BIN, "coppice"), *arguments], input=text, capture_output=True, text=True,
                              timeout=timeout, env={**os.environ, "COPPICE_SOCKET": self.control}, check=False)

    def ok(self, *arguments, **options):
        """`coppice ARGUMENTS` that must succeed; its output."""
        done = self.run(*arguments, **options)
        self.case.assertEqual(0, done.returncode, f"coppice {' '.join(arguments)}: {done.stderr}\n{done.stdout}\n"
                                                  f"--- daemon ---\n{self.log()[-4000:]}")
        return done.stdout

    def refused(self, *arguments, **options):
        """`coppice ARGUMENTS` that must be refused in one line on stderr; that line."""
        done = self.run(*arguments, **options)
        shown = f"coppice {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        self.case.assertEqual(1, done.returncode, shown)
        self.case.assertEqual("", done.stdout, shown)
        self.case.assertEqual(1, len(done.stderr.strip().splitlines()), shown)
        return done.stderr.strip()

    def json(self, *arguments):
        return json.loads(self.ok(*arguments, "--json"))

    def rows(self, *arguments):
        """The rows of a table printed with -H: one list of columns a line."""
        return [line.split("\t") for line in self.ok(*arguments).splitlines()]

    def get(self, prop, name):
        """One property's value, exact (-p)."""
        return self.ok("get", "-H", "-p", "-o", "value", prop, name).rstrip("\n")

    def number(self, prop, name):
        return int(self.get(prop, name))

    def names(self, *arguments):
        return [row[0] for row in self.rows("list", "-H", "-o", "name", *arguments)]

    def create_pool(self, name="tank", size="1G"):
        path = self.path(name + ".pool")
        self.ok("pool", "create", name, path, "--size", size)
        self.pools.append(path)
        return path

    def export(self, name, *flags, socket="nbd"):
        """Exports over a Unix socket; the URI for libnbd, qemu and fio alike."""
        self.ok("export", name, "--nbd", f"unix:{self.socket(socket)}", *flags)
        return self.uri(name, socket)

    def uri(self, name, socket="nbd"):
        return f"nbd+unix:///{name}?socket={self.socket(socket)}"

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.sockets, ignore_errors=True)


class EndToEnd(unittest.TestCase):
    """A running daemon with the pool `tank` (a subclass says how large, or None for no pool)."""

    pool_size = "1G"

    def setUp(self):
        self.daemon = Daemon(self)
        self.addCleanup(self.daemon.close)
        self.daemon.start()
        if self.pool_size:
            self.daemon.create_pool("tank", self.pool_size)

    def tearDown(self):
        if self.daemon.process is not None:
            self.daemon.stop()

    def client(self, *command, status=0, timeout=COMMAND_SECONDS, **options):
        """A real client's command, with the exit status it must have; its standard output."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
                              check=False, env={**os.environ, "PATH": CLIENT_PATH}, **options)
        if status is not None:
            self.assertEqual(status, done.returncode, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}\n"
                                                      f"--- daemon ---\n{self.daemon.log()[-4000:]}")
        return done.stdout + (done.stderr if status != 0 else "")

    def volume(self, name="tank/v", size="64M", **options):
        self.daemon.ok("create", name, "-V", size)
        return self.daemon.export(name, **options)


def random_image(path, size, seed, hole_every=4, piece=64 << 10):
    """A file of random data in which every `hole_every`th piece is a hole."""
    source = random.Random(seed)
    with open(path, "wb") as out:
        for index, start in enumerate(range(0, size, piece)):
            if index % hole_every != hole_every - 1:
                out.seek(start)
                out.write(source.randbytes(min(piece, size - start)))
        out.truncate(size)
    return path


def real_tree(limit_bytes):
    """Files every Debian has, up to a size: the licences and the documentation of packages."""
    chosen, total = [], 0
    for top in ("/usr/share/common-licenses", "/usr/share/doc", "/usr/share/perl5", "/usr/include"):
        for folder, subfolders, files in os.walk(top):
            subfolders.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                total += os.path.getsize(path) + BLOCK
                if total > limit_bytes:
                    return chosen
                chosen.append(path)
    return chosen


def ext4_image(path, size_mib, fill_mib, folder):
    """An ext4 file system with real files in it, made without mounting anything."""
    tree = os.path.join(folder, "tree")
    for source in real_tree(fill_mib << 20):
        target = tree + source
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)
    with open(path, "wb") as out:
        out.truncate(size_mib << 20)
    subprocess.run([tool("mkfs.ext4"), "-q", "-F", "-d", tree, path], check=True, stdin=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return path


def tool(name):
    """A program that may stand in an administrator's folder outside PATH."""
    return shutil.which(name, path=CLIENT_PATH) or name


def find_values(document, word, exact=False):
    """All numbers in a JSON document whose key contains `word`, or is it."""
    found = []
    if isinstance(document, dict):
        for key, value in document.items():
            named = word == key if exact else word in key
            if named and isinstance(value, (int, float)) and not isinstance(value, bool):
                found.append(value)
            found += find_values(value, word, exact)
    elif isinstance(document, list):
        for value in document:
            found += find_values(value, word, exact)
    return found
