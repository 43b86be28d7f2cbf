//! Gift cards: the balance is the sum of what was done, never below zero, and the code is nowhere.

use serde_json::Value;
use std::sync::atomic::{AtomicI64, Ordering};
use thorbis_tests::ledgers::{
    CARD, assert_books_are_right, assert_sees_nothing, call, id, import, of, permit_employee,
    permit_employee_without_reading,
};
use thorbis_tests::traces::holding;
use thorbis_tests::{
    A, B, Cluster, Database, Tenant, as_owner, assert_sqlstate, assert_sqlstate_in, describe, in_context, ok, one,
    sqlstate,
};
use uuid::Uuid;

const CODE: &str = "7K2M-QX4R-9WTB";
/// Of the test that looks for it on disk.
const OTHER_CODE: &str = "5H3N-PC8V-Z2JD";

fn by_owner(db: &Database, tenant: &Tenant, sql: &str) -> Result<Value, postgres::Error> {
    in_context(&mut db.app(), tenant.id, tenant.owner, |tx| call(tx, sql, &[]))
}

fn new_card(db: &Database, tenant: &Tenant, code: &str) -> Uuid {
    let made = in_context(&mut db.app(), tenant.id, tenant.owner, |tx| {
        call(tx, "SELECT shared.create_gift_card($1, NULL)", &[&code])
    });
    id(&ok(made), "gift_card_id")
}

fn find(db: &Database, tenant: &Tenant, user: Uuid, code: &str) -> Result<Value, postgres::Error> {
    in_context(&mut db.app(), tenant.id, user, |tx| call(tx, "SELECT shared.find_gift_card($1)", &[&code]))
}

/// (status, balance)
fn state(db: &Database, card: Uuid) -> (String, String) {
    let sql = "SELECT status, balance::text FROM shared.gift_cards WHERE id = $1 AND tenant_id = $2";
    let row = ok(db.superuser().query_one(sql, &[&card, &A.id]));
    (row.get(0), row.get(1))
}

#[test]
fn a_card_from_its_making_to_its_end() {
    let db = Database::new();
    let card = new_card(&db, &A, CODE);
    let steps = [
        ("redeem_gift_card('{}', 1)", Err("23514")),
        ("activate_gift_card('{}', 50)", Ok("50.00")),
        ("activate_gift_card('{}', 50)", Err("23514")),
        ("load_gift_card('{}', 25.5)", Ok("75.50")),
        ("redeem_gift_card('{}', 75.51)", Err("23514")),
        ("redeem_gift_card('{}', 70.50)", Ok("5.00")),
        ("refund_gift_card('{}', 10)", Ok("15.00")),
        ("adjust_gift_card('{}', -3, 'mistake')", Ok("12.00")),
        ("adjust_gift_card('{}', 1.01, 'mistake')", Ok("13.01")),
        ("set_gift_card_state('{}', 'BLOCK', 'lost')", Ok("13.01")),
        ("redeem_gift_card('{}', 1)", Err("23514")),
        ("load_gift_card('{}', 1)", Err("23514")),
        ("set_gift_card_state('{}', 'BLOCK')", Err("23514")),
        ("set_gift_card_state('{}', 'DEACTIVATE')", Err("23514")),
        ("set_gift_card_state('{}', 'UNBLOCK')", Ok("13.01")),
        ("set_gift_card_state('{}', 'CLEAR_BALANCE')", Ok("0.00")),
        ("set_gift_card_state('{}', 'DEACTIVATE')", Ok("0.00")),
        ("activate_gift_card('{}', 1)", Err("23514")),
        ("set_gift_card_state('{}', 'UNBLOCK')", Err("23514")),
        ("set_gift_card_state('{}', 'EXPLODE')", Err("P0002")),
    ];
    for (step, expected) in steps {
        let result = by_owner(&db, &A, &format!("SELECT shared.{}", step.replace("{}", &card.to_string())));
        match expected {
            Err(code) => drop(assert_sqlstate(result, code)),
            Ok(balance) => {
                let answer = ok(result);
                assert_eq!(state(&db, card).1, balance, "{step}: {answer}");
            }
        }
    }
    assert_eq!(state(&db, card), ("DEACTIVATED".into(), "0.00".into()));
    let history: i64 =
        one(&mut db.superuser(), "SELECT count(*) FROM shared.status_history WHERE document_id = $1", &[&card]);
    assert_eq!(history, 5, "made, activated, blocked, unblocked, deactivated");
    assert_books_are_right(&db);
}

