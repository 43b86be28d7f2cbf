//! Stored totals when many write lines of the same documents at the same time.

use std::sync::Barrier;
use std::thread;
use thorbis_tests::bills::{add, assert_right, bill, desk, run};
use thorbis_tests::{A, assert_sqlstate, in_context, ok, one, set_local};
use uuid::Uuid;

/// Sessions add and remove lines of the same documents, given in different orders, a third of them to no avail.
#[test]
fn storm_of_lines_leaves_every_amount_right() {
    const SESSIONS: usize = 8;
    let db = desk();
    let mut app = db.app();
    let bills: Vec<Uuid> = (0..4).map(|_| bill(&mut app)).collect();
    let barrier = Barrier::new(SESSIONS);
    let session = |seed: u64| {
        let mut client = db.app();
        let mut state = seed * 2 + 1;
        barrier.wait();
        for turn in 0..25 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut order = bills.clone();
            order.rotate_left((state >> 40) as usize % bills.len());
            if state >> 50 & 1 == 1 {
                order.reverse();
            }
            let order: Vec<String> = order.iter().map(Uuid::to_string).collect();
            let insert = format!(
                "INSERT INTO desk.bill_lines (bill_id, unit_price, sort_order)
                 SELECT id, {turn} + 0.33, {seed} FROM unnest('{{{}}}'::uuid[]) id",
                order.join(",")
            );
            let end = if state >> 45 & 3 == 0 { "SELECT 1 / 0" } else { "SELECT 1" };
            let done = in_context(&mut client, A.id, A.owner, |tx| {
                tx.batch_execute(&insert)?;
                tx.batch_execute(end)
            });
            if let Err(error) = done {
                assert_sqlstate(Err::<(), _>(error), "22012");
            }
        }
    };
    thread::scope(|scope| {
        let sessions: Vec<_> = (0..SESSIONS as u64).map(|seed| scope.spawn(move || session(seed))).collect();
        sessions.into_iter().for_each(|session| session.join().expect("the session works"));
    });
    assert_right(&db);
    let sum: bool = one(
        &mut db.superuser(),
        "SELECT bool_and(b.subtotal = (SELECT sum(unit_price) FROM desk.bill_lines l WHERE l.bill_id = b.id) AND b.subtotal > 100)
           FROM desk.bills b",
        &[],
    );
    assert!(sum);
}

/// A stricter transaction that does not see a line of another fails; it does not leave it out.
#[test]
fn stricter_level_fails_rather_than_forgets_a_line() {
    let db = desk();
    let mut app = db.app();
    let id = bill(&mut app);
    let mut strict = db.app();
    ok(strict.batch_execute(&format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; {}; SELECT count(*) FROM desk.bills",
        set_local(A.id, A.owner)
    )));
    ok(run(&mut app, A.owner, &add(id, "10")));
    assert_sqlstate(strict.batch_execute(&add(id, "20")), "40001");
    ok(strict.batch_execute("ROLLBACK"));
    assert_right(&db);
}
