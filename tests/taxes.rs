//! Tax rates: which hold where and when, as calculate_order_total() takes them, and what an invoice keeps of them.

use postgres::Error;
use serde_json::Value;
use thorbis_tests::billing::{credit, draft, issue, user_with};
use thorbis_tests::{A, B, Database, Tenant, as_owner, assert_none, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

/// A country with VAT in the price, a state and a city with taxes on top of it.
fn rates(db: &Database, tenant: &Tenant) -> Uuid {
    as_owner(db, tenant, |tx| {
        let add = |tx: &mut postgres::Transaction<'_>, code: &str, parent: Option<Uuid>| -> Result<Uuid, Error> {
            let sql = "INSERT INTO shared.tax_jurisdictions (code, name, parent_jurisdiction_id) VALUES ($1, $1, $2) RETURNING id";
            Ok(tx.query_one(sql, &[&code, &parent])?.get(0))
        };
        let country = add(tx, "XC", None)?;
        let state = add(tx, "XS", Some(country))?;
        let city = add(tx, "XT", Some(state))?;
        for (place, category, code, percent, per_unit, inclusive, during) in [
            (country, "standard", "VAT", Some("7"), None, true, "[2020-01-01,2025-01-01)"),
            (country, "standard", "VAT", Some("8"), None, true, "[2025-01-01,)"),
            (country, "food", "VAT", Some("3"), None, true, "[2020-01-01,)"),
            (state, "standard", "SALES", Some("1.5"), None, false, "[2020-01-01,)"),
            (city, "standard", "BOTTLE", None, Some("0.25"), false, "[2024-01-01,2024-07-01)"),
        ] {
            let sql = "INSERT INTO shared.tax_rates (tax_jurisdiction_id, category, code, name, percent, per_unit, is_inclusive, valid_during)
                       VALUES ($1, $2, $3, $3 || ' tax', $4::text::numeric, $5::text::numeric, $6, $7::text::daterange)";
            tx.execute(sql, &[&place, &category, &code, &percent, &per_unit, &inclusive, &during])?;
        }
        Ok(city)
    })
}

fn codes(db: &Database, place: Uuid, on: &str, categories: &str) -> Vec<String> {
    as_owner(db, &A, |tx| {
        let sql = "SELECT concat_ws(' ', code, category, tax ->> 'percent', tax ->> 'per_unit', tax ->> 'scope')
                     FROM shared.list_tax_rates($1, $2::text::date, $3::text::text[])";
        Ok(tx.query(sql, &[&place, &on, &categories])?.iter().map(|row| row.get(0)).collect())
    })
}

#[test]
fn rates_hold_on_their_dates_from_the_country_down() {
    let db = Database::new();
    let place = rates(&db, &A);
    let (old, new) = ("VAT standard 7.000000 order", "VAT standard 8.000000 order");
    let sales = "SALES standard 1.500000 order";
    assert_eq!(codes(&db, place, "2024-03-01", "{standard}"), [old, sales, "BOTTLE standard 0.25 order"]);
    assert_eq!(codes(&db, place, "2024-07-01", "{standard}"), [old, sales]);
    assert_eq!(codes(&db, place, "2025-01-01", "{standard}"), [new, sales]);
    assert_eq!(codes(&db, place, "2019-12-31", "{standard}"), [""; 0]);
    let several = codes(&db, place, "2025-01-01", "{food,standard}");
    assert_eq!(several, ["VAT food 3.000000 line", "VAT standard 8.000000 line", "SALES standard 1.500000 line"]);
}

#[test]
fn rates_of_one_kind_never_hold_on_one_date() {
    let db = Database::new();
    rates(&db, &A);
    let add = |during: &str, code: &str| {
        let sql = "INSERT INTO shared.tax_rates (tax_jurisdiction_id, code, name, percent, valid_during)
                   SELECT id, $1, 'x', 1, $2::text::daterange FROM shared.tax_jurisdictions WHERE code = 'XC'";
        in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[&code, &during]))
    };
    assert_sqlstate(add("[2024-12-31,2025-01-01)", "VAT"), "23P01");
    ok(add("[2019-01-01,2020-01-01)", "VAT"));
    ok(add("[2024-12-31,2025-01-01)", "EXTRA"));
    assert_sqlstate(add("empty", "NONE"), "23514");
    // Another tenant's rates are its own affair.
    rates(&db, &B);
}

