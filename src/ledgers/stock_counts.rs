//! Posting a count: the balances become what was counted, by movements from or to a place of corrections, and the moment
//! of the count becomes their checkpoint. What happened after that moment is kept on top; what happened before it and
//! comes in later changes the balance no more. A count whose moment is before that of another one posted already corrects
//! nothing.

use crate::access::functions as access;
use crate::ledgers::error::LedgerError;
use crate::ledgers::request::{Arguments, Caller, jsonb, time_arg};
use crate::ledgers::stock::Balance;
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::guarded;
use crate::pg::raw;
use crate::pg::trigger::{Firing, Trigger};
use crate::v1_function;
use pgrx::pg_sys;
use uuid::Uuid;

v1_function!(
    /// `thorbis.post_stock_count(stock_count_id uuid, idempotency_key text) -> jsonb`
    thorbis_post_stock_count, pg_finfo_thorbis_post_stock_count, |fcinfo| {
    guarded(|| {
        // SAFETY: as the SQL declaration says.
        let args = unsafe { Arguments::of(fcinfo) };
        let caller = Caller::permitted("stock", "adjust");
        let id = args.uuid(0, "stock_count_id");
        let request = args.request("post_stock_count", &[pg_sys::UUIDOID]);
        jsonb(&caller.once(args.optional_text(1).as_deref(), &request, || post(&caller, id)))
    })
});

const LOCK_COUNT: &str = "SELECT status, stock_location_id, counted_at FROM shared.stock_counts
                           WHERE tenant_id = $1 AND id = $2 FOR UPDATE";
const ITEMS: &str = "SELECT stock_item_id FROM shared.stock_count_lines
                      WHERE tenant_id = $1 AND stock_count_id = $2 ORDER BY stock_item_id";
const PLACE_OF_CORRECTIONS: &str = "SELECT id FROM shared.stock_locations
                                     WHERE tenant_id = $1 AND kind = 'adjustment' ORDER BY created_at, id LIMIT 1";

/// What there should have been at that moment: what there is, without what happened since.
const EXPECT: &str = "
    UPDATE shared.stock_count_lines l SET expected_quantity = b.on_hand - coalesce((
        SELECT sum(CASE WHEN m.to_location_id = $3 THEN m.quantity ELSE -m.quantity END)
          FROM shared.stock_movements m
         WHERE m.tenant_id = $1 AND m.stock_item_id = l.stock_item_id AND m.occurred_at > $4
           AND (m.to_location_id = $3 AND m.to_balance_after IS NOT NULL
                OR m.from_location_id = $3 AND m.from_balance_after IS NOT NULL)), 0)
      FROM shared.stock_balances b
     WHERE l.tenant_id = $1 AND l.stock_count_id = $2 AND b.tenant_id = $1 AND b.stock_item_id = l.stock_item_id
       AND b.stock_location_id = $3 AND (b.counted_at IS NULL OR b.counted_at < $4)";

const CORRECT: &str = "
    INSERT INTO shared.stock_movements (tenant_id, stock_item_id, from_location_id, to_location_id, quantity, reason,
        stock_count_id, occurred_at, created_by)
    SELECT $1, l.stock_item_id, CASE WHEN l.counted_quantity > l.expected_quantity THEN $5 ELSE $3 END,
           CASE WHEN l.counted_quantity > l.expected_quantity THEN $3 ELSE $5 END,
           abs(l.counted_quantity - l.expected_quantity), 'count', $2, $4, $6
      FROM shared.stock_count_lines l
     WHERE l.tenant_id = $1 AND l.stock_count_id = $2 AND l.counted_quantity <> l.expected_quantity";

const SET_CHECKPOINT: &str = "
    UPDATE shared.stock_balances b SET counted_at = $4
      FROM shared.stock_count_lines l
     WHERE l.tenant_id = $1 AND l.stock_count_id = $2 AND l.expected_quantity IS NOT NULL
       AND b.tenant_id = $1 AND b.stock_item_id = l.stock_item_id AND b.stock_location_id = $3";

const SET_POSTED: &str = "
    UPDATE shared.stock_counts SET status = 'posted', counted_at = $3, row_version = row_version + 1
     WHERE tenant_id = $1 AND id = $2
    RETURNING jsonb_build_object('stock_count_id', id, 'counted_at', counted_at, 'corrections', $4::bigint)::text";

