//! `apply_stock_movement()`: the balances of both places follow a movement.
//!
//! A place of kind storage or in_transit has a balance for each item; the others stand for what is outside, so the row of
//! a customer or a supplier never becomes the one that everybody waits for. What happened until the last posted count of a
//! balance is in that count already: a movement that comes in late is recorded and changes that balance no more.
//!
//! Locks are taken in this order: balances by item and place, then the reservation.

use crate::access::functions as access;
use crate::ledgers::entry::{Entry, require_positive};
use crate::ledgers::error::LedgerError;
use crate::ledgers::request::{numeric_arg, time_arg};
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::guarded;
use crate::pg::trigger::{Firing, Trigger};
use crate::v1_function;
use pgrx::{AnyNumeric, IntoDatum, pg_sys};
use uuid::Uuid;

/// How far the clock of a device may be ahead.
const CLOCK_SKEW_MICROSECONDS: i64 = 5 * 60 * 1_000_000;

v1_function!(
    /// BEFORE INSERT FOR EACH ROW on shared.stock_movements.
    thorbis_apply_stock_movement, pg_finfo_thorbis_apply_stock_movement, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        match Entry::of(&trigger) {
            Some(entry) => apply(entry),
            None => trigger.unchanged(),
        }
    })
});

/// What changes in one balance.
#[derive(Clone)]
pub struct Change {
    pub on_hand: AnyNumeric,
    pub reserved: AnyNumeric,
    pub incoming: AnyNumeric,
}

impl Change {
    pub fn none() -> Change {
        Change { on_hand: 0.into(), reserved: 0.into(), incoming: 0.into() }
    }
}

/// The balance of an item at a place.
#[derive(Clone, Copy)]
pub struct Balance {
    pub owner: pg_sys::Oid,
    pub tenant: Uuid,
    pub item: Uuid,
    pub location: Uuid,
}

fn apply(mut entry: Entry) -> pg_sys::Datum {
    let (item, from, to) = (entry.uuid("stock_item_id"), entry.uuid("from_location_id"), entry.uuid("to_location_id"));
    let (Some(item), Some(from), Some(to), Some(quantity)) = (item, from, to, entry.numeric("quantity")) else {
        // The NOT NULL constraints report it.
        return entry.trigger.unchanged();
    };
    require_positive("the quantity of a movement", &quantity);
    if from == to {
        LedgerError::SamePlace.raise();
    }
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    let occurred = entry.time("occurred_at");
    if occurred.is_some_and(|at| at.value() as i64 > now.saturating_add(CLOCK_SKEW_MICROSECONDS)) {
        LedgerError::InTheFuture.raise();
    }
    let owner = entry.trigger.owner();
    let kinds = [from, to].map(|location| kind(owner, entry.tenant, location));
    let corrects = kinds.iter().any(|kind| ["waste", "adjustment"].contains(&kind.as_str()));
    entry.require("stock", if corrects { "adjust" } else { "move" });
    if entry.uuid("stock_count_id").is_some() && !entry.is_ours {
        LedgerError::CountByFunction.raise();
    }

    let reservation = entry.uuid("stock_reservation_id").map(|id| Reservation::of(owner, entry.tenant, id));
    let back = AnyNumeric::from(0) - quantity.clone();
    let mut leaves = Change { on_hand: back.clone(), ..Change::none() };
    let mut arrives = Change { on_hand: quantity.clone(), ..Change::none() };
    match reservation.as_ref().map(|reservation| reservation.is_out) {
        Some(true) => leaves.reserved = back,
        Some(false) => arrives.incoming = back,
        None => {}
    }
    let mut legs = [(from, &kinds[0], leaves, "from_balance_after"), (to, &kinds[1], arrives, "to_balance_after")];
    legs.sort_by_key(|(location, ..)| *location);
    for (location, kind, change, column) in legs {
        let balance = Balance { owner, tenant: entry.tenant, item, location };
        let after = if has_balance(kind) { balance.change(&change, occurred) } else { None };
        if has_balance(kind) && after.is_none() {
            // It is said to have happened before a count, so the balance stays: whoever says so must be one who may correct it.
            access::require("stock", "adjust");
        }
        entry.compute(column, after.and_then(IntoDatum::into_datum));
    }
    if let Some(reservation) = reservation {
        reservation.use_up(item, if reservation.is_out { from } else { to }, quantity);
    }
    if occurred.is_none() {
        // After the locks: what happens now comes after a count that was posted while this waited.
        // SAFETY: reads the clock.
        entry.compute("occurred_at", Some(pg_sys::Datum::from(unsafe { pg_sys::GetCurrentTimestamp() })));
    }
    entry.sign();
    entry.applied()
}

