//! Numbers with a check digit, as functions and as triggers on a table of one's own.

use postgres::Client;
use thorbis_tests::{A, Database, assert_sqlstate, in_context, ok, one};

#[test]
fn vehicle_identification_numbers_are_checked() {
    let db = Database::untouched();
    let mut app = db.app();
    for (vin, valid) in [
        ("1M8GDM9AXKP042788", true),
        ("11111111111111111", true),
        ("LJCPCBLCX11000237", true),
        ("1J9RP1A36A1644345", true),
        ("1M8GDM9A1KP042788", false),
        ("1M8GDM9AXKP042789", false),
        ("IM8GDM9AXKP042788", false),
        ("1M8GDM9AXKPO42788", false),
        ("1M8GDM9AXKPQ42788", false),
        ("1m8gdm9axkp042788", false),
        ("1M8GDM9AXKP04278", false),
        ("", false),
    ] {
        assert_eq!(one::<bool>(&mut app, "SELECT is_valid_vin($1)", &[&vin]), valid, "{vin}");
    }
    assert_eq!(one::<Option<bool>>(&mut app, "SELECT is_valid_vin(NULL)", &[]), None);
}

#[test]
fn trade_item_numbers_are_checked() {
    let db = Database::untouched();
    let mut app = db.app();
    for (gtin, valid) in [
        ("96385074", true),
        ("036000291452", true),
        ("4006381333931", true),
        ("10614141000415", true),
        ("4006381333932", false),
        ("400638133393", false),
        ("40063813339 1", false),
        ("", false),
    ] {
        assert_eq!(one::<bool>(&mut app, "SELECT is_valid_gtin($1)", &[&gtin]), valid, "{gtin}");
    }
}

const TABLE: &str = r#"
    CREATE SCHEMA cars AUTHORIZATION thorbis_owner; GRANT USAGE ON SCHEMA cars TO thorbis_app;
    CREATE TABLE cars.cars (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), vin text, year integer, check_required boolean,
        gtin text CHECK (is_valid_gtin(gtin)), sku text, PRIMARY KEY (tenant_id, id));
    ALTER TABLE cars.cars OWNER TO thorbis_owner;
    SELECT thorbis.protect('cars.cars', 'customers', '{"not_personal": ["vin", "gtin", "sku"]}');
    CREATE TRIGGER write_cars_vin BEFORE INSERT OR UPDATE ON cars.cars FOR EACH ROW
        EXECUTE FUNCTION validate_vin('vin', 'year', 'check_required');
    CREATE TRIGGER write_cars_sku BEFORE INSERT OR UPDATE ON cars.cars FOR EACH ROW EXECUTE FUNCTION validate_gtin('sku')"#;

fn insert(app: &mut Client, columns: &str, values: &str) -> Result<Option<String>, postgres::Error> {
    in_context(app, A.id, A.owner, |tx| {
        Ok(tx.query_one(&format!("INSERT INTO cars.cars ({columns}) VALUES ({values}) RETURNING vin"), &[])?.get(0))
    })
}

#[test]
fn wrong_vehicle_identification_numbers_are_refused_where_they_must_be_right() {
    let db = Database::new();
    ok(db.superuser().batch_execute(TABLE));
    let mut app = db.app();
    let european = "WVWZZZ1JZ3W386752";
    for (vin, year, required, accepted) in [
        ("1M8GDM9AXKP042788", "1989", "NULL", true),
        ("1M8GDM9AXKP042788", "NULL", "true", true),
        ("1M8GDM9A1KP042788", "1989", "NULL", false),
        ("1M8GDM9A1KP042788", "NULL", "NULL", false),
        ("1M8GDM9A1KP042788", "1989", "false", true),
        (european, "2003", "NULL", true),
        (european, "2003", "true", false),
        ("WVWZZZ1JZ3W38675", "2003", "false", false),
        ("WVWZZZ1JZ3W3867O2", "2003", "false", false),
        // Before 1981 every maker numbered as it liked.
        ("194379S730001", "1979", "NULL", true),
        ("194379S730001", "1981", "NULL", false),
        ("194379S730001", "NULL", "NULL", false),
    ] {
        let result = insert(&mut app, "vin, year, check_required", &format!("'{vin}', {year}, {required}"));
        if accepted {
            assert_eq!(ok(result).as_deref(), Some(vin));
        } else {
            let error = assert_sqlstate(result, "23514");
            assert!(error.message().contains("vehicle identification number"), "{}", error.message());
            assert!(!format!("{error:?}").contains(vin), "the number leads to its owner");
        }
    }
    assert_eq!(ok(insert(&mut app, "vin", "' 1m8gdm9axkp042788 '")).as_deref(), Some("1M8GDM9AXKP042788"));
    assert_eq!(ok(insert(&mut app, "vin", "NULL")), None);
    let update = "UPDATE cars.cars SET vin = '1M8GDM9A1KP042788' WHERE vin = '1M8GDM9AXKP042788'";
    assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(update, &[])), "23514");
}

#[test]
fn wrong_trade_item_numbers_are_refused() {
    let db = Database::new();
    ok(db.superuser().batch_execute(TABLE));
    let mut app = db.app();
    for column in ["gtin", "sku"] {
        ok(insert(&mut app, column, "'4006381333931'"));
        ok(insert(&mut app, column, "NULL"));
        assert_sqlstate(insert(&mut app, column, "'4006381333932'"), "23514");
    }
}

#[test]
fn triggers_attached_wrongly_say_so() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute("CREATE TABLE public.t (a text, n integer, year text)"));
    for (function, timing, code) in [
        ("validate_vin()", "BEFORE", "39P01"),
        ("validate_gtin()", "BEFORE", "39P01"),
        ("validate_vin('nowhere')", "BEFORE", "42703"),
        ("validate_vin('n')", "BEFORE", "42804"),
        ("validate_vin('a', 'year')", "BEFORE", "42804"),
        ("validate_vin('a', 'n', 'n')", "BEFORE", "42804"),
        ("validate_gtin('n')", "BEFORE", "42804"),
        ("validate_vin('a')", "AFTER", "39P01"),
        ("validate_gtin('a')", "AFTER", "39P01"),
    ] {
        ok(superuser.batch_execute(&format!(
            "CREATE OR REPLACE TRIGGER x {timing} INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION {function}"
        )));
        assert_sqlstate(superuser.batch_execute("INSERT INTO public.t VALUES ('1M8GDM9AXKP042788', 1, 'x')"), code);
        ok(superuser.batch_execute("DROP TRIGGER x ON public.t"));
    }
}
