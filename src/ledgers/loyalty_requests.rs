//! What applications ask of loyalty accounts: opening one, earning, spending, taking back.

use crate::access::functions as access;
use crate::ledgers::error::LedgerError;
use crate::ledgers::loyalty::{self, RESOURCE};
use crate::ledgers::request::{Arguments, Caller, jsonb, text_arg};
use crate::pg::error::SqlError;
use crate::pg::fresh::Arg;
use crate::pg::function::guarded;
use crate::v1_function;
use pgrx::pg_sys;
use uuid::Uuid;

v1_function!(
    /// `thorbis.open_loyalty_account(customer_id uuid, loyalty_program_id uuid) -> jsonb`
    thorbis_open_loyalty_account, pg_finfo_thorbis_open_loyalty_account, |fcinfo| {
    guarded(|| {
        // SAFETY: as the SQL declaration says.
        let args = unsafe { Arguments::of(fcinfo) };
        let caller = Caller::permitted(RESOURCE, "create");
        jsonb(&open(&caller, args.uuid(0, "customer_id"), args.uuid(1, "loyalty_program_id")))
    })
});

fn open(caller: &Caller, customer: Uuid, program: Uuid) -> String {
    let (tenant, customer, program) = (Arg::Uuid(caller.tenant), Arg::Uuid(customer), Arg::Uuid(program));
    let customers = "SELECT 1 FROM shared.customers WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL";
    if caller.first(customers, &[tenant, customer], |_| ()).is_none() {
        LedgerError::Unknown("customer").raise();
    }
    let programs = "SELECT 1 FROM shared.loyalty_programs WHERE tenant_id = $1 AND id = $2";
    if caller.first(programs, &[tenant, program], |_| ()).is_none() {
        LedgerError::Unknown("loyalty program").raise();
    }
    let find = "SELECT jsonb_build_object('loyalty_account_id', id)::text FROM shared.loyalty_accounts
                 WHERE tenant_id = $1 AND customer_id = $2 AND loyalty_program_id = $3";
    caller.text(find, &[tenant, customer, program]).unwrap_or_else(|| {
        let make = "INSERT INTO shared.loyalty_accounts (tenant_id, customer_id, loyalty_program_id, created_by)
                    VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id, customer_id, loyalty_program_id) DO NOTHING";
        caller.write(make, &[tenant, customer, program, Arg::optional_uuid(access::actor())]);
        caller.text(find, &[tenant, customer, program]).unwrap_or_else(|| LedgerError::KeyGone.raise())
    })
}

v1_function!(
    /// `thorbis.record_loyalty_entry(type text, loyalty_account_id uuid, points bigint, reason text, document text,
    /// document_id uuid, idempotency_key text) -> jsonb`. Points are above zero, for ADJUST what is added.
    thorbis_record_loyalty_entry, pg_finfo_thorbis_record_loyalty_entry, |fcinfo| {
    guarded(|| {
        // SAFETY: as the SQL declaration says.
        let args = unsafe { Arguments::of(fcinfo) };
        let kind = args.text(0, "type");
        let Some(action) = loyalty::action(&kind) else { LedgerError::EngineOnly(kind).raise() };
        let caller = Caller::permitted(RESOURCE, action);
        let types = [pg_sys::TEXTOID, pg_sys::UUIDOID, pg_sys::INT8OID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::UUIDOID];
        let request = args.request("record_loyalty_entry", &types);
        jsonb(&caller.once(args.optional_text(6).as_deref(), &request, || record(&caller, &kind, args)))
    })
});

const INSERT_ENTRY: &str = "
    INSERT INTO shared.loyalty_entries (tenant_id, loyalty_account_id, type, points, reason, document, document_id,
        created_by, reversed_entry_id, shortfall)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    RETURNING jsonb_build_object('entry_id', id, 'points_balance', balance_after, 'shortfall', shortfall)::text";

fn record(caller: &Caller, kind: &str, args: Arguments) -> String {
    let points = args.bigint(2, "points");
    if points == 0 || kind != "ADJUST" && points < 0 {
        LedgerError::NotPositive("the number of points").raise();
    }
    let change = if kind == "REDEEM" { -points } else { points };
    let arguments = [
        Arg::Uuid(caller.tenant),
        Arg::Uuid(args.uuid(1, "loyalty_account_id")),
        Arg::Text(kind),
        Arg::Bigint(change),
        text_arg(args.optional_text(3).as_deref()),
        text_arg(args.optional_text(4).as_deref()),
        Arg::optional_uuid(args.optional_uuid(5)),
        Arg::optional_uuid(access::actor()),
        Arg::optional_uuid(None),
        Arg::Bigint(0),
    ];
    caller.text(INSERT_ENTRY, &arguments).unwrap_or_else(|| LedgerError::RowLeftOut.raise())
}

