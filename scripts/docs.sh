#!/usr/bin/env bash
# Writes docs/NAME.md: the prose of docs/sql/name.md, then what docs/sql/name.sql prints of a freshly installed database.
# Always PostgreSQL 15: other majors print some objects otherwise.
# Usage: docs.sh [--check] [--installed]
#   --check       change nothing; fail with the difference when a document is not current
#   --installed   take the extension as it is installed, instead of building and installing it first (--check does too)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
check= installed=
for argument in "$@"; do
  case $argument in
    --check) check=yes installed=yes ;;
    --installed) installed=yes ;;
    *) die "unknown argument: $argument" ;;
  esac
done
[ -n "$installed" ] || "$ROOT/scripts/install.sh"
load_pg
cd "$ROOT"

if [ "$PG_MAJOR" != "$DEFAULT_PG" ]; then
  say "the documents show PostgreSQL $DEFAULT_PG, this is $PG_MAJOR: skipped"
  exit 0
fi

work=$(mktemp -d)
cleanup() { rm -rf "$work"; "$ROOT/scripts/cluster.sh" destroy docs; }
trap cleanup EXIT
"$ROOT/scripts/cluster.sh" destroy docs
"$ROOT/scripts/cluster.sh" start docs auto fsync=off >"$work/env"
# shellcheck disable=SC1091
set -a; source "$work/env"; set +a
say "installing into a fresh database"
psql_quiet -d postgres -c 'CREATE DATABASE docs TEMPLATE template0'
psql_quiet -d docs -c 'SET client_min_messages = warning' -c 'CREATE EXTENSION thorbis_db' \
  -c 'SELECT count(*) FROM thorbis.install()' >/dev/null

document() {
  printf '<!-- Written by `make docs` from docs/sql/%s.md, docs/sql/%s.sql and the comments in the database: edit those. -->\n\n' "$1" "$1"
  cat "docs/sql/$1.md"
  psql_quiet -d docs -f "docs/sql/$1.sql"
}

outdated=()
for source_file in docs/sql/*.sql; do
  name=$(basename "$source_file" .sql)
  target=docs/${name^^}.md
  # cat -s: sections may begin and end with an empty line without thinking of their neighbours.
  document "$name" | cat -s >"$work/new.md"
  if [ -n "$check" ]; then
    diff -u "$target" "$work/new.md" >&2 || outdated+=("$target")
  else
    install -m 644 "$work/new.md" "$target"
    note "$target"
  fi
done
[ ${#outdated[@]} -eq 0 ] || die "not current: ${outdated[*]}; 'make docs' writes them"
