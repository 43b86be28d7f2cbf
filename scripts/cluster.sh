#!/usr/bin/env bash
# Private PostgreSQL clusters for the demo, the tests, the docs and the benches: own directory, own port, own socket.
#
#   cluster.sh start NAME [PORT|auto] [SETTING=VALUE ...]       start it (made when absent); prints its PGHOST, PGPORT
#   cluster.sh standby NAME PRIMARY [SETTING=VALUE ...]         start a hot standby of the cluster PRIMARY
#   cluster.sh status NAME                                      print the same when it runs, exit 1 when not
#   cluster.sh stop NAME                                        stop it, keep its data
#   cluster.sh destroy NAME...                                  stop it, delete its data
#
# Starting what runs and stopping what does not are no errors. Clusters live in $THORBIS_RUN_DIR (lib.sh: run_dir).
# Who may connect: the superuser `postgres` only through the socket, whose directory only the server's user and root
# can enter; every other role also at 127.0.0.1, without a password. These are clusters to try and to test with.
#
# Each has a development keyring (keyring.json, one random key) beside its data, made at the first start and deleted with
# it; a standby reads that of its primary. Production keyrings are made otherwise: docs/SECURITY.md.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
load_pg

RUN=$(run_dir)
data_of() { printf '%s' "$RUN/$1/data"; }
env_of()  { printf '%s' "$RUN/$1/env"; }
conf_of() { printf '%s' "$(data_of "$1")/thorbis.conf"; }

check_name() {
  [[ ${1:-} =~ ^[a-z0-9][a-z0-9_-]*$ ]] || die "a cluster's name is made of a-z, 0-9, - and _, not '${1:-}'"
}

running() { as_pg test -f "$(data_of "$1")/PG_VERSION" && as_pg "$PG_BIN/pg_ctl" -D "$(data_of "$1")" status >/dev/null 2>&1; }

# A port nobody listens on: the one asked for or the next free one; `auto`: a random one below the range that the
# kernel gives to outgoing connections.
port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
pick_port() {
  local port
  if [ "$1" = auto ]; then
    for port in $(shuf -i 20000-29999 -n 50); do port_is_free "$port" && { printf '%s' "$port"; return 0; }; done
  else
    for port in $(seq "$1" $(($1 + 50))); do port_is_free "$port" && { printf '%s' "$port"; return 0; }; done
  fi
  die "no free port found from $1 on"
}

