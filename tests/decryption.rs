//! Who decrypts: without the permission it is denied in every form PostgreSQL knows, with it, it works in parallel plans
//! and read-only transactions. Hot standbys are in standby.rs.

use postgres::{Client, Error, Transaction};
use std::collections::BTreeSet;
use std::io::Read;
use thorbis_tests::personal::give;
use thorbis_tests::{
    A, B, Database, Tenant, as_owner, assert_sqlstate, force_parallel, in_context, ok, one, set_local,
};

/// An envelope of the tenant's own key.
fn sealed(db: &Database, tenant: &Tenant, text: &str) -> String {
    as_owner(db, tenant, |tx| Ok(one(tx, "SELECT encrypt_pii($1)", &[&text])))
}

/// The address of the tenant's customer as the table holds it.
fn envelope_of(db: &Database, tenant: &Tenant) -> String {
    one(&mut db.superuser(), "SELECT email_encrypted FROM shared.customers WHERE id = $1", &[&tenant.customer])
}

// --- who may decrypt

/// Every way to the clear text that PostgreSQL knows, for a column of a view or a call.
fn ways_to_read(value: &str, from: &str) -> Vec<String> {
    vec![
        format!("SELECT {value} FROM {from}"),
        format!("SELECT count({value}) FROM {from}"),
        format!("SELECT string_agg({value}, ',') FROM {from}"),
        format!("SELECT max(length({value})) FROM {from}"),
        format!("SELECT row_number() OVER (ORDER BY {value}) FROM {from}"),
        format!("SELECT 1 FROM {from} WHERE {value} LIKE 'c%'"),
        format!("SELECT 1 FROM {from} GROUP BY {value} HAVING count(*) > 0"),
        format!("SELECT DISTINCT {value} FROM {from}"),
        format!("SELECT CASE WHEN {value} > '' THEN 1 END FROM {from}"),
        format!("SELECT (SELECT max({value}) FROM {from})"),
        format!("SELECT ARRAY(SELECT {value} FROM {from})"),
        format!("SELECT EXISTS (SELECT FROM {from} WHERE {value} <> '')"),
        format!("WITH w AS MATERIALIZED (SELECT {value} AS v FROM {from}) SELECT v FROM w"),
        format!("SELECT l.v FROM generate_series(1, 1), LATERAL (SELECT {value} AS v FROM {from}) l"),
        format!("SELECT {value} FROM {from} UNION SELECT 'x'"),
        format!("SELECT to_jsonb(s) FROM (SELECT {value} AS v FROM {from}) s"),
        format!("COPY (SELECT {value} FROM {from}) TO STDOUT"),
        format!("CREATE TEMP TABLE stolen ON COMMIT DROP AS SELECT {value} AS v FROM {from}"),
        format!("SELECT {value} AS v INTO TEMP stolen FROM {from}"),
        format!("CREATE TEMP VIEW shown AS SELECT {value} AS v FROM {from}; SELECT v FROM shown"),
        format!("DECLARE c CURSOR FOR SELECT {value} FROM {from}; FETCH ALL FROM c"),
        format!("DECLARE h CURSOR WITH HOLD FOR SELECT {value} FROM {from}; FETCH ALL FROM h"),
        format!("PREPARE p AS SELECT {value} FROM {from}; EXECUTE p"),
        format!("EXPLAIN ANALYZE SELECT {value} FROM {from}"),
        format!("DO $$BEGIN PERFORM {value} FROM {from}; END$$"),
        format!("DO $$BEGIN RAISE NOTICE '%', (SELECT max({value}) FROM {from}); END$$"),
        format!("CREATE TEMP TABLE t (v text) ON COMMIT DROP; INSERT INTO t SELECT {value} FROM {from}"),
        format!("SELECT 1 FROM {from} ORDER BY {value}"),
        format!(
            "DO $$BEGIN EXECUTE $q$CREATE TEMP TABLE d ON COMMIT DROP AS SELECT {value} AS v FROM {from}$q$; END$$"
        ),
    ]
}

fn run(tx: &mut Transaction<'_>, sql: &str) -> Result<(), Error> {
    if !sql.starts_with("COPY") {
        return tx.simple_query(sql).map(drop);
    }
    let mut received = Vec::new();
    match tx.copy_out(sql)?.read_to_end(&mut received) {
        Ok(_) => Ok(()),
        // The server's error comes after the copying has begun.
        Err(e) => Err(*e.into_inner().and_then(|e| e.downcast().ok()).expect("the error is the server's")),
    }
}

