//! Writing personal data: what is refused and keeps quiet about the value, and the ways past a plain INSERT or UPDATE.

use serde_json::Value;
use std::io::Write;
use thorbis_tests::personal::{TABLES, execute, give, insert, keeps_quiet_about, read, some, stored};
use thorbis_tests::{A, B, Database, as_owner, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

// --- what is refused

#[test]
fn malformed_address_is_refused_without_being_repeated() {
    let db = Database::new();
    for table in TABLES {
        let id = insert(&db, table, "good@form.example", "+1 555 0106");
        for relation in [table.to_owned(), format!("{table}_pii")] {
            for bad in ["zanzibar", "zanzibar@", "@zanzibar", "zan zibar@x.example", "zanzibar@x.example, b@x.example"]
            {
                let insert = format!("INSERT INTO {relation} (first_name, last_name, email) VALUES ('A', 'B', $1)");
                let update = format!("UPDATE {relation} SET email = $2 WHERE id = $1");
                for refused in [execute(&db, &A, &insert, &[&bad]), execute(&db, &A, &update, &[&id, &bad])] {
                    let error = assert_sqlstate(refused, "23514");
                    assert!(error.message().contains("email"), "{}", error.message());
                    keeps_quiet_about(&error, "zanzibar");
                }
            }
        }
        assert_eq!(read(&db, table, id).0, some("good@form.example"));
    }
}

#[test]
fn same_address_in_another_case_of_letters_is_a_duplicate() {
    let db = Database::new();
    for table in TABLES {
        let first = insert(&db, table, "Twice@Same.example", "");
        let second = insert(&db, table, "other@same.example", "");
        for relation in [table.to_owned(), format!("{table}_pii")] {
            for same in ["Twice@Same.example", "twice@same.EXAMPLE", "  TWICE@same.example "] {
                let insert = format!("INSERT INTO {relation} (first_name, last_name, email) VALUES ('A', 'B', $1)");
                let update = format!("UPDATE {relation} SET email = $2 WHERE id = $1");
                for refused in [execute(&db, &A, &insert, &[&same]), execute(&db, &A, &update, &[&second, &same])] {
                    keeps_quiet_about(&assert_sqlstate(refused, "23505"), "twice");
                }
            }
            let skipped = format!(
                "INSERT INTO {relation} (first_name, last_name, email) VALUES ('A', 'B', 'TWICE@same.example')
                 ON CONFLICT DO NOTHING"
            );
            if relation == table {
                assert_eq!(ok(execute(&db, &A, &skipped, &[])), 0, "{relation}");
            }
        }
        // Numbers may be shared.
        for email in ["a@phone.example", "b@phone.example"] {
            insert(&db, table, email, "+1 555 0107");
        }
        // Who is deleted leaves the address to others, and does not get it back while somebody has it.
        let call = format!("SELECT thorbis.soft_delete('{table}', $1)");
        assert!(as_owner(&db, &A, |tx| Ok(one::<bool>(tx, &call, &[&first]))));
        insert(&db, table, "twice@same.example", "");
        assert_sqlstate(execute(&db, &A, &format!("SELECT thorbis.restore('{table}', $1)"), &[&first]), "23505");
    }
}

#[test]
fn same_address_in_two_tenants_is_no_duplicate() {
    let db = Database::new();
    for table in TABLES {
        let sql = format!(
            "INSERT INTO {table} (email, phone, first_name, last_name) VALUES ('both@tenants.example', '+1 555 0108', 'A', 'B')
             RETURNING id"
        );
        let ids = [&A, &B].map(|tenant| as_owner(&db, tenant, |tx| Ok(one::<Uuid>(tx, &sql, &[]))));
        let pair = format!(
            "SELECT count(*), count(DISTINCT email_bidx), count(DISTINCT phone_bidx),
                                   count(DISTINCT email_encrypted) FROM {table} WHERE id = ANY ($1)"
        );
        let row = ok(db.superuser().query_one(&pair, &[&ids.as_slice()]));
        let counts: [i64; 4] = std::array::from_fn(|i| row.get(i));
        assert_eq!(counts, [2; 4], "rows, indexes of addresses, indexes of numbers, ciphertexts");
    }
}

#[test]
fn views_write_no_row_of_another_tenant() {
    let db = Database::new();
    let rows = |table: &str| -> String {
        let sql = format!(
            "SELECT string_agg(xmin::text || to_jsonb(t), ' ' ORDER BY id) FROM {table} t WHERE tenant_id = $1"
        );
        one(&mut db.superuser(), &sql, &[&B.id])
    };
    for table in TABLES {
        let before = rows(table);
        let (a, b) = (A.id, B.id);
        for reached in [
            format!("UPDATE {table}_pii SET first_name = 'x' WHERE tenant_id = '{b}'"),
            format!("UPDATE {table}_pii SET email = 'x@x.example' WHERE tenant_id = '{b}'"),
            format!("DELETE FROM {table}_pii WHERE tenant_id = '{b}'"),
            format!("UPDATE {table}_pii SET first_name = 'x' WHERE id = '{}'", B.customer),
        ] {
            assert_eq!(ok(execute(&db, &A, &reached, &[])), 0, "{reached}");
        }
        for refused in [
            format!("INSERT INTO {table}_pii (tenant_id, first_name, last_name) VALUES ('{b}', 'A', 'B')"),
            format!(
                "INSERT INTO {table}_pii (tenant_id, email, first_name, last_name) VALUES ('{b}', 'a@b.example', 'A', 'B')"
            ),
            format!(
                "INSERT INTO {table} (tenant_id, email, first_name, last_name) VALUES ('{b}', 'a@b.example', 'A', 'B')"
            ),
            format!("UPDATE {table}_pii SET tenant_id = '{b}' WHERE tenant_id = '{a}'"),
        ] {
            assert_sqlstate(execute(&db, &A, &refused, &[]), "42501");
        }
        // An attempt that was refused has not made a key for the other tenant either.
        let keys = "SELECT count(*) FROM thorbis.data_keys k WHERE tenant_id = $1 AND subject_kind <> 'tenant'
                       AND NOT EXISTS (SELECT FROM shared.customers c WHERE c.tenant_id = $1 AND c.id = k.subject_id)
                       AND NOT EXISTS (SELECT FROM shared.users u WHERE u.tenant_id = $1 AND u.id = k.subject_id)";
        assert_eq!(one::<i64>(&mut db.superuser(), keys, &[&B.id]), 0);
        assert_eq!(rows(table), before);
    }
}

/// The view asks for what the table asks for: the employee may read customers, and nothing else.
#[test]
fn views_give_no_permission_that_the_table_does_not() {
    let db = Database::new();
    let grant =
        "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action) VALUES ($1, $2, 'customers', 'pii')";
    ok(db.superuser().execute(grant, &[&A.id, &A.employee_role]));
    let before = stored(&db, "shared.customers", "email", A.customer);
    let attempt = |sql: &str| in_context(&mut db.app(), A.id, A.employee, |tx| tx.execute(sql, &[]));
    for sql in [
        "UPDATE shared.customers_pii SET email = 'stolen@x.example'",
        "UPDATE shared.customers_pii SET first_name = 'x'",
        "DELETE FROM shared.customers_pii",
    ] {
        match attempt(sql) {
            Ok(rows) => assert_eq!(rows, 0, "{sql}"),
            Err(e) => assert_eq!(thorbis_tests::sqlstate(&e), "42501", "{sql}"),
        }
    }
    assert_sqlstate(attempt("INSERT INTO shared.customers_pii (first_name, last_name) VALUES ('A', 'B')"), "42501");
    assert_eq!(stored(&db, "shared.customers", "email", A.customer), before);
    assert_eq!(one::<i64>(&mut db.superuser(), "SELECT count(*) FROM shared.customers WHERE first_name = 'x'", &[]), 0);
}

#[test]
fn columns_that_are_nobodys_to_update_stay_so_through_the_view() {
    let db = Database::new();
    for table in TABLES {
        let id = insert(&db, table, "fixed@columns.example", "");
        let fixed = format!("SELECT to_jsonb(t) - ARRAY['updated_at', 'updated_by'] FROM {table} t WHERE id = $1");
        let before: Value = one(&mut db.superuser(), &fixed, &[&id]);
        for set in
            ["id = gen_random_uuid()", "created_at = '2001-01-01'", "created_by = NULL", "updated_at = '2001-01-01'"]
        {
            let update = format!("UPDATE {table}_pii SET {set} WHERE id = '{id}'");
            if let Err(e) = execute(&db, &A, &update, &[]) {
                assert_eq!(thorbis_tests::sqlstate(&e), "42501", "{set}");
            }
            assert_eq!(one::<Value>(&mut db.superuser(), &fixed, &[&id]), before, "{set}");
        }
    }
    // One's own row: the same columns as in the table.
    let own = |set: &str| {
        let sql = format!("UPDATE shared.users_pii SET {set} WHERE id = get_current_user_id()");
        in_context(&mut db.app(), A.id, A.employee, |tx| tx.execute(&sql, &[]))
    };
    assert_eq!(ok(own("phone = '+1 555 0109', first_name = 'Emilio'")), 1);
    assert_eq!(read(&db, "shared.users", A.employee).1, some("+1 555 0109"));
    for forbidden in ["email = 'boss@a.example'", "status = 'inactive'", "email = NULL", "deleted_at = now()"] {
        assert_sqlstate(own(forbidden), "42501");
    }
    assert_eq!(read(&db, "shared.users", A.employee).0, some("employee@aaaaaaaa.example"));
}

// --- other ways to write

#[test]
fn upserts_keep_what_they_do_not_name_and_write_what_they_name() {
    let db = Database::new();
    for table in TABLES {
        let id = insert(&db, table, "first@upsert.example", "+1 555 0110");
        let columns = "(id, email, first_name, last_name)";
        let values = format!("VALUES ('{id}', 'second@upsert.example', 'Second', 'L')");
        let conflict = "ON CONFLICT (tenant_id, id) DO";
        ok(execute(&db, &A, &format!("INSERT INTO {table} {columns} {values} {conflict} NOTHING"), &[]));
        assert_eq!(read(&db, table, id).0, some("first@upsert.example"));
        ok(execute(
            &db,
            &A,
            &format!("INSERT INTO {table} {columns} {values} {conflict} UPDATE SET first_name = 'U'"),
            &[],
        ));
        assert_eq!(read(&db, table, id), (some("first@upsert.example"), some("+1 555 0110")));
        let set = "UPDATE SET email = 'third@upsert.example', phone = ''";
        ok(execute(&db, &A, &format!("INSERT INTO {table} {columns} {values} {conflict} {set}"), &[]));
        assert_eq!(read(&db, table, id), (some("third@upsert.example"), None));
        // The trigger has emptied the plain column by then, so EXCLUDED names no address: the old one stays.
        let set = "UPDATE SET email = EXCLUDED.email, first_name = EXCLUDED.first_name";
        ok(execute(&db, &A, &format!("INSERT INTO {table} {columns} {values} {conflict} {set}"), &[]));
        assert_eq!(read(&db, table, id).0, some("third@upsert.example"));
    }
}

#[test]
fn merge_writes_encrypted_values() {
    let db = Database::new();
    for table in TABLES {
        let (old, new) = (insert(&db, table, "old@merge.example", ""), Uuid::new_v4());
        let merge = format!(
            "MERGE INTO {table} t USING (VALUES ($1::uuid, 'merged@merge.example'), ($2, 'new@merge.example')) s(id, email)
                ON t.id = s.id
              WHEN MATCHED THEN UPDATE SET email = s.email
              WHEN NOT MATCHED THEN INSERT (id, email, first_name, last_name) VALUES (s.id, s.email, 'A', 'B')"
        );
        assert_eq!(ok(execute(&db, &A, &merge, &[&old, &new])), 2);
        assert_eq!(read(&db, table, old).0, some("merged@merge.example"));
        assert_eq!(read(&db, table, new).0, some("new@merge.example"));
        assert_eq!(stored(&db, table, "email", new).clear, None);
    }
}

#[test]
fn imported_rows_are_encrypted() {
    let db = Database::new();
    for table in TABLES {
        let rows = r#"[{"email": "json1@import.example", "phone": "+1 555 0111", "first_name": "I", "last_name": "Imported"},
                       {"email": "json2@import.example", "phone": null, "first_name": "I", "last_name": "Imported"}]"#;
        as_owner(&db, &A, |tx| {
            let import = format!("SELECT thorbis.import_rows('{table}', $1::text::jsonb)");
            assert_eq!(one::<i64>(tx, &import, &[&rows]), 2);
            tx.batch_execute(
                "CREATE TEMPORARY TABLE staging (email text, first_name text, last_name text) ON COMMIT DROP",
            )?;
            let mut writer = tx.copy_in("COPY staging FROM STDIN")?;
            for n in 0..200 {
                writeln!(writer, "copy{n}@import.example\tI\tImported").expect("the connection takes it");
            }
            writer.finish()?;
            let import = format!("SELECT thorbis.import_rows('{table}', source => 'staging')");
            assert_eq!(one::<i64>(tx, &import, &[]), 200);
            Ok(())
        });
        let sql = format!("SELECT count(DISTINCT email), count(phone) FROM {table}_pii WHERE last_name = 'Imported'");
        let row = as_owner(&db, &A, |tx| tx.query_one(&sql, &[]));
        assert_eq!((row.get(0), row.get(1)), (202_i64, 1_i64));
        let clear = format!(
            "SELECT count(*) FROM {table} WHERE email IS NOT NULL OR email_encrypted IS NULL AND last_name = 'Imported'"
        );
        assert_eq!(one::<i64>(&mut db.superuser(), &clear, &[]), 0);
    }
}

