#!/usr/bin/env bash
# run.sh TARGET|FOLDER [SECONDS]: runs one libFuzzer program, or all *_fuzz in a folder, some seconds each (5 unless told), from the committed corpus on. What a longer run
# finds new stays in $LEAFCUTTER_FUZZ_CORPUS/NAME when that is set. Ends with an error, and the input that caused it, on a crash, a leak, a hang over 10 s or memory over 1 GiB.
set -uo pipefail
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  echo "usage: run.sh TARGET|FOLDER [SECONDS]" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
seconds=${2:-5}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

run() {
  local target=$1 name found artifacts
  name=$(basename "$target")
  found=${LEAFCUTTER_FUZZ_CORPUS:+$LEAFCUTTER_FUZZ_CORPUS/$name}
  found=${found:-$scratch/$name}
  artifacts=$scratch/$name.artifacts/
  mkdir -p "$found" "$artifacts"
  local corpora=("$found")
  [ ! -d "$here/corpus/$name" ] || corpora+=("$here/corpus/$name")
  if "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -artifact_prefix="$artifacts" "${corpora[@]}" > "$scratch/$name.log" 2>&1; then
    printf '%s: %s\n' "$name" "$(grep -E '^Done ' "$scratch/$name.log" || tail -n 1 "$scratch/$name.log")"
    return 0
  fi
  tail -n 40 "$scratch/$name.log" >&2
  for input in "$artifacts"*; do
    [ -f "$input" ] && { printf '%s: %s, as base64:\n' "$name" "$(basename "$input")"; base64 -w 0 "$input"; echo; } >&2
  done
  return 1
}

if [ -d "$1" ]; then
  failed=0
  for target in "$1"/*_fuzz; do run "$target" || failed=1; done
  exit $failed
fi
run "$1"
