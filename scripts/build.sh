#!/bin/bash
# build.sh PRESET JOBS [TARGET...]: configures and builds one preset; quiet while all goes well.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1 jobs=$2
shift 2

log=build/$preset.configure.log
mkdir -p build
if ! cmake --preset "$preset" >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=(all)
started=$SECONDS
export NINJA_STATUS="[$preset %f/%t] "
if [[ -t 1 ]]; then
  ninja -k 0 -C "build/$preset" -j "$jobs" "${targets[@]}"
else
  ninja --quiet -k 0 -C "build/$preset" -j "$jobs" "${targets[@]}"
fi
echo "build/$preset: built in $((SECONDS - started)) s"
