//! Envelopes under attack: nobody moves, forges or compares them, and every failure is the same error. The attacker has
//! real connections and the application's login.

use postgres::Transaction;
use std::collections::BTreeSet;
use thorbis_tests::{A, B, Database, Tenant, as_owner, assert_sqlstate, describe, in_context, ok, one, sqlstate};
use uuid::Uuid;

const EMAIL: &str = "shared.customers.email";

/// A decryption that returns the error instead of raising it, for many attempts in one statement.
const ATTEMPT: &str = "
    CREATE FUNCTION public.attempt(envelope text, field text DEFAULT NULL, row_id text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql AS $$
    DECLARE state text; said text; detail text;
    BEGIN
        RETURN 'text ' || coalesce(CASE WHEN field IS NULL THEN decrypt_pii(envelope)
                                        ELSE decrypt_pii(envelope, field, row_id) END, 'NULL');
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
        RETURN concat_ws('|', state, said, detail);
    END $$";
const THE_ERROR: &str = "22000|value cannot be decrypted|";

fn with_attempts() -> Database {
    let db = Database::new();
    ok(db.superuser().batch_execute(ATTEMPT));
    db
}

fn texts(tx: &mut Transaction<'_>, sql: &str, envelope: &str) -> Vec<String> {
    ok(tx.query(sql, &[&envelope])).iter().map(|row| row.get(0)).collect()
}

/// An envelope of the tenant's own key.
fn sealed(db: &Database, tenant: &Tenant, text: &str) -> String {
    as_owner(db, tenant, |tx| Ok(one(tx, "SELECT encrypt_pii($1)", &[&text])))
}

/// The address of the tenant's customer as the table holds it.
fn envelope_of(db: &Database, tenant: &Tenant) -> String {
    one(&mut db.superuser(), "SELECT email_encrypted FROM shared.customers WHERE id = $1", &[&tenant.customer])
}

// --- envelopes

#[test]
fn same_plaintext_twice_gives_different_envelopes() {
    let db = Database::untouched();
    as_owner(db, &A, |tx| {
        let sql = "SELECT count(*), count(DISTINCT e), count(DISTINCT substr(decode(e, 'base64'), 4, 16)),
                          count(DISTINCT substr(decode(e, 'base64'), 20, 24)), bool_and(decrypt_pii(e) = 'ada@example.com')
                     FROM (SELECT encrypt_pii('ada@example.com') FROM generate_series(1, 1000)) s(e)";
        let row = tx.query_one(sql, &[])?;
        let counts: [i64; 4] = std::array::from_fn(|i| row.get(i));
        assert_eq!(counts, [1000, 1000, 1, 1000], "values, envelopes, data keys, nonces");
        assert!(row.get::<_, bool>(4));
        let bound = "SELECT encrypt_pii('x', 'a.b.c', 'r') = encrypt_pii('x', 'a.b.c', 'r')";
        assert!(!one::<bool>(tx, bound, &[]));
        Ok(())
    });
}

#[test]
fn million_envelopes_of_four_backends_repeat_no_nonce() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        "CREATE UNLOGGED TABLE public.nonces (nonce bytea); GRANT INSERT, SELECT ON public.nonces TO PUBLIC",
    ));
    let fill = "INSERT INTO public.nonces SELECT substr(decode(encrypt_pii(n::text), 'base64'), 20, 24)
                  FROM generate_series(1, 250000) n";
    std::thread::scope(|scope| {
        for tenant in [&A, &B, &A, &B] {
            let db = &db;
            scope.spawn(move || as_owner(db, tenant, |tx| tx.execute(fill, &[])));
        }
    });
    let sql = "SELECT count(*), count(DISTINCT nonce), min(length(nonce)) FROM public.nonces";
    let row = ok(db.superuser().query_one(sql, &[]));
    assert_eq!((row.get(0), row.get(1), row.get(2)), (1_000_000_i64, 1_000_000_i64, 24));
}

