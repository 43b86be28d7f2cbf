#!/usr/bin/env bash
# Everything that is tested, in order; stops at the first part that fails.
# Usage: test.sh [PART ...]   parts: lint versions unit install real docs (all of them by default)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

passed=0 current=
# Always says how far it got, and leaves no server behind.
finish() {
  local status=$?
  trap - EXIT
  stop_test_clusters
  if [ "$status" -eq 0 ]; then
    printf '%d passed, 0 failed\n' "$passed"
  else
    printf 'failed: %s\n%d passed, 1 failed\n' "${current:-setup}" "$passed"
  fi
  exit "$status"
}
trap finish EXIT

stop_test_clusters() {
  local dir names=()
  [ -n "${PG_BIN:-}" ] || return 0
  for dir in "$(run_dir)"/test "$(run_dir)"/test-* "$(run_dir)"/docs; do
    [ -d "$dir" ] && names+=("$(basename "$dir")")
  done
  [ ${#names[@]} -eq 0 ] || "$ROOT/scripts/cluster.sh" destroy "${names[@]}"
}

part() {
  local started=$SECONDS
  current=$1
  say "part: $1"
  "part_$1"
  passed=$((passed + 1))
  say "part $1 passed in $((SECONDS - started)) s"
}

part_lint() { "$ROOT/scripts/lint.sh"; }

# The other majors compile too. That needs no server of theirs: pgrx ships bindings for each.
part_versions() {
  local major
  for major in 15 16 17 18; do
    [ "$major" != "$PG_MAJOR" ] || continue
    say "cargo check for PostgreSQL $major"
    DOCS_RS=1 RUSTC_WRAPPER="$ROOT/scripts/bin/rustc-with-bundled-bindings" CARGO_TARGET_DIR="$ROOT/target/bindings" \
      cargo check --no-default-features --features "pg$major"
  done
}

# Pure Rust and in-database tests: cargo-pgrx makes a cluster of its own for them. The checker of proofs needs none.
part_unit() {
  local run options=() data
  cargo test -p thorbis-check-proof
  run=$(run_dir)
  data=$run/pgrx
  as_pg mkdir -p "$data"
  if is_root; then
    options=(--runas "$PG_OS_USER")
  elif [ ! -w "$("$PG_CONFIG" --pkglibdir)" ] || [ ! -w "$("$PG_CONFIG" --sharedir)/extension" ]; then
    # With --runas cargo-pgrx copies the extension by sudo: here to become oneself, and root for the copy.
    options=(--runas "$(id -un)")
  fi
  PATH="$ROOT/scripts/bin:$PATH" cargo pgrx test "pg$PG_MAJOR" --pgdata "$data" "${options[@]}" "${CARGO_FEATURES[@]:0:1}"
  as_pg rm -rf "$data"
}

part_install() { "$ROOT/scripts/install.sh"; }

# Real connections: a cluster of its own, made new so that nothing of an earlier build is in it.
part_real() {
  stop_test_clusters
  cargo test -p thorbis-tests
}

part_docs() { "$ROOT/scripts/docs.sh" --check; }

"$ROOT/scripts/setup.sh" test
load_pg
cd "$ROOT"
[ $# -gt 0 ] || set -- lint versions unit install real docs
for name in "$@"; do
  declare -F "part_$name" >/dev/null || die "no such part: $name"
  part "$name"
done
