#!/usr/bin/env bash
# Installs what building and running need and this machine lacks; quick when everything is there.
# Usage: setup.sh [build|test]     `test` adds what only the tests use (pgbouncer, clippy, rustfmt).
# Existing database clusters are never touched, none is created, and no service is started.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
purpose=${1:-build}

need_rust() {
  local wanted have
  wanted=$(sed -nE 's/^rust-version = "([^"]+)".*/\1/p' "$ROOT/Cargo.toml" | head -n 1)
  command -v cargo >/dev/null 2>&1 && command -v rustc >/dev/null 2>&1 \
    || die "Rust $wanted or newer is needed and not installed: see https://rustup.rs (no root needed)"
  have=$(rustc --version | awk '{ print $2 }')
  [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ] \
    || die "Rust $wanted or newer is needed, this is $have: run 'rustup update'"
  [ "$purpose" = test ] || return 0
  cargo clippy --version >/dev/null 2>&1 || die "cargo clippy is missing: run 'rustup component add clippy'"
  cargo fmt --version >/dev/null 2>&1 || die "cargo fmt is missing: run 'rustup component add rustfmt'"
}

have_libclang() {
  command -v clang >/dev/null 2>&1 || return 1
  [ -z "${LIBCLANG_PATH:-}" ] || return 0
  compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || compgen -G '/usr/lib*/libclang*.so*' >/dev/null \
    || compgen -G '/usr/lib/*/libclang*.so*' >/dev/null
}

# The server with its headers, for the version asked for.
have_server() {
  find_pg_config && [ -x "$("$PG_CONFIG" --bindir)/initdb" ] && [ -x "$("$PG_CONFIG" --bindir)/postgres" ] \
    && [ -f "$("$PG_CONFIG" --includedir-server)/postgres.h" ]
}

have_cargo_pgrx() { [ "$(cargo pgrx --version 2>/dev/null)" = "cargo-pgrx $CARGO_PGRX_VERSION" ]; }

# Debian's package names of what is missing, found by looking for the thing itself, not for the package.
missing_packages() {
  have_server || printf '%s ' "postgresql-$DEFAULT_PG" "postgresql-server-dev-$DEFAULT_PG" postgresql-contrib
  have_libclang || printf '%s ' libclang-dev clang
  command -v cc >/dev/null 2>&1 || printf '%s ' gcc libc6-dev
  if ! have_cargo_pgrx; then
    command -v pkg-config >/dev/null 2>&1 || printf '%s ' pkg-config
    pkg-config --exists openssl 2>/dev/null || printf '%s ' libssl-dev
  fi
  if [ "$purpose" = test ]; then
    command -v sudo >/dev/null 2>&1 || printf 'sudo '
    [ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null 2>&1 || printf 'pgbouncer '
  fi
}

# apt's PostgreSQL creates and starts a cluster, its pgbouncer a service. Two files, there only during the
# installation, keep both from happening; a policy-rc.d that the machine already has is left as it is.
quiet_install() {
  # Not local: the trap may run after this function is gone.
  cluster_conf=/etc/postgresql-common/createcluster.d/thorbis.conf policy=/usr/sbin/policy-rc.d made=
  trap undo_quiet EXIT
  if [ ! -e "$policy" ]; then
    made=$policy
    printf '#!/bin/sh\nexit 101\n' | as_admin tee "$policy" >/dev/null
    as_admin chmod 755 "$policy"
  fi
  case " $* " in *" postgresql-$DEFAULT_PG "*)
    apt_get install -y --no-install-recommends postgresql-common
    as_admin mkdir -p "$(dirname "$cluster_conf")"
    printf 'create_main_cluster = false\n' | as_admin tee "$cluster_conf" >/dev/null ;;
  esac
  apt_get install -y --no-install-recommends "$@"
  undo_quiet
  trap - EXIT
}

undo_quiet() { as_admin rm -f "$cluster_conf" ${made:+"$made"}; }

apt_get() { as_admin env DEBIAN_FRONTEND=noninteractive apt-get -q "$@" </dev/null >&2; }

install_packages() {
  local packages; read -ra packages <<<"$(missing_packages)"
  [ ${#packages[@]} -gt 0 ] || return 0
  if [ -n "${PG_CONFIG_GIVEN:-}" ] && ! have_server; then
    die "PG_CONFIG=$PG_CONFIG_GIVEN lacks the server or its headers ($("$PG_CONFIG_GIVEN" --includedir-server)/postgres.h)"
  fi
  if ! command -v apt-get >/dev/null 2>&1 || ! can_sudo; then
    die "these are missing, and this user cannot install them here (no apt-get, or neither root nor sudo without a
       password). Install them, then run this again. Debian's names: ${packages[*]}"
  fi
  say "installing from apt: ${packages[*]}"
  apt_get update
  quiet_install "${packages[@]}"
  read -ra packages <<<"$(missing_packages)"
  [ ${#packages[@]} -eq 0 ] || die "still missing after the installation: ${packages[*]}. Another PostgreSQL (15 to 18)
       can be named with PG_CONFIG=/path/to/pg_config"
}

install_cargo_pgrx() {
  have_cargo_pgrx && return 0
  say "installing cargo-pgrx $CARGO_PGRX_VERSION (compiles about five minutes, once)"
  cargo install cargo-pgrx --version "$CARGO_PGRX_VERSION" --locked >&2
}

init_pgrx() {
  local major; find_pg_config; major=$(pg_major_of "$PG_CONFIG")
  [ -z "$(pgrx_configured "$major")" ] || return 0
  say "telling cargo-pgrx about PostgreSQL $major ($PG_CONFIG)"
  # --no-run: no data directory of cargo-pgrx's own is wanted, our clusters are made by scripts/cluster.sh.
  cargo pgrx init "--pg$major" "$PG_CONFIG" --no-run >&2
}

PG_CONFIG_GIVEN=${PG_CONFIG:-}
need_rust
install_packages
install_cargo_pgrx
init_pgrx
load_pg