#[test]
fn jurisdictions_are_a_tree() {
    let db = Database::new();
    let city = rates(&db, &A);
    let under = |code: &str, parent: Uuid| {
        let sql = "UPDATE shared.tax_jurisdictions SET parent_jurisdiction_id = $2 WHERE code = $1";
        in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[&code, &parent]))
    };
    assert_sqlstate(under("XC", city), "23514");
    assert_sqlstate(under("XS", city), "23514");
    assert_sqlstate(under("XT", city), "23514");
    // Two that close a circle only together: one of them waits for the other.
    let (one_end, other_end) = as_owner(&db, &A, |tx| {
        let sql = "INSERT INTO shared.tax_jurisdictions (code, name) VALUES ($1, 'x') RETURNING id";
        Ok((tx.query_one(sql, &[&"P"])?.get::<_, Uuid>(0), tx.query_one(sql, &[&"Q"])?.get::<_, Uuid>(0)))
    });
    let outcomes = std::thread::scope(|scope| {
        let a = scope.spawn(|| under("P", other_end).is_ok());
        let b = scope.spawn(|| under("Q", one_end).is_ok());
        [a.join().expect("it does not panic"), b.join().expect("it does not panic")]
    });
    assert_eq!(outcomes.iter().filter(|done| **done).count(), 1);
}

/// What keeps changes of one tenant apart is a lock that SQL cannot take, and not the one of another tenant.
#[test]
fn nobody_makes_another_tenant_wait() {
    let db = Database::new();
    let mut hostile = db.app();
    ok(hostile.execute("SELECT pg_advisory_lock(hashtextextended($1::uuid::text, 7310))", &[&B.id]));
    let add = "INSERT INTO shared.tax_jurisdictions (code, name, parent_jurisdiction_id)
               SELECT $1, 'x', id FROM shared.tax_jurisdictions ORDER BY code LIMIT 1";
    let mut first = db.app();
    for tenant in [&A, &B] {
        rates(&db, tenant);
    }
    let mut holding = ok(first.transaction());
    ok(holding.execute("SELECT thorbis.set_context($1, $2)", &[&A.id, &A.owner]));
    assert_eq!(ok(holding.execute(add, &[&"NEW"])), 1);
    let within_a_second = in_context(&mut db.app(), B.id, B.owner, |tx| {
        tx.batch_execute("SET LOCAL lock_timeout = '1s'")?;
        tx.execute(add, &[&"NEW"])
    });
    assert_eq!(ok(within_a_second), 1);
    let places = "SELECT array_agg(objsubid::int) FROM pg_locks
                   WHERE locktype = 'advisory' AND pid <> $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let pid: i32 = one(&mut hostile, "SELECT pg_backend_pid()", &[]);
    let held: Vec<i32> = one(&mut db.superuser(), places, &[&pid]);
    assert!(held.len() == 1 && held[0] > 2, "those that SQL takes have 1 or 2: {held:?}");
}

/// A circle is found by callers who may not read the tree, and by jobs without a user.
#[test]
fn jurisdictions_are_a_tree_for_who_sees_none_of_them_too() {
    let db = Database::new();
    let city = rates(&db, &A);
    let up = format!("UPDATE shared.tax_jurisdictions SET parent_jurisdiction_id = '{city}' WHERE code = 'XC'");
    let mut superuser = db.superuser();
    let mut job = ok(superuser.transaction());
    ok(job.execute("SELECT set_config('app.current_tenant_id', $1, true)", &[&A.id.to_string()]));
    assert_sqlstate(job.batch_execute(&up), "23514");
    ok(job.rollback());
    let blind = user_with(&db, &A, &[("taxes", "create")]);
    let sql = "INSERT INTO shared.tax_jurisdictions (id, code, name, parent_jurisdiction_id) VALUES ($1, 'Z', 'x', $2)";
    let id = Uuid::new_v4();
    let insert = |parent: Uuid| in_context(&mut db.app(), A.id, blind, |tx| tx.execute(sql, &[&id, &parent]));
    assert_sqlstate(insert(id), "23514");
    ok(insert(city));
}

#[test]
fn taxes_of_the_other_tenant_are_none() {
    let db = Database::new();
    let foreign = rates(&db, &B);
    let sql = "SELECT shared.get_taxes($1, '2025-01-01')";
    let seen = as_owner(&db, &A, |tx| Ok(one::<Value>(tx, sql, &[&foreign])));
    assert_eq!(seen, serde_json::json!([]));
    let blind = user_with(&db, &B, &[("invoices", "create")]);
    let seen = ok(in_context(&mut db.app(), B.id, blind, |tx| Ok(one::<Value>(tx, sql, &[&foreign]))));
    assert_eq!(seen, serde_json::json!([]), "rates need taxes:read");
}