#[test]
fn amounts_that_make_no_sense_are_refused() {
    let db = Database::new();
    let card = of(&A, CARD);
    for amount in ["0", "-1", "'NaN'", "'Infinity'", "1e20", "0.001", "-0.01"] {
        for function in ["load", "redeem", "refund"] {
            let result = by_owner(&db, &A, &format!("SELECT shared.{function}_gift_card('{card}', {amount})"));
            assert_sqlstate_in(result, &["22023", "22003", "23514"]);
        }
    }
    ok(db.superuser().execute("UPDATE shared.tenants SET currency = 'JPY', minor_unit = 0 WHERE id = $1", &[&A.id]));
    assert_sqlstate(by_owner(&db, &A, &format!("SELECT shared.load_gift_card('{card}', 1.5)")), "22023");
    ok(by_owner(&db, &A, &format!("SELECT shared.load_gift_card('{card}', 1.00)")));
    ok(by_owner(&db, &A, &format!("SELECT shared.load_gift_card('{card}', 9999999973)")));
    let over = by_owner(&db, &A, &format!("SELECT shared.load_gift_card('{card}', 9999999973)"));
    assert_sqlstate(over, "22003");
    assert_books_are_right(&db);
}

#[test]
fn activities_are_written_by_the_functions_alone() {
    let db = Database::new();
    let card = of(&A, CARD);
    let insert = |kind: &str, amount: &str| {
        format!(
            "INSERT INTO shared.gift_card_activities (gift_card_id, type, amount, balance_after, recorded_at)
             VALUES ('{card}', '{kind}', {amount}, 9999, '2001-01-01')"
        )
    };
    for sql in [
        insert("REDEEM", "-5").as_str(),
        "UPDATE shared.gift_cards SET balance = 1000",
        "UPDATE shared.gift_cards SET status = 'PENDING'",
        "INSERT INTO shared.gift_cards (code_hash, currency, balance, status) VALUES ('x', 'USD', 100, 'ACTIVE')",
        "DELETE FROM shared.gift_cards",
        "UPDATE shared.gift_card_activities SET amount = 1",
        "DELETE FROM shared.gift_card_activities",
        "TRUNCATE shared.gift_card_activities",
    ] {
        let attempt = in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[]));
        assert_sqlstate(attempt, "42501");
        let mut platform = db.superuser();
        ok(platform.batch_execute("SET ROLE thorbis_platform"));
        assert_sqlstate(platform.execute(sql, &[]), "42501");
    }
    // A superuser who imports meets the triggers.
    for (kind, amount, expected) in [
        ("REDEEM", "-25.01", "23514"),
        ("REDEEM", "5", "23514"),
        ("REDEEM", "0", "23514"),
        ("LOAD", "-5", "23514"),
        ("LOAD", "'NaN'", "22023"),
        ("LOAD", "NULL", "23502"),
        ("BLOCK", "5", "23514"),
        ("GIFT", "5", "23514"),
    ] {
        assert_sqlstate(import(&db, &insert(kind, amount)), expected);
    }
    ok(import(&db, &insert("REDEEM", "-5")));
    let forged: bool = one(
        &mut db.superuser(),
        "SELECT bool_or(balance_after = 9999 OR recorded_at < '2002-01-01') FROM shared.gift_card_activities",
        &[],
    );
    assert!(!forged);
    assert_eq!(state(&db, card), ("ACTIVE".into(), "20.00".into()));
    assert_books_are_right(&db);
}

#[test]
fn jobs_without_a_user_use_cards_and_whoever_uses_them_need_not_read() {
    let db = Database::new();
    let card = of(&A, CARD);
    let redeem = format!("SELECT shared.redeem_gift_card('{card}', 1)");
    for role in ["RESET ROLE", "SET ROLE thorbis_platform"] {
        let mut job = db.superuser();
        ok(job.batch_execute(&format!("{role}; BEGIN; SET LOCAL app.current_tenant_id = '{}'", A.id)));
        ok(call(&mut job, &redeem, &[]));
        let made =
            ok(call(&mut job, "SELECT shared.create_gift_card($1, NULL)", &[&format!("JOBS-{}", role.len() + 1000)]));
        ok(call(&mut job, "SELECT shared.activate_gift_card($1, 5)", &[&id(&made, "gift_card_id")]));
        ok(job.batch_execute("COMMIT"));
    }
    let by_nobody: i64 =
        one(&mut db.superuser(), "SELECT count(*) FROM shared.gift_card_activities WHERE created_by IS NULL", &[]);
    assert_eq!(by_nobody, 2 + 4, "the fixture's and these");
    permit_employee_without_reading(&db, &[("gift_cards", "redeem")]);
    ok(in_context(&mut db.app(), A.id, A.employee, |tx| {
        assert_sees_nothing(tx, &["gift_cards", "gift_card_activities", "ledger_requests"]);
        call(tx, &redeem, &[])
    }));
    assert_eq!(state(&db, card).1, "22.00");
    assert_books_are_right(&db);
}

