//! What an erasure makes of the log of changes: the person's values in it cannot be read by anybody, and none is added.

use postgres::Client;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use thorbis_tests::audit_log::{Entry, OPEN, Sealed, keys_of, opened, order_with_items, sealed_values};
use thorbis_tests::people::{SECRETS, erase, steps, with_customer};
use thorbis_tests::{A, B, Database, as_owner, in_context, ok, one, set_local, until};
use uuid::Uuid;

/// The log shows none of the texts (long ones: what is encrypted may hold any short one by chance), neither to whoever reads it nor to whoever opens every value that opens.
#[track_caller]
fn nothing_shows(db: &Database, texts: &[&str]) {
    let (mut superuser, mut app) = (db.superuser(), db.app());
    for text in texts {
        let found = Entry::read(&mut superuser, &format!("c WHERE position(lower('{text}') IN lower(c::text)) > 0"));
        assert!(found.is_empty(), "{text} stands in the log in clear: {found:?}");
    }
    for value in sealed_values(&mut superuser, &A) {
        if let Some(clear) = opened(&mut app, &A, &value) {
            assert!(texts.iter().all(|text| !clear.contains(text)), "{value:?} opens to {clear}");
        }
    }
}

/// Everything that may happen to what is known of a person.
fn live(db: &Database) {
    as_owner(db, &A, |tx| {
        let kept = order_with_items(tx, A.customer);
        tx.execute("UPDATE restaurants.orders SET special_instructions = 'gluten, none' WHERE id = $1", &[&kept])?;
        // Deleted alone, and with what hangs on it.
        tx.execute("DELETE FROM restaurants.order_items WHERE id = (SELECT id FROM restaurants.order_items WHERE order_id = $1 LIMIT 1)", &[&kept])?;
        let gone = order_with_items(tx, A.customer);
        tx.execute("DELETE FROM restaurants.orders WHERE id = $1", &[&gone])?;
        tx.execute("DELETE FROM crm.notes WHERE customer_id = $1", &[&A.customer])?;
        tx.execute("INSERT INTO crm.notes (customer_id, body) VALUES ($1, 'met at the fair, again')", &[&A.customer])
    });
    // In transactions of their own, with savepoints, and changed before it is deleted.
    let order = as_owner(db, &A, |tx| Ok(order_with_items(tx, A.customer)));
    as_owner(db, &A, |tx| tx.execute("DELETE FROM restaurants.orders WHERE id = $1", &[&order]));
    let order = as_owner(db, &A, |tx| Ok(order_with_items(tx, A.customer)));
    ok(db.app().batch_execute(&format!(
        "BEGIN; {}; SAVEPOINT a; DELETE FROM restaurants.orders WHERE id = '{order}'; ROLLBACK TO a;
         UPDATE restaurants.orders SET special_instructions = 'gluten?' WHERE id = '{order}';
         SAVEPOINT b; DELETE FROM restaurants.orders WHERE id = '{order}'; RELEASE b; COMMIT",
        set_local(A.id, A.owner)
    )));
    // By an upsert and a MERGE.
    as_owner(db, &A, |tx| {
        tx.execute(
            "INSERT INTO shared.customers (id, email, first_name, last_name) VALUES ($1, 'carla@aaaaaaaa.example', 'Zebulon', 'X')
             ON CONFLICT (tenant_id, id) DO UPDATE SET last_name = 'Customerson II', phone = '+1 555 0142 '",
            &[&A.customer],
        )?;
        tx.execute(
            "MERGE INTO shared.customers c USING (SELECT $1::uuid AS id) s ON c.id = s.id
              WHEN MATCHED THEN UPDATE SET company_name = 'Zebulon and Sons'",
            &[&A.customer],
        )
    });
}