/// What get_taxes() gives is what the calculation takes, with one category and with several.
#[test]
fn invoice_copies_the_rates_and_never_looks_again() {
    let db = Database::new();
    let place = rates(&db, &A);
    let invoice = as_owner(&db, &A, |tx| {
        let invoice = draft(tx, "{}", &[("108.00", "1"), ("51.50", "2")])?;
        let place_it = "UPDATE shared.invoices SET tax_jurisdiction_id = $2, tax_date = '2025-06-01' WHERE id = $1";
        tx.execute(place_it, &[&invoice, &place])?;
        tx.execute("SELECT shared.apply_invoice_taxes($1)", &[&invoice])?;
        let sql = "UPDATE shared.invoice_lines SET tax_category = 'food' WHERE invoice_id = $1 AND line_number = 2";
        tx.execute(sql, &[&invoice])?;
        for _ in 0..2 {
            tx.execute("SELECT shared.apply_invoice_taxes($1)", &[&invoice])?;
        }
        issue(tx, invoice)?;
        Ok(invoice)
    });
    let copied = "SELECT array_agg(concat_ws(' ', l.line_number, t.jurisdiction_code, t.code, t.category, t.percent, t.taxable_amount, t.amount)
                                   ORDER BY l.line_number, t.amount DESC)
                    FROM shared.invoice_taxes t JOIN shared.invoice_lines l ON l.id = t.invoice_line_id WHERE t.invoice_id = $1";
    let expected = [
        "1 XC VAT standard 8.000000 100.00 8.00",
        "1 XS SALES standard 1.500000 100.00 1.50",
        "2 XC VAT food 3.000000 100.00 3.00",
    ];
    assert_eq!(one::<Vec<String>>(&mut db.superuser(), copied, &[&invoice]), expected);
    as_owner(&db, &A, |tx| tx.execute("UPDATE shared.tax_rates SET percent = 50, name = 'x' WHERE code = 'VAT'", &[]));
    assert_eq!(one::<Vec<String>>(&mut db.superuser(), copied, &[&invoice]), expected);
    let owed = "SELECT coalesce(sum(tax_amount), 0)::text FROM shared.v_tax_liability_by_jurisdiction WHERE jurisdiction_code LIKE 'X_'";
    assert_eq!(as_owner(&db, &A, |tx| Ok(one::<String>(tx, owed, &[]))), "12.50");
    as_owner(&db, &A, |tx| credit(tx, invoice, "k"));
    assert_eq!(as_owner(&db, &A, |tx| Ok(one::<String>(tx, owed, &[]))), "0.00");
    // Taxes of what was issued are applied no more.
    let again =
        in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute("SELECT shared.apply_invoice_taxes($1)", &[&invoice]));
    assert_sqlstate(again, "55000");
}

#[test]
fn exempt_customers_pay_no_tax_while_the_certificate_holds() {
    let db = Database::new();
    let place = rates(&db, &A);
    for (expires, taxed) in [(None, false), (Some("2025-06-01"), false), (Some("2025-05-31"), true)] {
        let amount = as_owner(&db, &A, |tx| {
            let sql = "UPDATE shared.customers SET tax_exempt = true, tax_exemption_expires_on = $2::text::date WHERE id = $1";
            tx.execute(sql, &[&A.customer, &expires])?;
            let invoice = draft(tx, "{}", &[("108.00", "1")])?;
            let sql = "UPDATE shared.invoices SET tax_jurisdiction_id = $2, tax_date = '2025-06-01', customer_id = $3 WHERE id = $1";
            tx.execute(sql, &[&invoice, &place, &A.customer])?;
            tx.execute("SELECT shared.apply_invoice_taxes($1)", &[&invoice])?;
            Ok(one::<bool>(tx, "SELECT tax_total > 0 FROM shared.invoices WHERE id = $1", &[&invoice]))
        });
        assert_eq!(amount, taxed, "{expires:?}");
    }
}

#[test]
fn currencies_are_the_same_for_all_and_nobodys_to_change() {
    let db = Database::new();
    let sql = "SELECT string_agg(concat_ws(' ', code, minor_unit, trim_scale(cash_increment)), ', ' ORDER BY code)
                 FROM shared.currencies WHERE code IN ('USD', 'JPY', 'KWD', 'CHF')";
    let seen = as_owner(&db, &A, |tx| Ok(one::<String>(tx, sql, &[])));
    assert_eq!(seen, "CHF 2 0.05, JPY 0 1, KWD 3 0.005, USD 2 0.01");
    let changed =
        in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute("UPDATE shared.currencies SET minor_unit = 0", &[]));
    assert_sqlstate(changed, "42501");
    assert_none(
        "a currency of which calculate_order_total() thinks otherwise",
        "SELECT code::text FROM shared.currencies
          WHERE length(split_part(calculate_order_total(jsonb_build_object('currency', code)) ->> 'total', '.', 2)) <> minor_unit",
        &[],
    );
}