/// Each as a bound parameter, through every form.
#[test]
fn values_come_back_exactly() {
    let db = Database::untouched();
    let inner = sealed(db, &A, "inner");
    let megabyte = "0123456789abcdef".repeat(65_536);
    for value in [
        " ",
        "x",
        "  leading and trailing  ",
        "O'Brien \"the\" \\back\\slash",
        "line one\nline two\r\n\ttab",
        "Ærøskøbing Zürich Привет 你好 こんにちは مرحبا שלום",
        "e\u{301} is not \u{e9}",
        "👩‍👩‍👧‍👦 \u{202e}reversed\u{202c} \u{feff}",
        "\u{1}\u{7f}\u{fffd}\u{10ffff}",
        "NULL",
        "\\N",
        "***",
        "{\"json\": [1, null]}",
        "'; DROP TABLE shared.customers; --",
        "THv1",
        &inner,
        &megabyte,
    ] {
        as_owner(db, &A, |tx| {
            for (seal, open) in [
                ("encrypt_pii($1)", "decrypt_pii($1)"),
                ("encrypt_pii($1, 'a.b.c', 'r')", "decrypt_pii($1, 'a.b.c', 'r')"),
                (
                    "encrypt_pii($1, 'shared.customers.email', 'aaaaaaaa-0000-4000-8000-000000000021')",
                    "decrypt_pii($1, 'shared.customers.email', 'aaaaaaaa-0000-4000-8000-000000000021'::uuid)",
                ),
                (
                    "encrypt_pii($1, 'shared.customers.email', 'aaaaaaaa-0000-4000-8000-000000000021')",
                    "decrypt_pii($1, 'shared.customers.email', 'aaaaaaaa-0000-4000-8000-000000000021'::text)",
                ),
            ] {
                let envelope: String = one(tx, &format!("SELECT {seal}"), &[&value]);
                assert!(envelope.starts_with("THv1") && !envelope.contains('\n'), "{seal}");
                let back: String = one(tx, &format!("SELECT {open}"), &[&envelope]);
                assert!(back == value, "{open} of {value:?}");
            }
            Ok(())
        });
    }
}

#[test]
fn null_and_empty_are_null() {
    let db = Database::untouched();
    as_owner(db, &A, |tx| {
        for call in [
            "encrypt_pii(NULL)",
            "encrypt_pii('')",
            "encrypt_pii(NULL, 'a.b.c', 'r')",
            "encrypt_pii('', 'shared.customers.email', 'r')",
            "decrypt_pii(NULL)",
            "decrypt_pii('')",
            "decrypt_pii(NULL, 'shared.customers.email', 'r')",
            "decrypt_pii(NULL, 'shared.customers.email', gen_random_uuid())",
            "mask_pii(NULL, 'shared.customers.email', gen_random_uuid())",
            "encode(pii_blind_index(NULL, 'shared.customers.email'), 'hex')",
            "encode(pii_blind_index('', 'shared.customers.email'), 'hex')",
        ] {
            assert_eq!(one::<Option<String>>(tx, &format!("SELECT {call}"), &[]), None, "{call}");
        }
        Ok(())
    });
}

#[test]
fn without_context_nothing_is_encrypted_or_indexed() {
    let db = Database::untouched();
    for role in ["app_login", "postgres"] {
        let mut client = db.connect_as(role);
        for call in ["encrypt_pii('x')", "encrypt_pii('x', 'a.b.c', 'r')", "pii_blind_index('x', 'a.b.c')"] {
            let error = assert_sqlstate(client.query(&format!("SELECT {call}"), &[]), "28000");
            assert_eq!(error.message(), "no tenant context", "{role}: {call}");
        }
    }
    let envelope = sealed(db, &A, "x");
    let opened = db.app().query("SELECT decrypt_pii($1)", &[&envelope]);
    assert!(opened.is_err(), "the application decrypts without a context");
}

// --- changed envelopes

