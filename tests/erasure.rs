//! Erasing a person: nothing that was ever encrypted of them is readable, in no session and no copy, the books stay, and
//! nobody else is touched.

use postgres::Client;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use thorbis_tests::keyring::Kept;
use thorbis_tests::listing::{assert_same, rows as listing};
use thorbis_tests::people::{SECRETS, erase, refused, steps, unreadable_in, with_customer};
use thorbis_tests::personal::give;
use thorbis_tests::{A, B, Database, Keyring, KeyringFile, as_owner, assert_sqlstate, in_context, ok, one, set_local};
use uuid::Uuid;

#[test]
fn dry_run_is_the_default_and_changes_nothing() {
    let db = with_customer();
    let before = listing(&mut db.superuser());
    let told = [format!("gdpr.erase_subject('{}')", A.customer), format!("gdpr.erase_subject('{}', true)", A.customer)]
        .map(|call| as_owner(&db, &A, |tx| Ok(steps(tx, &call))));
    assert_eq!(told[0], told[1]);
    assert!(told[0].iter().any(|(object, _)| object == "shared.customers"), "{told:?}");
    assert_same("a dry run", &before, &listing(&mut db.superuser()));
    // It is what is done then.
    let done: BTreeSet<_> = erase(&db, &A, A.customer).into_iter().collect();
    assert_eq!(done, told[0].iter().cloned().collect());
}

/// The clear columns, and what must stay.
#[test]
fn erased_person_is_gone_and_the_books_stay() {
    let db = with_customer();
    let mut superuser = db.superuser();
    let books = "SELECT md5(string_agg((to_jsonb(o) - ARRAY['special_instructions', 'metadata', 'updated_at', 'updated_by'])::text, ' ' ORDER BY id))
                   FROM restaurants.orders o";
    let before: String = one(&mut superuser, books, &[]);
    let consents = "SELECT count(*) FROM gdpr.consents WHERE customer_id = $1";
    let steps = erase(&db, &A, A.customer);
    for table in ["shared.customers", "restaurants.orders", "restaurants.order_items", "crm.notes", "thorbis.data_keys"]
    {
        assert!(steps.iter().any(|(object, _)| object == table), "{table}: {steps:?}");
    }
    assert_eq!(one::<String>(&mut superuser, books, &[]), before, "orders and amounts");
    assert_eq!(one::<i64>(&mut superuser, consents, &[&A.customer]), 1, "that consent was asked for");
    // Nothing of the person in any table of the tenant, not even in clear.
    let tables = "SELECT table_id::text FROM thorbis.protected_tables WHERE options ->> 'tenant_column' = 'tenant_id'";
    let tables: Vec<String> = ok(superuser.query(tables, &[])).iter().map(|row| row.get(0)).collect();
    for table in tables {
        for secret in SECRETS {
            let left = format!(
                "SELECT count(*) FROM {table} t WHERE tenant_id = $1 AND to_jsonb(t)::text LIKE '%' || $2 || '%'"
            );
            assert_eq!(one::<i64>(&mut superuser, &left, &[&A.id, &secret]), 0, "{secret} is left in {table}");
        }
    }
    let row: Value = one(&mut superuser, "SELECT to_jsonb(c) FROM shared.customers c WHERE id = $1", &[&A.customer]);
    for column in [
        "email_encrypted",
        "email_bidx",
        "phone_encrypted",
        "phone_bidx",
        "address",
        "company_name",
        "tax_exemption_no",
    ] {
        assert_eq!(row[column], Value::Null, "{column}");
    }
    let keys = "SELECT count(*) FROM thorbis.data_keys WHERE tenant_id = $1 AND subject_id = $2";
    assert_eq!(one::<i64>(&mut superuser, keys, &[&A.id, &A.customer]), 0);
    assert!(unreadable_in(&db, &mut db.app(), &A, A.customer));
    // Other people, of this tenant and of others, are as they were.
    for (tenant, person, email) in
        [(&A, A.restricted_customer, "rita@aaaaaaaa.example"), (&B, B.customer, "carla@bbbbbbbb.example")]
    {
        let read: String =
            as_owner(&db, tenant, |tx| Ok(one(tx, "SELECT email FROM shared.customers_pii WHERE id = $1", &[&person])));
        assert_eq!(read, email);
    }
    let bodies = as_owner(&db, &A, |tx| tx.query("SELECT body FROM crm.notes_pii WHERE body IS NOT NULL", &[]));
    assert_eq!(bodies.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["somebody else"]);
    assert_eq!(as_owner(&db, &B, |tx| tx.query("SELECT body FROM crm.notes_pii", &[])).len(), 2);
}

