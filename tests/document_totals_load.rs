//! Stored totals when many write lines of the same documents at the same time.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use thorbis_tests::billing::draft;
use thorbis_tests::bills::{PRICING, add, assert_right, bill, desk, run};
use thorbis_tests::{A, Database, as_owner, assert_sqlstate, assert_sqlstate_in, in_context, ok, one, set_local};
use uuid::Uuid;

const SESSIONS: usize = 16;
const TURNS: usize = 12;

/// A kind of document with lines, of which `{session}` tells whose they are.
struct Kind {
    documents: &'static str,
    lines: &'static str,
    key: &'static str,
    /// The name of whose line it is.
    mine: &'static str,
    /// `{ids}`, `{turn}`, `{session}`
    insert: &'static str,
}

const BILLS: Kind = Kind {
    documents: "desk.bills",
    lines: "desk.bill_lines",
    key: "bill_id",
    mine: "sort_order = {session}",
    insert: "INSERT INTO desk.bill_lines (bill_id, unit_price, sort_order)
             SELECT id, {turn} + 0.33, {session} FROM unnest('{{ids}}'::uuid[]) id",
};

const INVOICES: Kind = Kind {
    documents: "shared.invoices",
    lines: "shared.invoice_lines",
    key: "invoice_id",
    mine: "sku = 'of {session}'",
    insert: "INSERT INTO shared.invoice_lines (invoice_id, line_number, description, unit_price, sku)
             SELECT id, {session} * 100 + {turn}, 'Work', {turn} + 0.33, 'of {session}' FROM unnest('{{ids}}'::uuid[]) id",
};

impl Kind {
    fn documents(&self, db: &Database) -> Vec<Uuid> {
        let one = |_| match self.documents {
            "desk.bills" => bill(&mut db.app()),
            _ => as_owner(db, &A, |tx| draft(tx, PRICING, &[])),
        };
        (0..4).map(one).collect()
    }

    /// Every session runs what `turn` makes of the documents in some order and of (turn, session), a quarter to no avail.
    /// How often it was committed; other errors than `tolerated` are none of this.
    fn storm(&self, db: &Database, tolerated: &[&str], turn: impl Fn(&str, usize, usize) -> String + Sync) -> usize {
        let documents = self.documents(db);
        let (barrier, committed) = (Barrier::new(SESSIONS), AtomicUsize::new(0));
        let session = |number: usize| {
            let mut client = db.app();
            let mut state = number as u64 * 2 + 1;
            barrier.wait();
            for count in 1..=TURNS {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let mut order = documents.clone();
                order.rotate_left((state >> 40) as usize % documents.len());
                if state >> 50 & 1 == 1 {
                    order.reverse();
                }
                let order: Vec<String> = order.iter().map(Uuid::to_string).collect();
                let end = if state >> 45 & 3 == 0 { "SELECT 1 / 0" } else { "SELECT 1" };
                let done = in_context(&mut client, A.id, A.owner, |tx| {
                    tx.batch_execute(&turn(&order.join(","), count, number))?;
                    tx.batch_execute(end)
                });
                match done {
                    Ok(()) => drop(committed.fetch_add(1, Ordering::Relaxed)),
                    failed => drop(assert_sqlstate_in(failed, &[tolerated, &["22012"]].concat())),
                }
            }
        };
        thread::scope(|scope| {
            let sessions: Vec<_> = (0..SESSIONS).map(|number| scope.spawn(move || session(number))).collect();
            sessions.into_iter().for_each(|session| session.join().expect("the session works"));
        });
        assert_right(db);
        let Kind { documents: table, lines, key, .. } = self;
        let sums = format!(
            "SELECT bool_and(d.subtotal = (SELECT coalesce(sum(l.unit_price * l.quantity), 0) FROM {lines} l WHERE l.{key} = d.id))
               FROM {table} d WHERE d.id = ANY ($1)"
        );
        assert!(one::<bool>(&mut db.superuser(), &sums, &[&documents]));
        committed.into_inner()
    }

    fn insert(&self, ids: &str, turn: usize, session: usize) -> String {
        let insert = self.insert.replace("{ids}", ids).replace("{turn}", &turn.to_string());
        insert.replace("{session}", &session.to_string())
    }

    fn mine(&self, session: usize) -> String {
        self.mine.replace("{session}", &session.to_string())
    }

    /// The oldest of one's own lines go, or change, or new ones come.
    fn any(&self, ids: &str, turn: usize, session: usize) -> String {
        let Kind { lines, key, .. } = self;
        let mine = self.mine(session);
        match turn % 4 {
            0 => format!("DELETE FROM {lines} WHERE {mine} AND unit_price < {turn} - 2"),
            2 => format!("UPDATE {lines} SET quantity = quantity + 1 WHERE {mine} AND {key} = ANY ('{{{ids}}}')"),
            _ => self.insert(ids, turn, session),
        }
    }
}

/// Whatever order the documents are given in.
#[test]
fn new_lines_never_end_in_a_deadlock() {
    let db = desk();
    for kind in [BILLS, INVOICES] {
        let committed = kind.storm(&db, &[], |ids, turn, session| kind.insert(ids, turn, session));
        assert!(committed > SESSIONS * TURNS / 2, "{}: {committed}", kind.lines);
    }
}

/// A line that is changed or deleted is locked before its document: that can end in a deadlock, never in a wrong amount.
#[test]
fn lines_that_come_and_go_leave_every_amount_right() {
    let db = desk();
    ok(db.superuser().batch_execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''10ms''', current_database()); END $$",
    ));
    for kind in [BILLS, INVOICES] {
        let committed = kind.storm(&db, &["40P01"], |ids, turn, session| kind.any(ids, turn, session));
        assert!(committed > SESSIONS, "{}: {committed}", kind.lines);
    }
}

/// Who locks the documents first never sees that deadlock.
#[test]
fn documents_locked_first_have_no_deadlock() {
    let db = desk();
    for kind in [BILLS, INVOICES] {
        let lock = format!("SELECT FROM {} ORDER BY id FOR UPDATE", kind.documents);
        let committed = kind.storm(&db, &[], |ids, turn, session| format!("{lock}; {}", kind.any(ids, turn, session)));
        assert!(committed > SESSIONS * TURNS / 2, "{}: {committed}", kind.lines);
    }
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
