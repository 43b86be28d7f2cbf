//! What applications ask of stock: `post_stock_movements`, `reserve_stock`, `release_stock_reservation`.

use crate::access::functions as access;
use crate::ledgers::entry::require_positive;
use crate::ledgers::error::LedgerError;
use crate::ledgers::request::{Arguments, Caller, jsonb, numeric_arg, text_arg, time_arg};
use crate::ledgers::stock::{self, Balance, Change};
use crate::pg::error::{SqlError, required};
use crate::pg::fresh::{self, Arg};
use crate::pg::function::guarded;
use crate::v1_function;
use pgrx::{AnyNumeric, pg_sys};
use uuid::Uuid;

v1_function!(
    /// `thorbis.post_stock_movements(lines jsonb, idempotency_key text) -> jsonb`
    thorbis_post_stock_movements, pg_finfo_thorbis_post_stock_movements, |fcinfo| {
    guarded(|| {
        // SAFETY: as the SQL declaration says.
        let args = unsafe { Arguments::of(fcinfo) };
        let lines = required("lines", args.datum(0));
        let caller = Caller::permitted("stock", "move");
        let request = args.request("post_stock_movements", &[pg_sys::JSONBOID]);
        jsonb(&caller.once(args.optional_text(1).as_deref(), &request, || post(&caller, lines)))
    })
});

/// One key of a line that is none of ours is a mistake that would go unnoticed.
const CHECK_LINES: &str = "
    SELECT jsonb_typeof($1) <> 'array' OR coalesce((
        SELECT bool_or(jsonb_typeof(l) <> 'object' OR EXISTS (
                   SELECT FROM jsonb_object_keys(CASE jsonb_typeof(l) WHEN 'object' THEN l ELSE '{}' END) k
                    WHERE k <> ALL (ARRAY['stock_item_id', 'from_location_id', 'to_location_id', 'quantity', 'unit_cost',
                        'reason', 'document', 'document_id', 'stock_reservation_id', 'occurred_at'])))
          FROM jsonb_array_elements(CASE jsonb_typeof($1) WHEN 'array' THEN $1 ELSE '[]' END) l), true)";

/// The balances that the lines touch, in the order in which they are locked. A missing item or place has no balance.
const BALANCES_OF_LINES: &str = "
    SELECT DISTINCT i.id, p.id, p.kind, l.stock_item_id IS NULL OR l.place IS NULL
      FROM (SELECT stock_item_id, unnest(ARRAY[from_location_id, to_location_id]) AS place
              FROM jsonb_to_recordset($2) AS l (stock_item_id uuid, from_location_id uuid, to_location_id uuid)) l
      LEFT JOIN shared.stock_items i ON i.tenant_id = $1 AND i.id = l.stock_item_id
      LEFT JOIN shared.stock_locations p ON p.tenant_id = $1 AND p.id = l.place
     ORDER BY i.id, p.id";

const INSERT_LINES: &str = "
    WITH written AS (
        INSERT INTO shared.stock_movements (tenant_id, stock_item_id, from_location_id, to_location_id, quantity,
            unit_cost, reason, document, document_id, stock_reservation_id, occurred_at, created_by)
        SELECT $1, l.stock_item_id, l.from_location_id, l.to_location_id, l.quantity, l.unit_cost, l.reason, l.document,
               l.document_id, l.stock_reservation_id, l.occurred_at, $3
          FROM jsonb_to_recordset($2) AS l (stock_item_id uuid, from_location_id uuid, to_location_id uuid,
               quantity numeric, unit_cost numeric, reason text, document text, document_id uuid,
               stock_reservation_id uuid, occurred_at timestamptz)
        RETURNING id)
    SELECT jsonb_build_object('movement_ids', jsonb_agg(id))::text FROM written
    HAVING count(*) = jsonb_array_length($2)";

fn post(caller: &Caller, lines: pg_sys::Datum) -> String {
    let (tenant, lines) = (Arg::Uuid(caller.tenant), Arg::Value(pg_sys::JSONBOID, Some(lines)));
    if caller.first(CHECK_LINES, &[lines], |row| row.boolean(1)).flatten() != Some(false) {
        LedgerError::Lines.raise();
    }
    let mut balances = Vec::new();
    fresh::write_returning(caller.owner(), BALANCES_OF_LINES, &[tenant, lines], |row| {
        balances.push((row.uuid(1), row.uuid(2), row.text(3), row.boolean(4) == Some(true)));
    });
    let mut held = Vec::new();
    for (item, location, kind, is_incomplete) in balances {
        match (item, location, kind) {
            _ if is_incomplete => LedgerError::Lines.raise(),
            (None, ..) => LedgerError::Unknown("stock item").raise(),
            (Some(item), Some(location), Some(kind)) => {
                if ["waste", "adjustment"].contains(&kind.as_str()) {
                    access::require("stock", "adjust");
                }
                if stock::has_balance(&kind) {
                    held.push(Balance { owner: caller.owner(), tenant: caller.tenant, item, location });
                }
            }
            _ => LedgerError::Unknown("stock location").raise(),
        }
    }
    if held.len() > 1 {
        held.iter().for_each(Balance::make);
        held.iter().for_each(Balance::lock);
    }
    let actor = Arg::optional_uuid(access::actor());
    caller.text(INSERT_LINES, &[tenant, lines, actor]).unwrap_or_else(|| LedgerError::RowLeftOut.raise())
}

