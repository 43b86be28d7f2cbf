//! Reading and writing personal data through the views: what is shown to whom, what is stored, and that a view takes what
//! its table takes and no more. For customers and users alike.

use serde_json::Value;
use thorbis_tests::personal::{NOTHING, Stored, TABLES, execute, insert, read, some, stored};
use thorbis_tests::{A, B, Database, as_owner, assert_sqlstate, assert_sqlstate_in, in_context, ok, one};
use uuid::Uuid;

// --- reading

#[test]
fn views_have_the_columns_of_the_table_without_ciphertexts() {
    let db = Database::untouched();
    let mut superuser = db.superuser();
    let tables = "SELECT DISTINCT table_id::text FROM gdpr.pii_catalog WHERE method = 'encrypt' ORDER BY 1";
    let tables: Vec<String> = ok(superuser.query(tables, &[])).iter().map(|row| row.get(0)).collect();
    assert!(TABLES.iter().all(|table| tables.iter().any(|found| found == table)), "{tables:?}");
    let columns = "SELECT array_agg(a.attname::text || ' ' || format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)
                     FROM pg_attribute a
                    WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
                      AND NOT EXISTS (SELECT FROM gdpr.pii_catalog p
                                       WHERE p.table_id = a.attrelid AND p.method = 'encrypt'
                                         AND a.attname IN (p.column_name || '_encrypted', p.column_name || '_bidx'))";
    for table in tables {
        let [expected, masked, clear]: [Vec<String>; 3] =
            ["", "_masked", "_pii"].map(|suffix| one(&mut superuser, columns, &[&format!("{table}{suffix}")]));
        assert_eq!(masked, expected, "{table}_masked");
        assert_eq!(clear, expected, "{table}_pii");
    }
}

#[test]
fn readers_see_masks_and_holders_of_pii_the_values() {
    let db = Database::new();
    for table in TABLES {
        let id = insert(&db, table, "Grace.Hopper@navy.example", "+1 (555) 010-9876");
        assert_eq!(read(&db, table, id), (some("Grace.Hopper@navy.example"), some("+1 (555) 010-9876")));
        let masked = format!("SELECT email, phone FROM {table}_masked WHERE id = $1");
        let row = as_owner(&db, &A, |tx| tx.query_one(&masked, &[&id]));
        assert_eq!((row.get(0), row.get(1)), (some("G***@navy.example"), some("***9876")));
    }
    let id = insert(&db, "shared.customers", "x@short.example", "12345");
    let employee = |sql: &str| in_context(&mut db.app(), A.id, A.employee, |tx| tx.query(sql, &[]));
    let rows = ok(employee("SELECT id, email, phone FROM shared.customers_masked ORDER BY email"));
    let found: Vec<(Uuid, Option<String>, Option<String>)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    // Short values show less, and customers that are restricted nothing at all.
    assert!(found.contains(&(id, some("***@short.example"), some("***"))), "{found:?}");
    assert!(found.contains(&(A.customer, some("c***@aaaaaaaa.example"), None)), "{found:?}");
    assert!(found.iter().all(|row| row.0 != A.restricted_customer), "{found:?}");
    for column in ["email", "phone", "*"] {
        assert_sqlstate(employee(&format!("SELECT {column} FROM shared.customers_pii")), "42501");
    }
}

#[test]
fn nothing_is_stored_in_clear() {
    let db = Database::new();
    for table in TABLES {
        for relation in [table.to_owned(), format!("{table}_pii")] {
            let id = insert(&db, &relation, &format!("{}@store.example", Uuid::new_v4()), &Uuid::new_v4().to_string());
            for column in ["email", "phone"] {
                let Stored { clear, encrypted, index } = stored(&db, table, column, id);
                assert_eq!(clear, None, "{relation}");
                assert!(encrypted.is_some_and(|envelope| envelope.starts_with("THv1")), "{relation}");
                assert_eq!(index.map(|index| index.len()), Some(32), "{relation}");
            }
        }
        // The fixture's rows, and no row may ever be otherwise.
        let clear = format!("SELECT count(*) FROM {table} WHERE email IS NOT NULL OR phone IS NOT NULL");
        assert_eq!(one::<i64>(&mut db.superuser(), &clear, &[]), 0);
        let mut superuser = db.superuser();
        ok(superuser.batch_execute(&format!("ALTER TABLE {table} DISABLE TRIGGER USER")));
        let update = superuser.batch_execute(&format!("UPDATE {table} SET email = 'ada@clear.example'"));
        assert_sqlstate(update, "23514");
    }
}