fn post(caller: &Caller, id: Uuid) -> String {
    let (tenant, count) = (Arg::Uuid(caller.tenant), Arg::Uuid(id));
    let locked = caller.first(LOCK_COUNT, &[tenant, count], |row| {
        (row.text(1).unwrap_or_default(), row.uuid(2), row.datum(3, pg_sys::TIMESTAMPTZOID))
    });
    let Some((status, Some(location), counted_at)) = locked else { LedgerError::Unknown("stock count").raise() };
    if !["counting", "review"].contains(&status.as_str()) {
        LedgerError::CountStatus(status).raise();
    }
    let mut balances = Vec::new();
    fresh::write_returning(caller.owner(), ITEMS, &[tenant, count], |row| {
        let balance = |item| Balance { owner: caller.owner(), tenant: caller.tenant, item, location };
        balances.extend(row.uuid(1).map(balance));
    });
    balances.iter().for_each(Balance::make);
    balances.iter().for_each(Balance::lock);
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    if counted_at.is_some_and(|at| at.value() as i64 > now) {
        LedgerError::InTheFuture.raise();
    }
    let at = time_arg(Some(counted_at.unwrap_or(pg_sys::Datum::from(now))));
    let place = Arg::Uuid(location);
    caller.write(EXPECT, &[tenant, count, place, at]);
    let corrections = place_of_corrections(caller);
    let actor = Arg::optional_uuid(access::actor());
    let corrected = caller.write(CORRECT, &[tenant, count, place, at, Arg::Uuid(corrections), actor]);
    caller.write(SET_CHECKPOINT, &[tenant, count, place, at]);
    caller.text(SET_POSTED, &[tenant, count, at, Arg::Bigint(corrected as i64)]).expect("the count is locked")
}

/// The tenant's first place of that kind; made when there is none.
fn place_of_corrections(caller: &Caller) -> Uuid {
    let tenant = Arg::Uuid(caller.tenant);
    let find = || caller.first(PLACE_OF_CORRECTIONS, &[tenant], |row| row.uuid(1)).flatten();
    find().unwrap_or_else(|| {
        let make =
            "INSERT INTO shared.stock_locations (tenant_id, name, kind) VALUES ($1, 'Stock corrections', 'adjustment')
                    ON CONFLICT DO NOTHING";
        caller.write(make, &[tenant]);
        find().unwrap_or_else(|| LedgerError::Unknown("stock location of kind adjustment").raise())
    })
}

v1_function!(
    /// BEFORE INSERT OR UPDATE OR DELETE FOR EACH ROW on shared.stock_count_lines, BEFORE UPDATE on shared.stock_counts.
    thorbis_keep_posted_count, pg_finfo_thorbis_keep_posted_count, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        // As the owner only our own code and the cascades of foreign keys act.
        if raw::user_ids().1 == trigger.owner() {
            return trigger.unchanged();
        }
        match trigger.table_name().as_str() {
            "stock_counts" => keep_count(&trigger),
            _ => keep_line(&trigger),
        }
    })
});

fn keep_count(trigger: &Trigger) -> pg_sys::Datum {
    let posted = |row| trigger.text(row, "status").as_deref() == Some("posted");
    if posted(trigger.old()) && !trigger.changed_columns().is_empty() {
        LedgerError::CountPosted.raise();
    }
    if !posted(trigger.old()) && posted(trigger.new_row()) {
        LedgerError::CountByFunction.raise();
    }
    trigger.unchanged()
}

fn keep_line(trigger: &Trigger) -> pg_sys::Datum {
    let row = if trigger.is_insert() { trigger.new_row() } else { trigger.old() };
    let (tenant, count) = (trigger.uuid(row, "tenant_id"), trigger.uuid(row, "stock_count_id"));
    if let Some((tenant, count)) = tenant.zip(count)
        && (crate::context::current::get().tenant == Some(tenant) || crate::pg::identity::operates_all_tenants())
    {
        let mut is_posted = false;
        // Waits for whoever is posting it.
        fresh::write_returning(
            trigger.owner(),
            "SELECT status OPERATOR(pg_catalog.=) 'posted' FROM shared.stock_counts
              WHERE tenant_id OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2 FOR SHARE",
            &[Arg::Uuid(tenant), Arg::Uuid(count)],
            |row| is_posted = row.boolean(1) == Some(true),
        );
        let is_same = trigger.is_update() && trigger.changed_columns().is_empty();
        if is_posted && !is_same {
            LedgerError::CountPosted.raise();
        }
    }
    if trigger.is_insert() {
        // Written when the count is posted.
        return trigger.with_values(&[(trigger.any_column("expected_quantity").0, None)]);
    }
    trigger.unchanged()
}
