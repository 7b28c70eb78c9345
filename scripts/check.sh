#!/bin/bash
# check.sh JOBS: builds release (g++) and dev (clang, sanitizers) and runs the tests of both in one ctest run, whose
# last lines are the summary. Any build or test that fails makes it fail.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=$1
started=$SECONDS

scripts/build.sh release "$jobs"
scripts/build.sh dev "$jobs"

mkdir -p build/check
printf 'subdirs("%s" "%s")\n' "$PWD/build/release" "$PWD/build/dev" >build/check/CTestTestfile.cmake
echo "builds done after $((SECONDS - started)) s; running the tests of both"
cd build/check
ctest --parallel "$jobs" --output-on-failure --no-tests=error
