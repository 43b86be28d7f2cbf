//! Personal data: reading and writing encrypted columns, beside pgcrypto as the requirements document uses it, and beside
//! what the cipher costs without PostgreSQL.

use crate::Result;
use crate::data::{OWNER, Scale, Sessions, TENANT, begin_as, create_extension, empty_log, first_row};
use crate::domain::envelope::{Envelope, Place};
use crate::domain::keyring::{DataKeyName, Keyring};
use crate::domain::xaes::Xaes;
use crate::measure::{Runs, alternate, nanoseconds, time};
use crate::report::{Bound, Line, Section};
use postgres::Client;
use std::hint::black_box;
use std::time::Instant;

/// The key that the document keeps in a setting.
const DOCUMENT_KEY: &str = "SET app.encryption_key = 'a password of twenty-eight'";

pub fn measure(Sessions { superuser, app }: &mut Sessions, scale: &Scale) -> Result<Section> {
    // Into empty tables, so first.
    eprintln!("==> inserting personal data");
    let inserted = inserts(superuser, app, scale)?;
    eprintln!("==> decrypting personal data");
    let mut lines = decryption(superuser, app, scale)?;
    lines.push(inserted);
    Ok(Section { title: "Personal data: one value, net of an empty C function, or one customer", lines })
}

/// The same statement on both tables; its rows are taken back and their space freed at once. The changes of both are logged,
/// as those of any protected table.
fn inserts(superuser: &mut Client, app: &mut Client, scale: &Scale) -> Result<Line> {
    let tables = ["bench.customers", "shared.customers"];
    let indexes = tables.map(|table| format!("SELECT count(*) FROM pg_index WHERE indrelid = '{table}'::regclass"));
    if first_row(superuser, &indexes[0])? != first_row(superuser, &indexes[1])? {
        return Err("shared.customers and bench.customers do not have the same indexes: see sql/personal.sql".into());
    }
    let [clear, encrypted] = alternate::<2>(|i| {
        begin_as(app, OWNER)?;
        let nanoseconds = time(app, &insert_into(tables[i]))?;
        app.batch_execute("ROLLBACK")?;
        for table in [tables[i], "thorbis.data_keys"] {
            superuser.batch_execute(&format!("VACUUM (TRUNCATE false) {table}"))?;
        }
        empty_log(superuser)?;
        Ok(nanoseconds)
    })?;
    let each = |runs: &Runs| runs.median() / scale.customers as f64;
    Ok(Line::new("INSERT: own key, 2 values, blind indexes", each(&encrypted))
        .against("not encrypted", each(&clear))
        .bound(Bound::Ratio(3.0)))
}

fn insert_into(table: &str) -> String {
    format!(
        "INSERT INTO {table} (first_name, last_name, email, phone)
         SELECT first_name, last_name, email, phone FROM bench.people"
    )
}

fn decryption(superuser: &mut Client, app: &mut Client, scale: &Scale) -> Result<Vec<Line>> {
    let has_pgcrypto = create_extension(superuser, "pgcrypto")?;
    fill(superuser, app, scale, has_pgcrypto)?;
    let mut plain = PlainLoop::prepare(superuser)?;

    begin_as(app, OWNER)?;
    app.batch_execute(DOCUMENT_KEY)?;
    let queries = [
        // count() evaluates the function once a row and does not look at the value.
        "SELECT count(bench.empty(envelope)) FROM bench.envelopes",
        "SELECT count(decrypt_pii(envelope)) FROM bench.envelopes",
        "SELECT count(email) FROM shared.customers_pii",
        "SELECT count(bench.empty(envelope)) FROM bench.few_envelopes",
        "SELECT count(document.decrypt_pii(envelope)) FROM bench.few_envelopes",
    ];
    let [nothing, decrypted, customers, few_nothing, pgcrypto, in_rust] = alternate::<6>(|i| match queries.get(i) {
        Some(_) if i >= 3 && !has_pgcrypto => Ok(0.0),
        Some(query) => time(app, query),
        None => plain.open_all(),
    })?;
    app.batch_execute("ROLLBACK")?;

    let pgcrypto = has_pgcrypto.then(|| pgcrypto.net_of(&few_nothing, scale.few_values));
    let beside_pgcrypto = |line: Line, most: f64| match pgcrypto {
        Some(pgcrypto) => line.against("pgcrypto", pgcrypto).bound(Bound::Ratio(most)),
        None => line,
    };
    let value = decrypted.net_of(&nothing, scale.values);
    let customer = customers.median() / scale.customers as f64;
    Ok(vec![
        beside_pgcrypto(Line::new("decrypt_pii(), key of the tenant", value), 1.0 / 100.0),
        Line::new("  beside the cipher alone", value)
            .against("plain Rust loop", in_rust.median() / scale.values as f64)
            .bound(Bound::Ratio(2.0)),
        beside_pgcrypto(Line::new("customers_pii: a row, a key each, e-mail", customer), 1.0 / 20.0),
    ])
}