/// Ciphertexts are bound to the row's id: whoever changes that has them bound anew.
#[test]
fn row_whose_id_changes_stays_readable() {
    let db = Database::new();
    for table in TABLES {
        let (old, new) = (insert(&db, table, "moving@id.example", "+1 555 0112"), Uuid::new_v4());
        let update = format!("UPDATE {table} SET id = $2 WHERE id = $1");
        assert_eq!(ok(db.superuser().execute(&update, &[&old, &new])), 1);
        assert_eq!(read(&db, table, new), (some("moving@id.example"), some("+1 555 0112")));
        // With a new value in the same statement too.
        let update = format!("UPDATE {table} SET id = $2, email = 'moved@id.example' WHERE id = $1");
        assert_eq!(ok(db.superuser().execute(&update, &[&new, &old])), 1);
        assert_eq!(read(&db, table, old), (some("moved@id.example"), some("+1 555 0112")));
    }
}

/// Whoever may write and not read would learn from a ciphertext that stays whether a guess was right.
#[test]
fn writing_the_same_value_again_gives_another_ciphertext() {
    let db = Database::new();
    give(&db, &A, "customers", "update");
    let ciphertexts = "SELECT email_encrypted, phone_encrypted FROM shared.customers WHERE id = $1";
    let write = |set: &str| -> [String; 2] {
        let update = format!("UPDATE shared.customers SET {set} WHERE id = $1");
        let row = in_context(&mut db.app(), A.id, A.employee, |tx| {
            assert_eq!(tx.execute(&update, &[&A.customer])?, 1);
            tx.query_one(ciphertexts, &[&A.customer])
        });
        let row = ok(row);
        [row.get(0), row.get(1)]
    };
    let before = write("email = 'guess@again.example', phone = '+1 555 0114'");
    for same in
        ["email = 'guess@again.example', phone = '+1 555 0114'", "email = 'GUESS@again.example', phone = '+15550114'"]
    {
        let after = write(same);
        assert!(after[0] != before[0] && after[1] != before[1], "{same}");
    }
    // What is not written stays as it is.
    let kept = write("first_name = 'Carlotta'");
    assert_eq!(write("email = NULL, phone = NULL"), kept);
}