/// Every way in which a statement over the envelope `$1` changed it gives the one error. `$1` is its text, `b` its bytes.
#[track_caller]
fn all_are_refused(changes: &str, at_least: usize) {
    let db = with_attempts();
    let customer = A.customer.to_string();
    for (envelope, place) in [
        (sealed(&db, &A, "ada@example.com"), String::new()),
        (envelope_of(&db, &A), format!(", '{EMAIL}', '{customer}'")),
    ] {
        let sql = format!("SELECT public.attempt(replace(changed, E'\\n', '') {place}) FROM ({changes}) s(changed)");
        let sql = format!("WITH e(b) AS (SELECT decode($1, 'base64')) {sql}");
        let found = as_owner(&db, &A, |tx| Ok(texts(tx, &sql, &envelope)));
        assert!(found.len() >= at_least, "only {} changes", found.len());
        let others: BTreeSet<_> = found.iter().filter(|answer| *answer != THE_ERROR).collect();
        assert!(others.is_empty(), "{others:?}");
    }
}

#[test]
fn any_flipped_bit_is_the_one_error() {
    all_are_refused(
        "SELECT encode(set_bit(b, n, 1 - get_bit(b, n)), 'base64') FROM e, generate_series(0, length(b) * 8 - 1) n",
        500,
    );
}

#[test]
fn any_changed_byte_of_the_header_is_the_one_error() {
    all_are_refused(
        "SELECT encode(set_byte(b, n, (get_byte(b, n) + d) % 256), 'base64')
           FROM e, generate_series(0, 18) n, generate_series(1, 255) d",
        19 * 255,
    );
}

#[test]
fn truncation_at_every_length_is_the_one_error() {
    all_are_refused(
        "SELECT left($1, n) FROM generate_series(1, length($1) - 1) n
         UNION ALL SELECT right($1, n) FROM generate_series(1, length($1) - 1) n
         UNION ALL SELECT encode(substr(b, 1, n), 'base64') FROM e, generate_series(1, length(b) - 1) n
         UNION ALL SELECT encode(substr(b, n), 'base64') FROM e, generate_series(2, length(b)) n",
        250,
    );
}

#[test]
fn swapped_joined_and_lengthened_envelopes_are_the_one_error() {
    all_are_refused(
        "SELECT $1 || $1 UNION ALL SELECT encode(b || b, 'base64') FROM e
         UNION ALL SELECT encode(b || '\\x00', 'base64') FROM e UNION ALL SELECT encode('\\x00' || b, 'base64') FROM e
         UNION ALL SELECT encode(substr(b, 1, 43) || substr(b, length(b) - 15), 'base64') FROM e
         UNION ALL SELECT encode(substr(b, 1, 19) || substr(b, length(b) - 23) || substr(b, 20), 'base64') FROM e
         UNION ALL SELECT reverse($1) UNION ALL SELECT lower($1) UNION ALL SELECT upper($1)
         UNION ALL SELECT '=' || $1 UNION ALL SELECT $1 || '=' UNION ALL SELECT encode(b, 'hex') FROM e
         UNION ALL SELECT b::text FROM e UNION ALL SELECT '-' || $1",
        14,
    );
}

/// Base64 has several ways to write the same bytes: whichever are taken, the text is exact.
#[test]
fn other_writings_of_an_envelope_decrypt_exactly_or_not_at_all() {
    let db = with_attempts();
    let envelope = sealed(&db, &A, "ada@example.com");
    let sql =
        "SELECT public.attempt(e) FROM (VALUES (' ' || $1), ($1 || E'\\n'), (left($1, 20) || E'\\n' || substr($1, 21)),
                   (rtrim($1, '=')), (translate($1, '+/', '-_')), ($1 || '====')) s(e)";
    let found = as_owner(&db, &A, |tx| Ok(texts(tx, sql, &envelope)));
    assert!(found.iter().all(|answer| answer == THE_ERROR || answer == "text ada@example.com"), "{found:?}");
}

#[test]
fn garbage_is_the_one_error() {
    let db = with_attempts();
    let long = "A".repeat(10_000_000);
    let pgp = "-----BEGIN PGP MESSAGE-----\n\nww0EBwMCxVDW/hLq1Fpk0jUB\n=abcd\n-----END PGP MESSAGE-----";
    let other = format!("THv1{}", "A".repeat(96));
    for garbage in
        [" ", "x", "NULL", "no envelope", "THv1", "ada@example.com", "====", "\u{0}A", "c***@x", pgp, &other, &long]
            .iter()
            .map(|text| text.replace('\0', "\u{1}"))
    {
        for place in ["", ", 'a.b.c', 'r'", ", 'shared.customers.email', 'aaaaaaaa-0000-4000-8000-000000000021'"] {
            let found = as_owner(&db, &A, |tx| Ok(texts(tx, &format!("SELECT public.attempt($1 {place})"), &garbage)));
            assert_eq!(found, [THE_ERROR], "{} {place}", garbage.chars().take(30).collect::<String>());
        }
    }
}

