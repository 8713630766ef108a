#!/usr/bin/env bash
# tidy.sh BUILD_FOLDER: clang-tidy (the list and its reasons are in .clang-tidy) over every source file of the library and the tools; warnings are errors.
cd "$(dirname "$0")/.." || exit 1
git ls-files -- 'base/*.cpp' 'kernels/*.cpp' 'quant/*.cpp' 'compress/*.cpp' 'offload/*.cpp' 'runtime/*.cpp' 'tools/*.cpp' |
  xargs -P "$(nproc)" -n 4 clang-tidy-14 -p "$1" --quiet --warnings-as-errors='*' 2>/dev/null | grep -E 'warning|error' | head -n 40
exit $((PIPESTATUS[1] != 0))
