# Sourced by every script: where things are, which server is meant, who runs it, how to say what is going on.
# Messages go to stderr, so that stdout stays for what a caller reads.
# shellcheck shell=bash
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# A server inherits the environment of what starts it: with RUST_BACKTRACE set, errors carry a backtrace in DETAIL to
# the client. The libpq variables of the caller would send our clients to another server.
unset RUST_BACKTRACE RUST_LIB_BACKTRACE
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGDATA PGOPTIONS PGSERVICE PGSERVICEFILE PGPASSWORD PGPASSFILE \
      PGSSLMODE PGAPPNAME PGCLIENTENCODING PGTZ PGDATESTYLE PGCONNECT_TIMEOUT

CARGO_PGRX_VERSION=0.18.1
DEFAULT_PG=15

say()  { printf '==> %s\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
die()  { printf 'error: %s\n' "$*" >&2; exit 1; }

is_root()  { [ "$(id -u)" = 0 ]; }
# Commands for the system's own files: root as it is, else sudo without a password, else nothing.
can_sudo() { is_root || { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; }; }
as_admin() { if is_root; then "$@"; else sudo -n "$@"; fi; }

# PostgreSQL refuses to run as root: then its programs run as this user (apt's packages make it).
PG_OS_USER=${THORBIS_OS_USER:-postgres}

# Runs a server program as the user that may run it. `cd /` because that user may not be able to enter the current
# directory, and pg_ctl and initdb give up when they cannot come back to where they were started.
as_pg() {
  if is_root; then (cd / && runuser -u "$PG_OS_USER" -- "$@"); else (cd / && "$@"); fi
}

# The pg_config of the server that is meant: PG_CONFIG, else Debian's place for the default version, else the PATH.
find_pg_config() {
  if [ -n "${PG_CONFIG:-}" ]; then
    command -v "$PG_CONFIG" >/dev/null 2>&1 || die "PG_CONFIG=$PG_CONFIG is not a program"
    return 0
  fi
  local candidate
  for candidate in "/usr/lib/postgresql/$DEFAULT_PG/bin/pg_config" "$(command -v pg_config || true)"; do
    [ -n "$candidate" ] && [ -x "$candidate" ] || continue
    case $(pg_major_of "$candidate") in 15|16|17|18) PG_CONFIG=$candidate; return 0 ;; esac
  done
  return 1
}

pg_major_of() { "$1" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/'; }

# Sets PG_CONFIG, PG_MAJOR, PG_BIN and CARGO_FEATURES, for scripts that run after setup.sh.
load_pg() {
  find_pg_config || die "no pg_config found: run scripts/setup.sh, or name one with PG_CONFIG=/path/to/pg_config"
  PG_MAJOR=$(pg_major_of "$PG_CONFIG")
  case $PG_MAJOR in 15|16|17|18) ;; *) die "$PG_CONFIG is of PostgreSQL $PG_MAJOR; 15 to 18 are supported" ;; esac
  PG_BIN=$("$PG_CONFIG" --bindir)
  export PG_CONFIG PG_MAJOR PG_BIN
  # The default version needs no feature flags, so it shares its build with a plain `cargo build`.
  CARGO_FEATURES=()
  [ "$PG_MAJOR" = "$DEFAULT_PG" ] || CARGO_FEATURES=(--no-default-features --features "pg$PG_MAJOR")
  use_pg_config_in_pgrx
}

pgrx_home() { printf '%s' "${PGRX_HOME:-$HOME/.pgrx}"; }

# The pg_config that cargo-pgrx's own configuration has for a major version, or nothing.
pgrx_configured() {
  local file; file=$(pgrx_home)/config.toml
  [ -f "$file" ] && sed -nE "s/^[[:space:]]*pg$1[[:space:]]*=[[:space:]]*[\"']([^\"']+)[\"'].*/\1/p" "$file" || true
}

# A PG_CONFIG other than the configured one of its version is for this run only: the user's configuration stays.
use_pg_config_in_pgrx() {
  local configured; configured=$(pgrx_configured "$PG_MAJOR")
  if [ -n "$configured" ] && [ -x "$configured" ] && [ "$("$configured" --bindir)" = "$PG_BIN" ]; then
    unset PGRX_PG_CONFIG_PATH
  elif [ -n "$configured" ]; then
    export PGRX_PG_CONFIG_PATH=$PG_CONFIG
  fi
}

# Where private clusters live: THORBIS_RUN_DIR, else target/clusters. As root the server's user must be able to get
# there; a checkout below a directory closed to that user (/root, say) has its clusters in /var/tmp instead.
run_dir() {
  local dir
  for dir in "${THORBIS_RUN_DIR:-$ROOT/target/clusters}" "/var/tmp/thorbis-$(id -u)"; do
    mkdir -p "$dir" 2>/dev/null || continue
    # Somebody else's directory of that name (in /var/tmp, say) is not ours to use.
    if is_root; then
      case $(stat -c %U "$dir") in root|"$PG_OS_USER") ;; *) die "$dir belongs to another user" ;; esac
      chown "$PG_OS_USER" "$dir" && chmod 755 "$dir"
    else
      [ -O "$dir" ] || die "$dir belongs to another user"
    fi
    if as_pg test -w "$dir" 2>/dev/null; then printf '%s' "$dir"; return 0; fi
    [ -z "${THORBIS_RUN_DIR:-}" ] || die "the user $PG_OS_USER cannot use THORBIS_RUN_DIR=$THORBIS_RUN_DIR"
  done
  die "found no directory that the user $PG_OS_USER can use: set THORBIS_RUN_DIR"
}

# psql as every script uses it: no personal start-up file, stop at the first error.
psql_quiet() { "$PG_BIN/psql" -X -v ON_ERROR_STOP=1 -qAt "$@"; }