// --- envelopes of elsewhere

/// Pasting what somebody else's row holds opens nothing: tenant, field and row are bound to it.
#[test]
fn envelope_of_another_tenant_field_or_row_is_the_one_error() {
    let db = with_attempts();
    let (own, foreign) = (envelope_of(&db, &A), envelope_of(&db, &B));
    let (tenants_own, tenants_foreign) = (sealed(&db, &A, "x"), sealed(&db, &B, "x"));
    let place = |tenant: &Tenant, field: &str| format!(", '{field}', '{}'", tenant.customer);
    let restricted = format!(", '{EMAIL}', '{}'", A.restricted_customer);
    let unknown = format!(", '{EMAIL}', '{}'", Uuid::new_v4());
    for (envelope, place) in [
        (&foreign, place(&A, EMAIL)),
        (&foreign, place(&B, EMAIL)),
        (&foreign, String::new()),
        (&tenants_foreign, String::new()),
        (&tenants_foreign, place(&A, EMAIL)),
        (&own, place(&A, "shared.customers.phone")),
        (&own, place(&A, "shared.users.email")),
        (&own, place(&A, "shared.customers.emai")),
        (&own, place(&A, "email")),
        (&own, restricted),
        (&own, unknown),
        (&own, format!(", '{EMAIL}', ''")),
        (&own, String::new()),
        (&tenants_own, place(&A, EMAIL)),
        (&tenants_own, ", 'a.b.c', 'r'".into()),
        (&tenants_own, ", '', ' '".into()),
    ] {
        let found = as_owner(&db, &A, |tx| Ok(texts(tx, &format!("SELECT public.attempt($1 {place})"), envelope)));
        assert_eq!(found, [THE_ERROR], "{place}");
    }
    let own_place = format!("SELECT public.attempt($1 {})", place(&A, EMAIL));
    assert_eq!(as_owner(&db, &A, |tx| Ok(texts(tx, &own_place, &own))), ["text carla@aaaaaaaa.example"]);
}

#[test]
fn unknown_data_key_is_the_one_error() {
    let db = with_attempts();
    let envelope = sealed(&db, &A, "x");
    let sql = "SELECT public.attempt(replace(encode(overlay(decode($1, 'base64') PLACING k FROM 4 FOR 16), 'base64'), E'\\n', ''))
                 FROM (SELECT uuid_send(gen_random_uuid()) FROM generate_series(1, 50)
                       UNION ALL VALUES ('\\x00000000000000000000000000000000'::bytea), ('\\xffffffffffffffffffffffffffffffff')) s(k)";
    let found: BTreeSet<String> = as_owner(&db, &A, |tx| Ok(texts(tx, sql, &envelope))).into_iter().collect();
    assert_eq!(found, BTreeSet::from([THE_ERROR.to_owned()]));
}

/// Not the envelope but the wrapped key is swapped: by somebody who may write the table of the keys.
#[test]
fn swapped_data_keys_are_the_one_error() {
    let db = with_attempts();
    let (envelope, mut superuser) = (sealed(&db, &A, "x"), db.superuser());
    ok(superuser.execute(
        "UPDATE thorbis.data_keys k SET wrapped = o.wrapped FROM thorbis.data_keys o
          WHERE k.tenant_id = $1 AND k.subject_kind = 'tenant' AND o.tenant_id = $2 AND o.subject_kind = 'tenant'",
        &[&A.id, &B.id],
    ));
    let found = as_owner(&db, &A, |tx| Ok(texts(tx, "SELECT public.attempt($1)", &envelope)));
    assert_eq!(found, [THE_ERROR]);
}

