//! Rotation of the keyring: progress that others see, stopped and resumed, beside writers, and the old key can go.

use postgres::{Client, Transaction};
use std::collections::BTreeMap;
use thorbis_tests::keyring::{Kept, status};
use thorbis_tests::{A, B, assert_sqlstate, assert_sqlstate_in, in_context, ok, one, set_local, sqlstate, until};

/// 60 more customers of each tenant, so that there is something to rotate.
fn with_people(kept: &Kept) -> i64 {
    for tenant in [&A, &B] {
        let fill = "INSERT INTO shared.customers (tenant_id, email, first_name, last_name)
                    SELECT $1, 'r' || n || '@rotate.example', 'R', 'R' FROM generate_series(1, 60) n";
        ok(kept.db.superuser().execute(fill, &[&tenant.id]));
    }
    one(&mut kept.db.superuser(), "SELECT count(*) FROM thorbis.data_keys", &[])
}

/// Every address of every tenant, read in new sessions.
#[track_caller]
fn everything_is_readable(kept: &Kept) {
    for tenant in [&A, &B] {
        let read = |tx: &mut Transaction<'_>| {
            let sql = "SELECT (SELECT count(DISTINCT email) FROM shared.customers_pii), (SELECT count(email) FROM shared.users_pii)";
            tx.query_one(sql, &[])
        };
        let row = ok(in_context(&mut kept.db.app(), tenant.id, tenant.owner, read));
        assert!(row.get::<_, i64>(0) >= 62 && row.get::<_, i64>(1) >= 3, "{row:?}");
    }
}

const ROTATIONS: &str = "SELECT count(*), count(finished_at), coalesce(max(total), 0), coalesce(sum(done), 0)::bigint
                           FROM thorbis.key_rotations WHERE to_key = 'k2'";

/// (rotations, of them finished, total of the greatest, done by all)
fn rotations(client: &mut Client) -> [i64; 4] {
    let row = ok(client.query_one(ROTATIONS, &[]));
    std::array::from_fn(|i| row.get(i))
}

/// Somebody who holds one data key keeps the rotation from ending: what it did before is committed, for all to see.
#[test]
fn rotation_shows_its_progress_can_be_cancelled_and_goes_on() {
    let mut kept = Kept::in_a_new_database();
    let keys = with_people(&kept);
    let (mut holder, mut watcher, mut rotator) = (kept.db.superuser(), kept.db.superuser(), kept.db.superuser());
    kept.ring.add(&mut watcher, "k2");
    kept.file.write(&kept.ring);
    ok(holder.batch_execute("BEGIN; SELECT id FROM thorbis.data_keys ORDER BY id LIMIT 1 FOR UPDATE"));
    ok(rotator.batch_execute("SET statement_timeout = 0"));
    let cancel = rotator.cancel_token();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| rotator.batch_execute("CALL thorbis.rotate_keys(10)"));
        until("all keys but the one that is held are done", || rotations(&mut watcher)[3] == keys - 1);
        assert_eq!(rotations(&mut watcher), [1, 0, keys, keys - 1]);
        assert_eq!(
            status(&mut watcher),
            [("dev-1", "available", 1), ("k2", "active", keys - 1)]
                .map(|(id, state, n)| (id.into(), (state.into(), n)))
                .into()
        );
        everything_is_readable(&kept);
        until("the rotation ends when it is cancelled", || {
            let _ = cancel.cancel_query(postgres::NoTls);
            running.is_finished()
        });
        assert_sqlstate(running.join().expect("it returns"), "57014");
    });
    // What was done stays done.
    assert_eq!(status(&mut watcher)["dev-1"].1, 1);
    everything_is_readable(&kept);
    ok(holder.batch_execute("ROLLBACK"));
    ok(kept.db.superuser().batch_execute("CALL thorbis.rotate_keys(10)"));
    let [runs, finished, _, done] = rotations(&mut watcher);
    assert!(runs >= 1 && finished >= 1 && done == keys, "{runs} {finished} {done}");
    // The old version can be retired.
    kept.ring.keys.remove("dev-1");
    kept.file.write(&kept.ring);
    assert_eq!(status(&mut watcher), BTreeMap::from([("k2".into(), ("active".into(), keys))]));
    everything_is_readable(&kept);
    kept.works();
}

#[test]
fn rotation_changes_no_row_of_the_business() {
    let mut kept = Kept::in_a_new_database();
    with_people(&kept);
    let mut superuser = kept.db.superuser();
    let rows = "SELECT md5(string_agg(xmin::text || to_jsonb(c), '' ORDER BY tenant_id, id)) FROM shared.customers c";
    let before: String = one(&mut superuser, rows, &[]);
    kept.ring.add(&mut superuser, "k2");
    kept.file.write(&kept.ring);
    ok(superuser.batch_execute("CALL thorbis.rotate_keys()"));
    assert_eq!(one::<String>(&mut superuser, rows, &[]), before);
    // Nothing is left to do, and doing it again harms nobody.
    ok(superuser.batch_execute("CALL thorbis.rotate_keys(1)"));
    everything_is_readable(&kept);
}

