//! Row triggers: who changed what when, own rows, numbers.

use thorbis_tests::{A, Database, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

#[test]
fn rows_carry_who_made_and_who_changed_them() {
    let db = Database::new();
    let (mut app, id) = (db.app(), Uuid::new_v4());
    ok(in_context(&mut app, A.id, A.owner, |tx| {
        tx.execute("INSERT INTO shared.customers (id, first_name, last_name) VALUES ($1, 'N', 'N')", &[&id])
    }));
    let read = "SELECT created_by, updated_by, updated_at = created_at FROM shared.customers WHERE id = $1";
    let row = ok(db.superuser().query_one(read, &[&id]));
    assert_eq!((row.get(0), row.get(1), row.get(2)), (Some(A.owner), None::<Uuid>, true));
    ok(in_context(&mut app, A.id, A.manager, |tx| {
        tx.execute("UPDATE shared.customers SET first_name = 'M' WHERE id = $1", &[&id])
    }));
    let row = ok(db.superuser().query_one(read, &[&id]));
    assert_eq!((row.get(0), row.get(1), row.get(2)), (Some(A.owner), Some(A.manager), false));
    // A job without a user leaves no name.
    ok(db.superuser().execute("UPDATE shared.customers SET first_name = 'J' WHERE id = $1", &[&id]));
    let row = ok(db.superuser().query_one(read, &[&id]));
    assert_eq!(row.get::<_, Option<Uuid>>(1), None);
}

/// updated_at is what the trigger says, whatever the statement says.
#[test]
fn updated_at_cannot_be_chosen() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let kept: bool = one(
        &mut superuser,
        "WITH u AS (UPDATE shared.customers SET updated_at = '2001-01-01' WHERE id = $1 RETURNING updated_at)
         SELECT updated_at = now() FROM u",
        &[&A.customer],
    );
    assert!(kept);
}

/// The trigger's columns are found by name in each table, dropped columns and partitions of another shape included.
#[test]
fn updated_at_is_set_in_partitions_of_another_shape() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE TABLE public.parent (gone int, id int, at date, updated_at timestamptz) PARTITION BY RANGE (at);
         ALTER TABLE public.parent DROP COLUMN gone;
         CREATE TABLE public.child (updated_at timestamptz, extra int, at date, id int);
         ALTER TABLE public.child DROP COLUMN extra;
         ALTER TABLE public.parent ATTACH PARTITION public.child FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
         CREATE TABLE public.plain PARTITION OF public.parent FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
         CREATE TRIGGER set_updated_at_parent BEFORE UPDATE ON public.parent
             FOR EACH ROW EXECUTE FUNCTION public.set_updated_at_column();
         INSERT INTO public.parent (id, at) VALUES (1, '2020-06-01'), (2, '2021-06-01')",
    ));
    ok(superuser.batch_execute("UPDATE public.parent SET id = id + 10"));
    let right: i64 =
        one(&mut superuser, "SELECT count(*) FROM public.parent WHERE id > 10 AND updated_at IS NOT NULL", &[]);
    assert_eq!(right, 2);
}

#[test]
fn users_change_listed_columns_of_their_own_row_only() {
    let db = Database::new();
    let mut app = db.app();
    let mut try_own = |set: &str| {
        let sql = format!("UPDATE shared.users SET {set} WHERE id = get_current_user_id()");
        in_context(&mut app, A.id, A.employee, |tx| tx.execute(&sql, &[]))
    };
    assert_eq!(ok(try_own("phone = '+1 555', first_name = 'Emilio'")), 1);
    for forbidden in ["status = 'inactive'", "email = 'boss@a.example'", "pin_hash = 'x'", "deleted_at = now()"] {
        assert_sqlstate(try_own(forbidden), "42501");
    }
    let owner = in_context(&mut db.app(), A.id, A.owner, |tx| {
        tx.execute("UPDATE shared.users SET email = 'new@a.example' WHERE id = $1", &[&A.employee])
    });
    assert_eq!(ok(owner), 1, "whoever may update users may change every column");
}

#[test]
fn order_numbers_have_no_gaps_after_rollbacks() {
    let db = Database::new();
    let mut app = db.app();
    let insert = "INSERT INTO restaurants.orders (order_type) SELECT 'takeout' FROM generate_series(1, 3)";
    ok(in_context(&mut app, A.id, A.owner, |tx| {
        tx.batch_execute(&format!(
            "{insert}; SAVEPOINT s; {insert}; ROLLBACK TO s; {insert}; SAVEPOINT t; {insert}; RELEASE t; {insert}"
        ))
    }));
    let _ = in_context(&mut app, A.id, A.owner, |tx| {
        tx.batch_execute(insert)?;
        tx.batch_execute("SELECT 1 / 0")
    });
    ok(in_context(&mut app, A.id, A.owner, |tx| tx.batch_execute(insert)));
    let row = ok(db.superuser().query_one(
        "SELECT count(*), min(order_number), max(order_number), count(DISTINCT order_number)
           FROM restaurants.orders WHERE tenant_id = $1",
        &[&A.id],
    ));
    let (count, min, max, distinct): (i64, i32, i32, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
    assert_eq!((i64::from(max), min, distinct), (count, 1, count));
}

#[test]
fn a_number_that_is_given_is_kept_and_the_next_follows_it() {
    let db = Database::new();
    let numbers: Vec<i32> = ok(in_context(&mut db.app(), A.id, A.owner, |tx| {
        tx.batch_execute("INSERT INTO restaurants.orders DEFAULT VALUES")?;
        tx.batch_execute("INSERT INTO restaurants.orders (order_number) VALUES (500)")?;
        let rows = tx.query("INSERT INTO restaurants.orders DEFAULT VALUES RETURNING order_number", &[])?;
        Ok(rows.iter().map(|r| r.get(0)).collect())
    }));
    assert_eq!(numbers, [501]);
}

/// Called as what they are not, trigger functions say so.
#[test]
fn trigger_functions_are_no_ordinary_functions() {
    let db = Database::untouched();
    let mut superuser = db.superuser();
    let functions: Vec<String> = ok(superuser.query(
        "SELECT p.oid::regproc::text FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
           JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'thorbis_db'
          WHERE p.prorettype = 'trigger'::regtype",
        &[],
    ))
    .iter()
    .map(|r| r.get(0))
    .collect();
    assert!(functions.len() >= 7, "{functions:?}");
    for function in functions {
        assert_sqlstate(superuser.execute(&format!("SELECT {function}()"), &[]), "39P01");
    }
}
