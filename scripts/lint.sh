#!/bin/bash
# lint.sh JOBS: clang-tidy (.clang-tidy) over every source file, with the dev build's compile commands.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh dev "$1"
find src tests -name '*.cc' -print0 |
  xargs -0 -n 4 -P "$1" clang-tidy-19 -p build/dev --quiet --warnings-as-errors='*'
