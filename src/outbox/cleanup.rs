//! Tasks of `thorbis.maintain()`: events that were delivered, and keys that have expired. A row that somebody has locked is
//! left for the next time, and nothing waits for it.

use crate::access::invalidation;
use crate::audit::maintain::Step;
use crate::outbox::queue::MOST_ATTEMPTS;
use crate::pg::fresh::{self, Arg};

/// How to count the rows of a condition on `r`, and what to do with those of them that nobody has locked.
macro_rules! due {
    ($name:ident, $table:literal, $condition:literal, $verb:literal, $from:literal) => {
        const $name: [&str; 2] = [
            concat!("SELECT count(*) FROM ", $table, " r WHERE ", $condition),
            concat!(
                "WITH due AS MATERIALIZED (SELECT r.tenant_id, r.id FROM ",
                $table,
                " r WHERE ",
                $condition,
                " FOR UPDATE SKIP LOCKED) ",
                $verb,
                $from,
                " due WHERE o.tenant_id = due.tenant_id AND o.id = due.id"
            ),
        ];
    };
}

// Delivered a week ago: long enough to look what was sent.
due!(
    DELIVERED,
    "shared.outbox",
    "r.published_at < clock_timestamp() - interval '7 days'",
    "DELETE FROM shared.outbox o",
    " USING"
);

// Whose consumers died at each attempt.
due!(
    EXHAUSTED,
    "shared.outbox",
    "r.published_at IS NULL AND r.failed_at IS NULL AND r.attempts >= $1 AND r.available_at <= clock_timestamp()",
    "UPDATE shared.outbox o SET failed_at = clock_timestamp()",
    " FROM"
);

due!(
    EXPIRED,
    "shared.idempotency_keys",
    "r.expires_at < clock_timestamp()",
    "DELETE FROM shared.idempotency_keys o",
    " USING"
);

pub fn outbox(dry_run: bool) -> Vec<Step> {
    let removed = step("outbox", "remove delivered events", DELIVERED, &[], dry_run);
    let given_up = step("outbox", "give up events", EXHAUSTED, &[Arg::Bigint(MOST_ATTEMPTS)], dry_run);
    removed.into_iter().chain(given_up).collect()
}

pub fn requests(dry_run: bool) -> Vec<Step> {
    step("idempotency_keys", "remove expired keys", EXPIRED, &[], dry_run).into_iter().collect()
}

/// Of all tenants: only operators run this.
fn step(table: &str, action: &str, statements: [&'static str; 2], args: &[Arg], dry_run: bool) -> Option<Step> {
    let [count, statement] = statements;
    let relation = invalidation::named("shared", table)?;
    let mut rows = 0;
    if dry_run {
        fresh::read(relation.owner, relation.oid, count, args, |row| rows = row.bigint(1).unwrap_or_default());
    } else {
        rows = fresh::write(relation.owner, statement, args) as i64;
    }
    (rows > 0).then(|| Step::new(format!("shared.{table}"), action, rows))
}
