#!/bin/bash
# soak.sh JOBS: what is too long for `make check`: the thread sanitizer, an hour of simulation, long fuzzing.
# COPPICE_SOAK_SECONDS (default 600) is the time given to each fuzz target and to the simulation.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=$1
seconds=${COPPICE_SOAK_SECONDS:-600}

scripts/build.sh tsan "$jobs"
ctest --test-dir build/tsan --parallel "$jobs" --output-on-failure --no-tests=error

scripts/build.sh fuzz "$jobs"
for target in build/fuzz/bin/*_fuzz; do
  name=$(basename "$target" _fuzz)
  corpus=build/fuzz/corpus/$name
  mkdir -p "$corpus"
  echo "fuzzing $name for $seconds s"
  "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix=build/fuzz/"$name"- "$corpus" tests/fuzz/corpus/"$name" 2>build/fuzz/"$name".log ||
    { tail -n 60 build/fuzz/"$name".log >&2; exit 1; }
done

echo "simulating for $seconds s"
first=$((RANDOM * 32768 + RANDOM))
deadline=$((SECONDS + seconds))
while ((SECONDS < deadline)); do
  build/release/bin/coppice-sim --seed "$first" --histories 1000
  first=$((first + 1000))
done
echo "soak: all passed"
