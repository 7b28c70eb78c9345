#!/usr/bin/python3
"""check_tree.py ROOT: the rules of the tree that no compiler checks.

The module table stands once, in ARCHITECTURE.md: between its rows `| module | what it is | may use |` and the first line
that is no row. A file under src/ belongs to the module its folder names (src/serve/nbd to serve) and may include from
itself and from the closure of what its row names; tests, and headers that only tests reach, also from sim. The link lists of the CMake files
are held to the same table. Prints one line for each violation; exit 1 if there was any.
"""
import os
import re
import sys

MAX_LINES = 800
SOURCES = (".cc", ".h")
TEXTS = SOURCES + (".py", ".sh", ".cmake", ".capnp", ".md", ".txt", ".json")
FOLDERS = ("src", "include", "schema", "programs", "tests", "bench", "scripts", "cmake", "docs", "packaging")
UNFINISHED = re.compile(r"\b(" + "TO" + r"DO|FIX" + "ME|X" + r"XX)\b")
VAGUE_NAMES = ("util", "utils", "common", "misc", "manager", "impl")
TEST_ONLY = "sim"  # Linked by tests alone.
MODULE_OF_LIBRARY = {"nbd": "serve", "ublk": "serve", "vhost": "serve", "helper_lua": "helper",
                     "helper_jit": "helper", "helper_privileges": "helper"}


def read_table(root):
    """The module table of ARCHITECTURE.md as {module: set of modules its row names}."""
    rows, inside = {}, False
    with open(os.path.join(root, "ARCHITECTURE.md"), encoding="utf-8") as document:
        for line in document:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if cells == ["module", "what it is", "may use"]:
                inside = True
            elif inside and not line.startswith("|"):
                break
            elif inside and not set(cells[0]) <= set("-:"):
                rows[cells[0].strip("`")] = set(re.findall(r"[a-z_]+", cells[2]))
    if not rows:
        raise SystemExit("ARCHITECTURE.md: no module table found")
    everything = set(rows) - {TEST_ONLY, "cli", "helper"}
    for module, uses in rows.items():
        if uses == {"all"}:
            rows[module] = everything - {module}
        unknown = rows[module] - set(rows)
        if unknown:
            raise SystemExit(f"ARCHITECTURE.md: {module} may use {sorted(unknown)}: no such module")
    return rows


def closure(rows):
    """What each module may include: its own row and, step by step, the rows of what it names."""
    allowed = {}
    for module in rows:
        reached, front = set(), {module}
        while front:
            reached |= front
            front = set().union(*(rows[name] for name in front)) - reached
        allowed[module] = reached
    return allowed


def included(lines):
    """The quoted includes of a file: [(line number, "module/file.h")]."""
    return [(number, match[1]) for number, line in enumerate(lines, 1)
            if (match := re.match(r'\s*#\s*include\s+"([^"]+)"', line))]


def test_files(sources):
    """Of {path: lines} under src/: the *_test.cc, the testing/*.cc, and the headers that only they reach."""
    def reached_from(front):
        reached = set()
        while front:
            reached |= front
            front = {"src/" + name for path in front for _, name in included(sources[path])}
            front = {path for path in front if path in sources} - reached
        return reached
    tests = {path for path in sources if path.endswith("_test.cc") or re.search(r"/testing/\w+\.cc$", path)}
    production = {path for path in sources if path.endswith(".cc")} - tests
    return reached_from(tests) - reached_from(production)


def check_includes(path, lines, allowed, is_test):
    """Violations of one file under src/: edges to modules that its row does not reach."""
    module = path.split("/")[1]
    if module not in allowed:
        return [f"{path}: ARCHITECTURE.md's table has no module '{module}'"]
    may = allowed[module] | (allowed[TEST_ONLY] if is_test else set())
    found = []
    for number, name in included(lines):
        target = name.split("/")[0]
        if "/" not in name or name.startswith("."):
            found.append(f'{path}:{number}: include as "module/file.h", not "{name}"')
        elif target not in may:
            found.append(f"{path}:{number}: {module} may not include from {target} ({name})")
    return found


def check_links(path, text, allowed):
    """Violations of one src/**/CMakeLists.txt: libraries linked that the table does not allow."""
    found = []
    for name, body in re.findall(r"coppice_module\(\s*(\w+)([^)]*)\)", text):
        module = MODULE_OF_LIBRARY.get(name, name)
        words, section = body.split(), None
        for word in words:
            if word in ("USES", "TEST_USES", "LINKS"):
                section = word
            elif section == "USES" and MODULE_OF_LIBRARY.get(word, word) not in allowed.get(module, ()):
                found.append(f"{path}: {module} may not link {word}")
    return found


def check_text(path, lines):
    found = []
    if len(lines) > MAX_LINES:
        found.append(f"{path}: {len(lines)} lines; a file has at most {MAX_LINES}")
    for number, line in enumerate(lines, 1):
        if UNFINISHED.search(line):
            found.append(f"{path}:{number}: unfinished work is not marked in the tree but done or left out")
    if path.endswith(".h") and "#pragma once" not in (line.strip() for line in lines):
        found.append(f"{path}: a header says #pragma once")
    stem_words = re.split(r"[_.\-]", os.path.basename(path))
    if path.endswith(SOURCES) and set(stem_words) & set(VAGUE_NAMES):
        found.append(f"{path}: the name says nothing about what is inside")
    return found


def check_tree(root):
    allowed = closure(read_table(root))
    found, sources = [], {}
    for top in FOLDERS:
        for folder, subfolders, files in os.walk(os.path.join(root, top)):
            subfolders[:] = sorted(name for name in subfolders if name not in ("corpus", "__pycache__"))
            for name in sorted(files):
                if not name.endswith(TEXTS):
                    continue
                path = os.path.relpath(os.path.join(folder, name), root)
                with open(os.path.join(folder, name), encoding="utf-8") as opened:
                    text = opened.read()
                lines = text.splitlines()
                found += check_text(path, lines)
                if path.startswith("src/") and path.endswith(SOURCES):
                    sources[path] = lines
                if path.startswith("src/") and name == "CMakeLists.txt":
                    found += check_links(path, text, allowed)
    tests = test_files(sources)
    for path, lines in sources.items():
        found += check_includes(path, lines, allowed, path in tests)
    return found


if __name__ == "__main__":
    violations = check_tree(sys.argv[1])
    print("\n".join(violations) if violations else "tree: all rules hold")
    sys.exit(1 if violations else 0)
