//! Consumers of events: each gets those of its own tenant, in their order, and not what another has; what a dead one had
//! comes back.

use std::collections::BTreeSet;
use thorbis_tests::events::{claim, events, note, permit, tell, with_notes};
use thorbis_tests::{A, B, Database, Session, as_owner, assert_sqlstate, in_context, ok, one, until};
use uuid::Uuid;

#[test]
fn consumers_get_each_event_once_and_in_its_order() {
    let db = with_notes();
    let mut app = db.app();
    let (first, _) = as_owner(&db, &A, |tx| Ok((note(tx, 1)?, note(tx, 10)?)));
    for stars in [2, 3] {
        as_owner(&db, &A, |tx| tx.execute("UPDATE crm.notes SET stars = $2 WHERE id = $1", &[&first, &stars]));
    }
    let stars = |claimed: &[(Uuid, i32)]| claimed.iter().map(|(_, stars)| *stars).collect::<Vec<_>>();
    let got = claim(&mut app, &A, "'x'");
    assert_eq!(stars(&got), [1, 10], "of each row the oldest");
    assert_eq!(claim(&mut app, &A, "'y'"), [], "what one has nobody else gets");
    assert_eq!(tell(&mut app, "complete", "x", &[got[0].0]), 1);
    assert_eq!(tell(&mut app, "complete", "x", &[got[0].0]), 0, "once");
    let got = claim(&mut app, &A, "'y'");
    assert_eq!(stars(&got), [2]);
    assert_eq!(tell(&mut app, "complete", "y", &[got[0].0]), 1);
    assert_eq!(stars(&claim(&mut app, &A, "'y', 1, '{note}'")), [3]);
    assert_eq!(claim(&mut app, &A, "'y', 1000, '{other}'"), []);
}

/// Completed or failed can only be what was claimed.
#[test]
fn nothing_is_completed_that_nobody_claimed() {
    let db = with_notes();
    as_owner(&db, &A, |tx| note(tx, 1));
    let id: Uuid = one(&mut db.superuser(), "SELECT id FROM shared.outbox", &[]);
    let mut app = db.app();
    assert_eq!((tell(&mut app, "complete", "x", &[id]), tell(&mut app, "fail", "x", &[id])), (0, 0));
    assert_eq!(tell(&mut app, "complete", "x", &[Uuid::new_v4()]), 0);
    assert_eq!(claim(&mut app, &A, "'x'").len(), 1);
}

#[test]
fn what_a_dead_consumer_had_comes_back() {
    let db = with_notes();
    as_owner(&db, &A, |tx| note(tx, 1));
    let mut app = db.app();
    let mut dying = db.app();
    dying.begin_as(&A);
    assert_eq!(ok(dying.query("SELECT * FROM shared.claim_outbox_events('dying')", &[])).len(), 1);
    assert_eq!(claim(&mut app, &A, "'x'"), [], "while it lives");
    // Its connection is gone before it commits.
    drop(dying);
    until("the event comes back", || !claim(&mut app, &A, "'x', 100, NULL, 1").is_empty());
    // This one dies after the commit: its second is over some time.
    until("the event comes back again", || !claim(&mut app, &A, "'y'").is_empty());
    let attempts: i32 = one(&mut db.superuser(), "SELECT attempts FROM shared.outbox", &[]);
    assert!(attempts >= 2, "{attempts}");
}

/// Whoever is too late does nothing, to what nobody else has by then as to what its successor has.
#[test]
fn who_is_too_late_takes_nothing_from_its_successor() {
    let db = with_notes();
    as_owner(&db, &A, |tx| note(tx, 1));
    let (mut app, mut superuser) = (db.app(), db.superuser());
    let id = claim(&mut app, &A, "'first'")[0].0;
    assert_eq!((tell(&mut app, "complete", "other", &[id]), tell(&mut app, "fail", "other", &[id])), (0, 0));
    ok(superuser.batch_execute("UPDATE shared.outbox SET available_at = now()"));
    assert_eq!((tell(&mut app, "complete", "first", &[id]), tell(&mut app, "fail", "first", &[id])), (0, 0));
    assert_eq!(claim(&mut app, &A, "'second'"), [(id, 1)]);
    assert_eq!((tell(&mut app, "complete", "first", &[id]), tell(&mut app, "fail", "first", &[id])), (0, 0));
    assert_eq!(claim(&mut app, &A, "'third'"), [], "the second still has it");
    assert_eq!(tell(&mut app, "complete", "second", &[id]), 1);
    let nobody = "SELECT shared.complete_outbox_events(NULL, $1)";
    assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(nobody, &[&vec![id]])), "22004");
}

