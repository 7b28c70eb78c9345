#!/usr/bin/python3
"""The command line: exit codes, one-line errors, columns, JSON, and help that agrees with the manual."""
import json
import os
import re
import socket
import subprocess
import unittest

import harness

MANUAL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/man")
BAD_NAMES = ("", "/", "tank/", "/tank/v", "tank//v", "tank/a@b@c", "tank/é", "tank/" + "x" * 300,
             "tank/..", "tank/a\nb", "tank/%s")
BAD_SIZES = ("0", "-1", "12x", "", "1.5.5G", "99999999999999999999", "4097", "16E")


class CommandLine(harness.EndToEnd):
    def test_usage_errors_exit_2(self):
        for arguments in ((), ("nosuch",), ("create",), ("create", "--nosuch", "tank/v"), ("pool",), ("pool", "nosuch"),
                          ("snapshot",), ("clone", "tank/v@s"), ("rename", "tank/v")):
            with self.subTest(arguments=arguments):
                self.assertEqual(2, self.daemon.run(*arguments).returncode)

    def test_an_unknown_command_is_named(self):
        for words, message in ((("frob",), "there is no command 'coppice frob'"),
                               (("pool", "frob"), "there is no command 'coppice pool frob'"),
                               ((), "a command is missing"), (("pool",), "a command is missing")):
            done = self.daemon.run(*words)
            self.assertEqual(2, done.returncode)
            self.assertIn(message, done.stderr)

    def test_wrong_names_and_sizes_are_refused_in_a_line(self):
        for name in BAD_NAMES:
            with self.subTest(name=name):
                done = self.daemon.run("create", name, "-V", "16M")
                self.assertIn(done.returncode, (1, 2), done.stderr)
                self.assertTrue(done.stderr.strip())
        for size in BAD_SIZES:
            with self.subTest(size=size):
                done = self.daemon.run("create", "tank/v", "-V", size)
                self.assertIn(done.returncode, (1, 2), done.stderr)
                self.assertTrue(done.stderr.strip())
        self.assertEqual(["tank"], self.daemon.names("-r", "tank"))

    def test_what_is_not_there_is_named(self):
        for arguments in (("destroy", "tank/none"), ("snapshot", "tank/none@s"), ("clone", "tank/none@s", "tank/c"),
                          ("promote", "tank/none"), ("rollback", "tank/none@s"), ("rename", "tank/none", "tank/x"),
                          ("resize", "tank/none", "1G"), ("set", "a:b=c", "tank/none"), ("get", "used", "tank/none"),
                          ("list", "tank/none"), ("hold", "tag", "tank/none@s"), ("release", "tag", "tank/none@s"),
                          ("unexport", "tank/none"), ("create", "tank/none/v", "-V", "1G")):
            with self.subTest(arguments=arguments):
                self.assertIn("tank/none", self.daemon.refused(*arguments))
        self.assertIn("nopool", self.daemon.refused("create", "nopool/v", "-V", "1G"))
        self.assertIn("nopool", self.daemon.refused("pool", "status", "nopool"))
        self.assertIn("nopool", self.daemon.refused("history", "nopool"))

    def test_what_exists_is_not_made_again(self):
        self.daemon.ok("create", "tank/v", "-V", "16M")
        self.daemon.ok("snapshot", "tank/v@s")
        self.assertIn("tank/v", self.daemon.refused("create", "tank/v", "-V", "16M"))
        self.assertIn("tank/v@s", self.daemon.refused("snapshot", "tank/v@s"))

    def test_without_a_daemon_the_line_says_what_to_do(self):
        self.daemon.stop()
        line = self.daemon.refused("list")
        self.assertIn(self.daemon.control, line)
        self.assertIn("coppiced", line)
        self.daemon.start()

    def test_the_socket_is_for_its_owner_alone(self):
        self.assertEqual(0o600, os.stat(self.daemon.control).st_mode & 0o777)

    def test_the_socket_option_wins_over_the_environment(self):
        done = subprocess.run([os.path.join(harness.BIN, "coppice"), "--socket", self.daemon.control, "list", "-H", "-o",
                               "name"], env={**os.environ, "COPPICE_SOCKET": "/nowhere"}, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, check=True)
        self.assertEqual("tank\n", done.stdout)

    def test_list_columns_are_the_habitual_ones(self):
        self.daemon.ok("create", "tank/v", "-V", "16M")
        self.assertEqual(["NAME", "USED", "AVAIL", "REFER"], self.daemon.ok("list").splitlines()[0].split()[:4])
        header, row = self.daemon.ok("list", "-o", "name,type,volsize", "tank/v").splitlines()
        self.assertEqual(["NAME", "TYPE", "VOLSIZE"], header.split())
        self.assertEqual(["tank/v", "volume", "16M"], row.split())
        self.assertEqual([["tank/v", str(16 << 20)]],
                         self.daemon.rows("list", "-H", "-p", "-o", "name,volsize", "tank/v"))
        header, row = self.daemon.ok("get", "type", "tank/v").splitlines()
        self.assertEqual(["NAME", "PROPERTY", "VALUE", "SOURCE"], header.split())
        self.assertEqual(["tank/v", "type", "volume", "-"], row.split())
        self.assertIn("NAME", self.daemon.ok("pool", "list").splitlines()[0])

    def test_everything_that_prints_a_table_prints_json(self):
        self.volume("tank/v", "16M")
        self.daemon.ok("snapshot", "tank/v@s")
        self.daemon.ok("hold", "tag", "tank/v@s")
        for arguments in (("list",), ("list", "-r", "-t", "snapshot", "tank"), ("get", "all", "tank/v"),
                          ("pool", "list"), ("pool", "status", "tank"), ("exports",), ("holds", "tank/v@s"),
                          ("history", "tank"), ("status",)):
            with self.subTest(arguments=arguments):
                self.assertIn("tank", json.dumps(self.daemon.json(*arguments)))

    def test_scrub_reads_everything_and_says_so(self):
        self.daemon.ok("pool", "scrub", "-w", "tank")
        self.assertRegex(self.daemon.ok("pool", "status", "tank"), "(?i)scrub")

    def test_a_pool_is_closed_and_opened_again(self):
        self.daemon.ok("create", "tank/v", "-V", "16M")
        self.daemon.ok("pool", "close", "tank")
        self.daemon.refused("list", "tank")
        self.daemon.ok("pool", "open", self.daemon.pools[0])
        self.assertEqual(["tank", "tank/v"], self.daemon.names("-r", "tank"))

    def test_help_of_every_command_exits_0_and_stands_in_the_manual(self):
        with open(os.path.join(MANUAL, "coppice.8"), encoding="utf-8") as manual:
            entries = manual.read().split("\n.It Ic ")
        commands = self.commands(self.daemon.ok("--help"))
        self.assertIn("snapshot", commands)
        commands.remove("pool")
        commands += ["pool " + command for command in self.commands(self.daemon.ok("pool", "--help"))]
        for command in commands:
            entry = "\n".join(each for each in entries if each.startswith(command + " "))
            self.assertTrue(entry, f"coppice.8 does not tell of {command}")
            said = set(re.findall(r"(?:(?:Fl|,|\|) )(-?[A-Za-z][A-Za-z-]*)", entry))
            short = "".join(word for word in said if not word.startswith("-"))
            usage = self.daemon.ok(*command.split(), "--help")
            for flags in re.findall(r"^  (-[^ ]+)", usage, re.M):
                for flag in set(flags.split(",")) - {"-h", "--help", "--socket"}:
                    with self.subTest(command=command, flag=flag):
                        self.assertTrue(flag[1:] in said if flag.startswith("--") else flag[1:] in short)

    def commands(self, usage):
        return re.findall(r"^  ([a-z]+) {2,}", usage, re.M)

    def test_the_daemon_explains_itself(self):
        usage = subprocess.run([os.path.join(harness.BIN, "coppiced"), "--help"], check=True, capture_output=True,
                               text=True, stdin=subprocess.DEVNULL).stdout
        with open(os.path.join(MANUAL, "coppiced.8"), encoding="utf-8") as manual:
            text = manual.read()
        for flag in set(re.findall(r"--([a-z-]+)", usage)):
            self.assertIn(f"Fl -{flag}", text.replace(", -", " Fl -"), flag)

    def test_as_a_service_it_takes_the_socket_it_is_given(self):
        path = self.daemon.socket("given")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()
            command = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" --config /nowhere'
            service = subprocess.Popen(["sh", "-c", command, os.path.join(harness.BIN, "coppiced")], close_fds=False,
                                       preexec_fn=lambda: (os.dup2(listening.fileno(), 3), os.set_inheritable(3, True)),
                                       stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            done = self.daemon.run("--socket", path, "status")  # Waits in the socket's queue until it is served.
            self.assertEqual(0, done.returncode, done.stderr)
        finally:
            service.terminate()
            self.assertEqual(0, service.wait(harness.STOP_SECONDS))
        self.assertTrue(os.path.exists(path), "the socket is systemd's, not the daemon's to remove")

    def test_completion_knows_commands_and_datasets(self):
        self.daemon.ok("create", "tank/volume", "-V", "16M")
        self.assertIn("snapshot", self.daemon.ok("complete", "sna").splitlines())
        self.assertIn("tank/volume", self.daemon.ok("complete", "destroy", "tank/v").splitlines())
        for shell in ("bash", "zsh", "fish"):
            self.assertIn("coppice", self.daemon.ok("completion", shell))


if __name__ == "__main__":
    unittest.main(verbosity=2)