#[test]
fn without_context_views_are_empty_and_take_nothing() {
    let db = Database::new();
    let mut app = db.app();
    for table in TABLES {
        for view in [format!("{table}_masked"), format!("{table}_pii")] {
            assert!(ok(app.query(&format!("SELECT * FROM {view}"), &[])).is_empty(), "{view}");
        }
        let insert = format!("INSERT INTO {table}_pii (email, first_name, last_name) VALUES ('a@b.example', 'A', 'B')");
        assert_sqlstate_in(app.execute(&insert, &[]), &["28000", "42501"]);
        assert_eq!(ok(app.execute(&format!("UPDATE {table}_pii SET first_name = 'x'"), &[])), 0);
        assert_eq!(ok(app.execute(&format!("DELETE FROM {table}_pii"), &[])), 0);
    }
}

/// Ciphertexts moved by somebody who may write the column, such as the platform, open nothing.
#[test]
fn ciphertext_moved_to_another_row_does_not_decrypt() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let swap = "UPDATE shared.customers c SET email_encrypted = o.email_encrypted FROM shared.customers o
                 WHERE c.id = $1 AND o.id = $2";
    for other in [A.restricted_customer, B.customer] {
        ok(superuser.execute(swap, &[&A.customer, &other]));
        for view in ["shared.customers_pii", "shared.customers_masked"] {
            let sql = format!("SELECT email FROM {view} WHERE id = $1");
            let read = in_context(&mut db.app(), A.id, A.owner, |tx| tx.query(&sql, &[&A.customer]));
            let error = assert_sqlstate(read, "22000");
            assert_eq!(error.message(), "value cannot be decrypted", "{view}");
        }
        // The others are still read.
        let others =
            as_owner(&db, &A, |tx| tx.query("SELECT email FROM shared.customers_pii WHERE id <> $1", &[&A.customer]));
        assert_eq!(others.len(), 1);
    }
}

#[test]
fn users_read_their_own_row_without_a_permission() {
    let db = Database::new();
    let own = "SELECT email FROM shared.users_pii WHERE id = get_current_user_id()";
    let all = "SELECT email FROM shared.users_pii";
    let employee = |sql: &str| in_context(&mut db.app(), A.id, A.employee, |tx| tx.query(sql, &[]));
    for sql in [own, all] {
        let rows = ok(employee(sql));
        let emails: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(emails, ["employee@aaaaaaaa.example"], "{sql}");
    }
    // With users:read the others' rows are seen, and their values are not.
    let grant =
        "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action) VALUES ($1, $2, 'users', 'read')";
    ok(db.superuser().execute(grant, &[&A.id, &A.employee_role]));
    assert_eq!(ok(employee("SELECT id FROM shared.users_pii")).len(), 3);
    assert_eq!(ok(employee("SELECT email FROM shared.users_masked")).len(), 3);
    assert_eq!(ok(employee(own)).len(), 1);
    let error = assert_sqlstate(employee(all), "42501");
    assert_eq!(error.message(), "permission denied: users:pii is required");
    let pasted = "SELECT decrypt_pii(email_encrypted, 'shared.users.email', get_current_user_id()) FROM shared.users
                   WHERE id <> get_current_user_id() LIMIT 1";
    assert!(employee(pasted).is_err(), "another's address as one's own");
}

// --- writing through the view of clear values

#[test]
fn insert_returns_the_id_and_what_defaults_filled() {
    let db = Database::new();
    for table in TABLES {
        let view = format!("{table}_pii");
        let sql = format!(
            "INSERT INTO {view} (email, phone, first_name, last_name) VALUES ($1, '+1 555 0100', 'Ada', 'Lovelace')
             RETURNING to_jsonb({}.*)",
            view.trim_start_matches("shared.")
        );
        let row: Value = as_owner(&db, &A, |tx| Ok(one(tx, &sql, &[&"ada@return.example"])));
        for (column, expected) in [
            ("tenant_id", Value::from(A.id.to_string())),
            ("email", "ada@return.example".into()),
            ("phone", "+1 555 0100".into()),
            ("first_name", "Ada".into()),
            ("settings", Value::Object(Default::default())),
            ("created_by", A.owner.to_string().into()),
            ("deleted_at", Value::Null),
        ] {
            assert_eq!(row[column], expected, "{view}.{column}");
        }
        for filled in ["id", "created_at", "updated_at"] {
            assert!(row[filled].is_string(), "{view}.{filled}");
        }
        // The row is the one that was returned.
        let id = Uuid::parse_str(row["id"].as_str().unwrap_or_default()).expect("an id");
        let found: Value =
            as_owner(&db, &A, |tx| Ok(one(tx, &format!("SELECT to_jsonb(v) FROM {view} v WHERE id = $1"), &[&id])));
        assert_eq!(found, row);
    }
}

