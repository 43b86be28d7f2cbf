//! Finding people by an encrypted value: in any writing of it, and only those the caller may see.

use postgres::Client;
use thorbis_tests::personal::{execute, give, insert};
use thorbis_tests::{A, B, Database, assert_sqlstate, in_context, ok};
use uuid::Uuid;

// --- finding

const NOBODY: [Uuid; 0] = [];

fn found(client: &mut Client, tenant: Uuid, user: Uuid, call: &str) -> Vec<Uuid> {
    let rows = ok(in_context(client, tenant, user, |tx| tx.query(&format!("SELECT {call}"), &[])));
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn customers_are_found_by_their_address_in_any_case_of_letters() {
    let db = Database::new();
    let id = insert(&db, "shared.customers", "Find.Me@Here.example", "+49 (30) 1234-567");
    let mut app = db.app();
    for email in ["Find.Me@Here.example", "find.me@here.example", " FIND.ME@HERE.EXAMPLE "] {
        for call in [
            format!("thorbis.find_customer_by_email('{email}')"),
            format!("thorbis.find_by_pii('shared.customers', 'email', '{email}')"),
        ] {
            assert_eq!(found(&mut app, A.id, A.owner, &call), [id], "{call}");
            assert_eq!(found(&mut app, B.id, B.owner, &call), NOBODY, "{call}");
        }
    }
    for nothing in ["find@here.example", "", "%", "find.me@here", "' OR true --"] {
        let call = format!("thorbis.find_customer_by_email('{}')", nothing.replace('\'', "''"));
        assert_eq!(found(&mut app, A.id, A.owner, &call), NOBODY, "{nothing}");
    }
    assert_eq!(found(&mut app, A.id, A.owner, "thorbis.find_customer_by_email(NULL)"), NOBODY);
    let phone = "thorbis.find_by_pii('shared.customers', 'phone', '+49301234567')";
    assert_eq!(found(&mut app, A.id, A.owner, phone), [id]);
    let user = "thorbis.find_by_pii('shared.users', 'email', 'EMPLOYEE@aaaaaaaa.example')";
    assert_eq!(found(&mut app, A.id, A.owner, user), [A.employee]);
    // A changed address is found, the old one is not.
    ok(execute(&db, &A, "UPDATE shared.customers_pii SET email = 'new@here.example' WHERE id = $1", &[&id]));
    assert_eq!(found(&mut app, A.id, A.owner, "thorbis.find_customer_by_email('find.me@here.example')"), NOBODY);
    assert_eq!(found(&mut app, A.id, A.owner, "thorbis.find_customer_by_email('new@here.example')"), [id]);
}

/// Looking up an address must not tell who is there to those who may not see them.
#[test]
fn finding_shows_only_rows_that_the_caller_may_see() {
    let db = Database::new();
    let mut app = db.app();
    let call = |digits: &str| format!("thorbis.find_customer_by_email('rita@{digits}.example')");
    assert_eq!(found(&mut app, A.id, A.owner, &call("aaaaaaaa")), [A.restricted_customer]);
    // Finding tells what is stored: it needs the permission to read it.
    let others = "thorbis.find_by_pii('shared.users', 'email', 'manager@aaaaaaaa.example')";
    for call in [&call("aaaaaaaa"), "thorbis.find_customer_by_email('nobody@x.example')", others] {
        let refused = in_context(&mut app, A.id, A.employee, |tx| tx.query(&format!("SELECT {call}"), &[]));
        assert_sqlstate(refused, "42501");
    }
    give(&db, &A, "customers", "pii");
    give(&db, &A, "users", "pii");
    assert_eq!(found(&mut app, A.id, A.employee, &call("aaaaaaaa")), NOBODY, "she is restricted");
    assert_eq!(found(&mut app, A.id, A.owner, &call("bbbbbbbb")), NOBODY, "she is another tenant's");
    assert_eq!(found(&mut app, B.id, B.owner, &call("bbbbbbbb")), [B.restricted_customer]);
    assert_eq!(found(&mut app, A.id, A.employee, others), NOBODY, "the employee sees no other user");
    // Nobody is not an answer to everything.
    for role in ["app_login", "stranger_login"] {
        let mut client = db.connect_as(role);
        let answer = client.query(&format!("SELECT {}", call("aaaaaaaa")), &[]);
        match role {
            "app_login" => match answer {
                Ok(rows) => assert!(rows.is_empty()),
                Err(e) => assert_eq!(thorbis_tests::sqlstate(&e), "28000"),
            },
            _ => drop(assert_sqlstate(answer, "42501")),
        }
    }
}

#[test]
fn only_columns_with_a_blind_index_can_be_searched() {
    let db = Database::untouched();
    let search = |call: &str| in_context(&mut db.app(), A.id, A.owner, |tx| tx.query(&format!("SELECT {call}"), &[]));
    for (call, code) in [
        ("thorbis.find_by_pii('shared.customers', 'first_name', 'Carla')", "55000"),
        ("thorbis.find_by_pii('shared.customers', 'nothing', 'x')", "55000"),
        ("thorbis.find_by_pii('shared.customers', 'email_bidx', 'x')", "55000"),
        ("thorbis.find_by_pii('restaurants.orders', 'status', 'x')", "55000"),
        ("thorbis.find_by_pii('pg_catalog.pg_class', 'relname', 'x')", "42P16"),
    ] {
        let error = assert_sqlstate(search(call), code);
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{call}: no hint");
    }
    for call in ["thorbis.find_by_pii(NULL, 'email', 'x')", "thorbis.find_by_pii('shared.customers', NULL, 'x')"] {
        assert!(ok(search(call)).is_empty(), "{call}");
    }
}

/// What is found are ids, and ids are uuids: another key is refused, not read as one.
#[test]
fn rows_with_another_key_than_a_uuid_cannot_be_searched() {
    let db = Database::new();
    for key in ["integer", "bigint", "text"] {
        ok(db.superuser().batch_execute(&format!(
            "DROP SCHEMA IF EXISTS crm CASCADE; CREATE SCHEMA crm AUTHORIZATION thorbis_owner;
             CREATE TABLE crm.leads (tenant_id uuid, id {key}, email text, PRIMARY KEY (tenant_id, id));
             ALTER TABLE crm.leads OWNER TO thorbis_owner;
             SELECT thorbis.protect('crm.leads', options => '{{\"pii\": [{{\"column\": \"email\", \"index\": true}}]}}')"
        )));
        ok(execute(&db, &A, "INSERT INTO crm.leads (id, email) VALUES ('7', 'seven@find.example')", &[]));
        for value in ["seven@find.example", "nobody@find.example"] {
            let found = execute(&db, &A, "SELECT thorbis.find_by_pii('crm.leads', 'email', $1)", &[&value]);
            let error = assert_sqlstate(found, "0A000");
            assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{key}: no hint");
        }
    }
}
