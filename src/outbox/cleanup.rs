//! Tasks of `thorbis.maintain()`: events that were delivered, and keys that have expired.

use crate::access::invalidation;
use crate::audit::maintain::Step;
use crate::pg::fresh;

/// Delivered a week ago: long enough to look what was sent.
const COUNT_DELIVERED: &str =
    "SELECT count(*) FROM shared.outbox o WHERE o.published_at < clock_timestamp() - interval '7 days'";
const REMOVE_DELIVERED: &str =
    "DELETE FROM shared.outbox o WHERE o.published_at < clock_timestamp() - interval '7 days'";

/// Whose consumers died at each attempt.
const COUNT_EXHAUSTED: &str = "SELECT count(*) FROM shared.outbox o
     WHERE o.published_at IS NULL AND o.failed_at IS NULL AND o.attempts >= 20 AND o.available_at <= clock_timestamp()";
const GIVE_UP: &str = "UPDATE shared.outbox o SET failed_at = clock_timestamp()
     WHERE o.published_at IS NULL AND o.failed_at IS NULL AND o.attempts >= 20 AND o.available_at <= clock_timestamp()";

const COUNT_EXPIRED: &str = "SELECT count(*) FROM shared.idempotency_keys k WHERE k.expires_at < clock_timestamp()";
const REMOVE_EXPIRED: &str = "DELETE FROM shared.idempotency_keys k WHERE k.expires_at < clock_timestamp()";

pub fn outbox(dry_run: bool) -> Vec<Step> {
    let removed = step("outbox", "remove delivered events", COUNT_DELIVERED, REMOVE_DELIVERED, dry_run);
    let given_up = step("outbox", "give up events", COUNT_EXHAUSTED, GIVE_UP, dry_run);
    removed.into_iter().chain(given_up).collect()
}

pub fn requests(dry_run: bool) -> Vec<Step> {
    step("idempotency_keys", "remove expired keys", COUNT_EXPIRED, REMOVE_EXPIRED, dry_run).into_iter().collect()
}

/// Of all tenants: only operators run this.
fn step(table: &str, action: &str, count: &'static str, statement: &'static str, dry_run: bool) -> Option<Step> {
    let relation = invalidation::named("shared", table)?;
    let mut rows = 0;
    if dry_run {
        fresh::read(relation.owner, relation.oid, count, &[], |row| rows = row.bigint(1).unwrap_or_default());
    } else {
        rows = fresh::write(relation.owner, statement, &[]) as i64;
    }
    (rows > 0).then(|| Step::new(format!("shared.{table}"), action, rows))
}
