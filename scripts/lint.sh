#!/usr/bin/env bash
# Formatting and lints of the extension and of the test crate; shell scripts must at least parse.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$ROOT/scripts/setup.sh" test
load_pg
cd "$ROOT"
say "cargo fmt --check"
cargo fmt --all --check
say "cargo clippy, all targets of the workspace, warnings are errors"
cargo clippy --workspace --all-targets "${CARGO_FEATURES[@]}" -- -D warnings
say "bash -n over the scripts"
for file in scripts/*.sh scripts/bin/* .ci/run; do bash -n "$file"; done