#[test]
fn a_card_that_is_not_empty_says_so() {
    let db = Database::new();
    let deactivate = format!("SELECT shared.set_gift_card_state('{}', 'DEACTIVATE')", of(&A, CARD));
    let error = assert_sqlstate(by_owner(&db, &A, &deactivate), "23514");
    assert_eq!(error.message(), "a gift card with a balance cannot be deactivated");
}

#[test]
fn each_activity_needs_its_permission_and_no_reading() {
    let db = Database::new();
    let card = of(&A, CARD);
    let attempt = |sql: &str| in_context(&mut db.app(), A.id, A.employee, |tx| call(tx, sql, &[]));
    let redeem = format!("SELECT shared.redeem_gift_card('{card}', 1)");
    let load = format!("SELECT shared.load_gift_card('{card}', 1)");
    let block = format!("SELECT shared.set_gift_card_state('{card}', 'BLOCK')");
    for sql in [&redeem, &load, &block] {
        assert_sqlstate(attempt(sql), "42501");
    }
    assert_sqlstate(find(&db, &A, A.employee, CODE), "42501");
    permit_employee(&db, &[("gift_cards", "redeem")]);
    ok(attempt(&redeem));
    assert_sqlstate(attempt(&load), "42501");
    assert_sqlstate(attempt(&block), "42501");
    assert_sqlstate(find(&db, &A, A.employee, CODE), "P0002");
    permit_employee(&db, &[("gift_cards", "activate"), ("gift_cards", "adjust")]);
    ok(attempt(&load));
    ok(attempt(&block));
    assert_books_are_right(&db);
}

#[test]
fn cards_of_the_other_tenant_are_unknown() {
    let db = Database::new();
    let (foreign, missing) = (of(&B, CARD), Uuid::new_v4());
    let messages: Vec<String> = [foreign, missing]
        .iter()
        .map(|card| {
            let redeem = by_owner(&db, &A, &format!("SELECT shared.redeem_gift_card('{card}', 1)"));
            let error = assert_sqlstate(redeem, "P0002");
            error.message().to_owned()
        })
        .collect();
    assert_eq!(messages[0], messages[1]);
    // The same code may be a card of both; neither finds the other's.
    let of_b = new_card(&db, &B, CODE);
    assert_sqlstate(find(&db, &A, A.owner, CODE), "P0002");
    let of_a = new_card(&db, &A, CODE);
    assert_eq!(id(&ok(find(&db, &A, A.owner, CODE)), "gift_card_id"), of_a);
    assert_eq!(id(&ok(find(&db, &B, B.owner, CODE)), "gift_card_id"), of_b);
    let customer = format!("SELECT shared.create_gift_card('AAAABBBBCCCC', '{}')", B.customer);
    assert_sqlstate(by_owner(&db, &A, &customer), "P0002");
}

#[test]
fn codes_are_found_however_they_are_typed_and_made_once() {
    let db = Database::new();
    let card = new_card(&db, &A, CODE);
    for typed in ["7k2mqx4r9wtb", " 7K2M QX4R 9WTB ", "7K2M-QX4R-9WTB"] {
        let found = ok(find(&db, &A, A.owner, typed));
        assert_eq!((id(&found, "gift_card_id"), found["status"].as_str()), (card, Some("PENDING")));
    }
    assert_sqlstate(find(&db, &A, A.owner, "7K2M-QX4R-9WTC"), "P0002");
    for bad in ["", "1234567", "Ä2345678", "12345678'", &"1".repeat(65)] {
        let error = assert_sqlstate(find(&db, &A, A.owner, bad), "22023");
        assert!(bad.is_empty() || !error.message().contains(bad));
    }
    let again = in_context(&mut db.app(), A.id, A.owner, |tx| {
        call(tx, "SELECT shared.create_gift_card($1, NULL)", &[&"7k2mqx4r9wtb"])
    });
    let error = assert_sqlstate(again, "23505");
    assert!(error.detail().is_none() && !error.message().to_uppercase().contains("7K2M"));
}