/// Customers to stay, and values encrypted under the tenant's key and with pgcrypto.
fn fill(superuser: &mut Client, app: &mut Client, scale: &Scale, has_pgcrypto: bool) -> Result<()> {
    begin_as(app, OWNER)?;
    app.batch_execute(DOCUMENT_KEY)?;
    app.batch_execute(&insert_into("shared.customers"))?;
    let values =
        |count| format!("SELECT md5('address ' || n) || '@example.com' AS value FROM generate_series(1, {count}) n");
    app.batch_execute(&format!(
        "INSERT INTO bench.envelopes SELECT value, encrypt_pii(value) FROM ({}) v",
        values(scale.values)
    ))?;
    if has_pgcrypto {
        app.batch_execute(&format!(
            "INSERT INTO bench.few_envelopes SELECT value, document.encrypt_pii(value) FROM ({}) v",
            values(scale.few_values)
        ))?;
    }
    // What is measured is right.
    for wrong in [
        "SELECT count(*) FROM bench.envelopes WHERE value IS DISTINCT FROM decrypt_pii(envelope)",
        "SELECT count(*) FROM bench.people p LEFT JOIN shared.customers_pii c USING (last_name)
          WHERE p.email IS DISTINCT FROM c.email",
    ] {
        if first_row(app, wrong)? != [Some("0".to_owned())] {
            return Err(format!("not 0: {wrong}").into());
        }
    }
    app.batch_execute("COMMIT")?;
    empty_log(superuser)?;
    superuser.batch_execute("VACUUM ANALYZE")?;
    Ok(())
}

/// The same envelopes under the same key, opened without PostgreSQL.
struct PlainLoop {
    key: Xaes,
    envelopes: Vec<String>,
}

impl PlainLoop {
    /// Takes the tenant's key out of its wrapping, as a backend does.
    fn prepare(superuser: &mut Client) -> Result<PlainLoop> {
        let keyring = superuser.query_one("SELECT pg_read_file(current_setting('thorbis.keyring_file'))", &[])?;
        let keyring = Keyring::parse(keyring.get(0))?;
        let row = superuser.query_one(
            "SELECT id, keyring_key, wrapped FROM thorbis.data_keys WHERE subject_id = $1 AND subject_kind = 'tenant'",
            &[&TENANT],
        )?;
        let name = DataKeyName { id: row.get(0), tenant: TENANT, subject_kind: "tenant", subject: TENANT };
        let secret = keyring.unwrap(row.get(1), name, row.get(2)).map_err(|_| "the tenant's key does not open")?;
        let envelopes = superuser.query("SELECT envelope FROM bench.envelopes", &[])?;
        Ok(PlainLoop { key: Xaes::new(&secret), envelopes: envelopes.iter().map(|row| row.get(0)).collect() })
    }

    fn open_all(&mut self) -> Result<f64> {
        let place = Place { tenant: TENANT, field: "", row: "" };
        let start = Instant::now();
        for envelope in &self.envelopes {
            let value = Envelope::parse(envelope).and_then(|envelope| envelope.open(&self.key, place).ok());
            black_box(value.ok_or("an envelope does not open")?);
        }
        Ok(nanoseconds(start))
    }
}
