#!/usr/bin/env bash
# The demo: builds and installs the extension, starts a private server, makes two restaurants with a day of orders
# through the application's login, and shows what the protection does. The server stays until `demo.sh stop`.
# Usage: demo.sh [start|stop]      THORBIS_DEMO_PORT is the port to begin looking for a free one at (54329).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
DEMO=$ROOT/scripts/demo
DATABASE=thorbis_demo

ALBA=a1ba0000-0000-4000-8000-000000000001
BOREAL=b0ea0000-0000-4000-8000-000000000001

stop_demo() {
  load_pg
  "$ROOT/scripts/cluster.sh" destroy demo
  say "the demo's server is stopped and its data deleted"
}

as_superuser() { psql_quiet -d "$DATABASE" -U postgres "$@"; }
# The application: over TCP, as from another machine. Errors stop, but for the tour, which shows them.
as_app() { psql_quiet -h 127.0.0.1 -d "$DATABASE" -U demo_app "$@"; }

make_database() {
  say "creating the database $DATABASE, the extension and the schemas"
  psql_quiet -d postgres -U postgres -c 'SET client_min_messages = warning' \
    -c "DROP DATABASE IF EXISTS $DATABASE WITH (FORCE)" -c "CREATE DATABASE $DATABASE TEMPLATE template0"
  # CREATE EXTENSION names the next step to whoever types it; here it follows.
  as_superuser -f "$DEMO/install.sql" 2> >(grep -v NOTICE >&2) >/dev/null
}

# One restaurant: the operator makes the tenant, its owner the business, its servers the orders of the day.
make_restaurant() {
  local name=$1 slug=$2 tenant=$3 timezone=$4 seed=$5 settings
  say "filling $name: users, roles, menu, tables and a day of orders, as the application's login"
  settings=(-v "tenant=$tenant" -v "key=${tenant%%-*}" -v "name=$name" -v "slug=$slug" -v "timezone=$timezone" -v "seed=$seed")
  as_superuser "${settings[@]}" -f "$DEMO/tenant.sql" >/dev/null
  as_app "${settings[@]}" -f "$DEMO/business.sql" >/dev/null
  as_app "${settings[@]}" -f "$DEMO/orders.sql" >/dev/null
}

# A session that stays open while others act: psql behind two pipes. `.` on a line of its own ends an answer.
open_session() { coproc SESSION { as_app -P footer=off 2>&1; }; }
ask() {
  local line
  printf '%s\n\\echo .\n' "$1" >&"${SESSION[1]}"
  while IFS= read -r line <&"${SESSION[0]}" && [ "$line" != . ]; do [ -z "$line" ] || printf '%s\n' "$line"; done
}
close_session() { printf '\\q\n' >&"${SESSION[1]}"; wait "$SESSION_PID" 2>/dev/null || true; }

revocation() {
  local customers="SELECT '   customers she sees: ' || count(*) FROM shared.customers;"
  printf '\n6. A permission taken away ends at once, even in a transaction that is open\n'
  open_session
  printf '   Sofia, a server at Trattoria Alba, begins a transaction:\n'
  ask "BEGIN; SELECT thorbis.set_context('$ALBA', '${ALBA%%-*}-0000-4000-8000-000000000013'); $customers"
  printf '   The owner, in another session, takes customers:read from the role of servers:\n'
  as_app -v "tenant=$ALBA" -v "key=${ALBA%%-*}" -v allow=false -f "$DEMO/permission.sql" >/dev/null
  ask "$customers"
  printf '   and gives it back:\n'
  as_app -v "tenant=$ALBA" -v "key=${ALBA%%-*}" -v allow=true -f "$DEMO/permission.sql" >/dev/null
  ask "$customers COMMIT;"
  close_session
}

verdict() {
  local findings summary
  printf '\n7. The doctor compares the live database with the rules\n'
  findings=$(as_superuser -F ' | ' -c 'SELECT severity, code, object, detail FROM thorbis.doctor()')
  summary="SELECT format('%s errors, %s warnings, %s notices', count(*) FILTER (WHERE severity = 'error'),
                         count(*) FILTER (WHERE severity = 'warning'), count(*) FILTER (WHERE severity = 'notice'))
             FROM thorbis.doctor()"
  printf '   SELECT * FROM thorbis.doctor():  %s\n' "$(as_superuser -c "$summary")"
  [ -z "$findings" ] || printf '%s\n' "$findings" | sed 's/^/   /'
}

how_to_connect() {
  local psql=psql
  command -v psql >/dev/null 2>&1 || psql=$PG_BIN/psql
  cat <<END

The server keeps running. Connect as the application:

   $psql -h 127.0.0.1 -p $PGPORT -U demo_app $DATABASE

and paste, for example:

   BEGIN;
   SELECT thorbis.set_context('$ALBA', '${ALBA%%-*}-0000-4000-8000-000000000011');
   SELECT order_number, order_type, status, total_amount FROM restaurants.orders ORDER BY order_number LIMIT 5;
   SELECT first_name, email, phone FROM shared.customers_pii ORDER BY first_name LIMIT 5;
   COMMIT;

As superuser: $psql -h $PGHOST -p $PGPORT -U postgres $DATABASE
'make demo-stop' stops the server and deletes its data.
END
}

start_demo() {
  "$ROOT/scripts/install.sh"
  load_pg
  local env; env=$("$ROOT/scripts/cluster.sh" start demo "${THORBIS_DEMO_PORT:-54329}")
  PGHOST=$(sed -n 's/^PGHOST=//p' <<<"$env") PGPORT=$(sed -n 's/^PGPORT=//p' <<<"$env")
  export PGHOST PGPORT
  make_database
  make_restaurant 'Trattoria Alba' trattoria-alba "$ALBA" Europe/Rome 1
  make_restaurant 'Bistro Boreal' bistro-boreal "$BOREAL" America/Toronto 2
  as_superuser -c ANALYZE
  # The tour's errors are what it is about.
  as_app -v ON_ERROR_STOP=0 -v "alba=$ALBA" -v "boreal=$BOREAL" -f "$DEMO/tour.sql" 2>&1 \
    | sed -E -e 's/^psql:[^ ]* /  /' -e '/^([0-9]+\. |$)/!s/^/   /'
  revocation
  verdict
  how_to_connect
}

case ${1:-start} in
  start) start_demo ;;
  stop)  stop_demo ;;
  *)     die "usage: demo.sh [start|stop]" ;;
esac
