//! Reading assigns no transaction id and works on a hot standby, context, permissions and all.

use postgres::Client;
use std::time::{Duration, Instant};
use thorbis_tests::{A, B, Cluster, Database, Session, in_context, ok, one, set_local, tenant_tables};

#[test]
fn reading_assigns_no_transaction_id() {
    let db = Database::new();
    let mut app = db.app();
    for table in tenant_tables(&mut db.superuser()) {
        let assigned = in_context(&mut app, A.id, A.owner, |tx| {
            tx.query(&format!("SELECT * FROM {}", table.name), &[])?;
            tx.query_one(
                "SELECT get_current_tenant_id(), get_current_user_id(), has_permission('orders', 'read'),
                        has_permission(get_current_user_id(), 'orders', 'read'), permitted_tenant_id('orders', 'read')",
                &[],
            )?;
            Ok(one::<Option<String>>(tx, "SELECT pg_current_xact_id_if_assigned()::text", &[]))
        });
        assert_eq!(ok(assigned), None, "{}", table.name);
    }
}

#[test]
fn read_only_transactions_read() {
    let db = Database::new();
    let mut app = db.app();
    ok(app.batch_execute(&format!("BEGIN READ ONLY; {}", set_local(A.id, A.owner))));
    assert_eq!(ok(app.tenants_seen()), [A.id]);
}

/// Waits until the standby has replayed everything the primary has written so far.
fn catch_up(primary: &mut Client, standby: &mut Client) {
    let target: String = one(primary, "SELECT pg_current_wal_insert_lsn()::text", &[]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !one::<bool>(standby, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", &[&target]) {
        assert!(Instant::now() < deadline, "the standby does not catch up");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn hot_standby_reads_with_context_and_sees_revocations() {
    let db = Database::new();
    let standby = Cluster::shared().standby();
    let (mut primary, mut maintenance) = (db.superuser(), standby.maintenance());
    catch_up(&mut primary, &mut maintenance);
    assert!(one::<bool>(&mut maintenance, "SELECT pg_is_in_recovery()", &[]));

    let mut app = standby.connect(&db.name, "app_login");
    for tenant in [&A, &B] {
        let seen = in_context(&mut app, tenant.id, tenant.owner, |tx| {
            let rows = tx.query("SELECT DISTINCT tenant_id FROM restaurants.orders", &[])?;
            Ok(rows.iter().map(|row| row.get(0)).collect::<Vec<uuid::Uuid>>())
        });
        assert_eq!(ok(seen), [tenant.id]);
    }
    assert!(ok(app.query("SELECT 1 FROM restaurants.orders", &[])).is_empty());

    // The latch holds there too.
    app.begin_as(&A);
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    ok(app.switch_to(&B));
    thorbis_tests::assert_sqlstate(app.tenants_seen(), "28000");
    ok(app.batch_execute("ROLLBACK"));

    // A revocation on the primary ends the permission in a transaction that is open on the standby.
    ok(app.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.employee))));
    assert!(!ok(app.tenants_seen()).is_empty());
    ok(primary.execute("DELETE FROM rbac.role_permissions WHERE tenant_id = $1 AND resource = 'customers'", &[&A.id]));
    catch_up(&mut primary, &mut maintenance);
    assert!(ok(app.tenants_seen()).is_empty());
}