#[test]
fn nobody_reads_an_erased_persons_values_in_the_log() {
    let db = with_customer();
    let (mut superuser, mut app) = (db.superuser(), db.app());
    live(&db);
    let [key] = keys_of(&mut superuser, &A, A.customer).try_into().expect("the customer has one key");
    let of_person: Vec<Sealed> =
        sealed_values(&mut superuser, &A).into_iter().filter(|value| value.data_key == key).collect();
    assert!(of_person.iter().all(|value| opened(&mut app, &A, value).is_some()));
    let kinds: BTreeSet<_> = of_person.iter().map(|value| (value.table.as_str(), value.operation.as_str())).collect();
    for table in ["restaurants.orders", "restaurants.order_items", "crm.notes"] {
        for operation in ["INSERT", "DELETE"] {
            assert!(kinds.contains(&(table, operation)), "{operation} of {table}: {kinds:?}");
        }
    }
    // Others' values open before and after.
    let others = |superuser: &mut Client, app: &mut Client| {
        let all = sealed_values(superuser, &A).into_iter().filter(|value| value.data_key != key);
        all.filter_map(|value| opened(app, &A, &value)).collect::<Vec<_>>()
    };
    let before = others(&mut superuser, &mut app);
    assert!(before.iter().any(|text| text == "somebody else"));
    ok(superuser.batch_execute("SELECT audit.seal()"));
    erase(&db, &A, A.customer);
    assert!(keys_of(&mut superuser, &A, A.customer).is_empty(), "the erasure itself made a key");
    assert_eq!(others(&mut superuser, &mut app), before);
    // As the application, as the operator, and as superuser.
    let operator = db.role("operator", "LOGIN IN ROLE thorbis_platform, thorbis_gateway");
    let mut operator = db.connect_as(&operator);
    ok(operator.batch_execute("SET ROLE thorbis_platform"));
    for client in [&mut app, &mut operator, &mut superuser] {
        for value in &of_person {
            assert_eq!(opened(client, &A, value), None, "{value:?}");
        }
    }
    nothing_shows(&db, &SECRETS);
    assert_eq!(one::<String>(&mut superuser, "SELECT string_agg(finding, ' ') FROM audit.verify()", &[]), "ok");
    ok(superuser.batch_execute("SELECT audit.seal()"));
    assert_eq!(one::<String>(&mut superuser, "SELECT string_agg(finding, ' ') FROM audit.verify()", &[]), "ok");
    // Nor is a clear value found in any table.
    let secrets = SECRETS.join(",");
    let left = as_owner(&db, &A, |tx| Ok(steps(tx, &format!("gdpr.residue_scan('{}', '{{{secrets}}}')", A.customer))));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn erasure_itself_is_logged_without_what_it_erases() {
    let db = with_customer();
    let mut superuser = db.superuser();
    let begun: i64 = one(&mut superuser, "SELECT pg_current_xact_id()::text::bigint", &[]);
    erase(&db, &A, A.customer);
    let log = Entry::read(&mut superuser, &format!("WHERE transaction_id > {begun} ORDER BY occurred_at, id"));
    let update = |table: &str| {
        log.iter()
            .find(|entry| entry.table == table && entry.operation == "UPDATE")
            .unwrap_or_else(|| panic!("{table}: {log:?}"))
    };
    let customer = update("shared.customers");
    for column in
        ["first_name", "last_name", "address", "preferences", "tags", "company_name", "tax_exemption_no", "metadata"]
    {
        assert_eq!(customer.values(column)[0], json!("erased"), "{column}");
    }
    assert_eq!(customer.values("deleted_at")[0], Value::Null);
    assert!(customer.values("deleted_at")[1].is_string() && customer.actor == Some(A.owner), "{customer:?}");
    for table in ["restaurants.orders", "restaurants.order_items"] {
        assert_eq!(update(table).values("special_instructions"), [json!("erased"), Value::Null], "{table}");
    }
    // Ciphertexts are what they were, and open no more.
    let mut app = db.app();
    let old = sealed_values(&mut superuser, &A)
        .into_iter()
        .filter(|value| value.text == customer.values("email_encrypted")[0]);
    assert!(old.map(|value| opened(&mut app, &A, &value)).eq([None, None]), "{customer:?}");
    let text = format!("{log:?}");
    assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{text}");
}

/// Columns that may not be NULL hold something after an erasure too: of every type that erasure knows, with a default and
/// without.
const GUESTS: &str = "
    CREATE SCHEMA inn;
    CREATE TABLE inn.guests (tenant_id uuid NOT NULL DEFAULT get_current_tenant_id(), id uuid DEFAULT gen_random_uuid(),
        name text NOT NULL, nick varchar(5) NOT NULL, kind text NOT NULL DEFAULT 'regular', born date NOT NULL, seen timestamptz NOT NULL, height integer NOT NULL,
        weight numeric NOT NULL, smokes boolean NOT NULL, address inet NOT NULL, diet text[] NOT NULL, data json NOT NULL, extra jsonb NOT NULL DEFAULT '{\"x\": 1}',
        PRIMARY KEY (tenant_id, id));
    ALTER TABLE inn.guests OWNER TO thorbis_owner;
    SELECT thorbis.protect('inn.guests', options => format('{\"subject\": {\"kind\": \"guest\", \"column\": \"id\"}, \"pii\": [%s]}',
        (SELECT string_agg(format('{\"column\": \"%s\", \"method\": \"clear\"}', attname), ', ') FROM pg_attribute
          WHERE attrelid = 'inn.guests'::regclass AND attnum > 2))::jsonb)";
const GUEST: &str = "INSERT INTO inn.guests (name, nick, kind, born, seen, height, weight, smokes, address, diet, data, extra)
    VALUES ('Yolanda', 'Yo', 'vip', '1990-01-02', now(), 171, 60.5, true, '10.1.2.3', '{veganissimo}', '{\"a\": \"Yolanda\"}', '{\"b\": \"Yolanda\"}') RETURNING id";

#[test]
fn erased_row_that_is_changed_or_deleted_later_makes_no_new_key() {
    let db = with_customer();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(GUESTS));
    let guest: Uuid = as_owner(&db, &A, |tx| Ok(one(tx, GUEST, &[])));
    assert_eq!(keys_of(&mut superuser, &A, guest).len(), 1);
    as_owner(&db, &A, |tx| tx.execute("SELECT * FROM gdpr.erase_subject($1, false, 'guest')", &[&guest]));
    as_owner(&db, &A, |tx| tx.execute("UPDATE inn.guests SET nick = '' WHERE id = $1", &[&guest]));
    assert!(keys_of(&mut superuser, &A, guest).is_empty(), "by an update");
    as_owner(&db, &A, |tx| tx.execute("DELETE FROM inn.guests WHERE id = $1", &[&guest]));
    let entry = Entry::last_of(&mut superuser, "inn.guests");
    assert!(keys_of(&mut superuser, &A, guest).is_empty(), "by a deletion: {entry:?}");
    assert_eq!(entry.operation, "DELETE");
    // The customer's rows, by the operator: the application does not delete people.
    erase(&db, &A, A.customer);
    for table in [
        "crm.notes WHERE customer_id",
        "restaurants.order_items WHERE order_id",
        "gdpr.consents WHERE customer_id",
        "gdpr.data_subject_requests WHERE customer_id",
    ] {
        let id = if table.contains("order_id") { A.order } else { A.customer };
        if !table.contains("order_items") {
            ok(superuser.execute(&format!("DELETE FROM {table} = $1"), &[&id]));
        }
    }
    ok(superuser.batch_execute(&format!(
        "SET session_replication_role = replica; DELETE FROM restaurants.order_items WHERE order_id = '{}'; DELETE FROM restaurants.orders WHERE customer_id = '{}';
         DELETE FROM shared.customers WHERE id = '{}'; RESET session_replication_role",
        A.order, A.customer, A.customer
    )));
    assert_eq!(Entry::last_of(&mut superuser, "shared.customers").operation, "DELETE");
    assert!(keys_of(&mut superuser, &A, A.customer).is_empty(), "of the customer");
    nothing_shows(&db, &SECRETS);
    nothing_shows(&db, &["Yolanda", "10.1.2.3", "veganissimo", "1990-01-02"]);
}

