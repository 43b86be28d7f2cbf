//! What stands in clear about an erased person: emptied in a column of every type, also where there must be a value.

use postgres::Client;
use thorbis_tests::notes::call;
use thorbis_tests::people::{erase, steps};
use thorbis_tests::{A, Database, as_owner, assert_sqlstate, ok, one};

const LOGINS: [&str; 4] = ["'ada'", "'bea'", "'cleo'", "'dora'"];
const TIMES: [&str; 4] = ["'2001-01-01'", "'2002-01-01'", "'2003-01-01'", "'2004-01-01'"];

/// A table about customers with one more column, which is personal and kept in clear.
fn protect(client: &mut Client, column: &str) -> Result<(), postgres::Error> {
    let name = column.split(' ').next().expect("a column has a name");
    ok(client.batch_execute(&format!(
        "DROP SCHEMA IF EXISTS crm CASCADE; CREATE SCHEMA crm AUTHORIZATION thorbis_owner;
         CREATE TABLE crm.members (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), customer_id uuid, {column},
                                   PRIMARY KEY (tenant_id, id));
         ALTER TABLE crm.members OWNER TO thorbis_owner"
    )));
    let options = format!(
        r#"{{"pii": [{{"column": "{name}", "method": "clear"}}], "subject": {{"kind": "customer", "column": "customer_id"}}}}"#
    );
    client.batch_execute(&call("crm.members", &options, false))
}

/// Two persons are erased one after the other, with two rows each: `value` is gone, and a second call finds nothing to do.
#[track_caller]
fn emptied(column: &str, values: [&str; 4]) {
    let db = Database::new();
    let mut client = db.superuser();
    ok(protect(&mut client, column));
    let name = column.split(' ').next().expect("a column has a name");
    let persons = [A.customer, A.restricted_customer];
    for (n, value) in values.iter().enumerate() {
        let insert = format!("INSERT INTO crm.members (customer_id, {name}) VALUES ($1, {value})");
        as_owner(&db, &A, |tx| tx.execute(&insert, &[&persons[n / 2]]));
    }
    for person in persons {
        let done = erase(&db, &A, person);
        assert!(done.contains(&("crm.members".into(), "empty".into())), "{column}: {done:?}");
        let left =
            format!("SELECT count(*) FROM crm.members WHERE customer_id = $1 AND {name} IN ({})", values.join(", "));
        assert_eq!(one::<i64>(&mut client, &left, &[&person]), 0, "{column}");
        let others = "SELECT count(*) FROM crm.members WHERE customer_id <> $1";
        assert_eq!(one::<i64>(&mut client, others, &[&person]), 2);
        let again = erase(&db, &A, person);
        assert!(again.is_empty(), "{column}: again: {again:?}");
        let scan = as_owner(&db, &A, |tx| Ok(steps(tx, &format!("gdpr.residue_scan('{person}')"))));
        assert!(scan.is_empty(), "{column}: {scan:?}");
    }
}

#[test]
fn columns_that_must_have_a_value_are_emptied() {
    for (column, values) in [
        ("born date NOT NULL", ["'1980-01-02'", "'1980-01-03'", "'1980-01-04'", "'1980-01-02'"]),
        ("code varchar(5) NOT NULL", ["'abcde'", "'b'", "'c'", "'abcde'"]),
        ("code char(3) NOT NULL", ["'abc'", "'b'", "'c'", "'abc'"]),
        ("amount numeric NOT NULL", ["1.5", "2", "3", "1.5"]),
        ("amount numeric(5,2) NOT NULL", ["1", "2", "3", "1"]),
        ("vip boolean NOT NULL", ["true", "true", "true", "true"]),
        ("tags text[] NOT NULL", ["'{a,b}'", "'{c}'", "'{d}'", "'{a,b}'"]),
        ("seen inet NOT NULL", ["'10.0.0.1'", "'10.0.0.2'", "'10.0.0.3'", "'10.0.0.1'"]),
        ("about jsonb NOT NULL", ["'{\"a\": 1}'", "'{\"b\": 1}'", "'[1]'", "'{\"a\": 1}'"]),
        ("name text NOT NULL", ["'Ada'", "'Bea'", "'Cleo'", "'Ada'"]),
        ("name text NOT NULL DEFAULT 'nobody'", ["'Ada'", "'Bea'", "'Cleo'", "'Ada'"]),
    ] {
        emptied(column, values);
    }
}

#[test]
fn values_that_must_differ_are_emptied_for_several_persons() {
    emptied("login text NOT NULL, UNIQUE (tenant_id, login)", LOGINS);
}

/// A default that is another one each time would never be the same again.
#[test]
fn defaults_that_change_are_not_what_is_left() {
    emptied("name text NOT NULL DEFAULT gen_random_uuid()::text", LOGINS);
    emptied("seen timestamptz NOT NULL DEFAULT clock_timestamp()", TIMES);
    emptied("seen timestamptz NOT NULL DEFAULT now()", TIMES);
}

#[test]
fn keywords_that_change_are_not_what_is_left() {
    emptied("seen timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP", TIMES);
}

#[test]
fn defaults_are_compared_in_the_type_of_the_column() {
    emptied("amount numeric(5,2) NOT NULL DEFAULT 1.5", ["1", "2", "3", "1"]);
}

#[test]
fn defaults_that_must_differ_are_emptied_for_several_persons() {
    emptied("login text NOT NULL DEFAULT '', UNIQUE (tenant_id, login)", LOGINS);
}

#[test]
fn columns_that_cannot_be_emptied_are_refused() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute("CREATE TYPE public.mood AS ENUM ('good', 'bad')"));
    for column in [
        "passport uuid NOT NULL",
        "passport uuid NOT NULL DEFAULT gen_random_uuid()",
        "mood public.mood NOT NULL",
        // Cut to its length, what is left of two persons is the same.
        "login varchar(8) NOT NULL, UNIQUE (tenant_id, login)",
    ] {
        let error = assert_sqlstate(protect(&mut client, column), "42P16");
        assert!(error.hint().is_some_and(|hint| hint.contains("DROP NOT NULL")), "{column}: {:?}", error.hint());
        let registered = "SELECT count(*) FROM thorbis.protected_tables WHERE table_id = 'crm.members'::regclass";
        assert_eq!(one::<i64>(&mut client, registered, &[]), 0, "{column}");
    }
    for column in ["passport uuid", "mood public.mood NOT NULL DEFAULT 'good'"] {
        ok(protect(&mut client, column));
    }
}

#[test]
fn numbers_and_dates_that_must_differ_are_refused() {
    let db = Database::new();
    for column in
        ["number integer NOT NULL, UNIQUE (tenant_id, number)", "born date NOT NULL, UNIQUE (tenant_id, born)"]
    {
        assert_sqlstate(protect(&mut db.superuser(), column), "42P16");
    }
}

#[test]
fn domains_that_must_have_a_value_are_refused() {
    let db = Database::new();
    ok(db.superuser().batch_execute("CREATE DOMAIN public.login AS text NOT NULL"));
    assert_sqlstate(protect(&mut db.superuser(), "login public.login"), "42P16");
}