/// The employee reads customers and lacks customers:pii.
#[test]
fn decrypting_without_the_permission_is_denied_in_every_form() {
    let db = Database::new();
    let call = "decrypt_pii(email_encrypted, 'shared.customers.email', id)";
    for (value, from) in [("email", "shared.customers_pii"), (call, "shared.customers")] {
        for attack in ways_to_read(value, from) {
            println!("{attack}");
            // A connection each: what is prepared or held stays behind.
            let mut app = db.app();
            let read = in_context(&mut app, A.id, A.employee, |tx| run(tx, &attack));
            let error = assert_sqlstate(read, "42501");
            assert_eq!(error.message(), "permission denied: customers:pii is required");
            assert!(!error.where_().unwrap_or_default().contains("carla"));
        }
    }
    // The same statements work for the owner: it is the permission that is missing.
    for attack in ways_to_read("email", "shared.customers_pii") {
        ok(in_context(&mut db.app(), A.id, A.owner, |tx| run(tx, &attack)));
    }
    // Rows without their clear text are no secret from who reads customers.
    let counted = in_context(&mut db.app(), A.id, A.employee, |tx| {
        tx.query("SELECT id, first_name FROM shared.customers_pii", &[])
    });
    assert_eq!(ok(counted).len(), 1);
}

#[test]
fn decrypting_what_belongs_to_no_field_needs_a_permission_of_its_own() {
    let db = Database::new();
    let envelope = sealed(&db, &A, "x");
    let place = as_owner(&db, &A, |tx| Ok(one::<String>(tx, "SELECT encrypt_pii('x', 'a.b.c', 'r')", &[])));
    let calls =
        [("SELECT decrypt_pii($1)", envelope.as_str()), ("SELECT decrypt_pii($1, 'a.b.c', 'r')", place.as_str())];
    // The manager holds customers:admin, which is about customers.
    for user in [A.employee, A.manager] {
        for (call, value) in calls {
            let error = assert_sqlstate(in_context(&mut db.app(), A.id, user, |tx| tx.query(call, &[&value])), "42501");
            assert_eq!(error.message(), "permission denied: pii:decrypt is required");
        }
    }
    give(&db, &A, "pii", "decrypt");
    for (call, value) in calls {
        let read = in_context(&mut db.app(), A.id, A.employee, |tx| tx.query_one(call, &[&value]));
        assert_eq!(ok(read).get::<_, &str>(0), "x");
    }
    // It opens no field that has a permission of its own.
    let stolen = in_context(&mut db.app(), A.id, A.employee, |tx| {
        tx.query("SELECT decrypt_pii(email_encrypted, 'shared.customers.email', id) FROM shared.customers", &[])
    });
    assert_sqlstate(stolen, "42501");
}