/// Over several tables: those in between are gone when the last row is logged.
#[test]
fn rows_deleted_with_their_parents_are_under_the_key_of_the_person() {
    let db = with_customer();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE TABLE crm.item_notes (tenant_id uuid NOT NULL DEFAULT get_current_tenant_id(), id integer NOT NULL, order_item_id uuid, said text,
             PRIMARY KEY (tenant_id, id),
             FOREIGN KEY (tenant_id, order_item_id) REFERENCES restaurants.order_items (tenant_id, id) ON DELETE CASCADE DEFERRABLE);
         ALTER TABLE crm.item_notes OWNER TO thorbis_owner;
         SELECT thorbis.protect('crm.item_notes', options => '{\"pii\": [{\"column\": \"said\", \"method\": \"clear\"}],
             \"subject\": {\"kind\": \"customer\", \"column\": \"order_item_id\", \"through\": \"restaurants.order_items\"}}')",
    ));
    let [key] = keys_of(&mut superuser, &A, A.customer).try_into().expect("the customer has one key");
    let note = "INSERT INTO crm.item_notes (id, order_item_id, said) SELECT 10 * $2 + row_number() OVER (), id, 'met at the fair'
                  FROM restaurants.order_items WHERE order_id = $1";
    let delete = "DELETE FROM restaurants.orders WHERE id = $1";
    // Deleted in a later transaction; in that which made it; after the order came to the person; and all at the end.
    for n in 0..4_i32 {
        let first = if n == 2 { A.restricted_customer } else { A.customer };
        let order = as_owner(&db, &A, |tx| {
            let order = order_with_items(tx, first);
            tx.execute(note, &[&order, &n])?;
            if n == 1 {
                tx.execute(delete, &[&order])?;
            }
            Ok(order)
        });
        if n != 1 {
            as_owner(&db, &A, |tx| {
                tx.batch_execute("SET CONSTRAINTS ALL DEFERRED")?;
                tx.execute(
                    "UPDATE restaurants.orders SET customer_id = $1, guest_count = 2 WHERE id = $2",
                    &[&A.customer, &order],
                )?;
                tx.execute(delete, &[&order])
            });
        }
        let deleted: Vec<Sealed> = sealed_values(&mut superuser, &A)
            .into_iter()
            .rev()
            .take_while(|value| value.operation == "DELETE")
            .collect();
        let tables: BTreeSet<&str> = deleted.iter().map(|value| value.table.as_str()).collect();
        let expected = ["crm.item_notes", "restaurants.order_items", "restaurants.orders"];
        assert!(tables.into_iter().eq(expected), "{n}: {deleted:?}");
        assert!(deleted.iter().all(|value| value.data_key == key), "{n}: {deleted:?}");
    }
}