#[test]
fn what_failed_comes_later_and_is_given_up_in_the_end() {
    let db = with_notes();
    let (mut app, mut superuser) = (db.app(), db.superuser());
    let id = as_owner(&db, &A, |tx| note(tx, 1));
    as_owner(&db, &A, |tx| tx.execute("UPDATE crm.notes SET stars = 2 WHERE id = $1", &[&id]));
    let mut delays = Vec::new();
    for attempt in 1..=20 {
        let got = claim(&mut app, &A, "'x'");
        assert_eq!(got.iter().map(|(_, stars)| *stars).collect::<Vec<_>>(), [1], "attempt {attempt}");
        assert_eq!(tell(&mut app, "fail", "x", &[got[0].0]), 1);
        assert_eq!(tell(&mut app, "complete", "x", &[got[0].0]), 0, "it has it no more");
        delays.push(one::<i64>(
            &mut superuser,
            "SELECT round(extract(epoch FROM available_at - updated_at))::int8 FROM shared.outbox WHERE attempts > 0",
            &[],
        ));
        ok(superuser.batch_execute("UPDATE shared.outbox SET available_at = now() WHERE attempts > 0"));
    }
    assert_eq!(delays[..4], [2, 4, 8, 16]);
    assert_eq!(delays[19], 3600);
    let given_up = "SELECT count(*) FROM shared.outbox WHERE failed_at IS NOT NULL";
    assert_eq!(one::<i64>(&mut superuser, given_up, &[]), 1);
    let next: Vec<i32> = claim(&mut app, &A, "'x'").iter().map(|(_, stars)| *stars).collect();
    assert_eq!(next, [2], "what comes after it is not kept waiting for ever");
}

/// Consumers that crash each time never say that they failed.
#[test]
fn what_kills_its_consumers_is_given_up_too() {
    let db = with_notes();
    let (mut app, mut superuser) = (db.app(), db.superuser());
    as_owner(&db, &A, |tx| note(tx, 1));
    ok(superuser.batch_execute(
        "UPDATE shared.outbox SET attempts = 20, claimed_by = 'x', claimed_at = now(), available_at = now()",
    ));
    assert_eq!(claim(&mut app, &A, "'x'"), []);
    let steps = "SELECT object, action, count FROM thorbis.maintain(dry_run => $1) WHERE task = 'outbox'";
    for dry_run in [true, false] {
        let rows = ok(superuser.query(steps, &[&dry_run]));
        let step: (String, String, i64) = (rows[0].get(0), rows[0].get(1), rows[0].get(2));
        assert_eq!(step, ("shared.outbox".into(), "give up events".into(), 1));
    }
    assert!(ok(superuser.query(steps, &[&false])).is_empty());
}

