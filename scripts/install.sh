#!/usr/bin/env bash
# Builds the extension and copies it into the server of PG_CONFIG. Usage: install.sh [--debug]
# Release is the default everywhere (demo, tests, bench): one build serves all three.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$ROOT/scripts/setup.sh" build
load_pg
stage=$ROOT/target/stage/pg$PG_MAJOR
"$ROOT/scripts/package.sh" --out-dir "$stage" "$@" >/dev/null

copy=()
for dir in "$("$PG_CONFIG" --pkglibdir)" "$("$PG_CONFIG" --sharedir)/extension"; do
  [ -w "$dir" ] && continue
  can_sudo || die "$dir is not writable, and this user is neither root nor has sudo without a password"
  copy=(as_admin)
done

say "installing into $("$PG_CONFIG" --pkglibdir) and $("$PG_CONFIG" --sharedir)/extension"
# install(1) replaces a file instead of writing into it: sessions that run the old library keep it until they end.
while IFS= read -r file; do
  mode=644; case $file in *.so|*.dylib) mode=755 ;; esac
  "${copy[@]}" install -m "$mode" "$stage$file" "$file"
done < <(cd "$stage" && find . -type f | sed 's/^\.//')
