//! Tasks of `thorbis.maintain()`: reservations and points that have expired. What cannot be had at once is left for the
//! next time, and nothing waits for it: an expired reservation gives way, and expired points cannot be spent, before
//! anybody has looked.

use crate::access::invalidation;
use crate::audit::maintain::{Step, unless_busy};
use crate::ledgers::loyalty;
use crate::ledgers::stock::Balance;
use crate::pg::fresh::{self, Arg};
use crate::pg::identity::ActingAs;
use crate::pg::sql::{column, query};
use pgrx::pg_sys;
use uuid::Uuid;

const RESERVATIONS: &str = "shared.stock_reservations";
const LOTS: &str = "shared.loyalty_lots";

/// Balances with expired reservations, in the order in which they are locked. What is locked stays so until all tasks are
/// done, so there is a limit; the rest comes the next time.
const EXPIRED_RESERVATIONS: &str = "
    SELECT tenant_id, stock_item_id, stock_location_id, count(*) FROM shared.stock_reservations
     WHERE status = 'open' AND expires_at <= now() GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT 1000";

const EXPIRED_LOTS: &str = "
    SELECT tenant_id, loyalty_account_id, loyalty_account_id, count(*) FROM shared.loyalty_lots
     WHERE points_remaining > 0 AND expires_at <= now() GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 1000";

/// The sum of what has expired, after the account was locked: what somebody else has done by then is not done again.
const EXPIRE_LOTS: &str = "
    INSERT INTO shared.loyalty_entries (tenant_id, loyalty_account_id, type, points, created_by)
    SELECT $1, $2, 'EXPIRE', -sum(points_remaining)::bigint, NULL FROM shared.loyalty_lots
     WHERE tenant_id = $1 AND loyalty_account_id = $2 AND points_remaining > 0 AND expires_at <= now()
    HAVING sum(points_remaining) > 0";

pub fn reservations(dry_run: bool) -> Vec<Step> {
    run(dry_run, "stock_reservations", RESERVATIONS, EXPIRED_RESERVATIONS, |owner, tenant, item, location| {
        Balance { owner, tenant, item, location }.release_expired()
    })
}

pub fn lots(dry_run: bool) -> Vec<Step> {
    run(dry_run, "loyalty_lots", LOTS, EXPIRED_LOTS, |owner, tenant, account, _| {
        if loyalty::lock(owner, tenant, account) {
            fresh::write(owner, EXPIRE_LOTS, &[Arg::Uuid(tenant), Arg::Uuid(account)])
        } else {
            0
        }
    })
}

fn run(
    dry_run: bool,
    table: &str,
    object: &'static str,
    due: &str,
    expire: impl Fn(pg_sys::Oid, Uuid, Uuid, Uuid) -> u64,
) -> Vec<Step> {
    // An industry of its own may do without.
    let Some(relation) = invalidation::named("shared", table) else { return Vec::new() };
    let found = {
        let _identity = ActingAs::owner(relation.owner);
        query(due, &[], |row| {
            let id = |i| crate::pg::uuid::from_pgrx(column(row, i));
            (id(1), id(2), id(3), column::<i64>(row, 4))
        })
    };
    let rows: i64 = found.iter().map(|(.., rows)| rows).sum();
    if rows == 0 {
        return Vec::new();
    }
    if dry_run {
        return vec![Step::new(object, "expire", rows)];
    }
    unless_busy(object, rows as usize, || {
        for (tenant, first, second, _) in &found {
            expire(relation.owner, *tenant, *first, *second);
        }
        vec![Step::new(object, "expire", rows)]
    })
}
