//! Handing events to consumers: claimed, then completed or failed. Who claims an event has it for a while; when it is not
//! completed by then, because its consumer died, it can be claimed again. So every event arrives at least once. Whoever
//! comes too late to complete it or to say that it failed does nothing: it may be with another consumer by then.
//!
//! Of the events of one document only the oldest that is not published can be claimed: they arrive in their order, unless
//! one is given up.

use crate::access::functions::require;
use crate::access::invalidation;
use crate::context::current;
use crate::deploy::error::DeployError;
use crate::outbox::error::OutboxError;
use crate::pg::error::{SqlError, required};
use crate::pg::fresh::{self, Arg, Row};
use crate::pg::identity;
use crate::pg::uuid::to_pgrx;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use uuid::Uuid;

const MOST_EVENTS: i32 = 1000;
const LONGEST_VISIBILITY: i32 = 24 * 60 * 60;

/// After so many attempts an event is given up.
pub const MOST_ATTEMPTS: i64 = 20;

/// A statement for the events of the tenant `$1`, and the same for those of all tenants, with `$1` NULL.
macro_rules! for_tenant_or_all {
    ($name:ident, $alias:literal, $before:expr, $after:expr) => {
        const $name: [&str; 2] =
            [concat!($before, $alias, ".tenant_id = $1", $after), concat!($before, "$1::uuid IS NULL", $after)];
    };
}

for_tenant_or_all!(
    CLAIM,
    "e",
    "WITH due AS MATERIALIZED (
        SELECT e.tenant_id, e.id FROM shared.outbox e WHERE ",
    " AND e.published_at IS NULL AND e.failed_at IS NULL AND e.attempts < $6 AND e.available_at <= clock_timestamp()
            AND ($3::text[] IS NULL OR e.topic = ANY ($3))
            AND NOT EXISTS (
                SELECT FROM shared.outbox b
                WHERE b.tenant_id = e.tenant_id AND b.document_id = e.document_id
                    AND (b.occurred_at, b.id) < (e.occurred_at, e.id)
                    AND b.published_at IS NULL AND b.failed_at IS NULL
                    AND (b.attempts < $6 OR b.available_at > clock_timestamp())
                    AND ($3::text[] IS NULL OR b.topic = ANY ($3)))
        ORDER BY e.available_at, e.occurred_at, e.id
        LIMIT $4 FOR UPDATE SKIP LOCKED)
     UPDATE shared.outbox o
        SET claimed_by = $2, claimed_at = clock_timestamp(), attempts = o.attempts + 1,
            available_at = clock_timestamp() + $5 * interval '1 second'
       FROM due WHERE o.tenant_id = due.tenant_id AND o.id = due.id
  RETURNING o.tenant_id, o.id, o.topic, o.document, o.document_id, o.operation, o.payload::text, o.occurred_at,
            o.attempts::int8"
);

for_tenant_or_all!(
    COMPLETE,
    "o",
    "UPDATE shared.outbox o SET published_at = clock_timestamp() WHERE ",
    " AND o.id = ANY ($3) AND o.claimed_by = $2 AND o.available_at > clock_timestamp()
        AND o.published_at IS NULL AND o.failed_at IS NULL"
);

// The first repetition comes after two seconds, the last ones an hour apart. The claim is over.
for_tenant_or_all!(
    FAIL,
    "o",
    "UPDATE shared.outbox o
        SET available_at = clock_timestamp() + least(1 << least(o.attempts, 12), 3600) * interval '1 second',
            failed_at = CASE WHEN o.attempts >= $4 THEN clock_timestamp() END, claimed_by = NULL, claimed_at = NULL
      WHERE ",
    " AND o.id = ANY ($3) AND o.claimed_by = $2 AND o.available_at > clock_timestamp()
        AND o.published_at IS NULL AND o.failed_at IS NULL"
);

/// Whose events the caller may consume: those of the current tenant or, without one, an operator those of all.
struct Scope {
    owner: pg_sys::Oid,
    tenant: Option<Uuid>,
}