/// The permission is asked before the envelope is looked at: who lacks it learns nothing about envelopes.
#[test]
fn without_the_permission_garbage_and_envelopes_are_denied_alike() {
    let db = Database::untouched();
    let (own, foreign) = (envelope_of(db, &A), envelope_of(db, &B));
    let mut answers = BTreeSet::new();
    for envelope in [own.as_str(), &foreign, "garbage", "THv1", &own[..50]] {
        let read = in_context(&mut db.app(), A.id, A.employee, |tx| {
            tx.query("SELECT decrypt_pii($1, 'shared.customers.email', $2::uuid)", &[&envelope, &A.customer])
        });
        let error = assert_sqlstate(read, "42501");
        answers.insert(format!("{} {:?} {:?}", error.message(), error.detail(), error.where_()));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[test]
fn masks_need_the_permission_to_read() {
    let db = Database::new();
    let mask = "SELECT mask_pii(email_encrypted, 'shared.customers.email', id) FROM shared.customers";
    let masked = in_context(&mut db.app(), A.id, A.employee, |tx| Ok(one::<String>(tx, mask, &[])));
    assert_eq!(ok(masked), "c***@aaaaaaaa.example");
    let envelope = envelope_of(&db, &A);
    let call = "SELECT mask_pii($1, 'shared.customers.email', $2::uuid)";
    let delete = "DELETE FROM rbac.role_permissions WHERE tenant_id = $1 AND role_id = $2 AND resource = 'customers'";
    ok(db.superuser().execute(delete, &[&A.id, &A.employee_role]));
    let read = in_context(&mut db.app(), A.id, A.employee, |tx| tx.query(call, &[&envelope, &A.customer]));
    assert_sqlstate(read, "42501");
}

/// A bound role without a user holds no permission, and nobody else's functions give it one.
#[test]
fn bound_role_without_a_user_decrypts_nothing() {
    let db = Database::new();
    let role = db.role("bi", "LOGIN IN ROLE thorbis_app");
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(&format!("SELECT thorbis.bind_role('{role}', '{}')", A.id)));
    let envelope = envelope_of(&db, &A);
    let mut bound = db.connect_as(&role);
    let call = "SELECT decrypt_pii($1, 'shared.customers.email', $2::uuid)";
    assert_sqlstate(bound.query(call, &[&envelope, &A.customer]), "42501");
    ok(superuser.batch_execute(&format!("SELECT thorbis.bind_role('{role}', '{}', '{}')", A.id, A.employee)));
    assert_sqlstate(db.connect_as(&role).query("SELECT email FROM shared.customers_pii", &[]), "42501");
    ok(superuser.batch_execute(&format!("SELECT thorbis.bind_role('{role}', '{}', '{}')", A.id, A.manager)));
    assert_eq!(ok(db.connect_as(&role).query("SELECT email FROM shared.customers_pii", &[])).len(), 2);
}

#[test]
fn roles_that_were_granted_nothing_may_call_nothing() {
    let db = Database::untouched();
    let mut stranger = db.connect_as("stranger_login");
    for call in [
        "encrypt_pii('x')",
        "encrypt_pii('x', 'a', 'b')",
        "decrypt_pii('x')",
        "decrypt_pii('x', 'a', 'b'::text)",
        "decrypt_pii('x', 'a', gen_random_uuid())",
        "mask_pii('x', 'a', 'b'::text)",
        "mask_pii('x', 'a', gen_random_uuid())",
        "pii_blind_index('x', 'a')",
        "thorbis.find_customer_by_email('x')",
        "thorbis.find_by_pii('shared.customers', 'email', 'x')",
        "thorbis.export_subject('customer', gen_random_uuid())",
        "thorbis.erase_subject('customer', gen_random_uuid(), true)",
        "thorbis.residue_scan('customer', gen_random_uuid(), '{}')",
    ] {
        let error = assert_sqlstate(stranger.query(&format!("SELECT {call}"), &[]), "42501");
        assert!(error.message().starts_with("permission denied for"), "{call}: {}", error.message());
    }
}

/// A function that costs nothing runs before everything else that may: it must see the caller's rows only.
#[test]
fn cheap_leaky_function_over_the_view_sees_own_rows_only() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        "CREATE TABLE public.leaked (t text); GRANT INSERT, SELECT ON public.leaked TO PUBLIC;
         CREATE FUNCTION public.leak(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
         AS 'BEGIN INSERT INTO public.leaked VALUES (t); RETURN true; END'",
    ));
    for (user, expected) in [(A.owner, 2), (A.manager, 2)] {
        let seen = in_context(&mut db.app(), A.id, user, |tx| {
            tx.query("SELECT id FROM shared.customers_pii WHERE public.leak(email)", &[])
        });
        assert_eq!(ok(seen).len(), expected);
    }
    let foreign = "SELECT count(*) FROM public.leaked WHERE t NOT LIKE '%@aaaaaaaa.example'";
    assert_eq!(one::<i64>(&mut db.superuser(), foreign, &[]), 0);
}

// --- revocation

#[test]
fn revoked_permission_ends_decrypting_at_the_next_statement() {
    let db = Database::new();
    give(&db, &A, "customers", "pii");
    let revoke = "DELETE FROM rbac.role_permissions WHERE tenant_id = $1 AND role_id = $2 AND action = 'pii'";
    let mut app = db.app();
    let statement = ok(app.prepare("SELECT email FROM shared.customers_pii"));
    ok(app.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.employee))));
    for _ in 0..7 {
        // Often enough for a generic plan.
        assert_eq!(ok(app.query(&statement, &[])).len(), 1);
    }
    ok(db.superuser().execute(revoke, &[&A.id, &A.employee_role]));
    let error = assert_sqlstate(app.query(&statement, &[]), "42501");
    assert_eq!(error.message(), "permission denied: customers:pii is required");
    ok(app.batch_execute("ROLLBACK"));
    give(&db, &A, "customers", "pii");
    assert_eq!(ok(in_context(&mut app, A.id, A.employee, |tx| tx.query(&statement, &[]))).len(), 1);
}

