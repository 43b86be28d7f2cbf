//! Points: the balance of the account follows an entry before it is written, the lots after it.
//!
//! Whoever changes an account holds its row until the transaction ends, so nobody else is at its lots.

use crate::ledgers::entry::Entry;
use crate::ledgers::error::LedgerError;
use crate::ledgers::request::time_arg;
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::guarded;
use crate::pg::settings_scope::SettingsScope;
use crate::pg::trigger::{Firing, Trigger};
use crate::v1_function;
use pgrx::pg_sys;
use uuid::Uuid;

pub const RESOURCE: &str = "loyalty";

/// The permission an entry needs; None for those that our own functions write.
pub fn action(kind: &str) -> Option<&'static str> {
    match kind {
        "ACCUMULATE" | "ACCUMULATE_PROMOTION" => Some("create"),
        "REDEEM" => Some("redeem"),
        "ADJUST" => Some("adjust"),
        _ => None,
    }
}

v1_function!(
    /// BEFORE INSERT FOR EACH ROW on shared.loyalty_entries.
    thorbis_apply_loyalty_entry, pg_finfo_thorbis_apply_loyalty_entry, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        match Entry::of(&trigger) {
            Some(entry) => apply(entry),
            None => trigger.unchanged(),
        }
    })
});

fn apply(mut entry: Entry) -> pg_sys::Datum {
    let (kind, account, points) = (entry.text("type"), entry.uuid("loyalty_account_id"), entry.bigint("points"));
    let (Some(kind), Some(account), Some(points)) = (kind, account, points) else {
        // The NOT NULL constraints report it.
        return entry.trigger.unchanged();
    };
    match action(&kind) {
        Some(action) => entry.require(RESOURCE, action),
        None if entry.is_ours => {}
        None => LedgerError::EngineOnly(kind).raise(),
    }
    let owner = entry.trigger.owner();
    let key = [Arg::Uuid(entry.tenant), Arg::Uuid(account)];
    let mut after = None;
    fresh::write_returning(
        owner,
        "UPDATE shared.loyalty_accounts SET points_balance = points_balance OPERATOR(pg_catalog.+) $3
          WHERE tenant_id OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2
            AND points_balance OPERATOR(pg_catalog.>=) (0::pg_catalog.int8 OPERATOR(pg_catalog.-) $3)
      RETURNING points_balance",
        &[key[0], key[1], Arg::Bigint(points)],
        |row| after = row.bigint(1),
    );
    let Some(after) = after else {
        let known = "SELECT 1 FROM shared.loyalty_accounts
                      WHERE tenant_id OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2";
        match fresh::write_returning(owner, known, &key, |_| ()) {
            0 => LedgerError::Unknown("loyalty account").raise(),
            _ => LedgerError::NotEnoughPoints.raise(),
        }
    };
    entry.compute("balance_after", Some(pg_sys::Datum::from(after)));
    if points > 0 && entry.time("expires_at").is_none() {
        entry.compute("expires_at", expiry(owner, &key));
    }
    entry.sign();
    entry.applied()
}

/// When points that are earned now expire, as the program has it.
fn expiry(owner: pg_sys::Oid, account: &[Arg; 2]) -> Option<pg_sys::Datum> {
    let mut expires = None;
    fresh::write_returning(
        owner,
        "SELECT pg_catalog.now() OPERATOR(pg_catalog.+) p.points_valid_for
           FROM shared.loyalty_accounts a
           JOIN shared.loyalty_programs p
             ON p.tenant_id OPERATOR(pg_catalog.=) $1 AND p.id OPERATOR(pg_catalog.=) a.loyalty_program_id
          WHERE a.tenant_id OPERATOR(pg_catalog.=) $1 AND a.id OPERATOR(pg_catalog.=) $2",
        account,
        |row| expires = row.datum(1, pg_sys::TIMESTAMPTZOID),
    );
    expires
}

v1_function!(
    /// AFTER INSERT FOR EACH ROW on shared.loyalty_entries.
    thorbis_apply_loyalty_lots, pg_finfo_thorbis_apply_loyalty_lots, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::AfterRow) };
        apply_lots(&trigger);
        trigger.unchanged()
    })
});

fn apply_lots(trigger: &Trigger) {
    // The rows after the checks of policies and constraints: nothing is missing.
    let row = trigger.new_row();
    let uuid = |column| trigger.uuid(row, column).unwrap_or_default();
    let points = trigger.value(row, trigger.any_column("points").0).map_or(0, |datum| datum.value() as i64);
    let (tenant, entry, account) =
        (Arg::Uuid(uuid("tenant_id")), Arg::Uuid(uuid("id")), Arg::Uuid(uuid("loyalty_account_id")));
    let _path = SettingsScope::pinned_path();
    if points > 0 {
        let expires = time_arg(trigger.value(row, trigger.any_column("expires_at").0));
        fresh::write(trigger.owner(), MAKE_LOT, &[tenant, account, entry, Arg::Bigint(points), expires]);
    } else if points < 0 {
        let expired = trigger.text(row, "type").as_deref() == Some("EXPIRE");
        let first: Arg = Arg::optional_uuid(trigger.uuid(row, "reversed_entry_id"));
        let mut taken = 0;
        fresh::write_returning(
            trigger.owner(),
            TAKE_FROM_LOTS,
            &[tenant, account, entry, Arg::Bigint(points), Arg::Boolean(expired), first],
            |row| taken += row.bigint(1).unwrap_or(0),
        );
        if taken != -points {
            LedgerError::NotEnoughPoints.raise();
        }
    }
}

const MAKE_LOT: &str = "
    INSERT INTO shared.loyalty_lots (tenant_id, loyalty_account_id, loyalty_entry_id, points, points_remaining, earned_at,
        expires_at)
    VALUES ($1, $2, $3, $4, $4, clock_timestamp(), $5)";

/// The oldest first; what is taken back, first from the lot it made. Expired points are taken by their expiry alone.
const TAKE_FROM_LOTS: &str = "
    WITH lots AS (
        SELECT id, points_remaining,
               sum(points_remaining) OVER (ORDER BY loyalty_entry_id IS DISTINCT FROM $6, earned_at, id) - points_remaining AS before
          FROM shared.loyalty_lots
         WHERE tenant_id = $1 AND loyalty_account_id = $2 AND points_remaining > 0
           AND coalesce(expires_at <= now(), false) = $5
    ), taken AS (
        UPDATE shared.loyalty_lots l
           SET points_remaining = l.points_remaining - least(o.points_remaining, -$4 - o.before)::bigint
          FROM lots o
         WHERE l.tenant_id = $1 AND l.id = o.id AND o.before < -$4
        RETURNING l.id, least(o.points_remaining, -$4 - o.before)::bigint AS points
    )
    INSERT INTO shared.loyalty_lot_uses (tenant_id, loyalty_entry_id, loyalty_lot_id, points)
    SELECT $1, $3, id, points FROM taken
    RETURNING points";

/// Waits for an account and keeps it until the transaction ends. False when there is none.
pub fn lock(owner: pg_sys::Oid, tenant: Uuid, account: Uuid) -> bool {
    let lock = "SELECT 1 FROM shared.loyalty_accounts
                 WHERE tenant_id OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2 FOR NO KEY UPDATE";
    fresh::write_returning(owner, lock, &[Arg::Uuid(tenant), Arg::Uuid(account)], |_| ()) > 0
}
