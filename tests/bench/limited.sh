#!/usr/bin/env bash
# limited.sh BYTES -- COMMAND...: runs COMMAND in a memory group of its own with that limit, page cache dropped before; says on stderr what it was charged at most and whether the kernel killed.
# Needs root and a hierarchy that may be written to, cgroup v1 or v2. Ends with the command's status.
set -euo pipefail
limit=$1
shift
[ "$1" = -- ] && shift
if [ -d /sys/fs/cgroup/memory ]; then
  group=/sys/fs/cgroup/memory/leafcutter_$$
  limit_file=memory.limit_in_bytes peak_file=memory.max_usage_in_bytes kill_file=memory.oom_control
else
  group=/sys/fs/cgroup/leafcutter_$$
  limit_file=memory.max peak_file=memory.peak kill_file=memory.events
fi
mkdir "$group"
trap 'sleep 0.3; rmdir "$group"' EXIT
echo "$limit" >"$group/$limit_file"
sync
echo 3 >/proc/sys/vm/drop_caches
status=0
bash -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" "$@" </dev/null || status=$?
echo "status $status, peak $(cat "$group/$peak_file"), $(grep -E '^oom_kill ' "$group/$kill_file")" >&2
exit $status
