//! `check_booking()` and `check_time_off()`: what a resource cannot do at the same time.
//!
//! Both first lock the row of the resource and then look at what is committed by now: of a booking and time off that are
//! written at once, one sees the other. That bookings do not overlap is the promise of the exclusion constraint, which
//! stands behind; the look here says it in words, without telling whose booking is in the way, and spares the sessions the
//! deadlock that constraint alone ends in when two insert before either looks.

use crate::access::functions::may;
use crate::bookings::error::BookingError;
use crate::context::current;
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::guarded;
use crate::pg::identity;
use crate::pg::trigger::{ColumnType, Firing, Trigger};
use crate::v1_function;
use pgrx::pg_sys;
use uuid::Uuid;

const LOCK: &str = "SELECT r.is_active FROM shared.bookable_resources r
     WHERE r.tenant_id OPERATOR(pg_catalog.=) $1 AND r.id OPERATOR(pg_catalog.=) $2 FOR NO KEY UPDATE";

/// What the booking occupies is computed as the column `occupied` is, which has no value yet. No row for what the constraints
/// refuse: that is theirs to say, whatever it would be in the way of.
const IN_THE_WAY: &str = "SELECT EXISTS (
        SELECT FROM shared.bookings b
        WHERE b.tenant_id = $1 AND b.bookable_resource_id = $2 AND b.id <> $3 AND b.is_live
            AND b.occupied && shared.get_occupied_range($4, $5)),
    EXISTS (
        SELECT FROM shared.time_off t
        WHERE t.tenant_id = $1 AND t.bookable_resource_id = $2 AND t.during && shared.get_occupied_range($4, $5))
    WHERE lower_inc($4) AND NOT upper_inc($4) AND isfinite(lower($4)) AND isfinite(upper($4))
        AND $5 BETWEEN interval '0' AND interval '24 hours' AND shared.get_occupied_range($4, $5) @> $4";

const BOOKED: &str = "SELECT 1 FROM shared.bookings b
     WHERE b.tenant_id = $1 AND b.bookable_resource_id = $2 AND b.is_live AND b.occupied && $3
        AND lower_inc($3) AND NOT upper_inc($3) AND isfinite(lower($3)) LIMIT 1";

v1_function!(
    /// On `shared.bookings`: BEFORE INSERT OR UPDATE FOR EACH ROW, of those that are live, after the trigger of the status,
    /// which lets nobody else change the times of transitions.
    thorbis_check_booking, pg_finfo_thorbis_check_booking, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        let Some(place) = Place::of(&trigger) else { return trigger.unchanged() };
        let travel = trigger.any_column("travel_before");
        if trigger.is_update() && trigger.boolean(trigger.old(), "is_live") && !moved(&trigger, &place, &[travel.0]) {
            return trigger.unchanged();
        }
        let Some(is_active) = place.lock(&trigger) else { return trigger.unchanged() };
        let resource_is_new = !trigger.is_update() || place.resource_changed;
        if resource_is_new && !is_active {
            BookingError::Inactive.raise();
        }
        let (mut booked, mut off) = (false, false);
        let args = [
            Arg::Uuid(place.tenant),
            Arg::Uuid(place.resource),
            Arg::Uuid(trigger.uuid(trigger.new_row(), "id").unwrap_or_default()),
            Arg::Value(place.range.1, trigger.value(trigger.new_row(), place.range.0)),
            Arg::Value(travel.1, trigger.value(trigger.new_row(), travel.0)),
        ];
        fresh::read(trigger.owner(), trigger.relation(), IN_THE_WAY, &args, |row| {
            (booked, off) = (row.boolean(1) == Some(true), row.boolean(2) == Some(true));
        });
        if booked {
            BookingError::Booked.raise();
        }
        if off {
            BookingError::TimeOff.raise();
        }
        reopened(&trigger)
    })
});

/// The new row; one that is live again has been neither completed nor cancelled, nor begun before it is in progress.
fn reopened(trigger: &Trigger) -> pg_sys::Datum {
    let is_again = trigger.is_update() && !trigger.boolean(trigger.old(), "is_live");
    let is_begun = trigger.text(trigger.new_row(), "status").as_deref() == Some("in_progress");
    let gone = ["completed_at", "cancelled_at", "started_at"].into_iter().take(if is_begun { 2 } else { 3 });
    let cleared: Vec<_> = gone
        .filter(|_| is_again)
        .filter_map(|name| trigger.column(name, ColumnType::Timestamptz))
        .map(|c| (c, None))
        .collect();
    if cleared.is_empty() { trigger.unchanged() } else { trigger.with_values(&cleared) }
}

v1_function!(
    /// On `shared.time_off`: BEFORE INSERT OR UPDATE FOR EACH ROW.
    thorbis_check_time_off, pg_finfo_thorbis_check_time_off, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        let Some(place) = Place::of(&trigger) else { return trigger.unchanged() };
        if trigger.is_update() && !moved(&trigger, &place, &[]) || place.lock(&trigger).is_none() {
            return trigger.unchanged();
        }
        let range = Arg::Value(place.range.1, trigger.value(trigger.new_row(), place.range.0));
        let args = [Arg::Uuid(place.tenant), Arg::Uuid(place.resource), range];
        let mut booked = false;
        fresh::read(trigger.owner(), trigger.relation(), BOOKED, &args, |_| booked = true);
        if booked {
            BookingError::BookingsInTimeOff.raise();
        }
        trigger.unchanged()
    })
});

/// Where a row is in the schedule.
struct Place {
    tenant: Uuid,
    resource: Uuid,
    resource_changed: bool,
    /// Number and type of `during`.
    range: (i32, pg_sys::Oid),
}

impl Place {
    /// None for a row that constraints or policies will refuse: triggers come before them, and whoever may not write here
    /// must neither wait for a lock nor learn what is booked.
    fn of(trigger: &Trigger) -> Option<Place> {
        let range = trigger.any_column("during");
        trigger.required_column("tenant_id", ColumnType::Uuid);
        let resource = |row| trigger.uuid(row, "bookable_resource_id");
        let (tenant, new) = (trigger.uuid(trigger.new_row(), "tenant_id")?, resource(trigger.new_row())?);
        trigger.value(trigger.new_row(), range.0)?;
        let action = if trigger.is_update() { "update" } else { "create" };
        let own = current::get().tenant == Some(tenant) && may("bookings", action);
        (own || identity::operates_all_tenants()).then(|| Place {
            tenant,
            resource: new,
            resource_changed: trigger.is_update() && resource(trigger.old()) != Some(new),
            range,
        })
    }

    /// Locks the resource and says whether it is active. None when there is no such resource: the foreign key tells.
    fn lock(&self, trigger: &Trigger) -> Option<bool> {
        let mut is_active = None;
        let args = [Arg::Uuid(self.tenant), Arg::Uuid(self.resource)];
        fresh::write_returning(trigger.owner(), LOCK, &args, |row| is_active = row.boolean(1));
        is_active
    }
}

/// Whether the update changes the place in the schedule, or one of these columns too.
fn moved(trigger: &Trigger, place: &Place, columns: &[i32]) -> bool {
    let changed = trigger.changed_columns();
    let named = |number: i32| {
        // SAFETY: the number is one of the descriptor's.
        let name = unsafe { pgrx::PgTupleDesc::from_pg_unchecked(trigger.descriptor()) };
        name.get(number as usize - 1).is_some_and(|a| changed.iter().any(|c| c == a.name()))
    };
    place.resource_changed || named(place.range.0) || columns.iter().any(|number| named(*number))
}
