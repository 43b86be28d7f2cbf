//! What the tenant pays the platform for: the platform writes it, the tenant reads its own.

use postgres::Client;
use thorbis_tests::{A, B, Database, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

fn platform(db: &Database) -> Client {
    let mut platform = db.superuser();
    ok(platform.batch_execute("SET ROLE thorbis_platform"));
    platform
}

#[test]
fn tenants_read_their_own_and_write_none() {
    let db = Database::new();
    let mut app = db.app();
    for table in ["subscriptions", "usage_records"] {
        let of = format!("SELECT DISTINCT tenant_id FROM shared.{table}");
        let seen: Vec<Uuid> =
            ok(in_context(&mut app, A.id, A.owner, |tx| tx.query(&of, &[]))).iter().map(|row| row.get(0)).collect();
        assert_eq!(seen, [A.id]);
        let employee = in_context(&mut app, A.id, A.employee, |tx| tx.query(&of, &[]));
        assert!(ok(employee).is_empty(), "without the permission nothing");
        for verb in [format!("DELETE FROM shared.{table}"), format!("UPDATE shared.{table} SET id = id")] {
            assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(&verb, &[])), "42501");
        }
    }
    for sql in [
        "INSERT INTO shared.subscriptions (plan, currency, valid_during) VALUES ('free', 'USD', '[2026-01-01,)')"
            .into(),
        "INSERT INTO shared.usage_records (metric, quantity, idempotency_key) VALUES ('sms', 1, 'x')".into(),
        format!("SELECT shared.record_usage('{}', 'sms', 1, 'x')", A.id),
    ] {
        assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(&sql, &[])), "42501");
    }
}

#[test]
fn one_subscription_at_a_time() {
    let db = Database::new();
    let mut platform = platform(&db);
    let insert = |tenant: Uuid, range: &str| {
        format!(
            "INSERT INTO shared.subscriptions (tenant_id, plan, currency, price_amount, valid_during)
             VALUES ('{tenant}', 'premium', 'USD', 99.00, '{range}')"
        )
    };
    assert_sqlstate(platform.batch_execute(&insert(A.id, "[2026-01-01,2027-01-01)")), "23P01");
    ok(platform.execute(
        "UPDATE shared.subscriptions SET valid_during = '[2001-01-01,2026-01-01)' WHERE tenant_id = $1",
        &[&A.id],
    ));
    ok(platform.batch_execute(&insert(A.id, "[2026-01-01,2027-01-01)")));
    assert_sqlstate(platform.batch_execute(&insert(B.id, "[2026-01-01,2027-01-01)")), "23P01");
    for range in ["empty", "(,2001-01-01)", "[-infinity,1999-01-01)"] {
        assert_sqlstate(platform.batch_execute(&insert(A.id, range)), "23514");
    }
}

#[test]
fn usage_is_recorded_once() {
    let db = Database::new();
    let mut platform = platform(&db);
    let record = "SELECT shared.record_usage($1, 'sms', $2::text::numeric, $3, '2026-03-01')";
    let first: Uuid = one(&mut platform, record, &[&A.id, &"3.5", &"k"]);
    assert_eq!(one::<Uuid>(&mut platform, record, &[&A.id, &"3.500", &"k"]), first);
    assert_sqlstate(platform.query(record, &[&A.id, &"4", &"k"]), "22023");
    assert_ne!(one::<Uuid>(&mut platform, record, &[&B.id, &"3.5", &"k"]), first, "another tenant's key is another");
    let row = ok(platform.query_one(
        "SELECT count(*), sum(quantity)::text, bool_and(subscription_id IS NOT NULL) FROM shared.usage_records
          WHERE tenant_id = $1 AND idempotency_key = 'k'",
        &[&A.id],
    ));
    assert_eq!((row.get(0), row.get(1), row.get(2)), (1_i64, "3.500000".to_owned(), true));
    for sql in ["UPDATE shared.usage_records SET quantity = 0", "DELETE FROM shared.usage_records"] {
        assert_sqlstate(platform.batch_execute(sql), "42501");
    }
    assert_sqlstate(platform.query(record, &[&A.id, &"NaN", &"nan"]), "23514");
}

#[test]
fn sixteen_writers_of_one_record_write_it_once() {
    let db = Database::new();
    let barrier = std::sync::Barrier::new(16);
    let ids: Vec<Uuid> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let mut platform = platform(&db);
                    barrier.wait();
                    one(&mut platform, "SELECT shared.record_usage($1, 'sms', 1, 'race')", &[&A.id])
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("a writer ends")).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}
