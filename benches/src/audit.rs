//! What the log of changes adds to writing, beside the row trigger that a careful DBA would write in PL/pgSQL. Both write
//! the same rows into the same kind of table, with the same indexes and partitions.

use crate::Result;
use crate::data::{Scale, TENANT, begin_in_context, empty_log, first_row};
use crate::measure::{Runs, alternate_often, nanoseconds, time};
use crate::report::{Bound, Line, Section};
use postgres::Client;
use std::time::Instant;

/// The contenders: without a log, with ours, with the other. Bulk statements write into the same table, whose triggers are
/// switched; one-row inserts into one of three that are alike.
const TRIGGERS: [Option<&str>; 3] = [None, Some("audit_orders_changes"), Some("log_change")];
const TABLES: [&str; 3] = ["bench.orders_unlogged", "bench.orders_logged", "bench.orders_plpgsql"];

/// Every one of them writes what is there, or as much again.
const STATEMENTS: [(&str, &str); 3] = [
    ("added to each row of a bulk INSERT", "INSERT INTO bench.orders SELECT * FROM bench.new_orders"),
    (
        "added to each row of a bulk UPDATE",
        "UPDATE bench.orders SET status = 'paid', payment_status = 'paid', paid_at = now(), updated_at = now()",
    ),
    ("added to each row of a bulk DELETE", "DELETE FROM bench.orders"),
];

/// Turns of bulk statements, each of which takes seconds.
const BULK_TURNS: usize = 9;

/// One-row inserts in one run: so few that what else the machine does comes and goes between the runs.
const BLOCK: usize = 100;

pub fn measure(superuser: &mut Client, scale: &Scale) -> Result<Section> {
    eprintln!("==> writing with a log of changes");
    same_rows(superuser, scale)?;
    let mut lines = Vec::new();
    for (what, statement) in STATEMENTS {
        let [nothing, ours, plpgsql] = alternate_often::<3>(BULK_TURNS, |i| bulk(superuser, TRIGGERS[i], statement))?;
        let added = |runs: &Runs| runs.net_of(&nothing, scale.audited);
        let line = Line::new(what, added(&ours)).against("plpgsql trigger", added(&plpgsql));
        lines.push(line.bound(Bound::Ratio(1.0 / 3.0)));
    }
    let [nothing, ours, plpgsql] = one_by_one(superuser, scale)?.map(|runs| runs.median() / BLOCK as f64);
    lines.extend([
        Line::new("one-row INSERT, a commit each", ours)
            .against("without a log", nothing)
            // At least 85 % of the rate.
            .bound(Bound::Ratio(1.0 / 0.85)),
        Line::new("  with the plpgsql trigger", plpgsql).against("without a log", nothing),
    ]);
    Ok(Section { title: "What the log of changes adds to writing orders (bulk: medians of 9 runs)", lines })
}

/// Everything as it was, and the triggers of one contender, or of several, enabled.
fn reset(superuser: &mut Client, triggers: &[&str]) -> Result<()> {
    superuser.batch_execute("ALTER TABLE bench.orders DISABLE TRIGGER ALL")?;
    superuser.batch_execute("VACUUM (TRUNCATE false) bench.orders")?;
    empty_log(superuser)?;
    superuser.batch_execute("CALL bench.empty_log('bench.change_log')")?;
    for log in ["audit.change_log", "bench.change_log"] {
        superuser.batch_execute(&format!("INSERT INTO {log} TABLE bench.earlier_changes"))?;
    }
    for trigger in triggers {
        superuser.batch_execute(&format!("ALTER TABLE bench.orders ENABLE ALWAYS TRIGGER {trigger}"))?;
    }
    Ok(())
}

/// What is measured is right: both triggers fire for the same changes, and then both logs say the same.
fn same_rows(superuser: &mut Client, scale: &Scale) -> Result<()> {
    reset(superuser, &TRIGGERS.into_iter().flatten().collect::<Vec<_>>())?;
    begin_in_context(superuser)?;
    for (_, statement) in STATEMENTS {
        superuser.batch_execute(statement)?;
    }
    // Of a whole row ours leaves out what is NULL.
    let rows = |log: &str| {
        format!(
            "SELECT count(*), count(DISTINCT id) = count(*),
                    sum(hashtextextended((CASE operation WHEN 'UPDATE' THEN row ELSE jsonb_strip_nulls(row) END)::text, 0))
             FROM {log} l, LATERAL (SELECT to_jsonb(l) - 'id') r(row) WHERE table_name = 'bench.orders'"
        )
    };
    let ours = first_row(superuser, &rows("audit.change_log"))?;
    let plpgsql = first_row(superuser, &rows("bench.change_log"))?;
    superuser.batch_execute("ROLLBACK")?;
    // As many inserted; then all of them and those that were there changed, and deleted.
    let expected = (5 * scale.audited).to_string();
    if ours != plpgsql || ours[0].as_ref() != Some(&expected) {
        return Err(format!("the logs differ, or do not have {expected} rows: {ours:?}, {plpgsql:?}").into());
    }
    Ok(())
}

fn bulk(superuser: &mut Client, trigger: Option<&str>, statement: &str) -> Result<f64> {
    reset(superuser, trigger.as_slice())?;
    begin_in_context(superuser)?;
    let nanoseconds = time(superuser, statement)?;
    superuser.batch_execute("ROLLBACK")?;
    Ok(nanoseconds)
}

/// As pgbench does: a prepared statement, a transaction each.
fn one_by_one(superuser: &mut Client, scale: &Scale) -> Result<[Runs; 3]> {
    reset(superuser, &[])?;
    let items = first_row(superuser, "SELECT items FROM bench.new_orders LIMIT 1")?;
    let mut prepare = |table: &str| {
        superuser.prepare(&format!(
            "INSERT INTO {table} (tenant_id, order_number, table_number, items, subtotal, tax_amount, total_amount)
             VALUES ($1, $2, 7, $3::text::jsonb, 30, 3, 33)"
        ))
    };
    let inserts = [prepare(TABLES[0])?, prepare(TABLES[1])?, prepare(TABLES[2])?];
    let turns = scale.inserts / BLOCK;
    let mut numbers = 1_000_000_000..;
    let runs = alternate_often::<3>(turns, |i| {
        let start = Instant::now();
        for number in numbers.by_ref().take(BLOCK) {
            superuser.execute(&inserts[i], &[&TENANT, &number, &items[0]])?;
        }
        Ok(nanoseconds(start))
    })?;
    let logged = "SELECT (SELECT count(*) FROM audit.change_log WHERE table_name = 'bench.orders_logged'),
                         (SELECT count(*) FROM bench.change_log WHERE table_name = 'bench.orders_plpgsql')";
    // The first turn, which is not measured, is logged too.
    let expected = Some(((turns + 1) * BLOCK).to_string());
    match first_row(superuser, logged)? {
        logged if logged == [expected.clone(), expected] => Ok(runs),
        logged => Err(format!("one-row inserts were not all logged: {logged:?}").into()),
    }
}
