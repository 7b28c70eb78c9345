"""What the tests of channel programs share: running one, and looking at the whole catalog."""
import json
import os
import subprocess
import time

import harness

SHIPPED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../programs/lua")


class ProgramCase(harness.EndToEnd):
    """A daemon with the pool `tank`, and programs from texts."""

    def program(self, source, *arguments, flags=(), pool="tank"):
        """Runs a program from standard input, whatever comes of it."""
        return self.daemon.run("program", *flags, pool, "-", *arguments, text=source)

    def value(self, source, *arguments, flags=(), pool="tank"):
        """What a program returns, as Python sees its JSON. It must end well."""
        done = self.program(source, *arguments, flags=("-j", *flags), pool=pool)
        self.assertEqual((0, ""), (done.returncode, done.stderr), f"{source}\n{self.daemon.log()[-2000:]}")
        return json.loads(done.stdout).get("return")

    def fails(self, source, *arguments, flags=(), pool="tank"):
        """The lines on stderr behind the first, of a program that must fail and say so."""
        done = self.program(source, *arguments, flags=flags, pool=pool)
        self.assertEqual((1, ""), (done.returncode, done.stdout), f"{source}\n{done.stderr}")
        lines = done.stderr.splitlines()
        self.assertEqual("Channel program execution failed:", lines[0], done.stderr)
        return lines[1:]

    def shipped(self, name, *arguments, flags=(), pool="tank"):
        done = self.daemon.run("program", "-j", *flags, pool, os.path.join(SHIPPED, name), *arguments)
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        return json.loads(done.stdout)["return"]

    def catalog(self, pool="tank"):
        """Every dataset, snapshot and bookmark with all properties that do not move by themselves, and the holds."""
        moving = {"used", "available", "referenced", "written", "logicalused", "logicalreferenced", "usedbydataset",
                  "usedbysnapshots", "usedbychildren"}
        rows = self.daemon.rows("get", "-H", "-p", "-r", "-t", "all", "-o", "name,property,value,source", "all", pool)
        names = sorted({row[0] for row in rows if "@" in row[0]})
        holds = self.daemon.rows("holds", "-H", *names) if names else []
        return sorted(tuple(row) for row in rows if row[1] not in moving), sorted(map(tuple, holds))

    def history(self, pool="tank"):
        return self.daemon.json("history", pool)

    def background(self, source, *arguments, flags=(), pool="tank"):
        """A program that runs on: its process, once `status` shows it running."""
        process = subprocess.Popen([os.path.join(harness.BIN, "coppice"), "program", *flags, pool, "-", *arguments],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, "COPPICE_SOCKET": self.daemon.control})
        process.stdin.write(source)
        process.stdin.close()
        process.stdin = None  # For communicate().
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        return process

    def programs(self):
        return self.daemon.json("status")["programs"]

    def until(self, condition, seconds=20):
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"not within {seconds} s\n{self.daemon.log()[-2000:]}")
            time.sleep(0.02)

    def running(self, verbs=0):
        """The one program that runs, once it has asked for that many verbs."""
        found = []

        def there():
            found[:] = [each for each in self.programs() if each["state"] == "running" and each["verbs"] >= verbs
                        and each["interpreter_pid"] > 0]
            return found
        self.until(there)
        return found[0]