// --- parallel plans and read-only transactions

#[test]
fn workers_decrypt_what_the_leader_would_and_no_more() {
    let db = Database::new();
    let mut superuser = db.superuser();
    for tenant in [&A, &B] {
        let fill = "INSERT INTO shared.customers (tenant_id, first_name, last_name, email)
                    SELECT $1, 'F', 'L', 'c' || n || '@' || $2 || '.example' FROM generate_series(1, 3000) n";
        ok(superuser.execute(fill, &[&tenant.id, &tenant.name.split(' ').next()]));
    }
    ok(superuser.batch_execute("ANALYZE shared.customers"));
    let read = |client: &mut Client, user| -> Result<BTreeSet<String>, Error> {
        let rows = in_context(client, A.id, user, |tx| tx.query("SELECT email FROM shared.customers_pii", &[]))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    };
    let mut parallel = db.app();
    force_parallel(&mut parallel);
    ok(parallel.batch_execute("SET enable_indexscan = off; SET enable_bitmapscan = off"));
    let plan = ok(in_context(&mut parallel, A.id, A.owner, |tx| {
        tx.query("EXPLAIN (VERBOSE) SELECT email FROM shared.customers_pii", &[])
    }));
    let plan: Vec<&str> = plan.iter().map(|row| row.get(0)).collect();
    let by_workers = plan.iter().skip_while(|line| !line.contains("Parallel Seq Scan"));
    assert!(by_workers.clone().any(|line| line.contains("decrypt_pii")), "{}", plan.join("\n"));
    let expected = ok(read(&mut db.app(), A.owner));
    assert_eq!(expected.len(), 3002);
    assert_eq!(ok(read(&mut parallel, A.owner)), expected);
    // The verdict of the permission reaches workers, and so does the one error.
    assert_sqlstate(read(&mut parallel, A.employee), "42501");
    ok(superuser.execute(
        "UPDATE shared.customers c SET email_encrypted = o.email_encrypted FROM shared.customers o
          WHERE c.id = $1 AND o.id = $2",
        &[&A.customer, &B.customer],
    ));
    let error = assert_sqlstate(read(&mut parallel, A.owner), "22000");
    assert_eq!(error.message(), "value cannot be decrypted");
}

#[test]
fn read_only_transactions_decrypt_mask_and_find() {
    let db = Database::untouched();
    let mut app = db.app();
    for options in
        ["READ ONLY", "ISOLATION LEVEL REPEATABLE READ, READ ONLY", "ISOLATION LEVEL SERIALIZABLE, READ ONLY"]
    {
        ok(app.batch_execute(&format!("BEGIN {options}; {}", set_local(A.id, A.owner))));
        let sql = "SELECT count(email), (SELECT count(email) FROM shared.customers_masked),
                          (SELECT count(*) FROM thorbis.find_customer_by_email('carla@aaaaaaaa.example')) FROM shared.customers_pii";
        let row = ok(app.query_one(sql, &[]));
        assert_eq!((row.get(0), row.get(1), row.get(2)), (2_i64, 2_i64, 1_i64), "{options}");
        assert_eq!(one::<String>(&mut app, "SELECT decrypt_pii(encrypt_pii('x'))", &[]), "x", "{options}");
        ok(app.batch_execute("COMMIT"));
    }
}

/// What would be copied by Rust must not be as long as PostgreSQL allows: its failed allocation ends the server.
#[test]
fn arguments_of_any_length_are_refused_by_the_statement_alone() {
    let db = Database::untouched();
    for call in [
        "encrypt_pii(repeat('x', 20000000))",
        "encrypt_pii('x', repeat('x', 40000000), 'row')",
        "decrypt_pii(repeat('x', 40000000))",
        "decrypt_pii('x', repeat('x', 40000000), gen_random_uuid())",
        "mask_pii('x', 'field', repeat('x', 40000000))",
        "pii_blind_index(repeat('x', 40000000), 'field')",
        "thorbis.find_customer_by_email(repeat('x', 40000000))",
    ] {
        let mut app = db.app();
        ok(app.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.owner))));
        assert_sqlstate(app.batch_execute(&format!("SELECT {call}")), "54000");
    }
}