/// Every envelope ever taken of the person, wherever it was put: copies, older versions, other tables.
fn save_envelopes(db: &Database) -> i64 {
    let mut superuser = db.superuser();
    let save = "INSERT INTO public.saved
                SELECT email_encrypted, 'shared.customers.email', id::text FROM shared.customers WHERE tenant_id = $1 AND id = $2
                UNION ALL SELECT phone_encrypted, 'shared.customers.phone', id::text FROM shared.customers WHERE tenant_id = $1 AND id = $2
                UNION ALL SELECT body_encrypted, 'crm.notes.body', id::text FROM crm.notes WHERE tenant_id = $1 AND customer_id = $2";
    let older = "UPDATE shared.customers_pii SET email = 'older@aaaaaaaa.example', phone = '+1 555 0199' WHERE id = $1";
    let newer = "UPDATE shared.customers_pii SET email = 'carla@aaaaaaaa.example', phone = '+1 555 0142' WHERE id = $1";
    for change in [older, newer] {
        ok(superuser.execute(save, &[&A.id, &A.customer]));
        as_owner(db, &A, |tx| tx.execute(change, &[&A.customer]));
    }
    ok(superuser.execute(save, &[&A.id, &A.customer]));
    one(&mut superuser, "SELECT count(*) FROM public.saved", &[])
}

const SAVED: &str = "SELECT count(decrypt_pii(envelope, field, row_id)) FROM public.saved";

#[test]
fn every_envelope_of_an_erased_person_stops_decrypting_at_once_in_open_sessions() {
    let db = with_customer();
    let saved = save_envelopes(&db);
    assert_eq!(saved, 9);
    let mut superuser = db.superuser();
    // Sessions with everything in their memory: idle, in a transaction, in one with an older snapshot, with a plan.
    let mut sessions: Vec<Client> = (0..4).map(|_| db.app()).collect();
    let statement = ok(sessions[3].prepare(SAVED));
    for (n, session) in sessions.iter_mut().enumerate() {
        let begin = if n == 2 { "BEGIN ISOLATION LEVEL REPEATABLE READ" } else { "BEGIN" };
        ok(session.batch_execute(&format!("{begin}; {}", set_local(A.id, A.owner))));
        for _ in 0..6 {
            assert_eq!(one::<i64>(session, SAVED, &[]), saved);
            assert_eq!(one::<i64>(session, "SELECT count(email) FROM shared.customers_pii", &[]), 2);
        }
        if n == 0 {
            ok(session.batch_execute("COMMIT"));
        }
    }
    assert_eq!(ok(sessions[3].query_one(&statement, &[])).get::<_, i64>(0), saved);
    erase(&db, &A, A.customer);
    let envelopes = ok(superuser.query("SELECT envelope, field, row_id FROM public.saved", &[]));
    for (n, session) in sessions.iter_mut().enumerate() {
        let error = match n {
            0 => assert_sqlstate(in_context(session, A.id, A.owner, |tx| tx.query(SAVED, &[])), "22000"),
            3 => assert_sqlstate(session.query(&statement, &[]), "22000"),
            _ => assert_sqlstate(session.query(SAVED, &[]), "22000"),
        };
        assert_eq!(error.message(), "value cannot be decrypted");
        ok(session.batch_execute("ROLLBACK"));
        // One by one: not only the first is refused.
        for row in &envelopes {
            let (envelope, field, id): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
            let read = in_context(session, A.id, A.owner, |tx| {
                tx.query("SELECT decrypt_pii($1, $2, $3)", &[&envelope, &field, &id])
            });
            assert_sqlstate(read, "22000");
        }
    }
    // A new value about the same person gets a new key, and brings no old one back.
    as_owner(&db, &A, |tx| {
        tx.execute("UPDATE shared.customers_pii SET email = 'back@again.example' WHERE id = $1", &[&A.customer])
    });
    let read: String =
        as_owner(&db, &A, |tx| Ok(one(tx, "SELECT email FROM shared.customers_pii WHERE id = $1", &[&A.customer])));
    assert_eq!(read, "back@again.example");
    assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.query(SAVED, &[])), "22000");
}

