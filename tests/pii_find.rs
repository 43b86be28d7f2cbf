//! Finding people by an encrypted value: in any writing of it, and only those the caller may see.

use postgres::Client;
use thorbis_tests::personal::{execute, insert};
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
    let db = Database::untouched();
    let mut app = db.app();
    let call = |digits: &str| format!("thorbis.find_customer_by_email('rita@{digits}.example')");
    assert_eq!(found(&mut app, A.id, A.owner, &call("aaaaaaaa")), [A.restricted_customer]);
    assert_eq!(found(&mut app, A.id, A.employee, &call("aaaaaaaa")), NOBODY, "she is restricted");
    assert_eq!(found(&mut app, A.id, A.owner, &call("bbbbbbbb")), NOBODY, "she is another tenant's");
    assert_eq!(found(&mut app, B.id, B.owner, &call("bbbbbbbb")), [B.restricted_customer]);
    let others = "thorbis.find_by_pii('shared.users', 'email', 'manager@aaaaaaaa.example')";
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
    for call in [
        "thorbis.find_by_pii('shared.customers', 'first_name', 'Carla')",
        "thorbis.find_by_pii('shared.customers', 'nothing', 'x')",
        "thorbis.find_by_pii('restaurants.orders', 'status', 'x')",
        "thorbis.find_by_pii('pg_catalog.pg_class', 'relname', 'x')",
        "thorbis.find_by_pii(NULL, 'email', 'x')",
        "thorbis.find_by_pii('shared.customers', NULL, 'x')",
    ] {
        let answer = in_context(&mut db.app(), A.id, A.owner, |tx| tx.query(&format!("SELECT {call}"), &[]));
        match answer {
            Ok(rows) => assert!(rows.is_empty(), "{call}"),
            Err(e) => assert!(!["XX000", ""].contains(&thorbis_tests::sqlstate(&e)), "{call}"),
        }
    }
}
