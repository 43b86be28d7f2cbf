#!/usr/bin/env bash
# What is claimed about speed, measured side by side by benches/ on a private server, which is deleted afterwards.
# Usage: bench.sh [--quick] [--installed]
#   --quick       a tenth of the data
#   --installed   measures the extension as the server has it, without building and installing it first
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
program=() build=yes
for option in "$@"; do
  case $option in
    --quick) program+=(--quick) ;;
    --installed) build= ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
  esac
done
[ -z "$build" ] || "$ROOT/scripts/install.sh"
load_pg
cd "$ROOT"
say "building the bench"
cargo build --quiet --release -p thorbis-bench

cleanup() { "$ROOT/scripts/cluster.sh" destroy bench; }
trap cleanup EXIT
cleanup
# Client and server share one CPU: to wake a process on another one can take longer than to read a row, and which of the
# two happens would differ between the sessions compared.
pin=()
if command -v taskset >/dev/null 2>&1; then
  cpus=$(taskset -cp $$)
  pin=(taskset -c "${cpus##*[ ,-]}")
fi
# Everything in memory, one process a query, nothing in the background: what is left is the work compared.
server=$("${pin[@]}" "$ROOT/scripts/cluster.sh" start bench auto fsync=off full_page_writes=off wal_level=minimal max_wal_senders=0 \
  max_wal_size=8GB checkpoint_timeout=1h autovacuum=off shared_buffers=1GB jit=off max_parallel_workers_per_gather=0)
while IFS= read -r variable; do export "${variable?}"; done <<<"$server"
"${pin[@]}" cargo run --quiet --release -p thorbis-bench -- "${program[@]}"
