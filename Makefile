# `make` builds; `make check` proves; `make demo` shows. The build itself is CMake's (CMakePresets.json).
#
#   make            the release build: binaries in build/release/bin
#   make check      unit, simulation, end-to-end and short fuzz tests; g++ release and clang sanitizer builds
#   make demo       the main job on a real image, every command printed
#   make soak       check, then the thread sanitizer, long fuzzing and long simulation
#   make bench      the comparison with other NBD servers; BENCH="--quick" for a short one
#   make install    binaries, man pages, units and completion; PREFIX=/usr/local, DESTDIR=
#   make format     lays every source file out with clang-format
#   make lint       clang-tidy over every source file
#   make setup      installs what the build and the tests need (Debian 12, as root)

PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
BENCH ?=

.PHONY: all setup check demo soak bench install format lint clean

all:
	@scripts/setup.sh build
	@scripts/build.sh release $(JOBS)

setup:
	@scripts/setup.sh build check demo bench

check:
	@scripts/setup.sh build check
	@scripts/check.sh $(JOBS)

demo:
	@scripts/setup.sh build demo
	@scripts/build.sh release $(JOBS) coppiced coppice
	@scripts/demo.sh build/release/bin

soak:
	@scripts/setup.sh build check
	@scripts/check.sh $(JOBS)
	@scripts/soak.sh $(JOBS)

bench:
	@scripts/setup.sh build bench
	@scripts/build.sh release $(JOBS) coppiced coppice coppice-bpf-engines coppice-hook-bench
	@/usr/bin/python3 bench/run.py --bin build/release/bin $(BENCH)

install:
	@scripts/setup.sh build
	@scripts/build.sh release $(JOBS) coppiced coppice completions
	@DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(PREFIX)"

format:
	@scripts/setup.sh check
	@/usr/bin/python3 tests/tidy/check_format.py --write .

lint:
	@scripts/setup.sh build check
	@scripts/lint.sh $(JOBS)

clean:
	rm -rf build