#[test]
fn delivered_events_are_removed_after_a_week() {
    let db = with_notes();
    let (mut app, mut superuser) = (db.app(), db.superuser());
    as_owner(&db, &A, |tx| Ok((note(tx, 1)?, note(tx, 2)?, note(tx, 3)?)));
    let got = claim(&mut app, &A, "'x', 2");
    tell(&mut app, "complete", "x", &got.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    let age = "UPDATE shared.outbox SET published_at = published_at - interval '8 days' WHERE id = $1";
    ok(superuser.execute(age, &[&got[0].0]));
    ok(superuser.execute("SELECT FROM thorbis.maintain()", &[]));
    assert_eq!(events(&db), 2);
}

/// maintain() does the rest, and the other session keeps what it has.
#[test]
fn maintenance_waits_for_no_event_that_somebody_has_locked() {
    let db = with_notes();
    let (mut other, mut superuser) = (db.superuser(), db.superuser());
    as_owner(&db, &A, |tx| Ok((note(tx, 1)?, note(tx, 2)?, note(tx, 3)?, note(tx, 4)?)));
    ok(superuser.batch_execute(
        "UPDATE shared.outbox SET published_at = now() - interval '8 days' WHERE payload ->> 'stars' IN ('1', '2');
         UPDATE shared.outbox SET attempts = 20, claimed_by = 'x', claimed_at = now() WHERE published_at IS NULL",
    ));
    let mut held = ok(other.transaction());
    ok(held.batch_execute("SELECT FROM shared.outbox WHERE payload ->> 'stars' IN ('1', '3') FOR UPDATE"));
    let done = "SELECT string_agg(concat_ws(' ', action, count), ', ') FROM thorbis.maintain() WHERE task = 'outbox'";
    let each = "remove delivered events 1, give up events 1";
    assert_eq!(one::<String>(&mut superuser, done, &[]), each);
    ok(held.commit());
    assert_eq!(one::<String>(&mut superuser, done, &[]), each);
}

#[test]
fn consumers_racing_get_every_event_once() {
    let db = with_notes();
    const NOTES: usize = 300;
    as_owner(&db, &A, |tx| {
        tx.execute("INSERT INTO crm.notes (stars) SELECT n FROM generate_series(1, $1::int) n", &[&(NOTES as i32)])
    });
    let claimed: Vec<Uuid> = std::thread::scope(|scope| {
        let consumers: Vec<_> = (0..8)
            .map(|consumer| {
                let db = &db;
                scope.spawn(move || {
                    let (mut app, mut all) = (db.app(), Vec::new());
                    loop {
                        let name = format!("consumer {consumer}");
                        let got = claim(&mut app, &A, &format!("'{name}', 7"));
                        if got.is_empty() {
                            return all;
                        }
                        let ids: Vec<Uuid> = got.into_iter().map(|(id, _)| id).collect();
                        tell(&mut app, "complete", &name, &ids);
                        all.extend(ids);
                    }
                })
            })
            .collect();
        consumers.into_iter().flat_map(|consumer| consumer.join().expect("a consumer ends")).collect()
    });
    let distinct: BTreeSet<&Uuid> = claimed.iter().collect();
    // An empty answer may only mean that the others have the rest.
    let left = claim(&mut db.app(), &A, "'last', 1000");
    assert_eq!((distinct.len(), claimed.len() + left.len()), (claimed.len(), NOTES));
}

// --- whose events

#[test]
fn a_tenant_consumes_its_own_events_with_the_permission_only() {
    let db = with_notes();
    for tenant in [&A, &B] {
        as_owner(&db, tenant, |tx| note(tx, 1));
    }
    let mut app = db.app();
    let mine = claim(&mut app, &A, "'x'");
    assert_eq!(mine.len(), 1);
    let theirs: Uuid = one(&mut db.superuser(), "SELECT id FROM shared.outbox WHERE tenant_id = $1", &[&B.id]);
    assert_ne!(mine[0].0, theirs);
    assert_eq!(claim(&mut db.app(), &B, "'x'"), [(theirs, 1)]);
    assert_eq!((tell(&mut app, "complete", "x", &[theirs]), tell(&mut app, "fail", "x", &[theirs])), (0, 0));
    let calls = [
        "shared.claim_outbox_events('x')",
        "shared.complete_outbox_events('x', ARRAY[]::uuid[])",
        "shared.fail_outbox_events('x', ARRAY[]::uuid[])",
        "thorbis.claim_outbox_events('x', 1, NULL, 1)",
        "thorbis.complete_outbox_events('x', '{}')",
    ];
    permit(&db, "outbox", "read");
    for call in calls {
        let sql = format!("SELECT * FROM {call}");
        let refused = in_context(&mut app, A.id, A.employee, |tx| tx.execute(&sql, &[]));
        assert_eq!(assert_sqlstate(refused, "42501").message(), "permission denied: outbox:consume is required");
        // Nobody is no operator.
        assert_sqlstate(app.execute(&sql, &[]), "28000");
        assert_sqlstate(db.connect_as("stranger_login").execute(&sql, &[]), "42501");
    }
    permit(&db, "outbox", "consume");
    ok(in_context(&mut app, A.id, A.employee, |tx| tx.execute("SELECT * FROM shared.claim_outbox_events('x')", &[])));
}

#[test]
fn an_operator_consumes_the_events_of_all_tenants() {
    let db = with_notes();
    for tenant in [&A, &B] {
        as_owner(&db, tenant, |tx| note(tx, 1));
    }
    let mut platform = db.superuser();
    ok(platform.batch_execute("SET ROLE thorbis_platform"));
    let rows = ok(platform.query("SELECT tenant_id, id FROM shared.claim_outbox_events('relay')", &[]));
    let tenants: BTreeSet<Uuid> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(tenants, BTreeSet::from([A.id, B.id]));
    let ids: Vec<Uuid> = rows.iter().map(|row| row.get(1)).collect();
    assert_eq!(one::<i64>(&mut platform, "SELECT shared.complete_outbox_events('relay', $1)", &[&ids]), 2);
    assert_eq!(ok(platform.query("SELECT * FROM shared.claim_outbox_events('relay')", &[])).len(), 0);
}

#[test]
fn arguments_have_their_limits() {
    let db = Database::new();
    let mut app = db.app();
    for call in ["'x', 0", "'x', 1001", "'x', 1, NULL, 0", "'x', 1, NULL, 86401"] {
        let sql = format!("SELECT * FROM shared.claim_outbox_events({call})");
        assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(&sql, &[])), "22023");
    }
    let nobody = "SELECT * FROM shared.claim_outbox_events(NULL)";
    assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(nobody, &[])), "22004");
}