// --- no taxes by mistake

/// A draft in A at that place on that date, with a line of each category.
fn taxed_draft(
    tx: &mut postgres::Transaction<'_>,
    place: Option<Uuid>,
    on: &str,
    categories: &[&str],
) -> Result<Uuid, Error> {
    let lines: Vec<_> = categories.iter().map(|_| ("100.00", "1")).collect();
    let invoice = draft(tx, "{}", &lines)?;
    let sql = "UPDATE shared.invoices SET tax_jurisdiction_id = $2, tax_date = $3::text::date WHERE id = $1";
    tx.execute(sql, &[&invoice, &place, &on])?;
    for (category, number) in categories.iter().zip(1i32..) {
        let sql = "UPDATE shared.invoice_lines SET tax_category = $3 WHERE invoice_id = $1 AND line_number = $2";
        tx.execute(sql, &[&invoice, &number, category])?;
    }
    Ok(invoice)
}

fn apply(tx: &mut postgres::Transaction<'_>, invoice: Uuid) -> Result<u64, Error> {
    tx.execute("SELECT shared.apply_invoice_taxes($1)", &[&invoice])
}

#[test]
fn taxes_that_are_not_found_are_an_error() {
    let db = Database::new();
    let place = rates(&db, &A);
    for (place, on, category, rule) in [
        (None, "2025-06-01", "standard", "tax jurisdiction"),
        (Some(place), "2025-06-01", "standrad", "\"standrad\""),
        (Some(place), "2019-12-31", "standard", "\"standard\""),
    ] {
        let applied = in_context(&mut db.app(), A.id, A.owner, |tx| {
            let invoice = taxed_draft(tx, place, on, &["standard", category])?;
            apply(tx, invoice)
        });
        let error = assert_sqlstate(applied, "22023");
        assert!(error.message().contains(rule) && error.hint().is_some(), "{error:?}");
    }
    // Whoever cannot read the rates does not sell without taxes.
    let clerk = user_with(&db, &A, &[("invoices", "create"), ("invoices", "read"), ("invoices", "update")]);
    let blind = in_context(&mut db.app(), A.id, clerk, |tx| {
        let invoice = taxed_draft(tx, Some(place), "2025-06-01", &["standard"])?;
        apply(tx, invoice)
    });
    assert_sqlstate(blind, "22023");
}

#[test]
fn nothing_is_due_where_somebody_says_so() {
    let db = Database::new();
    let place = rates(&db, &A);
    as_owner(&db, &A, |tx| {
        let sql = "INSERT INTO shared.tax_rates (tax_jurisdiction_id, category, code, name, percent, valid_during)
                   VALUES ($1, 'books', 'VAT', 'None', 0, '[2020-01-01,)')";
        tx.execute(sql, &[&place])?;
        let none = taxed_draft(tx, Some(place), "2025-06-01", &["books"])?;
        apply(tx, none)?;
        issue(tx, none)?;
        let total = "SELECT tax_total::text FROM shared.invoices WHERE id = $1";
        assert_eq!(one::<String>(tx, total, &[&none]), "0.00");
        // A line that is exempt, of a category without a rate and of one with; the others are taxed.
        for category in ["nowhere", "food"] {
            let exempt = taxed_draft(tx, Some(place), "2025-06-01", &["standard", category])?;
            let sql = "UPDATE shared.invoice_lines SET pricing = '{\"tax_exempt\": true}' WHERE invoice_id = $1 AND line_number = 2";
            tx.execute(sql, &[&exempt])?;
            apply(tx, exempt)?;
            issue(tx, exempt)?;
            let sql = "SELECT array_agg((tax_inclusive + tax_additive > 0)::text ORDER BY line_number)
                         FROM shared.invoice_lines WHERE invoice_id = $1";
            assert_eq!(one::<Vec<String>>(tx, sql, &[&exempt]), ["true", "false"], "{category}");
        }
        // A customer who is exempt needs no jurisdiction either.
        tx.execute("UPDATE shared.customers SET tax_exempt = true WHERE id = $1", &[&A.customer])?;
        let exempt = taxed_draft(tx, None, "2025-06-01", &["standard", "nowhere"])?;
        tx.execute("UPDATE shared.invoices SET customer_id = $2 WHERE id = $1", &[&exempt, &A.customer])?;
        apply(tx, exempt)?;
        issue(tx, exempt)
    });
}