#[test]
fn rolled_back_erasure_leaves_everything_readable() {
    let db = with_customer();
    let saved = save_envelopes(&db);
    let before = listing(&mut db.superuser());
    let call = format!("SELECT * FROM gdpr.erase_subject('{}', false)", A.customer);
    let (mut app, mut other) = (db.app(), db.app());
    for end in [
        format!("{call}; ROLLBACK"),
        format!("SAVEPOINT s; {call}; ROLLBACK TO s; COMMIT"),
        format!(
            "DO $$BEGIN PERFORM * FROM gdpr.erase_subject('{}', false); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END$$; COMMIT",
            A.customer
        ),
    ] {
        ok(app.batch_execute(&format!("BEGIN; {}; {SAVED}; {end}", set_local(A.id, A.owner))));
        for session in [&mut app, &mut other] {
            assert_eq!(ok(in_context(session, A.id, A.owner, |tx| Ok(one::<i64>(tx, SAVED, &[])))), saved, "{end}");
        }
        assert_same(&end, &before, &listing(&mut db.superuser()));
    }
    // Until it is committed others still read; in its own transaction it holds at once.
    ok(app.batch_execute(&format!("BEGIN; {}; {call}", set_local(A.id, A.owner))));
    assert_eq!(ok(in_context(&mut other, A.id, A.owner, |tx| Ok(one::<i64>(tx, SAVED, &[])))), saved);
    assert_sqlstate(app.query(SAVED, &[]), "22000");
    ok(app.batch_execute("ROLLBACK"));
    assert_eq!(ok(in_context(&mut app, A.id, A.owner, |tx| Ok(one::<i64>(tx, SAVED, &[])))), saved);
}

#[test]
fn erasing_again_is_no_error_and_is_logged_without_personal_data() {
    let db = with_customer();
    let mut superuser = db.superuser();
    let key: Uuid = one(
        &mut superuser,
        "SELECT id FROM thorbis.data_keys WHERE tenant_id = $1 AND subject_id = $2",
        &[&A.id, &A.customer],
    );
    erase(&db, &A, A.customer);
    let after = listing(&mut superuser);
    let again = erase(&db, &A, A.customer);
    assert!(again.is_empty(), "{again:?}");
    assert_same("erasing again", &after, &listing(&mut superuser));
    let sql = "SELECT to_jsonb(e) FROM gdpr.erasures e WHERE tenant_id = $1 AND subject_id = $2";
    let logged: Vec<Value> = ok(superuser.query(sql, &[&A.id, &A.customer])).iter().map(|row| row.get(0)).collect();
    assert_eq!(logged.len(), 1);
    assert_eq!(
        (&logged[0]["subject_kind"], &logged[0]["data_key_id"]),
        (&"customer".into(), &Value::from(key.to_string()))
    );
    assert_eq!(logged[0]["requested_by"], Value::from(A.owner.to_string()));
    assert!(logged[0]["counts"]["shared.customers"] == 1, "{}", logged[0]["counts"]);
    let text = logged[0].to_string();
    assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{text}");
    // The log stays.
    for sql in ["UPDATE gdpr.erasures SET counts = '{}'", "DELETE FROM gdpr.erasures"] {
        assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[])), "42501");
    }
    // An export of an erased person has rows without a person in them.
    let export: Value = as_owner(&db, &A, |tx| Ok(one(tx, "SELECT gdpr.export_subject($1)", &[&A.customer])));
    let text = export.to_string();
    assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{text}");
}

