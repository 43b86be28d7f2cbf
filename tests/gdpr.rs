//! A person's data as a whole: the export has all of it, strangers get none, and the scan finds what an erasure leaves.
//! The erasure is in erasure.rs; requests, consents, holds and retention are in gdpr_records.rs.

use postgres::Client;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use thorbis_tests::people::{SECRETS, erase, refused, steps, unreadable_in, with_customer};
use thorbis_tests::personal::give;
use thorbis_tests::{A, B, Tenant, as_owner, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

/// Rows about the person in a table, as the options say it: written down here a second time, to compare.
fn condition(client: &mut Client, table: &str, person: Uuid) -> String {
    let sql =
        "SELECT options -> 'subject' ->> 'column', options -> 'subject' ->> 'through' FROM thorbis.protected_tables
                WHERE table_id = $1::text::regclass";
    let row = ok(client.query_one(sql, &[&table]));
    let (column, through): (String, Option<String>) = (row.get(0), row.get(1));
    match through {
        None => format!("{column} = '{person}'"),
        Some(through) => {
            format!("{column} IN (SELECT id FROM {through} WHERE {})", condition(client, &through, person))
        }
    }
}

/// How many rows about the person each table has.
fn counts(client: &mut Client, tenant: &Tenant, kind: &str, person: Uuid) -> BTreeMap<String, usize> {
    let tables = "SELECT table_id::text FROM thorbis.protected_tables WHERE options -> 'subject' ->> 'kind' = $1";
    let tables: Vec<String> = ok(client.query(tables, &[&kind])).iter().map(|row| row.get(0)).collect();
    let count = |table: String| {
        let sql =
            format!("SELECT count(*) FROM {table} WHERE tenant_id = $1 AND {}", condition(client, &table, person));
        let count: i64 = one(client, &sql, &[&tenant.id]);
        (table, count as usize)
    };
    tables.into_iter().map(count).collect()
}

// --- export

#[test]
fn export_has_every_row_of_every_catalogued_table_in_clear() {
    let db = with_customer();
    let mut superuser = db.superuser();
    for (kind, person) in [("customer", A.customer), ("user", A.employee)] {
        let expected = counts(&mut superuser, &A, kind, person);
        assert!(
            expected.len() >= 3 && expected.values().all(|rows| *rows > 0),
            "a table without rows proves nothing: {expected:?}"
        );
        let export: Value =
            as_owner(&db, &A, |tx| Ok(one(tx, "SELECT gdpr.export_subject($1, $2)", &[&person, &kind])));
        let tables = export["tables"].as_object().expect("tables by name");
        let found: BTreeMap<String, usize> =
            tables.iter().map(|(name, rows)| (name.clone(), rows.as_array().map_or(0, Vec::len))).collect();
        assert_eq!(found, expected, "{kind}");
        let text = export.to_string();
        let ciphertexts = ["_encrypted\"", "_bidx\"", "THv1"];
        assert!(ciphertexts.iter().all(|part| !text.contains(part)), "{kind}: ciphertexts are of no use to the person");
        assert!(!text.contains("bbbbbbbb"), "{kind}: something of tenant B");
        let secrets: &[&str] =
            if kind == "customer" { &SECRETS } else { &["employee@aaaaaaaa.example", "Emil", "stock-taking"] };
        for secret in secrets {
            assert!(text.contains(secret), "{kind}: {secret} is missing");
        }
    }
}

#[test]
fn export_and_erasure_of_strangers_are_refused_alike() {
    let db = with_customer();
    for function in [
        "gdpr.export_subject('{}')",
        "gdpr.erase_subject('{}')",
        "gdpr.erase_subject('{}', false)",
        "gdpr.residue_scan('{}')",
    ] {
        let said: BTreeSet<String> = [B.customer, Uuid::new_v4(), A.employee, B.employee, A.order]
            .into_iter()
            .map(|id| refused(&db, A.owner, &function.replace("{}", &id.to_string()), "42501"))
            .collect();
        assert_eq!(said, BTreeSet::from(["no such customer in this tenant".to_owned()]), "{function}");
    }
    for call in [
        format!("thorbis.export_subject('customer', '{}')", B.customer),
        format!("thorbis.erase_subject('customer', '{}', false)", B.customer),
        format!("thorbis.residue_scan('customer', '{}', '{{}}')", B.customer),
        format!("thorbis.export_subject('user', '{}')", B.employee),
        format!("thorbis.erase_subject('user', '{}', false)", A.customer),
    ] {
        refused(&db, A.owner, &call, "42501");
    }
    for kind in ["nobody", "tenant", "", "customer; DROP TABLE x"] {
        let call = format!("gdpr.erase_subject('{}', false, '{kind}')", A.customer);
        refused(&db, A.owner, &call, "22023");
    }
    let email: String =
        as_owner(&db, &B, |tx| Ok(one(tx, "SELECT email FROM shared.customers_pii WHERE id = $1", &[&B.customer])));
    assert_eq!(email, "carla@bbbbbbbb.example");
}

#[test]
fn each_needs_its_permission_and_a_context() {
    let db = with_customer();
    let customer = A.customer;
    for (call, action) in [
        (format!("gdpr.export_subject('{customer}')"), "export"),
        (format!("gdpr.erase_subject('{customer}')"), "erase"),
        (format!("gdpr.erase_subject('{customer}', false)"), "erase"),
        (format!("gdpr.residue_scan('{customer}')"), "inspect"),
    ] {
        for user in [A.employee, A.manager] {
            let said = refused(&db, user, &call, "42501");
            assert_eq!(said, format!("permission denied: gdpr:{action} is required"));
        }
        // Neither the tables nor the ciphertexts tell whether somebody is there.
        let other = call.replace(&customer.to_string(), &Uuid::new_v4().to_string());
        assert_eq!(refused(&db, A.employee, &other, "42501"), format!("permission denied: gdpr:{action} is required"));
        let without = db.app().query(&format!("SELECT {call}"), &[]);
        thorbis_tests::assert_sqlstate_in(without, &["28000", "42501"]);
    }
    // With it nothing else is needed: who erases need not be able to read.
    give(&db, &A, "gdpr", "erase");
    let done = in_context(&mut db.app(), A.id, A.employee, |tx| {
        tx.query("SELECT * FROM gdpr.erase_subject($1, false)", &[&A.customer])
    });
    assert!(!ok(done).is_empty());
    assert!(unreadable_in(&db, &mut db.app(), &A, A.customer));
}

// --- what is left

#[test]
fn scan_finds_copies_in_clear_before_and_unreadable_ones_after() {
    let db = with_customer();
    let mut superuser = db.superuser();
    let scan = |values: &str| {
        let call = format!("gdpr.residue_scan('{}', ARRAY[{values}]::text[])", A.customer);
        let found: BTreeSet<_> = as_owner(&db, &A, |tx| Ok(steps(tx, &call))).into_iter().collect();
        found
    };
    let has = |found: &BTreeSet<(String, String)>, object: &str, finding: &str| {
        found.contains(&(object.to_owned(), finding.to_owned()))
    };
    let envelope: String =
        one(&mut superuser, "SELECT email_encrypted FROM shared.customers WHERE id = $1", &[&A.customer]);
    for tenant in [&A, &B] {
        ok(superuser.execute(
            "UPDATE restaurants.menu_items SET description = 'asked by CARLA@aaaaaaaa.example on the phone' WHERE tenant_id = $1",
            &[&tenant.id],
        ));
        ok(superuser
            .execute("UPDATE crm.notes SET free = 'copy: ' || $2 WHERE tenant_id = $1", &[&tenant.id, &envelope]));
    }
    let before = scan("");
    for (object, finding) in [
        ("restaurants.menu_items.description", "clear value"),
        ("crm.notes.free", "envelope"),
        ("shared.customers.email_encrypted", "not erased"),
        ("shared.customers.first_name", "not erased"),
    ] {
        assert!(has(&before, object, finding), "{object} {finding}: {before:?}");
    }
    // The erasure says where somebody should look.
    let steps = erase(&db, &A, A.customer);
    assert!(steps.contains(&("restaurants.menu_items.description".into(), "look at".into())), "{steps:?}");
    let after = scan("'carla@aaaaaaaa.example'");
    assert_eq!(
        after,
        BTreeSet::from([
            ("restaurants.menu_items.description".into(), "clear value".into()),
            // The log shows what was written there, since nobody had said that it is personal.
            ("audit.change_log.new_values".into(), "clear value".into()),
            ("crm.notes.free".into(), "unreadable envelope".into())
        ])
    );
    ok(superuser.execute("UPDATE restaurants.menu_items SET description = NULL WHERE tenant_id = $1", &[&A.id]));
    ok(superuser.execute("UPDATE crm.notes SET free = NULL WHERE tenant_id = $1", &[&A.id]));
    let in_the_log = ["old_values", "new_values"].map(|c| (format!("audit.change_log.{c}"), "clear value".to_owned()));
    let left = scan("'carla@aaaaaaaa.example', NULL, '', ' '");
    assert_eq!(left, BTreeSet::from(in_the_log), "B's copies are not A's to see");
}

/// Whoever could enter an erasure could keep a person from being erased, or have them erased after a restore.
#[test]
fn log_of_erasures_is_written_by_erasures_alone() {
    let db = with_customer();
    for action in ["create", "update", "delete", "admin", "erase"] {
        give(&db, &A, "gdpr", action);
    }
    let insert =
        "INSERT INTO gdpr.erasures (subject_kind, subject_id, counts) VALUES ('customer', gen_random_uuid(), '{}')";
    for user in [A.owner, A.employee] {
        for attack in [
            insert,
            "INSERT INTO gdpr.erasures (tenant_id, subject_kind, subject_id) SELECT tenant_id, subject_kind, subject_id FROM gdpr.erasures",
            "UPDATE gdpr.erasures SET at = now()",
            "DELETE FROM gdpr.erasures",
            "TRUNCATE gdpr.erasures",
            "COPY gdpr.erasures (subject_kind, subject_id) FROM STDIN",
            "SELECT thorbis.import_rows('gdpr.erasures', '[{\"subject_kind\": \"customer\"}]')",
        ] {
            let attempt = in_context(&mut db.app(), A.id, user, |tx| tx.batch_execute(attack));
            assert_sqlstate(attempt, "42501");
        }
    }
    assert!(!erase(&db, &A, A.customer).is_empty());
    let logged = "SELECT count(*) FROM gdpr.erasures WHERE tenant_id = $1 AND subject_id = $2";
    assert_eq!(one::<i64>(&mut db.superuser(), logged, &[&A.id, &A.customer]), 1);
}
