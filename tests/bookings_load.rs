//! Sixteen sessions want the same slots: each is given once, whatever the isolation level, with retries and rollbacks.

use postgres::{Client, Error};
use std::sync::Barrier;
use thorbis_tests::{A, Database, describe, ok, one, set_local, sqlstate};
use uuid::Uuid;

const SESSIONS: usize = 16;
const SLOTS: usize = 12;

fn bay() -> Uuid {
    Uuid::from_u128(A.id.as_u128() - 1 + 0xe2)
}

/// Without a dependency on a crate: good enough to shuffle.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Half an hour each, begun every half hour.
fn slot(number: usize) -> String {
    let at = |half: usize| format!("2026-08-03 {:02}:{:02}+00", 8 + half / 2, 30 * (half % 2));
    format!("[{},{})", at(number), at(number + 1))
}

fn book(client: &mut Client, isolation: &str, slot: &str, keep: bool) -> Result<bool, Error> {
    client.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}; {}", set_local(A.id, A.owner)))?;
    let sql = format!("INSERT INTO shared.bookings (bookable_resource_id, during) VALUES ('{}', '{slot}')", bay());
    let result = client.batch_execute(&sql);
    client.batch_execute(if result.is_ok() && keep { "COMMIT" } else { "ROLLBACK" })?;
    result.map(|()| keep)
}

/// How many bookings the sessions were granted. `tolerated`: what else than a refusal they may be told.
fn storm(db: &Database, isolation: &str, tolerated: &[&str]) -> usize {
    let barrier = Barrier::new(SESSIONS);
    std::thread::scope(|scope| {
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|session| {
                let (barrier, db) = (&barrier, db);
                scope.spawn(move || {
                    let (mut client, mut dice, mut granted) = (db.app(), Dice(session as u64 + 1), 0);
                    barrier.wait();
                    for i in 0..3 * SLOTS {
                        // Everybody begins with the same slot.
                        let wanted = if i == 0 { 0 } else { dice.roll(SLOTS as u64) as usize };
                        // A third thinks better of it, or its client dies.
                        match book(&mut client, isolation, &slot(wanted), dice.roll(3) > 0) {
                            Ok(kept) => granted += usize::from(kept),
                            Err(e) => assert!(
                                sqlstate(&e) == "23P01" || tolerated.contains(&sqlstate(&e)),
                                "{}",
                                describe(&e)
                            ),
                        }
                    }
                    granted
                })
            })
            .collect();
        sessions.into_iter().map(|session| session.join().expect("a session ends")).sum()
    })
}

fn each_slot_is_given_once(db: &Database, isolation: &str, tolerated: &[&str]) {
    let granted = storm(db, isolation, tolerated);
    let mut superuser = db.superuser();
    let stored: i64 =
        one(&mut superuser, "SELECT count(*) FROM shared.bookings WHERE bookable_resource_id = $1", &[&bay()]);
    let overlapping: i64 = one(
        &mut superuser,
        "SELECT count(*) FROM shared.bookings a JOIN shared.bookings b USING (tenant_id, bookable_resource_id)
          WHERE a.id < b.id AND a.is_live AND b.is_live AND a.occupied && b.occupied",
        &[],
    );
    assert_eq!((overlapping, stored), (0, granted as i64), "{isolation}: every slot that was granted is there, once");
    assert_eq!(granted, SLOTS, "{isolation}: so many attempts leave no slot free");
}

#[test]
fn each_slot_is_given_once_under_read_committed() {
    each_slot_is_given_once(&Database::new(), "READ COMMITTED", &[]);
}

#[test]
fn each_slot_is_given_once_under_repeatable_read() {
    each_slot_is_given_once(&Database::new(), "REPEATABLE READ", &["40001"]);
}

#[test]
fn each_slot_is_given_once_under_serializable() {
    each_slot_is_given_once(&Database::new(), "SERIALIZABLE", &["40001"]);
}

/// The constraint alone does not need the trigger to be right. It does to be quiet: two sessions that insert before they
/// look wait for each other.
#[test]
fn each_slot_is_given_once_without_the_trigger() {
    let db = Database::new();
    ok(db.superuser().batch_execute("DROP TRIGGER write_bookings_time ON shared.bookings"));
    each_slot_is_given_once(&db, "READ COMMITTED", &["40P01"]);
}

/// The trigger that stands in for the constraint where btree_gist is missing, alone.
#[test]
fn each_slot_is_given_once_without_btree_gist() {
    for isolation in ["READ COMMITTED", "REPEATABLE READ"] {
        let db = Database::new();
        let mut superuser = db.superuser();
        ok(superuser.batch_execute(
            "DROP TRIGGER write_bookings_time ON shared.bookings; DROP EXTENSION btree_gist CASCADE;
             SELECT thorbis.add_exclusion('shared.bookings', 'bookings_bookable_resource_id_occupied_excl',
                 '{bookable_resource_id}', 'occupied', 'is_live')",
        ));
        let constraints =
            "SELECT count(*) FROM pg_constraint WHERE contype = 'x' AND conrelid = 'shared.bookings'::regclass";
        assert_eq!(one::<i64>(&mut superuser, constraints, &[]), 0);
        each_slot_is_given_once(&db, isolation, &["40001"]);
    }
}
