#!/bin/bash
# setup.sh SET...: installs the Debian 12 packages that building (build), testing (check), the demonstration (demo)
# and the comparison (bench) need. Does nothing, silently, where nothing is missing.
set -euo pipefail

build=(g++-12 clang-19 cmake ninja-build pkg-config liburing-dev libcapnp-dev capnproto libisal-dev nlohmann-json3-dev
  libcli11-dev libfmt-dev libgtest-dev libgmock-dev libbenchmark-dev libsystemd-dev liblua5.4-dev libseccomp-dev
  nettle-dev systemtap-sdt-dev llvm-19-dev)
check=(clang-tidy-19 clang-format-19 lld-19 libclang-rt-19-dev ccache python3 python3-libnbd libnbd-bin
  nbdkit qemu-utils fio e2fsprogs mandoc lua-check linux-source-6.12 xz-utils bpftrace)
demo=(libnbd-bin qemu-utils e2fsprogs python3)
bench=(python3 python3-libnbd libnbd-bin nbdkit qemu-utils qemu-system-common fio lua5.4
  lttng-tools liblttng-ust-dev)

wanted=()
for set in "$@"; do
  case $set in
    build) wanted+=("${build[@]}") ;;
    check) wanted+=("${check[@]}") ;;
    demo) wanted+=("${demo[@]}") ;;
    bench) wanted+=("${bench[@]}") ;;
    *) echo "setup.sh: no such set: $set (build, check, demo, bench)" >&2; exit 2 ;;
  esac
done

declare -A seen=()
missing=()
for package in "${wanted[@]}"; do
  [[ -z ${seen[$package]:-} ]] || continue
  seen[$package]=1
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

install="apt-get install --yes --no-install-recommends ${missing[*]}"
if [[ $EUID -ne 0 ]]; then
  echo "setup.sh: packages are missing; as root run: $install" >&2
  exit 1
fi
echo "installing: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && $install; } >"$log" 2>&1 </dev/null; then
  cat "$log" >&2
  echo "setup.sh: this failed: $install" >&2
  exit 1
fi
