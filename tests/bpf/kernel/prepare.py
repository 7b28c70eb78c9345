#!/usr/bin/python3
"""prepare.py TARBALL FOLDER: makes what kernel_score reads of the kernel's own verifier tests.

TARBALL is linux-source-6.12.tar.xz of Debian's package of that name. Of it, the self tests of the verifier and the headers
that they need are laid out in FOLDER/linux; nothing of them is kept elsewhere. Then there are, in FOLDER:

  NAME.o       for each progs/NAME.c that has programs of the types that are scored, made by clang
  arrays.txt   the tests that are arrays of instructions in C, written out by array_tests.c

Does nothing if FOLDER was made by this script from this tarball. Exit status 1 and a line on standard error if it cannot be made.
"""
import concurrent.futures
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CLANG = "clang-19"
COMPILER = "gcc-12"
SECTION = re.compile(r'^SEC\("\??(?:socket|tc|tcx|classifier|action|xdp|tracepoint|tp|raw_tp|raw_tracepoint)[/"]', re.M)
# Programs with an expectation in other files than verifier_*.c, as far as they call no kernel functions (kfuncs).
OTHERS = ("async_stack_depth", "jeq_infer_not_null_fail", "tailcall_bpf2bpf_hierarchy2", "tailcall_bpf2bpf_hierarchy3",
          *(f"test_global_func{number}" for number in (1, 2, 3, 4, 5, 6, 7, 17)), "test_global_func_ctx_args")
TESTS = "tools/testing/selftests/bpf"
MEMBERS = (TESTS + "/*.h", TESTS + "/test_verifier.c", TESTS + "/verifier/*", TESTS + "/progs/*",
           "tools/include/*", "tools/lib/bpf/*.h", "tools/arch/x86/include/*", "scripts/bpf_doc.py")
OWN = ("prepare.py", "vmlinux.h", "array_tests.c")


class Unprepared(Exception):
    """Why the tests cannot be made, in a line."""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise Unprepared(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout


def state_of(tarball):
    """What tells a folder that is up to date from one that is not."""
    digest = hashlib.sha256()
    for name in OWN:
        with open(os.path.join(HERE, name), "rb") as source:
            digest.update(source.read())
    status = os.stat(tarball)
    return f"{digest.hexdigest()} {tarball} {status.st_size} {status.st_mtime_ns}\n"


def lay_out(tarball, folder):
    """The sources in folder/linux, and headers that a build of the kernel makes in folder/include."""
    linux = os.path.join(folder, "linux")
    os.makedirs(linux)
    run("tar", "-xJf", tarball, "-C", linux, "--strip-components=1", "--wildcards",
        *("*/" + member for member in MEMBERS))
    headers = os.path.join(folder, "include")
    os.makedirs(os.path.join(headers, "bpf"))
    for header in glob.glob(f"{linux}/tools/lib/bpf/*.h"):
        shutil.copy(header, os.path.join(headers, "bpf"))
    shutil.copy(os.path.join(HERE, "vmlinux.h"), headers)
    with open(os.path.join(headers, "bpf", "bpf_helper_defs.h"), "w", encoding="utf-8") as definitions:
        definitions.write(run(sys.executable, f"{linux}/scripts/bpf_doc.py", "--header", "--file",
                              f"{linux}/tools/include/uapi/linux/bpf.h"))
    return linux, headers


def compile_program(name, folder, linux, headers):
    tests = f"{linux}/{TESTS}"
    run(CLANG, "-target", "bpf", "-mcpu=v4", "-mlittle-endian", "-g", "-O2", "-std=gnu11", "-w", "-fno-strict-aliasing",
        "-D__TARGET_ARCH_x86", f"-I{headers}", f"-I{tests}", f"-I{linux}/tools/include/uapi", f"-I{linux}/tools/include",
        "-idirafter", "/usr/include/x86_64-linux-gnu", "-c", f"{tests}/progs/{name}.c", "-o", f"{folder}/{name}.o")


def write_arrays(folder, linux):
    """arrays.txt: array_tests.c includes the kernel's test_verifier.c, which includes verifier/tests.h."""
    tests = f"{linux}/{TESTS}"
    with open(f"{tests}/verifier/tests.h", "w", encoding="utf-8") as header:
        for path in sorted(glob.glob(f"{tests}/verifier/*.c")):
            name = os.path.basename(path)
            header.write(f'#ifdef FILL_ARRAY\n{{ .descr = "file:{name[:-2]}" }},\n#include "{path}"\n#endif\n')
    # Nothing that it leaves undefined is called. Without position independence an address that is missing is 0.
    run(COMPILER, "-w", "-no-pie", "-D_GNU_SOURCE", f"-I{tests}", f"-I{linux}/tools/include",
        f"-I{linux}/tools/include/uapi", f"-I{linux}/tools/lib", "-Wl,--unresolved-symbols=ignore-all",
        os.path.join(HERE, "array_tests.c"), "-o", f"{folder}/array_tests")
    with open(f"{folder}/arrays.txt", "w", encoding="utf-8") as arrays:
        arrays.write(run(f"{folder}/array_tests"))


def prepare(tarball, folder):
    if not os.path.exists(tarball):
        raise Unprepared(f"{tarball} is missing: scripts/setup.sh check installs the package linux-source-6.12, which has it")
    stamp = os.path.join(folder, "made")
    state = state_of(tarball)
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as made:
            if made.read() == state:
                return
    shutil.rmtree(folder, ignore_errors=True)
    linux, headers = lay_out(tarball, folder)
    names = []
    for path in sorted(glob.glob(f"{linux}/{TESTS}/progs/*.c")):
        name = os.path.basename(path)[:-2]
        with open(path, encoding="utf-8") as source:
            if (name.startswith("verifier_") or name in OTHERS) and SECTION.search(source.read()):
                names.append(name)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda name: compile_program(name, folder, linux, headers), names))
    write_arrays(folder, linux)
    with open(stamp, "w", encoding="utf-8") as made:
        made.write(state)


def main():
    tarball, folder = map(os.path.abspath, sys.argv[1:])
    try:
        prepare(tarball, folder)
    except (Unprepared, OSError) as problem:
        print(f"prepare.py: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
