//! Values in the log are byte for byte what `to_jsonb` makes of the row in UTC and with PostgreSQL's defaults, whatever the
//! session that writes likes to see; for values that no jsonb can hold, a text stands there.

use postgres::Client;
use thorbis_tests::audit::{ODD_SETTINGS, lines, logged, table, with_crm};
use thorbis_tests::audit_log::Entry;
use thorbis_tests::{Database, ok, one};

/// Texts that types take as input: each is tried with each type.
#[rustfmt::skip]
const LITERALS: &[&str] = &[
    "", "0", "1", "-1", "127", "101", "32767", "-32768", "2147483647", "-2147483648", "9223372036854775807",
    "-9223372036854775808", "1.50", "-0.0", "0.1", "1e-20", "123456789.123456789", "5e-324", "1.7976931348623157e308",
    "3.4028235e38", "1e131071", "0.00000000000000000000000000000000000000000000000000000000000000000000000000001",
    "NaN", "infinity", "-infinity", "t", "false", "abc", "  padded ", "q\"uo'te\\", "ünïcödé 🍕", "\t\n\u{1}\u{7f}",
    "2024-02-29", "0044-03-15 BC", "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999", "5874897-12-31",
    "2024-03-31 02:30:00.123456+05:45", "24:00", "12:34:56.789+15:59", "1 mon -2 days 03:04:05.6", "-178000000 years",
    "{}", "{NULL}", "{1,NULL,3}", "{{1,2},{3,4}}", "[-1:1]={1,2,3}", "{\"a b\",NULL,\"\"}", "{{}}",
    "[1,5)", "empty", "(,)", "[2024-01-01,)", "{[1,2),[3,4)}", "{\"[1,2)\",NULL}", "{\"{[1,2)}\"}",
    "(1,-2)", "((0,0),(1,1))", "[(0,0),(1,1),(2,0)]", "<(1,2),3>", "{1,2,3}", "{(1,2)}",
    "192.168.100.128/25", "192.168.0.0/16", "2001:4f8:3:ba::/64", "08:00:2b:01:02:03", "08:00:2b:01:02:03:04:05",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "\\x00deadbeef", "$1,234.56",
    "null", "true", "\"text\"", "{\"b\": [1, {\"a\": null}], \"a\": 1.00, \"a\": 2}", "[]", "[[[]]]", "<a b=\"1\">ü</a>",
    "'fat':2A,4 'rat':3", "a & b | !c:*", "16/B374D848", "10:20:10,14,15", "(0,1)", "pg_class", "int4", "abs(integer)",
    "(1,two,2024-03-31 12:00+02,\"{\"\"k\"\": [1]}\")", "(,,,)", "{\"(1,x,,null)\",NULL}", "(5)", "so so",
    "postgres", "4 8 15 16", "postgres=arwdDxt/postgres", "C", "english",
];

