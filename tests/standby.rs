//! Reading assigns no transaction id and works on a hot standby, context, permissions and all.

use postgres::{Client, Error};
use thorbis_tests::{A, B, Cluster, Database, Session, in_context, ok, one, set_local, tenant_tables, until};

#[test]
fn reading_assigns_no_transaction_id() {
    let db = Database::new();
    let mut app = db.app();
    for table in tenant_tables(&mut db.superuser()) {
        let assigned = in_context(&mut app, A.id, A.owner, |tx| {
            tx.query(&format!("SELECT {} FROM {}", table.all(), table.name), &[])?;
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

/// In the views of clear and of masked values, and looking for one.
const PERSONAL: &str = "SELECT (SELECT string_agg(email, ' ' ORDER BY email) FROM shared.customers_pii),
                               (SELECT string_agg(email, ' ' ORDER BY email) FROM shared.customers_masked),
                               (SELECT count(*)::text FROM thorbis.find_customer_by_email('CARLA@aaaaaaaa.example'))";

fn personal(client: &mut Client) -> Result<[String; 3], Error> {
    in_context(client, A.id, A.owner, |tx| {
        let row = tx.query_one(PERSONAL, &[])?;
        assert_eq!(one::<Option<String>>(tx, "SELECT pg_current_xact_id_if_assigned()::text", &[]), None);
        Ok(std::array::from_fn(|i| row.get(i)))
    })
}

#[test]
fn decrypting_assigns_no_transaction_id() {
    let db = Database::untouched();
    let [clear, masked, found] = ok(personal(&mut db.app()));
    assert_eq!(clear, "carla@aaaaaaaa.example rita@aaaaaaaa.example");
    assert_eq!(masked, "c***@aaaaaaaa.example r***@aaaaaaaa.example");
    assert_eq!(found, "1");
}

/// The standby reads with its primary's keyring; destroying a key ends reading there too.
#[test]
fn hot_standby_decrypts_until_the_key_is_destroyed() {
    let db = Database::new();
    let standby = Cluster::shared().standby();
    let (mut primary, mut maintenance) = (db.superuser(), standby.maintenance());
    catch_up(&mut primary, &mut maintenance);
    let mut app = standby.connect(&db.name, "app_login");
    assert_eq!(ok(personal(&mut app)), ok(personal(&mut db.app())));
    let (envelope, id): (String, uuid::Uuid) = {
        let sql = "SELECT email_encrypted, id FROM shared.customers WHERE id = $1";
        let row = ok(primary.query_one(sql, &[&A.customer]));
        (row.get(0), row.get(1))
    };
    let open = |client: &mut Client| {
        in_context(client, A.id, A.owner, |tx| {
            tx.query("SELECT decrypt_pii($1, 'shared.customers.email', $2::uuid)", &[&envelope, &id])
        })
    };
    ok(open(&mut app));
    let denied = in_context(&mut app, A.id, A.employee, |tx| tx.query("SELECT email FROM shared.customers_pii", &[]));
    thorbis_tests::assert_sqlstate(denied, "42501");
    ok(in_context(&mut db.app(), A.id, A.owner, |tx| {
        tx.execute("SELECT * FROM gdpr.erase_subject($1, false)", &[&A.customer])
    }));
    catch_up(&mut primary, &mut maintenance);
    thorbis_tests::assert_sqlstate(open(&mut app), "22000");
    // Who would need a new key for it is told that nothing is written there.
    let sealed = in_context(&mut app, A.id, A.owner, |tx| {
        tx.query("SELECT encrypt_pii('x', 'shared.customers.email', $1)", &[&id.to_string()])
    });
    if let Err(e) = sealed {
        assert_eq!(thorbis_tests::sqlstate(&e), "25006");
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
    let caught_up = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
    until("the standby catches up", || one::<bool>(standby, caught_up, &[&target]));
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