pub fn has_balance(kind: &str) -> bool {
    ["storage", "in_transit"].contains(&kind)
}

/// The kind of a place, which never changes.
pub fn kind(owner: pg_sys::Oid, tenant: Uuid, location: Uuid) -> String {
    let mut kind = None;
    fresh::write_returning(
        owner,
        "SELECT kind FROM shared.stock_locations
          WHERE tenant_id OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2",
        &[Arg::Uuid(tenant), Arg::Uuid(location)],
        |row| kind = row.text(1),
    );
    kind.unwrap_or_else(|| LedgerError::Unknown("stock location").raise())
}

impl Balance {
    fn key(&self) -> [Arg<'static>; 3] {
        [Arg::Uuid(self.tenant), Arg::Uuid(self.item), Arg::Uuid(self.location)]
    }

    /// Adds the change and returns what is on hand then; None when a posted count had it already. Raises 23514 when there
    /// is not enough. `at` is when it happened, None for now.
    pub fn change(&self, change: &Change, at: Option<pg_sys::Datum>) -> Option<AnyNumeric> {
        if let Some(after) = self.try_change(change, at) {
            return after;
        }
        // There may be no such balance yet, or what it lacks is held by reservations that have expired.
        self.make();
        if let Some(after) = self.try_change(change, at) {
            return after;
        }
        if self.release_expired() > 0
            && let Some(after) = self.try_change(change, at)
        {
            return after;
        }
        LedgerError::NotEnoughStock.raise()
    }

    /// One statement, which waits for the row, looks at it again and changes it: nobody comes in between. None when the
    /// row is missing or has too little.
    fn try_change(&self, change: &Change, at: Option<pg_sys::Datum>) -> Option<Option<AnyNumeric>> {
        let [tenant, item, location] = self.key();
        let Change { on_hand, reserved, incoming } = change.clone();
        let mut changed = None;
        fresh::write_returning(
            self.owner,
            "UPDATE shared.stock_balances b SET
                    on_hand = CASE WHEN b.counted_at OPERATOR(pg_catalog.>=) $7
                                   THEN b.on_hand ELSE b.on_hand OPERATOR(pg_catalog.+) $4 END,
                    reserved = b.reserved OPERATOR(pg_catalog.+) $5,
                    incoming = b.incoming OPERATOR(pg_catalog.+) $6
              WHERE b.tenant_id OPERATOR(pg_catalog.=) $1 AND b.stock_item_id OPERATOR(pg_catalog.=) $2
                AND b.stock_location_id OPERATOR(pg_catalog.=) $3
                AND (b.reserved OPERATOR(pg_catalog.+) $5) OPERATOR(pg_catalog.>=) 0::pg_catalog.numeric
                AND (b.incoming OPERATOR(pg_catalog.+) $6) OPERATOR(pg_catalog.>=) 0::pg_catalog.numeric
                AND CASE WHEN b.counted_at OPERATOR(pg_catalog.>=) $7
                         THEN b.on_hand ELSE b.on_hand OPERATOR(pg_catalog.+) $4 END
                    OPERATOR(pg_catalog.>=) (b.reserved OPERATOR(pg_catalog.+) $5)
          RETURNING CASE WHEN b.counted_at OPERATOR(pg_catalog.>=) $7 THEN NULL ELSE b.on_hand END",
            &[tenant, item, location, numeric_arg(on_hand), numeric_arg(reserved), numeric_arg(incoming), time_arg(at)],
            |row| changed = Some(row.numeric(1)),
        );
        changed
    }