#[test]
fn hold_of_the_person_or_the_tenant_refuses_the_erasure() {
    let db = with_customer();
    let mut superuser = db.superuser();
    let (tenant, customer) = (A.id, A.customer);
    for (place, release, says) in [
        (
            format!(
                "INSERT INTO gdpr.legal_holds (tenant_id, subject_kind, subject_id, reason, placed_at)
                     VALUES ('{tenant}', 'customer', '{customer}', 'case 7/2024', '2024-05-06 12:00+00')"
            ),
            "UPDATE gdpr.legal_holds SET released_at = now() WHERE released_at IS NULL".to_owned(),
            ["case 7/2024", "2024-05-06"].as_slice(),
        ),
        (
            format!(
                "INSERT INTO gdpr.legal_holds (tenant_id, reason, placed_at) VALUES ('{tenant}', 'audit of all', '2023-01-02 12:00+00')"
            ),
            "UPDATE gdpr.legal_holds SET released_at = now() WHERE released_at IS NULL".to_owned(),
            &["audit of all", "2023-01-02"],
        ),
        (
            format!("UPDATE shared.tenants SET legal_hold = true WHERE id = '{tenant}'"),
            format!("UPDATE shared.tenants SET legal_hold = false WHERE id = '{tenant}'"),
            &["hold"],
        ),
    ] {
        ok(superuser.batch_execute(&place));
        let held = listing(&mut superuser);
        let said = refused(&db, A.owner, &format!("gdpr.erase_subject('{customer}', false)"), "55000");
        assert!(says.iter().all(|part| said.contains(part)), "{said}");
        assert_same("a refused erasure", &held, &listing(&mut superuser));
        // Who may erase and may not read holds is refused as well.
        give(&db, &A, "gdpr", "erase");
        refused(&db, A.employee, &format!("gdpr.erase_subject('{customer}', false)"), "55000");
        ok(superuser.batch_execute(&release));
    }
    // Holds of others, of another tenant, and released ones are in nobody's way.
    ok(superuser.batch_execute(&format!(
        "INSERT INTO gdpr.legal_holds (tenant_id, subject_kind, subject_id, reason) VALUES
            ('{tenant}', 'customer', '{}', 'x'), ('{tenant}', 'user', '{customer}', 'x'), ('{}', 'customer', '{customer}', 'x');
         INSERT INTO gdpr.legal_holds (tenant_id, reason) VALUES ('{}', 'x')",
        A.restricted_customer, B.id, B.id
    )));
    erase(&db, &A, customer);
    assert!(unreadable_in(&db, &mut db.app(), &A, customer));
    refused(&db, A.owner, &format!("gdpr.erase_subject('{}', false)", A.restricted_customer), "55000");
}

#[test]
fn erased_user_is_gone_and_can_do_nothing_any_more() {
    let db = Database::new();
    let read = "SELECT count(*) FROM shared.customers";
    assert_eq!(ok(in_context(&mut db.app(), A.id, A.employee, |tx| Ok(one::<i64>(tx, read, &[])))), 1);
    as_owner(&db, &A, |tx| tx.execute("SELECT * FROM gdpr.erase_subject($1, false, 'user')", &[&A.employee]));
    assert_eq!(ok(in_context(&mut db.app(), A.id, A.employee, |tx| Ok(one::<i64>(tx, read, &[])))), 0);
    let row: Value = one(&mut db.superuser(), "SELECT to_jsonb(u) FROM shared.users u WHERE id = $1", &[&A.employee]);
    for column in ["email_encrypted", "email_bidx", "phone_encrypted", "first_name", "last_name"] {
        assert_eq!(row[column], Value::Null, "{column}");
    }
    // What the user did stays theirs by id.
    let served = "SELECT count(*) FROM restaurants.orders WHERE server_id = $1";
    assert_eq!(one::<i64>(&mut db.superuser(), served, &[&A.employee]), 1);
    let others = as_owner(&db, &A, |tx| tx.query("SELECT email FROM shared.users_pii WHERE email IS NOT NULL", &[]));
    assert_eq!(others.len(), 2);
}