#[test]
fn several_rows_and_given_ids_are_inserted_through_the_view() {
    let db = Database::new();
    for table in TABLES {
        let given = Uuid::new_v4();
        let sql = format!(
            "INSERT INTO {table}_pii (id, email, first_name, last_name)
             VALUES ($1, 'one@many.example', 'A', 'B'), (DEFAULT, 'two@many.example', 'A', 'B'), (DEFAULT, NULL, 'A', 'B')
             RETURNING id, email"
        );
        let rows = as_owner(&db, &A, |tx| tx.query(&sql, &[&given]));
        let rows: Vec<(Uuid, Option<String>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(rows[0].0, given);
        assert!(rows[1].0 != rows[2].0 && rows[1].0 != given);
        for (id, email) in rows {
            assert_eq!(read(&db, table, id).0, email);
        }
    }
}

#[test]
fn update_and_delete_through_the_view() {
    let db = Database::new();
    for table in TABLES {
        let id = insert(&db, table, "before@update.example", "+1 555 0101");
        let update = format!(
            "UPDATE {table}_pii SET email = $2, last_name = 'Byron' WHERE id = $1 RETURNING email, phone, last_name"
        );
        let row = as_owner(&db, &A, |tx| tx.query_one(&update, &[&id, &"after@update.example"]));
        let returned: [String; 3] = std::array::from_fn(|i| row.get(i));
        assert_eq!(returned, ["after@update.example", "+1 555 0101", "Byron"]);
        assert_eq!(read(&db, table, id), (some("after@update.example"), some("+1 555 0101")));
        let by = format!("SELECT updated_by FROM {table} WHERE id = $1");
        assert_eq!(one::<Option<Uuid>>(&mut db.superuser(), &by, &[&id]), Some(A.owner));
        let delete = format!("DELETE FROM {table}_pii WHERE id = $1 RETURNING email");
        let row = as_owner(&db, &A, |tx| tx.query_one(&delete, &[&id]));
        assert_eq!(row.get::<_, &str>(0), "after@update.example");
        let left = format!("SELECT count(*) FROM {table} WHERE id = $1");
        assert_eq!(one::<i64>(&mut db.superuser(), &left, &[&id]), 0);
    }
}

/// A new ciphertext for an unchanged value would look like a change to whoever compares, and cost a key look-up.
#[test]
fn unchanged_values_keep_their_ciphertext() {
    let db = Database::new();
    for table in TABLES {
        let id = insert(&db, table, "same@value.example", "+1 555 0102");
        let before = ["email", "phone"].map(|column| stored(&db, table, column, id));
        for update in [
            format!("UPDATE {table}_pii SET first_name = 'Augusta' WHERE id = $1"),
            format!("UPDATE {table}_pii SET email = email, phone = phone WHERE id = $1"),
            format!("UPDATE {table}_pii SET email = 'same@value.example', phone = '+1 555 0102' WHERE id = $1"),
            format!("UPDATE {table} SET first_name = 'Ada' WHERE id = $1"),
            format!("UPDATE {table} SET email = email, phone = NULL WHERE id = $1"),
        ] {
            assert_eq!(ok(execute(&db, &A, &update, &[&id])), 1);
            assert_eq!(["email", "phone"].map(|column| stored(&db, table, column, id)), before, "{update}");
        }
        // One of them changed: the other stays.
        let update = format!("UPDATE {table}_pii SET email = 'Same@Value.example' WHERE id = $1");
        ok(execute(&db, &A, &update, &[&id]));
        let email = stored(&db, table, "email", id);
        assert_ne!(email.encrypted, before[0].encrypted);
        assert_eq!(email.index, before[0].index, "in another case of letters it is the same address");
        assert_eq!(stored(&db, table, "phone", id), before[1]);
        assert_eq!(read(&db, table, id).0, some("Same@Value.example"));
    }
}

#[test]
fn null_clears_in_the_view_and_leaves_unchanged_in_the_table() {
    let db = Database::new();
    for table in TABLES {
        let id = insert(&db, table, "clear@me.example", "+1 555 0103");
        let set = |relation: &str, value: &str| {
            let sql = format!("UPDATE {relation} SET email = {value}, phone = {value} WHERE id = $1");
            assert_eq!(ok(execute(&db, &A, &sql, &[&id])), 1);
        };
        set(table, "NULL");
        assert_eq!(read(&db, table, id), (some("clear@me.example"), some("+1 555 0103")));
        for (relation, value) in
            [(format!("{table}_pii"), "NULL"), (table.to_owned(), "''"), (format!("{table}_pii"), "''")]
        {
            set(&relation, value);
            assert_eq!(read(&db, table, id), (None, None), "{relation} {value}");
            assert_eq!(["email", "phone"].map(|column| stored(&db, table, column, id)), [NOTHING, NOTHING]);
            let again = format!("UPDATE {table} SET email = 'clear@me.example', phone = '+1 555 0103' WHERE id = $1");
            assert_eq!(ok(execute(&db, &A, &again, &[&id])), 1);
        }
    }
}

/// A form that was filled from the masked view and sent back must not destroy the address.
#[test]
fn masked_value_written_back_is_refused() {
    let db = Database::new();
    for table in TABLES {
        let id = insert(&db, table, "carol@mask.example", "+1 555 010 4444");
        for relation in [table.to_owned(), format!("{table}_pii")] {
            for (column, mask) in [
                ("email", "c***@mask.example"),
                ("email", "x***@other.example"),
                ("phone", "***4444"),
                ("phone", "***"),
            ] {
                let update = format!("UPDATE {relation} SET {column} = $2 WHERE id = $1");
                assert_sqlstate(execute(&db, &A, &update, &[&id, &mask]), "22023");
                let insert = format!("INSERT INTO {relation} (first_name, last_name, {column}) VALUES ('A', 'B', $1)");
                assert_sqlstate(execute(&db, &A, &insert, &[&mask]), "22023");
            }
        }
        assert_eq!(read(&db, table, id), (some("carol@mask.example"), some("+1 555 010 4444")));
    }
}

#[test]
fn masked_view_is_not_written() {
    let db = Database::new();
    for table in TABLES {
        let id = insert(&db, table, "keep@me.example", "+1 555 0105");
        for sql in [
            format!("UPDATE {table}_masked SET first_name = 'X'"),
            format!("UPDATE {table}_masked SET email = 'new@x.example'"),
            format!("DELETE FROM {table}_masked"),
            format!("INSERT INTO {table}_masked (first_name, last_name) VALUES ('A', 'B')"),
            format!("INSERT INTO {table}_masked (email, first_name, last_name) VALUES ('a@b.example', 'A', 'B')"),
        ] {
            assert_sqlstate_in(execute(&db, &A, &sql, &[]), &["42501", "55000", "0A000"]);
        }
        assert_eq!(read(&db, table, id).0, some("keep@me.example"));
    }
}

#[test]
fn ciphertexts_and_blind_indexes_are_not_the_applications_to_write() {
    let db = Database::new();
    let foreign: String =
        one(&mut db.superuser(), "SELECT email_encrypted FROM shared.customers WHERE id = $1", &[&B.customer]);
    for table in TABLES {
        for (column, value) in [
            ("email_encrypted", foreign.as_str()),
            ("phone_encrypted", "garbage"),
            ("email_bidx", "\\x00"),
            ("phone_bidx", ""),
        ] {
            let insert = format!("INSERT INTO {table} (first_name, last_name, {column}) VALUES ('A', 'B', '{value}')");
            assert_sqlstate(execute(&db, &A, &insert, &[]), "428C9");
            let update = format!("UPDATE {table} SET {column} = '{value}'");
            assert_sqlstate(execute(&db, &A, &update, &[]), "42501");
            let rows = serde_json::json!([{"first_name": "A", "last_name": "B", column: value}]).to_string();
            let import = format!("SELECT thorbis.import_rows('{table}', $1::text::jsonb)");
            assert_sqlstate(execute(&db, &A, &import, &[&rows]), "428C9");
            let upsert = format!(
                "INSERT INTO {table} (first_name, last_name) VALUES ('A', 'B')
                 ON CONFLICT (tenant_id, id) DO UPDATE SET {column} = '{value}'"
            );
            assert_sqlstate(execute(&db, &A, &upsert, &[]), "42501");
            // The view does not have them.
            let view =
                format!("INSERT INTO {table}_pii (first_name, last_name, {column}) VALUES ('A', 'B', '{value}')");
            assert_sqlstate(execute(&db, &A, &view, &[]), "42703");
        }
    }
}
