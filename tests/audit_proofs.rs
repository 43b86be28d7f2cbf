//! Proofs: anybody checks them without the database, and nobody gets one of another tenant's rows.

use postgres::{Client, Error};
use serde_json::Value;
use thorbis_check_proof::check;
use thorbis_check_proof::domain::merkle::Hash256;
use thorbis_check_proof::domain::seal::COLUMNS;
use thorbis_tests::seals::{newest_root, seal_all, write_foreign_rows};
use thorbis_tests::{A, B, Database, Tenant, as_owner, assert_sqlstate, db_error, in_context, ok, one};
use uuid::Uuid;

/// A database in which changes of both tenants are sealed.
fn sealed() -> (Database, Client) {
    let db = Database::new();
    let mut client = db.superuser();
    for tenant in [&A, &B] {
        as_owner(&db, tenant, |tx| tx.execute("UPDATE shared.customers SET company_name = 'proved'", &[]));
    }
    seal_all(&mut client);
    (db, client)
}

fn changes(client: &mut Client, tenant: &Tenant) -> Vec<Uuid> {
    let sql = "SELECT id FROM audit.change_log WHERE tenant_id = $1 ORDER BY transaction_id, id";
    ok(client.query(sql, &[&tenant.id])).iter().map(|row| row.get(0)).collect()
}

/// audit.prove() of a tenant's user.
fn prove(db: &Database, (tenant, user): (Uuid, Uuid), id: Uuid, root: Option<&str>) -> Result<Value, Error> {
    in_context(&mut db.app(), tenant, user, |tx| {
        let row = tx.query_one("SELECT audit.prove($1, decode($2, 'hex'))", &[&id, &root])?;
        Ok(row.get(0))
    })
}

fn hash(text: &str) -> Hash256 {
    text.parse().expect("a hash")
}

#[test]
fn every_change_of_a_tenant_can_be_proved() {
    let (db, mut client) = sealed();
    let root = newest_root(&mut client);
    let ids = changes(&mut client, &A);
    assert!(ids.len() > 20);
    for id in &ids {
        let proof = ok(prove(&db, (A.id, A.owner), *id, Some(&root)));
        let text = check(&proof.to_string(), Some(hash(&root))).unwrap_or_else(|e| panic!("{id}: {e}"));
        assert!(text.contains(&id.to_string()) && text.contains("proof holds"), "{text}");
        let columns: Vec<&str> =
            proof["row"].as_array().expect("columns").iter().filter_map(|c| c[0].as_str()).collect();
        assert_eq!(columns, COLUMNS);
    }
}

#[test]
fn a_proof_leads_to_roots_of_its_seal_and_later() {
    let (db, mut client) = sealed();
    let old = newest_root(&mut client);
    for _ in 0..3 {
        as_owner(&db, &B, |tx| tx.execute("UPDATE shared.customers SET company_name = gen_random_uuid()::text", &[]));
        seal_all(&mut client);
    }
    as_owner(&db, &A, |tx| tx.execute("UPDATE shared.customers SET company_name = 'new'", &[]));
    seal_all(&mut client);
    let new = newest_root(&mut client);
    let ids = changes(&mut client, &A);
    let (first, last) = (ids[0], ids[ids.len() - 1]);
    let user = (A.id, A.owner);
    let proof = ok(prove(&db, user, first, Some(&new)));
    assert!(proof["later_seals"].as_array().is_some_and(|seals| seals.len() >= 4));
    assert!(check(&proof.to_string(), Some(hash(&new))).is_ok());
    // Every seal on the way is proved as well; another log is not.
    assert!(check(&proof.to_string(), Some(hash(&old))).is_ok());
    let refused = check(&proof.to_string(), Some(Hash256::ZERO)).expect_err("another log");
    assert!(refused.contains("none of the seals has the hash"), "{refused}");
    // Without a root it leads to its own seal.
    let alone = ok(prove(&db, user, first, None));
    assert_eq!(alone["later_seals"], Value::Array(vec![]));
    let text = check(&alone.to_string(), None).expect("it holds");
    assert!(text.contains("proof holds for a log whose seal"), "{text}");
    // A root from before the change was sealed, and one of no seal.
    assert_sqlstate(prove(&db, user, last, Some(&old)), "22023");
    assert_sqlstate(prove(&db, user, first, Some(&Hash256::ZERO.to_string())), "22023");
    assert_sqlstate(prove(&db, user, first, Some("00")), "22023");
}

#[test]
fn a_proof_that_was_changed_does_not_hold() {
    let (db, mut client) = sealed();
    let root = newest_root(&mut client);
    let id = changes(&mut client, &A).pop().expect("a change");
    let proof = ok(prove(&db, (A.id, A.owner), id, Some(&root)));
    assert!(check(&proof.to_string(), Some(hash(&root))).is_ok());
    for n in 0..COLUMNS.len() {
        let mut changed = proof.clone();
        let value = changed["row"][n][1].as_str().map_or_else(|| "x".to_owned(), |text| format!("{text}0"));
        changed["row"][n][1] = value.into();
        assert!(check(&changed.to_string(), Some(hash(&root))).is_err(), "{}", COLUMNS[n]);
    }
    for (place, value) in [
        ("/blind", Value::from(Hash256::ZERO.to_string())),
        ("/leaf_index", 0.into()),
        ("/path/0", Hash256::ZERO.to_string().into()),
        ("/seal/root", Hash256::ZERO.to_string().into()),
        ("/seal/row_count", "1".into()),
        ("/seal/sealed_at", "1".into()),
        ("/format", "another".into()),
    ] {
        let mut changed = proof.clone();
        *changed.pointer_mut(place).expect("it is there") = value;
        assert!(check(&changed.to_string(), Some(hash(&root))).is_err(), "{place}");
    }
    assert!(check("{}", None).is_err() && check("", None).is_err());
}