#[test]
fn people_of_a_kind_of_ones_own_are_exported_and_erased() {
    let db = with_customer();
    let insert = "INSERT INTO crm.guests (name) VALUES ($1) RETURNING id";
    let [one_guest, other] =
        ["Yolanda", "Xaver"].map(|name| as_owner(&db, &A, |tx| Ok(one::<Uuid>(tx, insert, &[&name]))));
    let export: Value = as_owner(&db, &A, |tx| Ok(one(tx, "SELECT gdpr.export_subject($1, 'guest')", &[&one_guest])));
    assert_eq!(export["tables"]["crm.guests"][0]["name"], "Yolanda");
    as_owner(&db, &A, |tx| tx.execute("SELECT * FROM gdpr.erase_subject($1, false, 'guest')", &[&one_guest]));
    let names = as_owner(&db, &A, |tx| tx.query("SELECT id, name FROM crm.guests_pii WHERE name IS NOT NULL", &[]));
    assert_eq!(names.iter().map(|row| (row.get(0), row.get(1))).collect::<Vec<(Uuid, &str)>>(), [(other, "Xaver")]);
}

/// A table's owner could have put anything under its name: nothing of it is run with other rights than the owner's.
#[test]
fn erasure_runs_no_code_of_a_table_owner_as_anybody_else() {
    let db = Database::new();
    let owner = db.role("mallory", "LOGIN");
    ok(db.superuser().batch_execute(&format!(
        "CREATE SCHEMA evil AUTHORIZATION {owner};
         CREATE TABLE evil.log (who text); GRANT ALL ON evil.log TO PUBLIC; GRANT USAGE ON SCHEMA evil TO PUBLIC;
         CREATE TABLE evil.notes (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), customer_id uuid, body text, PRIMARY KEY (tenant_id, id));
         ALTER TABLE evil.notes OWNER TO {owner};
         SELECT thorbis.protect('evil.notes', options => '{{\"pii\": [{{\"column\": \"body\", \"method\": \"clear\"}}],
             \"subject\": {{\"kind\": \"customer\", \"column\": \"customer_id\"}}, \"accept_risks\": [\"owner_can_login\"]}}')"
    )));
    ok(db.connect_as(&owner).batch_execute(
        "CREATE FUNCTION evil.spy() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO evil.log VALUES (current_user); RETURN NEW; END';
         CREATE TRIGGER spy BEFORE UPDATE ON evil.notes FOR EACH ROW EXECUTE FUNCTION evil.spy()",
    ));
    as_owner(&db, &A, |tx| {
        tx.execute("INSERT INTO evil.notes (customer_id, body) VALUES ($1, 'x')", &[&A.customer])?;
        tx.execute("SELECT * FROM gdpr.erase_subject($1, false)", &[&A.customer])
    });
    let who = ok(db.superuser().query("SELECT DISTINCT who FROM evil.log", &[]));
    let who: Vec<String> = who.iter().map(|row| row.get(0)).collect();
    assert!(who.iter().all(|role| *role == owner), "{who:?}");
    assert_eq!(one::<i64>(&mut db.superuser(), "SELECT count(body) FROM evil.notes", &[]), 0);
}