/// Whoever reads the hashes cannot try codes against them: no function gives the hash of a code.
#[test]
fn the_code_is_nowhere_and_cannot_be_guessed_from_its_hash() {
    let db = Database::new();
    let card = new_card(&db, &A, OTHER_CODE);
    as_owner(&db, &A, |tx| {
        let hash: Vec<u8> = one(tx, "SELECT code_hash FROM shared.gift_cards WHERE id = $1", &[&card]);
        for field in ["shared.gift_cards.code", "shared.gift_cards.code_hash", ""] {
            let guess = "SELECT pii_blind_index('5H3NPC8VZ2JD', $1)";
            assert_ne!(one::<Option<Vec<u8>>>(tx, guess, &[&field]).as_ref(), Some(&hash));
        }
        for digest in ["sha256(convert_to('5H3NPC8VZ2JD', 'UTF8'))", "decode(md5('5H3NPC8VZ2JD'), 'hex')"] {
            assert_ne!(one::<Vec<u8>>(tx, &format!("SELECT {digest}"), &[]), hash);
        }
        Ok(())
    });
    // Errors, the log of changes, the tables, the WAL.
    let redeem = "SELECT shared.redeem_gift_card((shared.find_gift_card($1) ->> 'gift_card_id')::uuid, 1)";
    let failed = in_context(&mut db.app(), A.id, A.owner, |tx| call(tx, redeem, &[&OTHER_CODE]));
    let error = assert_sqlstate(failed, "23514");
    assert!(!format!("{error:?}").to_uppercase().contains("5H3N"), "{error:?}");
    ok(db.superuser().batch_execute("CHECKPOINT"));
    let data = Cluster::shared().data_directory();
    let oid: String =
        one(&mut db.superuser(), "SELECT oid::text FROM pg_database WHERE datname = current_database()", &[]);
    let files = data.join("base").join(oid);
    let log = data.parent().expect("it stands in the cluster's").join("log");
    let places = [files.as_path(), log.as_path()];
    assert!(!holding("Alpha Diner", &places).is_empty(), "what is there is found");
    for text in [OTHER_CODE, "5H3NPC8VZ2JD"] {
        assert_eq!(holding(text, &places), [""; 0], "the code is on disk");
    }
    let hash: String =
        one(&mut db.superuser(), "SELECT encode(code_hash, 'hex') FROM shared.gift_cards WHERE id = $1", &[&card]);
    let logged = "SELECT count(*), count(*) FILTER (WHERE c::text LIKE '%' || $1 || '%') FROM audit.change_log c
                   WHERE c::text LIKE '%' || $2::text || '%'";
    let row = ok(db.superuser().query_one(logged, &[&hash, &card.to_string()]));
    let secret = row.get::<_, i64>(0) > 0 && row.get::<_, i64>(1) == 0;
    assert!(secret, "the log of changes has no hashes");
}

#[test]
fn a_request_with_a_key_is_done_once() {
    let db = Database::new();
    let card = of(&A, CARD);
    let redeem =
        |amount: &str| by_owner(&db, &A, &format!("SELECT shared.redeem_gift_card('{card}', {amount}, 'pay-1')"));
    let first = ok(redeem("10"));
    assert_eq!(ok(redeem("10")), first);
    assert_sqlstate(redeem("11"), "22023");
    let other = by_owner(&db, &A, &format!("SELECT shared.load_gift_card('{card}', 10, 'pay-1')"));
    assert_sqlstate(other, "22023");
    assert_eq!(state(&db, card).1, "15.00");
}

/// 16 sessions, rollbacks and repetitions: no card is overspent.
#[test]
fn no_card_is_overspent_under_load() {
    let db = Database::new();
    let card = of(&A, CARD);
    ok(by_owner(&db, &A, &format!("SELECT shared.load_gift_card('{card}', 75)")));
    let spent = AtomicI64::new(0);
    std::thread::scope(|scope| {
        for session in 0..16 {
            let (db, spent) = (&db, &spent);
            scope.spawn(move || {
                let mut app = db.app();
                for n in 0..12 {
                    let (roll_back, key) = ((session + n) % 3 == 0, format!("{session}-{n}"));
                    let mut redeem = || {
                        in_context(&mut app, A.id, A.owner, |tx| {
                            call(tx, "SELECT shared.redeem_gift_card($1, 1, $2)", &[&card, &key])?;
                            if roll_back { tx.batch_execute("ROLLBACK; BEGIN") } else { Ok(()) }
                        })
                    };
                    match redeem() {
                        Ok(()) if roll_back => {}
                        Ok(()) => {
                            spent.fetch_add(1, Ordering::Relaxed);
                            ok(redeem());
                        }
                        Err(e) => assert_eq!(sqlstate(&e), "23514", "{}", describe(&e)),
                    }
                }
            });
        }
    });
    assert_eq!((spent.into_inner(), state(&db, card).1), (100, "0.00".into()));
    assert_books_are_right(&db);
}
