#!/usr/bin/python3
"""check_hook_reference.py [--write] ROOT: docs/reference-hooks.md is what the headers for programs and the list of tracepoints say.

The comments in include/coppice/bpf/{hooks,views}.h and src/trace/points.h are the reference's only source. --write
makes the page from them; without it, exit 1 if the page says anything else.
"""
import os
import re
import sys

PAGE = "docs/reference-hooks.md"
HEAD = """# Reference: hooks, views and tracepoints

What eBPF programs are given and what they may answer. Made from the comments of `coppice/bpf/hooks.h`, `coppice/bpf/views.h` and
`trace/points.h` by `tests/tidy/check_hook_reference.py --write .`; how to write, load and attach programs is told in [hooks.md](hooks.md).
"""


class Entry:
    """A declaration with what is said of it."""
    def __init__(self, text, comment):
        self.text, self.comment = text, comment


def blocks(path):
    """Top-level blocks of a header: [(comment, first line, [Entry within])], in order."""
    found, comment, inside, column, pending = [], [], None, None, []
    with open(path, encoding="utf-8") as source:
        lines = source.read().splitlines()
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("//"):
            if inside is not None and column == line.index("//") and inside[2] and not pending:
                inside[2][-1].comment += " " + stripped[2:].strip()  # What stood behind the last field goes on.
            else:
                (comment if inside is None else pending).append(stripped[2:].strip())
            continue
        if inside is None and re.match(r"(struct|enum)\b.*\{$", stripped):
            inside, pending, column = (" ".join(comment), stripped[:-1].strip(), []), [], None
        elif inside is not None and stripped == "};":
            found.append(inside)
            inside = None
        elif inside is not None and stripped:
            text, _, behind = stripped.partition("//")
            column = line.index("//") if behind else None
            inside[2].append(Entry(text.strip(), " ".join(pending + ([behind.strip()] if behind else []))))
            pending = []
        if inside is None or stripped:
            comment = []
    return found


def helpers(path):
    """Of hooks.h: [(name, number, prototype, comment)] of helpers."""
    with open(path, encoding="utf-8") as source:
        text = source.read()
    found = []
    for match in re.finditer(r"((?://[^\n]*\n)+)static (\w+)\s*(\**)\(\*const (\w+)\)\(([^;]*?)\)\s*=\s*\(void\*\)(0x\w+);", text):
        comment = " ".join(line[2:].strip() for line in match[1].splitlines())
        arguments = re.sub(r"\s+", " ", match[5])
        found.append((match[4], match[6], f"{match[2]}{match[3]} {match[4]}({arguments})", comment))
    return found


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def paragraphs(path):
    """The comment at the head of a header, without its first sentence of what the file is; code stays as it is."""
    lines = []
    with open(path, encoding="utf-8") as source:
        for line in source:
            if not line.startswith("//"):
                break
            lines.append(line[2:].rstrip("\n"))
    body = "\n".join(lines).split("\n\n", 1)[1]
    out = []
    for part in body.split("\n\n"):
        if any(line.startswith("   ") for line in part.splitlines()):
            out.append("\n".join("   " + line for line in part.splitlines()))
        else:
            out.append(" ".join(line.strip() for line in part.splitlines()))
    return "\n\n".join(out) + "\n"


def field_table(entries):
    rows = ["| field | type | | meaning |", "|---|---|---|---|"]
    for entry in entries:
        match = re.match(r"(?:const )?(?P<type>\w+\*?) (?P<name>\w+)(?P<array>\[\w+\])?(?P<marks>(?: COPPICE_\w+)*);", entry.text)
        marks = [mark.removeprefix("COPPICE_").lower() for mark in match["marks"].split()]
        kind = match["type"].lstrip("_") + (match["array"] or "")
        note = ", ".join(mark.replace("_", " ") for mark in marks)
        rows.append(f"| `{match['name']}` | {kind} | {note} | {cell(entry.comment)} |")
    return "\n".join(rows) + "\n"


def enumerator_table(entries):
    rows = ["| name | number | meaning |", "|---|---|---|"]
    for entry in entries:
        match = re.match(r"(\w+) = ([^,]+),?", entry.text)
        rows.append(f"| `{match[1]}` | {match[2]} | {cell(entry.comment)} |")
    return "\n".join(rows) + "\n"


def section(title, comment, table):
    text = f"### {title}\n\n"
    return text + (f"{comment}\n\n" if comment else "") + table


def structure_section(comment, name, entries):
    first = name.split()[1]
    head = re.match(r"([a-z.]+): (.*)", comment)
    title = f"`{head[1]}`: struct {first}" if head else f"struct {first}"
    body = head[2][0].upper() + head[2][1:] if head else comment
    return section(title, body, field_table(entries))


def internal_points(path):
    """[(name, arguments, meaning)] of the internal tracepoints."""
    with open(path, encoding="utf-8") as source:
        text = re.sub(r"\\\n", " ", source.read())
    return re.findall(r'INTERNAL\((\w+), \d+, "([^"]*)",\s*"([^"]*)"\)', text)


def stable_points(path):
    with open(path, encoding="utf-8") as source:
        return re.findall(r"\bSTABLE\((\w+)\)\s*\\?\n", source.read())


def make_page(root):
    include = os.path.join(root, "include/coppice/bpf")
    hooks, views = blocks(include + "/hooks.h"), blocks(include + "/views.h")
    points = os.path.join(root, "src/trace/points.h")
    structures = {name.split()[1].removeprefix("coppice_"): (comment, name, entries)
                  for comment, name, entries in views if name.startswith("struct")}
    stable = stable_points(points)
    if sorted(stable) != sorted(structures):
        raise SystemExit(f"views.h and points.h differ in: {sorted(set(stable) ^ set(structures))}")
    parts = [HEAD, "## Hooks\n", paragraphs(include + "/hooks.h")]
    parts += [structure_section(*block) for block in hooks if block[1].startswith("struct")]
    parts += ["## Numbers\n"]
    parts += [section(name.removeprefix("enum "), comment, enumerator_table(entries))
              for comment, name, entries in hooks + views if name.startswith("enum ")]
    parts += ["## Helpers\n\nBeyond the core helpers of `coppice/bpf/types.h`.\n"]
    parts += [section(f"{name} ({number})", f"`{prototype}`", comment + "\n")
              for name, number, prototype, comment in helpers(include + "/hooks.h")]
    parts += ["## Stable tracepoints\n", paragraphs(include + "/views.h")]
    for name in stable:
        comment, _, entries = structures[name]
        parts.append(section(f"`tracepoint/{name}`: struct coppice_{name}", comment, field_table(entries)))
    parts += ["## Internal tracepoints\n\nThey may change with any build. The context of `tracepoint/NAME` is its arguments, 8 bytes each; those with a star are\n"
              "addresses of live structures, which the BTF that the daemon serves describes (`coppice trace --btf`).\n"]
    rows = ["| tracepoint | arguments | meaning |", "|---|---|---|"]
    rows += [f"| `{name}` | {cell(arguments)} | {cell(meaning)} |" for name, arguments, meaning in internal_points(points)]
    parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def main(arguments):
    root = [argument for argument in arguments if not argument.startswith("--")][0]
    path = os.path.join(root, PAGE)
    made = make_page(root)
    if "--write" in arguments:
        with open(path, "w", encoding="utf-8") as page:
            page.write(made)
        return 0
    with open(path, encoding="utf-8") as page:
        if page.read() == made:
            return 0
    print(f"{PAGE} is not what the headers say; run: tests/tidy/check_hook_reference.py --write .")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