/// Two records of one person, merged by the business: whoever asks for their data, or to be forgotten, means both.
#[test]
fn merged_duplicates_are_exported_and_erased_with_the_person() {
    let db = with_customer();
    let insert = "INSERT INTO shared.customers (email, first_name, last_name, merged_into_id) VALUES ($1, 'Dup', 'Licate', $2) RETURNING id";
    let mut merged_into = A.customer;
    let mut duplicates = Vec::new();
    for email in ["second@merged.example", "third@merged.example"] {
        merged_into = as_owner(&db, &A, |tx| {
            let id: Uuid = one(tx, insert, &[&email, &merged_into]);
            tx.execute(
                "INSERT INTO crm.notes (customer_id, body) VALUES ($1, $2)",
                &[&id, &format!("note of {email}")],
            )?;
            Ok(id)
        });
        duplicates.push(merged_into);
    }
    let export: Value = as_owner(&db, &A, |tx| Ok(one(tx, "SELECT gdpr.export_subject($1)", &[&A.customer])));
    let text = export.to_string();
    for secret in ["carla@aaaaaaaa.example", "\"second@merged.example\"", "note of third@merged.example"] {
        assert!(text.contains(secret), "{secret} is missing");
    }
    assert_eq!(export["tables"]["shared.customers"].as_array().map(Vec::len), Some(3));
    let steps = erase(&db, &A, A.customer);
    assert!(!steps.is_empty());
    for person in [A.customer, duplicates[0], duplicates[1]] {
        assert!(unreadable_in(&db, &mut db.app(), &A, person));
        let keys = "SELECT count(*) FROM thorbis.data_keys WHERE subject_id = $1";
        assert_eq!(one::<i64>(&mut db.superuser(), keys, &[&person]), 0);
    }
    let left = "SELECT count(*) FROM shared.customers WHERE first_name = 'Dup' OR last_name = 'Licate'";
    assert_eq!(one::<i64>(&mut db.superuser(), left, &[]), 0);
    let bodies = as_owner(&db, &A, |tx| tx.query("SELECT body FROM crm.notes_pii WHERE body IS NOT NULL", &[]));
    assert_eq!(bodies.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["somebody else"]);
    assert!(erase(&db, &A, A.customer).is_empty(), "again");
    let left = as_owner(&db, &A, |tx| {
        Ok(thorbis_tests::people::steps(
            tx,
            &format!("gdpr.residue_scan('{}', '{{merged.example,Licate}}')", A.customer),
        ))
    });
    assert!(left.is_empty(), "{left:?}");
}

/// A duty to erase does not wait for a key that was lost: destroying needs none.
#[test]
fn erasure_works_without_a_keyring_and_says_what_it_could_not_do() {
    let db = with_customer();
    let ring = Keyring::of_the_cluster(&mut db.superuser());
    let kept = Kept { file: KeyringFile::new(db.cluster(), &ring), db, ring };
    kept.file.assign_to(&kept.db.name);
    kept.file.sh("rm \"$FILE\"");
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = said.clone();
    let mut config = kept.db.cluster().config(&kept.db.name, "app_login");
    config.notice_callback(move |notice| heard.lock().expect("nobody panics").push(notice.message().to_owned()));
    let mut app = config.connect(postgres::NoTls).expect("the application connects");
    let steps = ok(in_context(&mut app, A.id, A.owner, |tx| {
        Ok(thorbis_tests::people::steps(tx, &format!("gdpr.erase_subject('{}', false)", A.customer)))
    }));
    assert!(steps.contains(&("thorbis.data_keys".into(), "destroy key".into())), "{steps:?}");
    let said = said.lock().expect("nobody panics").join("\n");
    assert!(said.contains("were not looked for") && said.contains(&kept.file.path), "{said}");
    let keys = "SELECT count(*) FROM thorbis.data_keys WHERE subject_id = $1";
    assert_eq!(one::<i64>(&mut kept.db.superuser(), keys, &[&A.customer]), 0);
    kept.file.write(&kept.ring);
    assert!(unreadable_in(&kept.db, &mut kept.db.app(), &A, A.customer));
    kept.works();
}
