#!/usr/bin/env bash
# Every source file is as clang-format leaves it.
cd "$(dirname "$0")/.." || exit 1
git ls-files -- '*.cpp' '*.h' '*.cu' '*.cuh' | xargs clang-format-14 --dry-run --Werror 2>&1 | head -n 20
exit "${PIPESTATUS[1]}"