/// Hint and context would tell failures apart as well as the message.
#[test]
fn failures_cannot_be_told_apart() {
    let db = Database::untouched();
    let (own, foreign) = (sealed(db, &A, "x"), sealed(db, &B, "x"));
    let flipped = format!("{}{}", &own[..own.len() - 6], "AAAAAA");
    let unknown = format!("THv1{}", "A".repeat(96));
    let mut answers = BTreeSet::new();
    for envelope in [foreign.as_str(), &flipped, &unknown, "garbage", &own[..40]] {
        let opened = in_context(&mut db.app(), A.id, A.owner, |tx| tx.query("SELECT decrypt_pii($1)", &[&envelope]));
        let error = assert_sqlstate(opened, "22000");
        let parts = [Some(error.message()), error.detail(), error.hint(), error.where_(), error.column()];
        answers.insert(format!("{parts:?}"));
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    assert!(answers.iter().all(|answer| answer.contains("value cannot be decrypted")), "{answers:?}");
}

// --- odd places

#[test]
fn odd_fields_and_rows_are_fields_and_rows_like_others() {
    let db = Database::untouched();
    let long = "f".repeat(1_000_000);
    for (field, row) in [
        ("", ""),
        (" ", "r"),
        ("a.b.c", ""),
        ("a.b.c", "r"),
        ("no dots", "'; DROP TABLE x; --"),
        ("\"Odd \"\"Schema\".\"T'able\".\"Col\"\"umn\"", "Ünï\n"),
        ("pg_catalog.pg_class.relname", "1"),
        ("shared.customers.no_such_column", "r"),
        ("shared.no_such_table.email", "r"),
        ("....", "...."),
        (&long, "r"),
        ("a.b.c", &long),
    ] {
        as_owner(db, &A, |tx| {
            let envelope: String = one(tx, "SELECT encrypt_pii('x', $1, $2)", &[&field, &row]);
            assert_eq!(one::<String>(tx, "SELECT decrypt_pii($1, $2, $3)", &[&envelope, &field, &row]), "x");
            Ok(())
        });
    }
    // The same letters divided otherwise are another place.
    let opened = in_context(&mut db.app(), A.id, A.owner, |tx| {
        tx.query("SELECT decrypt_pii(encrypt_pii('x', 'a.b', 'cr'), 'a.b.c', 'r')", &[])
    });
    assert_sqlstate(opened, "22000");
}

#[test]
fn null_places_and_rows_that_are_no_uuid_do_no_harm() {
    let db = Database::untouched();
    let envelope = envelope_of(db, &A);
    for call in [
        "decrypt_pii($1, NULL, NULL::text)",
        "decrypt_pii($1, NULL, NULL::uuid)",
        "decrypt_pii($1, 'shared.customers.email', NULL::text)",
        "decrypt_pii($1, 'shared.customers.email', NULL::uuid)",
        "decrypt_pii($1, NULL, 'aaaaaaaa-0000-4000-8000-000000000021')",
        "decrypt_pii($1, 'shared.customers.email', 'no uuid')",
        "mask_pii($1, NULL, NULL::uuid)",
        "mask_pii($1, 'shared.customers.email', NULL::uuid)",
        "decrypt_pii(coalesce(encrypt_pii('x', 'shared.customers.email', 'no uuid'), $1), 'shared.customers.phone', 'no uuid')",
    ] {
        let opened =
            in_context(&mut db.app(), A.id, A.owner, |tx| tx.query_one(&format!("SELECT {call}"), &[&envelope]));
        match opened {
            Ok(row) => assert!(row.get::<_, Option<&str>>(0).is_none_or(|text| text == "***"), "{call}"),
            Err(e) => assert!(!["XX000", ""].contains(&sqlstate(&e)), "{call}: {}", describe(&e)),
        }
    }
}

/// A uuid is the same row however it is written.
#[test]
fn row_of_a_uuid_does_not_depend_on_its_letters() {
    let db = Database::untouched();
    let envelope = envelope_of(db, &A);
    for row in [A.customer.to_string(), A.customer.to_string().to_uppercase()] {
        let sql = "SELECT decrypt_pii($1, 'shared.customers.email', $2::text::uuid)";
        let found: String = as_owner(db, &A, |tx| Ok(one(tx, sql, &[&envelope, &row])));
        assert_eq!(found, "carla@aaaaaaaa.example");
    }
}
