#!/usr/bin/env bash
# Builds the extension and lays out the files of a package, at the absolute paths of the server in PG_CONFIG.
# Usage: package.sh [--debug] [--out-dir DIR]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$ROOT/scripts/setup.sh" build
load_pg
profile=() name=release out=
while [ $# -gt 0 ]; do
  case $1 in
    --debug) profile=(--debug) name=debug ;;
    --out-dir) out=$2; shift ;;
    *) die "unknown argument: $1" ;;
  esac
  shift
done
out=${out:-$ROOT/target/package/thorbis_db-pg$PG_MAJOR}
case $out in /*) ;; *) out=$PWD/$out ;; esac

say "building thorbis_db ($name) for PostgreSQL $PG_MAJOR; the first build takes some minutes"
rm -rf "$out"
cd "$ROOT"
cargo pgrx package --pg-config "$PG_CONFIG" --out-dir "$out" "${profile[@]}" "${CARGO_FEATURES[@]}" >&2
say "package tree: $out"
(cd "$out" && find . -type f | sort)
