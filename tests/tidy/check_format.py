#!/usr/bin/python3
"""check_format.py [--write] ROOT: every C++ file is laid out as .clang-format says; --write makes it so."""
import os
import subprocess
import sys

BATCH = 40  # Files for one clang-format process.


def sources(root):
    for top in ("src", "include", "tests", "bench"):
        for folder, _, files in os.walk(os.path.join(root, top)):
            for name in sorted(files):
                if name.endswith((".cc", ".h")):
                    yield os.path.join(folder, name)


def main(arguments):
    write = "--write" in arguments
    root = [argument for argument in arguments if not argument.startswith("--")][0]
    mode = ["-i"] if write else ["--dry-run", "-Werror", "--ferror-limit=1"]
    files, failed = list(sources(root)), False
    for start in range(0, len(files), BATCH):
        failed |= subprocess.run(["clang-format-19", *mode, *files[start:start + BATCH]], check=False).returncode != 0
    if failed:
        print("run: make format")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