# Unix socket paths are limited to 107 bytes: a deep checkout gets a short directory in /tmp for its socket.
socket_dir() {
  local dir=$RUN/$1/socket
  if [ $((${#dir} + 15)) -gt 107 ]; then
    dir=$(as_pg mktemp -d "/tmp/thorbis-socket-XXXXXX")
  else
    as_pg mkdir -p "$dir"
  fi
  as_pg chmod 700 "$dir"
  printf '%s' "$dir"
}

# A standby has none of its own: its settings name that of its primary.
keyring_of() {
  local own=$RUN/$1/keyring.json named=
  as_pg test -e "$own" || named=$(as_pg sed -n "s/^thorbis.keyring_file = '\(.*\)'$/\1/p" "$(conf_of "$1")" 2>/dev/null || true)
  named=${named%%$'\n'*}
  if [ -n "$named" ] && as_pg test -e "$named"; then printf '%s' "$named"; else printf '%s' "$own"; fi
}

# Renamed into its place when it is whole, so that no start that was interrupted leaves half a key.
make_keyring() {
  as_pg test -e "$1" && return 0
  # shellcheck disable=SC2016 # expanded by the shell of the server's user: the key is in nobody's arguments
  as_pg sh -c 'umask 077
    key=$(head -c 32 /dev/urandom | base64 | tr -d "\n")
    printf "{\"active\": \"dev-1\", \"keys\": {\"dev-1\": \"%s\"}}\n" "$key" > "$1.new" && mv "$1.new" "$1"' sh "$1"
}

# The settings of one start: rewritten each time, included at the end of postgresql.conf.
write_settings() {
  local name=$1 port=$2 socket=$3 keyring=$4; shift 4
  {
    printf "listen_addresses = '127.0.0.1'\nport = %s\nunix_socket_directories = '%s'\n" "$port" "$socket"
    printf "shared_buffers = '64MB'\nlogging_collector = off\nlog_line_prefix = '%%m [%%p] %%u@%%d '\n"
    printf "cluster_name = 'thorbis-%s'\ntimezone = 'UTC'\nlog_timezone = 'UTC'\n" "$name"
    printf "thorbis.keyring_file = '%s'\n" "$keyring"
    local setting
    for setting in "$@"; do printf "%s = '%s'\n" "${setting%%=*}" "${setting#*=}"; done
  } | as_pg tee "$(conf_of "$name")" >/dev/null
}

init_data() {
  local data; data=$(data_of "$1")
  as_pg mkdir -p "$RUN/$1"
  as_pg chmod 755 "$RUN/$1"
  say "creating the private cluster '$1' in $RUN/$1"
  as_pg "$PG_BIN/initdb" -D "$data" -U postgres --auth=trust --encoding=UTF8 --no-locale --no-sync >/dev/null
  printf "include 'thorbis.conf'\n" | as_pg tee -a "$data/postgresql.conf" >/dev/null
  as_pg tee "$data/pg_hba.conf" >/dev/null <<'HBA'
local all,replication all                     trust
host  all             postgres 127.0.0.1/32   reject
host  all             all      127.0.0.1/32   trust
HBA
}

launch() {
  local name=$1 wanted=$2 keyring=$3 data log socket port attempt; shift 3
  data=$(data_of "$name") log=$RUN/$name/log socket=$(socket_dir "$name")
  for attempt in 1 2 3; do
    port=$(pick_port "$wanted")
    write_settings "$name" "$port" "$socket" "$keyring" "$@"
    # A clean environment: what the caller happens to have set is not the server's.
    if as_pg env -i PATH="$PATH" ${LD_LIBRARY_PATH:+LD_LIBRARY_PATH="$LD_LIBRARY_PATH"} \
        "$PG_BIN/pg_ctl" -D "$data" -l "$log" -w -t 60 start >/dev/null 2>&1; then
      printf 'PGHOST=%s\nPGPORT=%s\nPGUSER=postgres\n' "$socket" "$port" | as_pg tee "$(env_of "$name")" >/dev/null
      as_pg chmod 644 "$(env_of "$name")"
      return 0
    fi
    # Somebody else may have taken the port since it was picked.
    as_pg grep -q 'could not bind\|could not create any TCP' "$log" || break
  done
  as_pg tail -n 30 "$log" >&2
  die "the cluster '$name' did not start (attempt $attempt); its log is $log"
}

start() {
  local name=$1 port=${2:-auto} version keyring; check_name "$name"
  shift $(($# > 1 ? 2 : 1))
  if running "$name"; then cat "$(env_of "$name")"; return 0; fi
  if as_pg test -f "$(data_of "$name")/PG_VERSION"; then
    version=$(as_pg cat "$(data_of "$name")/PG_VERSION")
    [ "$version" = "$PG_MAJOR" ] || die "the cluster '$name' is of PostgreSQL $version, not $PG_MAJOR:
       scripts/cluster.sh destroy $name deletes it and its data"
  else
    init_data "$name"
  fi
  keyring=$(keyring_of "$name")
  make_keyring "$keyring"
  launch "$name" "$port" "$keyring" "$@"
  cat "$(env_of "$name")"
}

standby() {
  local name=$1 primary=$2 keyring; check_name "$name"; check_name "$primary"; shift 2
  running "$primary" || die "the primary '$primary' does not run"
  if running "$name"; then cat "$(env_of "$name")"; return 0; fi
  # shellcheck disable=SC1090
  (source "$(env_of "$primary")"
   as_pg mkdir -p "$RUN/$name"
   as_pg chmod 755 "$RUN/$name"
   say "copying '$primary' to the standby '$name'"
   as_pg "$PG_BIN/pg_basebackup" -h "$PGHOST" -p "$PGPORT" -U postgres -D "$(data_of "$name")" -R -X stream -c fast)
  keyring=$(keyring_of "$primary")
  launch "$name" auto "$keyring" "$@"
  cat "$(env_of "$name")"
}

stop() {
  check_name "$1"
  if running "$1"; then
    say "stopping the cluster '$1'"
    as_pg "$PG_BIN/pg_ctl" -D "$(data_of "$1")" -m fast -w stop >/dev/null
  fi
}

destroy() {
  local name socket
  for name in "$@"; do
    check_name "$name"
    [ -d "$RUN/$name" ] || continue
    stop "$name"
    socket=$(sed -n 's/^PGHOST=//p' "$(env_of "$name")" 2>/dev/null || true)
    case $socket in /tmp/thorbis-socket-*) as_pg rm -rf "$socket" ;; esac
    as_pg rm -rf "$RUN/$name"
  done
}

verb=${1:-}; shift || true
case $verb in
  # One at a time for each cluster: test programs may ask for the same one at once.
  start|standby|stop)
    check_name "${1:-}"
    exec 9>"$RUN/.$1.lock"; flock 9
    "$verb" "$@" 9>&- ;;
  destroy) destroy "$@" ;;
  status)  check_name "${1:-}"; running "$1" && cat "$(env_of "$1")" ;;
  *) sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
