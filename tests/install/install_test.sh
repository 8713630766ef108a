#!/usr/bin/env bash
# Installs into an empty folder, builds programs against what lies there, and runs them. usage: install_test.sh BUILD REFERENCE_CHECKPOINT
set -euo pipefail
build=$1 checkpoint=$2
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cmake --install "$build" --prefix "$folder/prefix" > /dev/null
cmake -S "$here" -B "$folder/build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_PREFIX_PATH="$folder/prefix" ${LEAFCUTTER_INSTALL_TEST_FLAGS:+"-DCMAKE_CXX_FLAGS=$LEAFCUTTER_INSTALL_TEST_FLAGS"} > "$folder/log" || { cat "$folder/log"; exit 1; }
cmake --build "$folder/build" > "$folder/log" || { cat "$folder/log"; exit 1; }

"$folder/prefix/bin/leafcutter" compress "$checkpoint" -o "$folder/model.leaf" --format q8 --quiet
"$folder/build/errors" "$folder/model.leaf"
from_library=$("$folder/build/six_lines" "$folder/model.leaf" 5 6 7)
from_command=$("$folder/prefix/bin/leafcutter" run "$folder/model.leaf" --ids 5,6,7 -n 8 --temp 0 --ignore-eos --ctx-size 64 --json |
  python3 -c 'import json, sys; print(*json.loads(sys.stdin.readlines()[-1])["ids"], sep="\n")')
[ "$from_library" = "$from_command" ] || { echo "the library says $from_library, the command $from_command"; exit 1; }
library=$(find "$folder/prefix" -name libleafcutter.so)
names=$(nm -DC "$library")
grep -q ' T leafcutter::Model::load' <<<"$names" || { echo "the interface cannot be seen in $library"; exit 1; }
if grep -E ' [TW] leafcutter::(kernels|offload|compress|quant)::' <<<"$names"; then echo "inner names can be seen"; exit 1; fi