v1_function!(
    /// `thorbis.reverse_loyalty_entry(loyalty_entry_id uuid, points bigint, idempotency_key text) -> jsonb`
    thorbis_reverse_loyalty_entry, pg_finfo_thorbis_reverse_loyalty_entry, |fcinfo| {
    guarded(|| {
        // SAFETY: as the SQL declaration says.
        let args = unsafe { Arguments::of(fcinfo) };
        let caller = Caller::permitted(RESOURCE, "adjust");
        let wanted = args.datum(1).map(|datum| datum.value() as i64);
        let request = args.request("reverse_loyalty_entry", &[pg_sys::UUIDOID, pg_sys::INT8OID]);
        let work = || reverse(&caller, args.uuid(0, "loyalty_entry_id"), wanted);
        jsonb(&caller.once(args.optional_text(2).as_deref(), &request, work))
    })
});

/// How much of the entry was taken back already, how many of its points have expired, and how many the account has that
/// can be taken.
const STATE: &str = "
    SELECT (SELECT coalesce(sum(r.shortfall + abs(r.points)), 0)::bigint FROM shared.loyalty_entries r
             WHERE r.tenant_id = $1 AND r.reversed_entry_id = $2),
           (SELECT coalesce(sum(u.points), 0)::bigint FROM shared.loyalty_lots l
              JOIN shared.loyalty_lot_uses u ON u.tenant_id = $1 AND u.loyalty_lot_id = l.id
              JOIN shared.loyalty_entries e ON e.tenant_id = $1 AND e.id = u.loyalty_entry_id AND e.type = 'EXPIRE'
             WHERE l.tenant_id = $1 AND l.loyalty_entry_id = $2)
           + (SELECT coalesce(sum(l.points_remaining), 0)::bigint FROM shared.loyalty_lots l
               WHERE l.tenant_id = $1 AND l.loyalty_entry_id = $2 AND l.expires_at <= now()),
           (SELECT coalesce(sum(l.points_remaining), 0)::bigint FROM shared.loyalty_lots l
             WHERE l.tenant_id = $1 AND l.loyalty_account_id = $3 AND (l.expires_at IS NULL OR l.expires_at > now()))";

fn reverse(caller: &Caller, id: Uuid, wanted: Option<i64>) -> String {
    let (tenant, entry) = (Arg::Uuid(caller.tenant), Arg::Uuid(id));
    let find = "SELECT loyalty_account_id, type, points FROM shared.loyalty_entries WHERE tenant_id = $1 AND id = $2";
    let found = caller.first(find, &[tenant, entry], |row| (row.uuid(1), row.text(2), row.bigint(3)));
    let Some((Some(account), Some(kind), Some(points))) = found else { LedgerError::Unknown("loyalty entry").raise() };
    let reversal = match kind.as_str() {
        "ACCUMULATE" | "ACCUMULATE_PROMOTION" => "REVERSE_ACCUMULATE",
        "REDEEM" => "REVERSE_REDEEM",
        _ => LedgerError::EngineOnly(kind).raise(),
    };
    loyalty::lock(caller.owner(), caller.tenant, account);
    let number = |value: Option<i64>| value.unwrap_or(0);
    let state = caller.first(STATE, &[tenant, entry, Arg::Uuid(account)], |row| {
        (number(row.bigint(1)), number(row.bigint(2)), number(row.bigint(3)))
    });
    let (reversed, expired, available) = state.expect("the statement returns a row");
    let rest = points.abs() - reversed;
    let wanted = wanted.unwrap_or(rest);
    if wanted <= 0 || wanted > rest {
        LedgerError::ReversesMore.raise();
    }
    let (change, shortfall) = match reversal {
        "REVERSE_REDEEM" => (wanted, 0),
        _ => {
            let taken = wanted.min(rest - expired).min(available).max(0);
            (-taken, wanted - taken)
        }
    };
    let arguments = [
        tenant,
        Arg::Uuid(account),
        Arg::Text(reversal),
        Arg::Bigint(change),
        text_arg(None),
        text_arg(None),
        Arg::optional_uuid(None),
        Arg::optional_uuid(access::actor()),
        Arg::Uuid(id),
        Arg::Bigint(shortfall),
    ];
    caller.text(INSERT_ENTRY, &arguments).unwrap_or_else(|| LedgerError::RowLeftOut.raise())
}