/// With one category and with several: those are written differently.
#[test]
fn lines_that_change_after_the_taxes_are_not_issued_without_theirs() {
    let db = Database::new();
    let place = rates(&db, &A);
    let add = "INSERT INTO shared.invoice_lines (invoice_id, line_number, description, unit_price, tax_category)
               VALUES ($1, 9, 'More', 10, ";
    let changed = "UPDATE shared.invoice_lines SET tax_category = ";
    let first = " WHERE invoice_id = $1 AND line_number = 1";
    for (categories, change, fits) in [
        (&["standard"][..], format!("{add}'standard')"), true),
        (&["standard"], format!("{add}'food')"), false),
        (&["standard"], format!("{changed}'food'{first}"), false),
        (&["standard", "food"], format!("{add}'standard')"), false),
        (&["standard", "food"], format!("{add}'food')"), false),
        (&["standard", "food"], format!("{changed}'food'{first}"), false),
        (&["standard", "food"], format!("DELETE FROM shared.invoice_lines{first}"), true),
    ] {
        println!("{categories:?} {change}");
        let invoice = as_owner(&db, &A, |tx| {
            let invoice = taxed_draft(tx, Some(place), "2025-06-01", categories)?;
            apply(tx, invoice)?;
            tx.execute(&change, &[&invoice])?;
            Ok(invoice)
        });
        let issued = in_context(&mut db.app(), A.id, A.owner, |tx| issue(tx, invoice));
        if fits {
            ok(issued);
            continue;
        }
        let error = assert_sqlstate(issued, "22023");
        assert!(error.hint().is_some_and(|hint| hint.contains("apply_invoice_taxes")), "{:?}", error.hint());
        as_owner(&db, &A, |tx| {
            apply(tx, invoice)?;
            issue(tx, invoice)
        });
    }
}

#[test]
fn rates_are_numbers() {
    let db = Database::new();
    rates(&db, &A);
    for (column, value) in [("per_unit", "NaN"), ("per_unit", "-1"), ("percent", "NaN"), ("percent", "100.1")] {
        let sql = format!(
            "INSERT INTO shared.tax_rates (tax_jurisdiction_id, code, name, {column}, valid_during)
             SELECT id, 'ODD', 'x', '{value}', '[2020-01-01,)' FROM shared.tax_jurisdictions WHERE code = 'XC'"
        );
        let added = in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(&sql, &[]));
        assert_sqlstate(added, "23514");
    }
}

/// The month of a tax, like the age of a debt, is that of the tenant's clock, whatever the session's is.
#[test]
fn taxes_and_debts_are_counted_by_the_tenants_clock() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(&format!(
        "UPDATE shared.tenants SET timezone = 'Pacific/Kiritimati' WHERE id = '{}';
         SET session_replication_role = replica;
         UPDATE shared.invoices SET issued_at = '2024-01-31 12:00+00', due_date = NULL WHERE tenant_id = '{0}';
         UPDATE shared.credit_notes SET issued_at = '2024-01-31 12:00+00' WHERE tenant_id = '{0}';",
        A.id
    )));
    let months = "SELECT array_agg(DISTINCT month::text) FROM shared.v_tax_liability_by_jurisdiction";
    let late =
        "UPDATE shared.invoices SET issued_at = now(), due_date = (now() AT TIME ZONE 'Pacific/Kiritimati')::date - 31
                 WHERE tenant_id = $1";
    let aging = "SELECT (days_31_to_60 > 0)::text FROM shared.v_accounts_receivable_aging";
    let seen = |sql: &str, zone: &str| {
        as_owner(&db, &A, |tx| {
            tx.batch_execute(&format!("SET LOCAL timezone = '{zone}'"))?;
            tx.query_one(sql, &[])
        })
    };
    for zone in ["Pacific/Kiritimati", "Etc/GMT+12", "UTC"] {
        assert_eq!(seen(months, zone).get::<_, Vec<String>>(0), ["2024-02-01"], "{zone}");
    }
    ok(superuser.execute(late, &[&A.id]));
    for zone in ["Pacific/Kiritimati", "Etc/GMT+12", "UTC"] {
        assert_eq!(seen(aging, zone).get::<_, String>(0), "true", "{zone}");
    }
}