    /// A balance of nothing, where there is none.
    pub fn make(&self) {
        fresh::write(
            self.owner,
            "INSERT INTO shared.stock_balances (tenant_id, stock_item_id, stock_location_id) VALUES ($1, $2, $3)
             ON CONFLICT (tenant_id, stock_item_id, stock_location_id) DO NOTHING",
            &self.key(),
        );
    }

    /// Waits for the balance and keeps it until the transaction ends.
    pub fn lock(&self) {
        fresh::write_returning(
            self.owner,
            "SELECT 1 FROM shared.stock_balances
              WHERE tenant_id OPERATOR(pg_catalog.=) $1 AND stock_item_id OPERATOR(pg_catalog.=) $2
                AND stock_location_id OPERATOR(pg_catalog.=) $3 FOR NO KEY UPDATE",
            &self.key(),
            |_| (),
        );
    }

    /// Closes the reservations of this balance that have expired, and returns how many.
    pub fn release_expired(&self) -> u64 {
        self.lock();
        let mut held = Change::none();
        let expired = fresh::write_returning(
            self.owner,
            "UPDATE shared.stock_reservations SET status = 'expired', closed_at = pg_catalog.now()
              WHERE tenant_id OPERATOR(pg_catalog.=) $1 AND stock_item_id OPERATOR(pg_catalog.=) $2
                AND stock_location_id OPERATOR(pg_catalog.=) $3
                AND status OPERATOR(pg_catalog.=) 'open'
                AND expires_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()
          RETURNING direction OPERATOR(pg_catalog.=) 'out', quantity OPERATOR(pg_catalog.-) fulfilled_quantity",
            &self.key(),
            |row| {
                let rest = row.numeric(2).unwrap_or_else(|| 0.into());
                let of = if row.boolean(1) == Some(true) { &mut held.reserved } else { &mut held.incoming };
                *of = of.clone() - rest;
            },
        );
        if expired > 0 {
            self.try_change(&held, None);
        }
        expired
    }
}

/// Stock that is held back, or announced.
pub struct Reservation {
    owner: pg_sys::Oid,
    tenant: Uuid,
    id: Uuid,
    pub is_out: bool,
}

impl Reservation {
    fn of(owner: pg_sys::Oid, tenant: Uuid, id: Uuid) -> Reservation {
        let mut direction = None;
        fresh::write_returning(
            owner,
            "SELECT direction FROM shared.stock_reservations
              WHERE tenant_id OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2",
            &[Arg::Uuid(tenant), Arg::Uuid(id)],
            |row| direction = row.text(1),
        );
        let direction = direction.unwrap_or_else(|| LedgerError::Unknown("stock reservation").raise());
        Reservation { owner, tenant, id, is_out: direction == "out" }
    }

    /// Takes a quantity off the reservation. Raises 23514 unless it is open and holds that much of the item there. An
    /// expired one holds nothing, whether or not anybody has looked since.
    fn use_up(&self, item: Uuid, location: Uuid, quantity: AnyNumeric) {
        let used = fresh::write(
            self.owner,
            "UPDATE shared.stock_reservations SET
                    fulfilled_quantity = fulfilled_quantity OPERATOR(pg_catalog.+) $5,
                    status = CASE WHEN fulfilled_quantity OPERATOR(pg_catalog.+) $5 OPERATOR(pg_catalog.>=) quantity
                                  THEN 'fulfilled' ELSE 'open' END,
                    closed_at = CASE WHEN fulfilled_quantity OPERATOR(pg_catalog.+) $5 OPERATOR(pg_catalog.>=) quantity
                                     THEN pg_catalog.now() END
              WHERE tenant_id OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2
                AND stock_item_id OPERATOR(pg_catalog.=) $3 AND stock_location_id OPERATOR(pg_catalog.=) $4
                AND status OPERATOR(pg_catalog.=) 'open'
                AND (expires_at IS NULL OR expires_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp())
                AND (fulfilled_quantity OPERATOR(pg_catalog.+) $5) OPERATOR(pg_catalog.<=) quantity",
            &[Arg::Uuid(self.tenant), Arg::Uuid(self.id), Arg::Uuid(item), Arg::Uuid(location), numeric_arg(quantity)],
        );
        if used == 0 {
            LedgerError::Reservation.raise();
        }
    }
}
