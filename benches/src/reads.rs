//! What row security adds to reading: the application in its context, against a superuser who writes the tenant into
//! the query by hand.

use crate::Result;
use crate::data::{Scale, Sessions, TENANT, begin_in_context, first_row};
use crate::measure::{alternate, nanoseconds, time};
use crate::report::{Bound, Line, Section};
use postgres::{Client, Statement};
use std::time::Instant;
use uuid::Uuid;

/// How often the loop in the server reads all ids.
const LOOPS: usize = 10;

pub fn measure(Sessions { superuser, app }: &mut Sessions, scale: &Scale) -> Result<Section> {
    superuser.batch_execute("BEGIN")?;
    begin_in_context(app)?;
    let mut lines = Vec::new();
    eprintln!("==> one tenant's totals");
    lines.extend(totals(superuser, app)?);
    eprintln!("==> point reads");
    lines.extend(points(superuser, app, scale)?);
    lines.push(no_transaction_id(app)?);
    superuser.batch_execute("ROLLBACK")?;
    app.batch_execute("ROLLBACK")?;
    Ok(Section {
        title: "Reading as the application role, against hand-written tenant_id conditions by a superuser",
        lines,
    })
}

/// Pairs take turns: by hand, by policy. Our pair and the document's run one after the other, because the document's
/// policies read the whole table, and whoever came next would find the CPU's caches cold.
fn by_policy(contender: usize) -> bool {
    contender % 2 == 1
}

fn totals(superuser: &mut Client, app: &mut Client) -> Result<[Line; 2]> {
    let visible = |table: &str| format!("SELECT count(*), sum(total_amount) FROM {table}");
    let by_hand = |table: &str| format!("{} WHERE tenant_id = '{TENANT}'", visible(table));
    let queries = [
        by_hand("restaurants.orders"),
        visible("restaurants.orders"),
        by_hand("document.orders"),
        visible("document.orders"),
    ];
    let expected = first_row(superuser, &queries[0])?;
    for (i, query) in queries.iter().enumerate() {
        if first_row(if by_policy(i) { app } else { superuser }, query)? != expected {
            return Err(format!("this does not return what the first query returns: {query}").into());
        }
    }
    let mut pair = |first: usize| {
        alternate::<2>(|i| time(if by_policy(i) { app } else { superuser }, &queries[first + i]))
            .map(|runs| runs.map(|runs| runs.median()))
    };
    let [by_hand, ours] = pair(0)?;
    let [document_by_hand, document] = pair(2)?;
    Ok([
        Line::new("count(*), sum(total_amount) of a tenant", ours)
            .against("hand-written", by_hand)
            .bound(Bound::Ratio(1.05)),
        Line::new("  with the document's policies", document).against("hand-written", document_by_hand),
    ])
}

fn points(superuser: &mut Client, app: &mut Client, scale: &Scale) -> Result<[Line; 3]> {
    let some_orders = "SELECT id FROM restaurants.orders WHERE tenant_id = $1 ORDER BY id LIMIT $2";
    let ids: Vec<Uuid> =
        superuser.query(some_orders, &[&TENANT, &(scale.reads as i64)])?.iter().map(|row| row.get(0)).collect();
    let select = "SELECT order_number, status, total_amount FROM";
    let by_hand = |table: &str| format!("{select} {table} WHERE tenant_id = $1 AND id = $2");
    let visible = |table: &str| format!("{select} {table} WHERE id = $1");
    let statements = [
        superuser.prepare(&by_hand("restaurants.orders"))?,
        app.prepare(&visible("restaurants.orders"))?,
        superuser.prepare(&by_hand("document.orders"))?,
        app.prepare(&visible("document.orders"))?,
    ];
    let mut pair = |first: usize| {
        let runs = alternate::<2>(|i| {
            let statement = &statements[first + i];
            if by_policy(i) { read(app, statement, &ids) } else { read_by_hand(superuser, statement, &ids) }
        });
        runs.map(|runs| runs.map(|runs| runs.median() / ids.len() as f64))
    };
    let [by_hand, ours] = pair(0)?;
    let [document_by_hand, document] = pair(2)?;

    let loops = [format!("SELECT bench.read_by_hand($1, $2, {LOOPS})"), format!("SELECT bench.read($1, {LOOPS})")];
    let runs = alternate::<2>(|i| {
        let start = Instant::now();
        if by_policy(i) { app.execute(&loops[i], &[&ids]) } else { superuser.execute(&loops[i], &[&TENANT, &ids]) }?;
        Ok(nanoseconds(start))
    })?;
    let [loop_by_hand, loop_ours] = runs.map(|runs| runs.median() / (LOOPS * ids.len()) as f64);
    Ok([
        Line::new("prepared read by id", ours).against("hand-written", by_hand).bound(Bound::Ratio(1.3)),
        Line::new("  in a PL/pgSQL loop, without round trips", loop_ours).against("hand-written", loop_by_hand),
        Line::new("  prepared, with the document's policies", document).against("hand-written", document_by_hand),
    ])
}

/// One round trip for each id; an error when a row is not found.
fn read(client: &mut Client, statement: &Statement, ids: &[Uuid]) -> Result<f64> {
    let start = Instant::now();
    for id in ids {
        client.query_one(statement, &[id])?;
    }
    Ok(nanoseconds(start))
}

fn read_by_hand(client: &mut Client, statement: &Statement, ids: &[Uuid]) -> Result<f64> {
    let start = Instant::now();
    for id in ids {
        client.query_one(statement, &[&TENANT, id])?;
    }
    Ok(nanoseconds(start))
}

fn no_transaction_id(app: &mut Client) -> Result<Line> {
    let assigned = first_row(app, "SELECT pg_current_xact_id_if_assigned()")?;
    Ok(Line::claim("no transaction id assigned by all these reads", assigned == [None]))
}
