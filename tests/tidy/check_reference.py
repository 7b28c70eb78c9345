#!/usr/bin/python3
"""check_reference.py [--write] DESCRIBE PAGE: the API reference in the manual is what coppice-describe says; --write makes it so."""
import subprocess
import sys

BEGIN, END = '.\\" BEGIN of what coppice-describe writes\n', '.\\" END of what coppice-describe writes\n'


def main(arguments):
    write = "--write" in arguments
    describe, page = [argument for argument in arguments if not argument.startswith("--")]
    made = subprocess.run([describe, "manual"], capture_output=True, text=True, check=True).stdout
    with open(page, encoding="utf-8") as source:
        text = source.read()
    before, rest = text.split(BEGIN)
    there, after = rest.split(END)
    if there == made:
        return 0
    if not write:
        print(f"{page}: the reference is not that of the verb table; run: check_reference.py --write {describe} {page}")
        return 1
    with open(page, "w", encoding="utf-8") as out:
        out.write(before + BEGIN + made + END + after)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