#[test]
fn two_rotations_at_once_with_writers_lose_nothing() {
    let mut kept = Kept::in_a_new_database();
    with_people(&kept);
    let mut superuser = kept.db.superuser();
    kept.ring.add(&mut superuser, "k2");
    let kept = kept;
    std::thread::scope(|scope| {
        let writers = [&A, &B].map(|tenant| {
            let kept = &kept;
            scope.spawn(move || {
                let mut app = kept.db.app();
                for n in 0..100 {
                    let email = format!("w{n}@rotate.example");
                    ok(in_context(&mut app, tenant.id, tenant.owner, |tx| {
                        tx.execute(
                            "INSERT INTO shared.customers (email, first_name, last_name) VALUES ($1, 'W', 'W')",
                            &[&email],
                        )
                    }));
                }
            })
        });
        kept.file.write(&kept.ring);
        let rotators = [10, 7].map(|batch| {
            let kept = &kept;
            scope.spawn(move || kept.db.superuser().batch_execute(&format!("CALL thorbis.rotate_keys({batch})")))
        });
        let results = rotators.map(|rotator| rotator.join().expect("it returns"));
        assert!(results.iter().any(Result::is_ok), "{results:?}");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(["55006", "55P03", "40001", "40P01"].contains(&sqlstate(error)), "{error:?}");
        }
        writers.into_iter().for_each(|writer| writer.join().expect("it writes"));
    });
    // Writers that began before the change may have used the old key after the rotation; another run takes them along.
    ok(superuser.batch_execute("CALL thorbis.rotate_keys(50)"));
    let mut ring = kept.ring.clone();
    ring.keys.remove("dev-1");
    kept.file.write(&ring);
    assert_eq!(status(&mut superuser).keys().collect::<Vec<_>>(), ["k2"]);
    everything_is_readable(&kept);
    let row = ok(in_context(&mut kept.db.app(), A.id, A.owner, |tx| {
        tx.query_one("SELECT count(DISTINCT email) FROM shared.customers_pii WHERE last_name = 'W'", &[])
    }));
    assert_eq!(row.get::<_, i64>(0), 100);
}

#[test]
fn rotation_within_a_transaction_and_odd_batches_are_refused() {
    let kept = Kept::in_a_new_database();
    let mut superuser = kept.db.superuser();
    ok(superuser.batch_execute("BEGIN"));
    assert_sqlstate(superuser.batch_execute("CALL thorbis.rotate_keys()"), "2D000");
    ok(superuser.batch_execute("ROLLBACK"));
    for batch in ["0", "-1", "NULL", "2147483647"] {
        let refused = superuser.batch_execute(&format!("CALL thorbis.rotate_keys({batch})"));
        assert_sqlstate_in(refused, &["22023", "22004"]);
    }
    kept.works();
}

/// A data key that is not committed yet is seen by no batch: the end of the rotation waits for it, and not for ever.
#[test]
fn rotation_ends_after_writers_that_began_under_the_old_key() {
    let mut kept = Kept::in_a_new_database();
    let (mut writer, mut superuser) = (kept.db.app(), kept.db.superuser());
    let insert =
        "INSERT INTO shared.customers (email, first_name, last_name) VALUES ('late@rotate.example', 'W', 'Late')";
    ok(writer.batch_execute(&format!("BEGIN; {}; {insert}", set_local(A.id, A.owner))));
    kept.ring.add(&mut superuser, "k2");
    kept.file.write(&kept.ring);
    assert_sqlstate(superuser.batch_execute("CALL thorbis.rotate_keys()"), "55P03");
    assert_eq!(rotations(&mut superuser)[..2], [1, 0], "it is not finished");
    // Others write on meanwhile.
    kept.works();
    ok(writer.batch_execute("COMMIT"));
    assert_eq!(status(&mut superuser)["dev-1"].1, 1, "the writer's");
    ok(superuser.batch_execute("CALL thorbis.rotate_keys()"));
    kept.ring.keys.remove("dev-1");
    kept.file.write(&kept.ring);
    assert_eq!(status(&mut superuser).keys().collect::<Vec<_>>(), ["k2"]);
    for session in [&mut writer, &mut kept.db.app()] {
        let read = "SELECT email FROM shared.customers_pii ORDER BY last_name = 'Late', email";
        let emails = ok(in_context(session, A.id, A.owner, |tx| tx.query(read, &[])));
        let emails: Vec<&str> = emails.iter().map(|row| row.get(0)).collect();
        assert_eq!(emails, ["carla@aaaaaaaa.example", "rita@aaaaaaaa.example", "late@rotate.example"]);
    }
    kept.works();
}