#[test]
fn nobody_gets_a_proof_of_another_tenants_change() {
    let (db, mut client) = sealed();
    let id = changes(&mut client, &A).pop().expect("a change");
    let denied = db_error(prove(&db, (B.id, B.owner), id, None));
    let unknown = db_error(prove(&db, (B.id, B.owner), Uuid::new_v4(), None));
    assert_eq!(denied.code().code(), "42501");
    let said = |e: &postgres::error::DbError| (e.message().to_owned(), e.hint().map(str::to_owned));
    assert_eq!(said(&denied), said(&unknown), "nobody learns whether there is one");
    // Nor without the permission, or a context.
    assert_sqlstate(prove(&db, (A.id, A.employee), id, None), "42501");
    let sql = "SELECT audit.prove($1)";
    assert_sqlstate(db.app().query(sql, &[&id]), "42501");
    assert_sqlstate(db.app().query("SELECT thorbis.prove_audit($1, NULL)", &[&id]), "42501");
    assert_sqlstate(db.connect_as("stranger_login").query(sql, &[&id]), "42501");
    ok(in_context(&mut db.app(), A.id, A.owner, |tx| tx.query(sql, &[&id])));
    assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.query("SELECT audit.prove(NULL)", &[])), "22004");
}

#[test]
fn operators_prove_of_any_tenant_unless_they_act_for_one() {
    let (db, mut client) = sealed();
    let ids = [&A, &B].map(|tenant| changes(&mut client, tenant).pop().expect("a change"));
    let role = db.role("operator", "LOGIN IN ROLE thorbis_platform");
    let mut platform = db.connect_as(&role);
    ok(platform.batch_execute("SET ROLE thorbis_platform"));
    for client in [&mut client, &mut platform] {
        for id in ids {
            let proof: Value = one(client, "SELECT audit.prove($1)", &[&id]);
            assert!(check(&proof.to_string(), None).is_ok());
        }
    }
    ok(client.batch_execute(&format!("BEGIN; SET LOCAL app.current_tenant_id = '{}'", A.id)));
    ok(client.query("SELECT audit.prove($1)", &[&ids[0]]));
    assert_sqlstate(client.query("SELECT audit.prove($1)", &[&ids[1]]), "42501");
}

#[test]
fn what_is_not_sealed_or_not_as_sealed_has_no_proof() {
    let (db, mut client) = sealed();
    let id = changes(&mut client, &A).pop().expect("a change");
    let user = (A.id, A.owner);
    as_owner(&db, &A, |tx| tx.execute("UPDATE shared.customers SET company_name = 'not yet'", &[]));
    let newest = changes(&mut client, &A).pop().expect("a change");
    assert_sqlstate(prove(&db, user, newest, None), "55000");
    // A change to any row of the seal spoils all of its proofs.
    let changes = [
        "UPDATE audit.change_log SET request_id = 'x' WHERE id = $1",
        "UPDATE audit.change_log c SET request_id = 'x' FROM audit.change_log o
          WHERE o.id = $1 AND c.transaction_id = o.transaction_id AND c.id <> o.id",
        "DELETE FROM audit.change_log c USING audit.change_log o
          WHERE o.id = $1 AND c.transaction_id = o.transaction_id AND c.id <> o.id",
    ];
    for change in changes {
        ok(client.batch_execute("BEGIN; SET LOCAL session_replication_role = replica"));
        assert!(ok(client.execute(change, &[&id])) > 0, "{change}");
        assert_sqlstate(client.query("SELECT audit.prove($1)", &[&id]), "XX001");
        ok(client.batch_execute("ROLLBACK"));
    }
    ok(prove(&db, user, id, None));
}

/// The first, the last and those around powers of two, of a seal of another cluster; wherever the session is.
#[test]
fn places_in_a_large_seal_are_proved() {
    let db = Database::new();
    let mut client = db.superuser();
    seal_all(&mut client);
    write_foreign_rows(&mut client, A.id, 77, 5000, "n / 7", "'2026-03-05 10:00:00.123456+00'");
    seal_all(&mut client);
    ok(client.batch_execute("SET TimeZone = 'America/Caracas'; SET DateStyle = 'Postgres, DMY'; SET search_path = ''"));
    for place in [0, 1, 2, 1023, 1024, 4095, 4096, 4097, 4998, 4999] {
        let sql = "SELECT audit.prove(id) FROM audit.change_log WHERE system_id = 77 AND row_key = $1";
        let proof: Value = one(&mut client, sql, &[&place.to_string()]);
        assert_eq!(proof["leaf_index"], place);
        let text = check(&proof.to_string(), None).unwrap_or_else(|e| panic!("{place}: {e}"));
        assert!(text.contains("occurred_at  2026-03-05 10:00:00.123456 UTC"), "{text}");
        assert!(text.contains(&format!("row {} of 5000", place + 1)), "{text}");
    }
}
