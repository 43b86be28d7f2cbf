//! What a draft of an invoice can say: decimals of its currency, numbers, days, and the date of its place.

use thorbis_tests::billing::{draft, issue, user_with};
use thorbis_tests::{A, Database, as_owner, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

/// What has a column is said there, and decimals are those of the currency.
#[test]
fn pricing_does_not_say_what_columns_say() {
    let db = Database::new();
    let invoice = as_owner(&db, &A, |tx| draft(tx, "{}", &[("10.50", "1")]));
    for (table, key, values) in [
        (
            "invoices",
            "id",
            &[
                r#""minor_unit": 2"#,
                r#""minor_unit": null"#,
                r#""currency": "USD""#,
                r#""rounding": "up""#,
                r#""tax_rounding_level": "order""#,
                r#""lines": []"#,
            ][..],
        ),
        ("invoice_lines", "invoice_id", &[r#""id": "x""#, r#""unit_price": "1""#, r#""quantity": "1""#]),
    ] {
        for value in values {
            let sql = format!("UPDATE shared.{table} SET pricing = '{{{value}}}' WHERE {key} = $1");
            let error =
                assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(&sql, &[&invoice])), "23514");
            assert_eq!(error.constraint(), Some(format!("{table}_pricing_check").as_str()), "{value}");
        }
    }
    as_owner(&db, &A, |tx| {
        let sql = "UPDATE shared.invoices SET currency = 'JPY', rounding_mode = 'half_up' WHERE id = $1";
        tx.execute(sql, &[&invoice])?;
        issue(tx, invoice)
    });
    let total = "SELECT total = 11 FROM shared.invoices WHERE id = $1";
    assert!(one::<bool>(&mut db.superuser(), total, &[&invoice]));
}

/// Money columns hold two decimals, and what is not in shared.currencies cannot be paid.
#[test]
fn currency_that_nobody_could_pay_is_not_issued() {
    let db = Database::new();
    for (currency, code) in [("KWD", "22003"), ("NGN", "22023")] {
        let refused = in_context(&mut db.app(), A.id, A.owner, |tx| {
            let invoice = draft(tx, "{}", &[("10.00", "1")])?;
            tx.execute("UPDATE shared.invoices SET currency = $2 WHERE id = $1", &[&invoice, &currency])?;
            issue(tx, invoice)
        });
        assert_sqlstate(refused, code);
    }
}

#[test]
fn prices_are_numbers_and_dates_are_days() {
    let db = Database::new();
    let invoice = as_owner(&db, &A, |tx| draft(tx, "{}", &[("10.00", "1")]));
    for (change, key) in [
        ("shared.invoice_lines SET unit_price = 'NaN'", "invoice_id"),
        ("shared.invoice_lines SET quantity = 'NaN'", "invoice_id"),
        ("shared.invoices SET tax_date = 'infinity'", "id"),
        ("shared.invoices SET due_date = '-infinity'", "id"),
        ("restaurants.orders SET subtotal = 'NaN'", "NULL"),
        ("restaurants.orders SET tax_amount = 'NaN'", "NULL"),
        ("restaurants.orders SET tip_amount = 'NaN'", "NULL"),
        ("restaurants.orders SET discount_amount = 'NaN'", "NULL"),
        ("restaurants.orders SET service_charge_amount = 'NaN'", "NULL"),
        ("restaurants.orders SET total_amount = 'NaN'", "NULL"),
        ("restaurants.orders SET refunded_amount = 'NaN'", "NULL"),
        ("restaurants.order_items SET unit_price = 'NaN'", "NULL"),
        ("restaurants.order_items SET quantity = 'NaN'", "NULL"),
        ("restaurants.order_items SET discount_amount = 'NaN'", "NULL"),
        ("restaurants.order_item_modifiers SET unit_price = 'NaN'", "NULL"),
        ("restaurants.order_item_modifiers SET quantity = 'NaN'", "NULL"),
        ("restaurants.menu_items SET price = 'NaN'", "NULL"),
        ("restaurants.modifiers SET price = 'NaN'", "NULL"),
    ] {
        println!("{change}");
        let sql = format!("UPDATE {change} WHERE coalesce({key}::uuid, $1) = $1");
        assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(&sql, &[&invoice])), "23514");
    }
}

/// The places are 26 hours apart, so that it is never the same day in both; the session is in a third.
#[test]
fn tax_date_is_the_business_date_whatever_the_session_says() {
    let db = Database::new();
    let clerk = user_with(&db, &A, &[("invoices", "create"), ("invoices", "read")]);
    let mut superuser = db.superuser();
    ok(superuser.execute("UPDATE shared.tenants SET timezone = 'Pacific/Kiritimati' WHERE id = $1", &[&A.id]));
    let sql = "INSERT INTO shared.locations (tenant_id, name, timezone) VALUES ($1, 'West', 'Etc/GMT+12') RETURNING id";
    let west: Uuid = one(&mut superuser, sql, &[&A.id]);
    for zone in ["Pacific/Kiritimati", "Etc/GMT+12", "UTC"] {
        let sql = "INSERT INTO shared.invoices (location_id, tax_date) VALUES (NULL, DEFAULT), ($1, DEFAULT), (NULL, '2020-02-29')
                   RETURNING CASE location_id IS NULL WHEN true THEN tax_date - (now() AT TIME ZONE 'Pacific/Kiritimati')::date
                             ELSE tax_date - (now() AT TIME ZONE 'Etc/GMT+12')::date END, tax_date::text";
        let rows = ok(in_context(&mut db.app(), A.id, clerk, |tx| {
            tx.batch_execute(&format!("SET LOCAL timezone = '{zone}'"))?;
            tx.query(sql, &[&west])
        }));
        assert_eq!(rows[..2].iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>(), [0, 0], "{zone}");
        assert_eq!(rows[2].get::<_, String>(1), "2020-02-29");
    }
}