/// crm.all_types, with a column c0, c1, ... of each type that a table can hold.
fn with_all_types() -> (Database, Client, Vec<String>) {
    let (db, mut client) = with_crm();
    ok(client.batch_execute(
        "CREATE TYPE crm.mood AS ENUM ('abc', 'so so', '1');
         CREATE DOMAIN crm.small AS numeric(9, 2) CHECK (VALUE < 1000); CREATE DOMAIN crm.smaller AS crm.small;
         CREATE TYPE crm.pair AS (a int, \"B b\" text, gone int, at timestamptz, j json); ALTER TYPE crm.pair DROP ATTRIBUTE gone;
         CREATE DOMAIN crm.good_pair AS crm.pair; CREATE DOMAIN crm.codes AS text[]; CREATE DOMAIN crm.doc AS jsonb;
         CREATE TYPE crm.span AS RANGE (subtype = float8, multirange_type_name = crm.spans);
         CREATE TYPE crm.own AS (n int);
         CREATE FUNCTION crm.own_json(v crm.own) RETURNS json LANGUAGE sql IMMUTABLE AS 'SELECT json_build_object(''own'', v.n)';
         CREATE CAST (crm.own AS json) WITH FUNCTION crm.own_json(crm.own);
         CREATE FUNCTION crm.takes(literal text, type text) RETURNS bool LANGUAGE plpgsql AS
             $$ BEGIN EXECUTE format('SELECT %L::%s', literal, type); RETURN true; EXCEPTION WHEN OTHERS THEN RETURN false; END $$",
    ));
    // Without those that are for the planner's statistics alone, and rows of the catalog.
    let types = "
        SELECT format_type(t.oid, -1) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
          LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typsubscript = 'array_subscript_handler'::regproc
         WHERE t.typisdefined AND t.typtype <> 'p' AND n.nspname IN ('pg_catalog', 'crm')
           AND t.typname !~ '^_?pg_(node_tree|ndistinct|dependencies|mcv_list|brin)' AND e.typtype IS DISTINCT FROM 'p'
           AND (n.nspname = 'crm' OR t.typrelid = 0 AND coalesce(e.typrelid, 0) = 0)
         ORDER BY t.oid";
    let types: Vec<String> = ok(client.query(types, &[])).iter().map(|row| row.get(0)).collect();
    assert!(types.len() > 150, "{}", types.len());
    let columns: Vec<String> = types.iter().enumerate().map(|(n, of)| format!("c{n} {of}")).collect();
    table(&mut client, "all_types", &format!("id int, {}", columns.join(", ")), "{}");
    (db, client, types)
}

/// What the log should have of a row `t`: all that is not NULL.
fn image(columns: impl Iterator<Item = String>) -> String {
    let nulls: Vec<String> = columns.map(|c| format!("CASE WHEN num_nulls(t.{c}) > 0 THEN '{c}' END")).collect();
    format!("to_jsonb(t) - array_remove(ARRAY[{}]::text[], NULL)", nulls.join(", "))
}

/// Keys of the rows whose newest INSERT in the log is not, byte for byte, `image`.
fn differing(db: &Database, name: &str, image: &str) -> Vec<String> {
    let sql = format!(
        "SELECT t.id::text FROM crm.{name} t LEFT JOIN audit.change_log l
             ON l.table_name = 'crm.{name}' AND l.operation = 'INSERT' AND l.row_key = t.id::text
          WHERE record_image_eq(ROW(l.new_values), ROW({image})) IS NOT TRUE ORDER BY t.id"
    );
    ok(db.superuser().query(&sql, &[])).iter().map(|row| row.get(0)).collect()
}

/// The same of the UPDATEs that brought the rows from crm.before to what they are.
fn differing_updates(db: &Database, name: &str) -> Vec<String> {
    let sql = format!(
        "SELECT t.id::text FROM crm.{name} t JOIN crm.before b USING (id)
           LEFT JOIN audit.change_log l ON l.table_name = 'crm.{name}' AND l.operation = 'UPDATE' AND l.row_key = t.id::text
          WHERE CASE WHEN record_image_eq(t, b) THEN l.id IS NOT NULL
                     ELSE record_image_eq(ROW(to_jsonb(b) || l.new_values, to_jsonb(t) || l.old_values),
                                          ROW(to_jsonb(t), to_jsonb(b))) IS NOT TRUE END
          ORDER BY t.id"
    );
    ok(db.superuser().query(&sql, &[])).iter().map(|row| row.get(0)).collect()
}

#[test]
fn every_type_is_logged_as_to_jsonb_shows_it() {
    let (db, mut client, types) = with_all_types();
    let mut unused: Vec<&str> = types.iter().map(String::as_str).collect();
    ok(client.batch_execute(ODD_SETTINGS));
    let taken = "SELECT array_agg(crm.takes($1, t) ORDER BY o) FROM unnest($2::text[]) WITH ORDINALITY u(t, o)";
    for (id, literal) in LITERALS.iter().enumerate() {
        let taken: Vec<bool> = one(&mut client, taken, &[literal, &types]);
        let suited: Vec<usize> = (0..types.len()).filter(|n| taken[*n]).collect();
        unused.retain(|of| !suited.iter().any(|n| types[*n] == *of));
        let columns: String = suited.iter().map(|n| format!(", c{n}")).collect();
        let values: String = suited.iter().map(|_| format!(", '{}'", literal.replace('\'', "''"))).collect();
        ok(client.batch_execute(&format!("INSERT INTO crm.all_types (id{columns}) VALUES ({id}{values})")));
    }
    assert_eq!(unused, ["gtsvector"], "types for which no literal is known");
    let image = image((0..types.len()).map(|n| format!("c{n}")));
    assert_eq!(differing(&db, "all_types", &image), [""; 0]);
    // Each row gets the values of the next one.
    let columns: Vec<String> = (0..types.len()).map(|n| format!("c{n}")).collect();
    let columns = columns.join(", ");
    ok(client.batch_execute(&format!(
        "CREATE TABLE crm.before AS TABLE crm.all_types;
         UPDATE crm.all_types t SET ({columns}) = (SELECT {columns} FROM crm.before b WHERE b.id = (t.id + 1) % {})",
        LITERALS.len()
    )));
    assert_eq!(differing_updates(&db, "all_types"), [""; 0]);
    ok(client.batch_execute("DELETE FROM crm.all_types"));
    let deleted = format!(
        "SELECT count(*) FROM crm.before b JOIN crm.before t ON t.id = (b.id + 1) % {}
           JOIN audit.change_log l ON l.table_name = 'crm.all_types' AND l.operation = 'DELETE' AND l.row_key = b.id::text
          WHERE record_image_eq(ROW(l.old_values - 'id'), ROW(({image}) - 'id'))",
        LITERALS.len()
    );
    assert_eq!(one::<i64>(&mut db.superuser(), &deleted, &[]), LITERALS.len() as i64);
}

// --- rows by chance

const RANDOM: &str = r#"
    CREATE FUNCTION crm.words(n int) RETURNS text LANGUAGE sql VOLATILE AS
        $$ SELECT coalesce(string_agg(chr(CASE floor(random() * 6)::int WHEN 0 THEN 1 + floor(random() * 126)::int
               WHEN 1 THEN 160 + floor(random() * 3000)::int WHEN 2 THEN 128512 + floor(random() * 50)::int
               ELSE 97 + floor(random() * 26)::int END), ''), '') FROM generate_series(1, n) $$;
    CREATE FUNCTION crm.number() RETURNS numeric LANGUAGE plpgsql VOLATILE AS $$
        DECLARE digits text := '';
        BEGIN
            FOR i IN 1..1 + floor(power(random(), 3) * 60)::int LOOP
                digits := digits || CASE WHEN random() < 0.5 THEN '0' ELSE floor(random() * 10)::text END;
            END LOOP;
            RETURN (CASE WHEN random() < 0.5 THEN '-' ELSE '' END || digits || 'e' || floor((random() - 0.5) * 80)::int)::numeric
                   + CASE WHEN random() < 0.3 THEN round(random()::numeric, floor(random() * 30)::int) ELSE 0 END;
        END $$;
    CREATE FUNCTION crm.document(depth int) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            kind int := floor(random() * CASE WHEN depth > 0 THEN 8 ELSE 5 END)::int;
            n int := floor(power(random(), 4) * 40)::int;
        BEGIN
            RETURN CASE kind WHEN 0 THEN 'null'::jsonb WHEN 1 THEN to_jsonb(random() < 0.5) WHEN 2 THEN to_jsonb(crm.number())
                WHEN 3 THEN to_jsonb(crm.words(n)) WHEN 4 THEN CASE WHEN random() < 0.5 THEN '{}'::jsonb ELSE '[]' END
                WHEN 5 THEN (SELECT coalesce(jsonb_agg(crm.document(depth - 1)), '[]') FROM generate_series(1, n))
                ELSE (SELECT coalesce(jsonb_object_agg(crm.words(1 + i % 7), crm.document(depth - 1)), '{}')
                        FROM generate_series(1, n) i) END;
        END $$;
    CREATE FUNCTION crm.moment() RETURNS timestamptz LANGUAGE sql VOLATILE AS
        $$ SELECT CASE WHEN random() < 0.02 THEN 'infinity' WHEN random() < 0.02 THEN '-infinity'
                       ELSE '2000-01-01'::timestamptz + (random() - 0.5) * interval '8000 years' END $$;
    CREATE FUNCTION crm.maybe(v anyelement) RETURNS anyelement LANGUAGE sql VOLATILE AS
        $$ SELECT CASE WHEN random() < 0.8 THEN v END $$;"#;

const RANDOM_COLUMNS: [(&str, &str, &str); 19] = [
    ("txt", "text", "crm.words(floor(power(random(), 5) * 3000)::int)"),
    ("n1", "numeric", "crm.number()"),
    ("n2", "numeric(20, 5)", "round(random()::numeric * 1e9, floor(random() * 9)::int)"),
    ("j", "jsonb", "crm.document(3)"),
    ("at", "timestamptz", "crm.moment()"),
    ("ts", "timestamp", "crm.moment()::timestamp"),
    ("day", "date", "crm.moment()::date"),
    ("f8", "float8", "(random() - 0.5) * power(10, floor((random() - 0.5) * 600))"),
    ("f4", "float4", "((random() - 0.5) * power(10, floor((random() - 0.5) * 60)))::float4"),
    ("i8", "bigint", "((random() - 0.5) * power(10, floor(random() * 18)))::bigint"),
    ("i4", "int", "((random() - 0.5) * 4e9)::int"),
    ("i2", "smallint", "((random() - 0.5) * 6e4)::smallint"),
    ("yes", "bool", "random() < 0.5"),
    ("u", "uuid", "md5(random()::text)::uuid"),
    ("by", "bytea", "decode(md5(random()::text), 'hex')"),
    ("ta", "text[]", "ARRAY[crm.words(3), NULL, crm.words(1)]"),
    ("na", "numeric[]", "ARRAY[[crm.number(), crm.number()], [NULL, crm.number()]]"),
    ("iv", "interval", "(random() - 0.5) * interval '100 years 7 months 3 days 04:05:06.789'"),
    ("r", "numrange", "numrange(-abs(crm.number()), abs(crm.number()))"),
];

/// From fixed seeds, so that a failure can be repeated.
#[test]
fn rows_by_chance_are_logged_as_to_jsonb_shows_them() {
    let (db, mut client) = with_crm();
    ok(client.batch_execute(RANDOM));
    let columns = RANDOM_COLUMNS.map(|(name, of, _)| format!("{name} {of}")).join(", ");
    table(&mut client, "things", &format!("id int, {columns}"), "{}");
    let names = RANDOM_COLUMNS.map(|(name, _, _)| name).join(", ");
    let values = RANDOM_COLUMNS.map(|(_, of, value)| format!("crm.maybe(({value})::{of})")).join(", ");
    ok(client.batch_execute(ODD_SETTINGS));
    ok(client.batch_execute("SELECT setseed(0.4242)"));
    let rows = "FROM generate_series(1, 3000) n";
    ok(client.batch_execute(&format!("INSERT INTO crm.things (id, {names}) SELECT n, {values} {rows}")));
    let image = image(RANDOM_COLUMNS.iter().map(|(name, _, _)| (*name).to_owned()));
    assert_eq!(differing(&db, "things", &image), [""; 0], "made with seed 0.4242");
    let change = |(name, of, value): (&str, &str, &str)| {
        format!("{name} = CASE WHEN random() < 0.15 THEN crm.maybe(({value})::{of}) ELSE {name} END")
    };
    let changes = RANDOM_COLUMNS.map(change).join(", ");
    ok(client.batch_execute("CREATE TABLE crm.before AS TABLE crm.things; SELECT setseed(0.2424)"));
    ok(client
        .batch_execute(&format!("UPDATE crm.things SET {changes} WHERE id % 10 > 0; UPDATE crm.things SET id = id")));
    assert_eq!(differing_updates(&db, "things"), [""; 0], "changed with seed 0.2424");
}

// --- many columns, odd names

/// Every 32nd entry of a jsonb holds an offset, the others a length; keys are in the order of their lengths, then bytes.
#[test]
fn rows_of_any_number_of_columns_are_logged() {
    let (db, mut client) = with_crm();
    for count in [1, 13, 14, 15, 29, 30, 31, 61, 62, 63, 200, 254, 255, 256, 257, 700] {
        let letters = ["a", "Z", "ü", "_", "🍕", "b c", "1"];
        let names: Vec<String> = (0..count).map(|n| format!("\"{}{n}\"", letters[n % 7].repeat(n % 5 + 1))).collect();
        let each = |texts: [&str; 5]| (0..count).map(|n| texts[n % 5].to_owned()).collect::<Vec<_>>();
        let types = each(["int", "text", "numeric", "bool", "jsonb"]);
        let columns: Vec<String> = names.iter().zip(types).map(|(name, of)| format!("{name} {of}")).collect();
        let name = format!("wide{count}");
        table(&mut client, &name, &format!("id int, {}", columns.join(", ")), "{}");
        let values = each(["7", "'text'", "1.50", "true", "'[1]'"]).join(", ");
        ok(client.batch_execute(&format!("INSERT INTO crm.{name} (id, {}) VALUES (1, {values})", names.join(", "))));
        assert_eq!(differing(&db, &name, "to_jsonb(t)"), [""; 0], "{count} columns");
        let set = names.join(" = NULL, ");
        ok(client.batch_execute(&format!(
            "CREATE TABLE crm.before AS TABLE crm.{name}; UPDATE crm.{name} SET {set} = NULL"
        )));
        assert_eq!(differing_updates(&db, &name), [""; 0], "{count} columns");
        ok(client.batch_execute("DROP TABLE crm.before"));
    }
}

// --- large values

#[test]
fn toasted_values_are_logged_whole_and_only_when_they_change() {
    let (db, mut client) = with_crm();
    table(&mut client, "files", "id int, small int, a text, b text, c bytea, d jsonb, e text COMPRESSION pglz", "{}");
    ok(client.batch_execute("ALTER TABLE crm.files ALTER b SET STORAGE EXTERNAL"));
    let random = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 20480) i)";
    ok(client.batch_execute(&format!(
        "INSERT INTO crm.files (id, small, a, b, c, d, e) VALUES
             (1, 1, {random}, {random}, decode({random}, 'hex'), jsonb_build_object('k', {random}, 'l', repeat('x', 3000000)),
              repeat('abc', 300000)),
             (2, 2, repeat('y', 5000000), repeat('z', 100000), '', (SELECT jsonb_agg(i) FROM generate_series(1, 100000) i), '')",
    )));
    assert_eq!(one::<i32>(&mut client, "SELECT length(a) FROM crm.files WHERE id = 1", &[]), 640 << 10);
    assert_eq!(differing(&db, "files", "to_jsonb(t)"), [""; 0]);
    let same = "UPDATE crm.files SET small = small + 10, a = a, c = c || '', e = repeat('abc', 300000) WHERE id = 1";
    assert_eq!(logged(&mut client, "crm.files", same), [r#"UPDATE 1: {"small": 1} -> {"small": 11}"#]);
    ok(client.batch_execute("UPDATE crm.files SET b = b || 'x', d = d || '[1]' WHERE id = 2"));
    let last = Entry::last_of(&mut client, "crm.files");
    assert_eq!(last.new.and_then(|new| new.as_object().map(|columns| columns.len())), Some(2));
}

/// The header, which counts, takes four bytes.
#[test]
fn values_of_more_than_16_megabytes_are_logged_as_their_length() {
    let (_db, mut client) = with_crm();
    table(&mut client, "films", "id int, a text, b bytea, c jsonb", "{}");
    const LIMIT: i32 = 16 << 20;
    ok(client.batch_execute(&format!(
        "INSERT INTO crm.films (id, a) VALUES (1, repeat('x', {})), (2, repeat('x', {}))",
        LIMIT - 4,
        LIMIT - 3
    )));
    let length =
        "SELECT length(new_values ->> 'a') FROM audit.change_log WHERE table_name = 'crm.films' AND row_key = '1'";
    assert_eq!(one::<i32>(&mut client, length, &[]), LIMIT - 4);
    let text = format!("[{} bytes, not logged]", LIMIT + 1);
    assert_eq!(Entry::last_of(&mut client, "crm.films").values("a")[1], text);
    ok(client.batch_execute(
        "UPDATE crm.films SET b = decode(repeat('00', 17000000), 'hex'), c = to_jsonb(repeat('y', 18000000)) WHERE id = 2;
         DELETE FROM crm.films WHERE id = 2",
    ));
    let update = r#"UPDATE 2: {"b": null, "c": null} -> {"b": "[17000004 bytes, not logged]", "c": "[18000012 bytes, not logged]"}"#;
    let found = lines(&mut client, "crm.films");
    assert_eq!(found[2], update);
    assert!(found[3].starts_with("DELETE 2: ") && found[3].contains("[17000004 bytes"), "{}", found[3]);
}

/// No jsonb is larger than 256 MB, whatever its row has in it.
#[test]
fn a_row_that_no_jsonb_can_hold_is_logged_without_its_large_values() {
    let (_db, mut client) = with_crm();
    let columns: String = (1..=17).map(|n| format!(", c{n} text")).collect();
    table(&mut client, "films", &format!("id int, small text {columns}"), "{}");
    let columns: String = (1..=17).map(|n| format!(", c{n}")).collect();
    let values = ", repeat('x', 16000000)".repeat(17);
    ok(client.batch_execute(&format!("INSERT INTO crm.films (id, small {columns}) VALUES (1, 's' {values})")));
    let entry = Entry::last_of(&mut client, "crm.films");
    assert_eq!([&entry.values("small")[1], &entry.values("c17")[1]], ["s", "[16000000 bytes, not logged]"]);
    ok(client.batch_execute("DELETE FROM crm.films"));
    assert_eq!(Entry::last_of(&mut client, "crm.films").operation, "DELETE");
}

#[test]
fn deep_documents_are_logged() {
    let (db, mut client) = with_crm();
    table(&mut client, "trees", "id int, a jsonb, b json, c jsonb[]", "{}");
    ok(client.batch_execute(
        "INSERT INTO crm.trees (id, a, b, c) SELECT 1, d::jsonb, d::json, ARRAY[d::jsonb, NULL]
           FROM (SELECT repeat('[', 2000) || '1' || repeat(']', 2000)) x(d);
         INSERT INTO crm.trees (id, a) SELECT 2, (repeat('{\"k\":', 1500) || '{}' || repeat('}', 1500))::jsonb",
    ));
    assert_eq!(differing(&db, "trees", &image(["a", "b", "c"].map(String::from).into_iter())), [""; 0]);
}

// --- what jsonb cannot hold

/// JSON text may be what jsonb refuses. Such a row is written, and the log has the text.
#[test]
fn json_that_is_no_jsonb_is_logged_as_text() {
    let (_db, mut client) = with_crm();
    ok(client.batch_execute("CREATE TYPE crm.box AS (n int, j json); CREATE DOMAIN crm.doc AS json"));
    table(&mut client, "docs", "id int, j json, a json[], b crm.box, d crm.doc", "{}");
    ok(client.batch_execute(
        r#"INSERT INTO crm.docs (id, j) VALUES (1, '"\u0000"'), (2, '1e999999'), (3, '"\ud83d"'), (4, '{"a": 1, "a": 2}');
           INSERT INTO crm.docs (id, a, b, d) VALUES (5, ARRAY['"\u0000"'::json, 'null'], (7, '"\u0000"'), '["\u0000"]')"#,
    ));
    let text = |entry: &Entry| ["j", "a", "b", "d"].map(|c| entry.values(c)[1].as_str().unwrap_or_default().to_owned());
    let found: Vec<[String; 4]> = Entry::of_table(&mut client, "crm.docs").iter().map(text).collect();
    let row = |j: &str| [j, "", "", ""].map(String::from);
    assert_eq!(found[..4], [row(r#""\u0000""#), row("1e999999"), row(r#""\ud83d""#), row("")]);
    assert_eq!(found[4], ["", r#"{"\"\\u0000\"","null"}"#, r#"(7,"""\\u0000""")"#, r#"["\u0000"]"#]);
    assert_eq!(lines(&mut client, "crm.docs")[3], r#"INSERT 4: -> {"j": {"a": 2}, "id": 4}"#);
    assert_eq!(logged(&mut client, "crm.docs", "DELETE FROM crm.docs").len(), 5);
}