/// Two records of one person.
#[test]
fn log_of_merged_duplicates_is_unreadable_too() {
    let db = with_customer();
    let duplicate: Uuid = as_owner(&db, &A, |tx| {
        let insert = "INSERT INTO shared.customers (email, first_name, last_name, merged_into_id) VALUES ('second@merged.example', 'Duplicata', 'Duplicatissima', $1) RETURNING id";
        let id: Uuid = one(tx, insert, &[&A.customer]);
        order_with_items(tx, id);
        Ok(id)
    });
    erase(&db, &A, A.customer);
    assert!(keys_of(&mut db.superuser(), &A, duplicate).is_empty());
    nothing_shows(&db, &["second@merged.example", "Duplicata", "Duplicatissima"]);
    nothing_shows(&db, &SECRETS);
}

/// Writing about somebody in a table whose values stand in clear: an erasure beside it waits, or there would be a row that it
/// never saw.
#[test]
fn erasure_waits_for_whoever_logs_something_about_the_person() {
    let db = with_customer();
    let (mut superuser, mut writer, mut eraser) = (db.superuser(), db.app(), db.app());
    ok(writer.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.owner))));
    order_with_items(&mut writer, A.customer);
    let pid: i32 = one(&mut eraser, "SELECT pg_backend_pid()", &[]);
    std::thread::scope(|scope| {
        let erasing = scope.spawn(|| {
            in_context(&mut eraser, A.id, A.owner, |tx| {
                tx.execute("SELECT * FROM gdpr.erase_subject($1, false)", &[&A.customer])
            })
        });
        until("the erasure waits, or is over", || {
            erasing.is_finished()
                || one::<bool>(&mut superuser, "SELECT cardinality(pg_blocking_pids($1)) > 0", &[&pid])
        });
        ok(writer.batch_execute("COMMIT"));
        ok(erasing.join().expect("it returns"));
    });
    let left =
        as_owner(&db, &A, |tx| Ok(steps(tx, &format!("gdpr.residue_scan('{}', '{{gluten,Zebulon}}')", A.customer))));
    let left: Vec<_> = left.iter().filter(|(_, finding)| finding != "unreadable envelope").collect();
    assert!(left.is_empty(), "{left:?}");
    nothing_shows(&db, &SECRETS);
}

// --- of a whole tenant

#[test]
fn purge_of_a_tenant_leaves_no_key_and_nothing_readable() {
    let db = with_customer();
    let (mut superuser, mut app) = (db.superuser(), db.app());
    live(&db);
    let before = sealed_values(&mut superuser, &A);
    assert!(before.iter().any(|value| opened(&mut app, &A, value).is_some()));
    ok(superuser.execute("DELETE FROM shared.tenants WHERE id = $1", &[&A.id]));
    let keys = "SELECT count(*) FROM thorbis.data_keys WHERE tenant_id = $1";
    assert_eq!(one::<i64>(&mut superuser, keys, &[&A.id]), 0);
    let after = sealed_values(&mut superuser, &A);
    assert!(after.len() >= before.len());
    for value in &after {
        for client in [&mut superuser, &mut app] {
            let mut tx = ok(client.transaction());
            ok(tx.execute("SELECT thorbis.set_context($1, $2)", &[&A.id, &A.owner]));
            assert!(tx.query(OPEN, &[&value.text, &value.field, &value.row]).is_err(), "{value:?}");
        }
    }
    let log = Entry::read(
        &mut superuser,
        &format!("WHERE tenant_id = '{}' AND table_name = 'shared.tenants' ORDER BY occurred_at, id", A.id),
    );
    assert_eq!(log.last().map(|entry| entry.operation.as_str()), Some("DELETE"));
    assert!(SECRETS.iter().all(|secret| !format!("{:?}", Entry::read(&mut superuser, "")).contains(secret)));
    // The other tenant's are as they were.
    assert!(sealed_values(&mut superuser, &B).iter().all(|value| opened(&mut app, &B, value).is_some()));
}