v1_function!(
    /// `thorbis.reserve_stock(stock_item_id uuid, stock_location_id uuid, quantity numeric, expires_at timestamptz,
    /// direction text, document text, document_id uuid, idempotency_key text) -> jsonb`
    thorbis_reserve_stock, pg_finfo_thorbis_reserve_stock, |fcinfo| {
    guarded(|| {
        // SAFETY: as the SQL declaration says.
        let args = unsafe { Arguments::of(fcinfo) };
        let caller = Caller::permitted("stock", "move");
        let types = [pg_sys::UUIDOID, pg_sys::UUIDOID, pg_sys::NUMERICOID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID,
            pg_sys::TEXTOID, pg_sys::UUIDOID];
        let request = args.request("reserve_stock", &types);
        jsonb(&caller.once(args.optional_text(7).as_deref(), &request, || reserve(&caller, args)))
    })
});

const INSERT_RESERVATION: &str = "
    INSERT INTO shared.stock_reservations (tenant_id, stock_item_id, stock_location_id, quantity, expires_at, direction,
        document, document_id, created_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    RETURNING jsonb_build_object('reservation_id', id, 'expires_at', expires_at)::text";

fn reserve(caller: &Caller, args: Arguments) -> String {
    let (item, location) = (args.uuid(0, "stock_item_id"), args.uuid(1, "stock_location_id"));
    let balance = Balance { owner: caller.owner(), tenant: caller.tenant, item, location };
    // As the columns keep it, or the reservation and the balance would differ by what is rounded off.
    let quantity = caller
        .first("SELECT $1::numeric(14,5)", &[numeric_arg(args.numeric(2, "quantity"))], |row| row.numeric(1))
        .flatten()
        .unwrap_or_else(|| LedgerError::NotANumber("the quantity of a reservation").raise());
    require_positive("the quantity of a reservation", &quantity);
    let known = "SELECT 1 FROM shared.stock_items WHERE tenant_id = $1 AND id = $2";
    if caller.first(known, &[Arg::Uuid(caller.tenant), Arg::Uuid(item)], |_| ()).is_none() {
        LedgerError::Unknown("stock item").raise();
    }
    if !stock::has_balance(&stock::kind(caller.owner(), caller.tenant, location)) {
        LedgerError::NoBalance.raise();
    }
    let direction = args.text(4, "direction");
    let change = match direction.as_str() {
        "in" => Change { incoming: quantity.clone(), ..Change::none() },
        _ => Change { reserved: quantity.clone(), ..Change::none() },
    };
    balance.change(&change, None);
    let arguments = [
        Arg::Uuid(caller.tenant),
        Arg::Uuid(item),
        Arg::Uuid(location),
        numeric_arg(quantity),
        time_arg(args.datum(3)),
        Arg::Text(&direction),
        text_arg(args.optional_text(5).as_deref()),
        Arg::optional_uuid(args.optional_uuid(6)),
        Arg::optional_uuid(access::actor()),
    ];
    caller.text(INSERT_RESERVATION, &arguments).expect("the statement returns a row")
}

v1_function!(
    /// `thorbis.release_stock_reservation(stock_reservation_id uuid) -> jsonb`. Done twice it is done once.
    thorbis_release_stock_reservation, pg_finfo_thorbis_release_stock_reservation, |fcinfo| {
    guarded(|| {
        // SAFETY: as the SQL declaration says.
        let args = unsafe { Arguments::of(fcinfo) };
        let caller = Caller::permitted("stock", "move");
        jsonb(&release(&caller, args.uuid(0, "stock_reservation_id")))
    })
});

fn release(caller: &Caller, id: Uuid) -> String {
    let key = [Arg::Uuid(caller.tenant), Arg::Uuid(id)];
    let place =
        "SELECT stock_item_id, stock_location_id FROM shared.stock_reservations WHERE tenant_id = $1 AND id = $2";
    let (item, location) = caller
        .first(place, &key, |row| row.uuid(1).zip(row.uuid(2)))
        .flatten()
        .unwrap_or_else(|| LedgerError::Unknown("stock reservation").raise());
    let balance = Balance { owner: caller.owner(), tenant: caller.tenant, item, location };
    balance.lock();
    let close = "UPDATE shared.stock_reservations SET status = 'released', closed_at = now()
                  WHERE tenant_id = $1 AND id = $2 AND status = 'open'
                  RETURNING direction = 'out', quantity - fulfilled_quantity";
    let closed = caller.first(close, &key, |row| (row.boolean(1) == Some(true), row.numeric(2)));
    if let Some((is_out, Some(rest))) = closed {
        let rest = AnyNumeric::from(0) - rest;
        let change = match is_out {
            true => Change { reserved: rest, ..Change::none() },
            false => Change { incoming: rest, ..Change::none() },
        };
        balance.change(&change, None);
    }
    let state = "SELECT jsonb_build_object('reservation_id', id, 'status', status)::text, status = 'fulfilled'
                   FROM shared.stock_reservations WHERE tenant_id = $1 AND id = $2";
    match caller.first(state, &key, |row| row.text(1).zip(row.boolean(2))).flatten() {
        Some((answer, false)) => answer,
        // Stock that was moved meanwhile cannot be set free.
        Some((_, true)) => LedgerError::ReservationClosed.raise(),
        None => LedgerError::Unknown("stock reservation").raise(),
    }
}