impl Scope {
    fn of_caller() -> Scope {
        let Some(outbox) = invalidation::named("shared", "outbox") else { DeployError::NotInstalled.raise() };
        let tenant = current::get().tenant;
        match tenant {
            Some(_) => require("outbox", "consume"),
            None if identity::operates_all_tenants() => {}
            None => OutboxError::NoTenant.raise(),
        }
        Scope { owner: outbox.owner, tenant }
    }

    fn run(&self, statements: [&'static str; 2], args: &[Arg], each: impl FnMut(&Row)) -> u64 {
        let args: Vec<Arg> = std::iter::once(Arg::optional_uuid(self.tenant)).chain(args.iter().copied()).collect();
        let [of_tenant, of_all] = statements;
        let statement = if self.tenant.is_some() { of_tenant } else { of_all };
        fresh::write_returning(self.owner, statement, &args, each)
    }
}

fn within(what: &'static str, value: i32, most: i32) -> i32 {
    if !(1..=most).contains(&value) {
        OutboxError::OutOfRange { what, least: 1, most }.raise();
    }
    value
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn claim_outbox_events(
    consumer: Option<&str>,
    most: Option<i32>,
    topics: Option<Vec<Option<String>>>,
    visibility: Option<i32>,
) -> TableIterator<
    'static,
    (
        name!(tenant_id, pgrx::Uuid),
        name!(id, pgrx::Uuid),
        name!(topic, String),
        name!(document, String),
        name!(document_id, pgrx::Uuid),
        name!(operation, String),
        name!(payload, String),
        name!(occurred_at, TimestampWithTimeZone),
        name!(attempts, i32),
    ),
> {
    let most = within("the number of events", required("most", most), MOST_EVENTS);
    let visibility =
        within("the visibility in seconds", required("visibility_seconds", visibility), LONGEST_VISIBILITY);
    let scope = Scope::of_caller();
    let args = [
        Arg::Text(required("consumer", consumer)),
        Arg::Value(pg_sys::TEXTARRAYOID, topics.into_datum()),
        Arg::Bigint(most.into()),
        Arg::Bigint(visibility.into()),
        Arg::Bigint(MOST_ATTEMPTS),
    ];
    let mut events = Vec::new();
    scope.run(CLAIM, &args, |row| {
        let text = |column| row.text(column).unwrap_or_default();
        let uuid = |column| to_pgrx(row.uuid(column).unwrap_or_default());
        // SAFETY: the column is a timestamptz, which is passed by value.
        let at = unsafe {
            let datum = row.datum(8, pg_sys::TIMESTAMPTZOID);
            TimestampWithTimeZone::from_datum(datum.unwrap_or(pg_sys::Datum::from(0)), datum.is_none())
        };
        let attempts = row.bigint(9).and_then(|n| i32::try_from(n).ok()).unwrap_or_default();
        let at = at.unwrap_or_else(TimestampWithTimeZone::negative_infinity);
        events.push((uuid(1), uuid(2), text(3), text(4), uuid(5), text(6), text(7), at, attempts));
    });
    events.sort_by(|a, b| a.7.cmp(&b.7).then_with(|| a.1.as_bytes().cmp(b.1.as_bytes())));
    TableIterator::new(events)
}

#[pg_extern(sql = false)]
fn complete_outbox_events(consumer: Option<&str>, ids: Option<Vec<Option<pgrx::Uuid>>>) -> i64 {
    change(COMPLETE, consumer, ids, &[])
}

#[pg_extern(sql = false)]
fn fail_outbox_events(consumer: Option<&str>, ids: Option<Vec<Option<pgrx::Uuid>>>) -> i64 {
    change(FAIL, consumer, ids, &[Arg::Bigint(MOST_ATTEMPTS)])
}

/// What becomes of those events that the consumer has.
fn change(
    statements: [&'static str; 2],
    consumer: Option<&str>,
    ids: Option<Vec<Option<pgrx::Uuid>>>,
    more: &[Arg],
) -> i64 {
    let consumer = Arg::Text(required("consumer", consumer));
    let ids = Arg::Value(pg_sys::UUIDARRAYOID, required("ids", ids).into_datum());
    Scope::of_caller().run(statements, &[&[consumer, ids], more].concat(), |_| ()) as i64
}
