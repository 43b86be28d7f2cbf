//! What `thorbis.doctor()` says, and cases that try it: a situation, its finding, and the remedy that mends it.
//!
//! Each case is a transaction that is rolled back: roles and settings are the whole cluster's, and other tests use them.

use crate::database::Database;
use crate::tenants::A;
use crate::{describe, ok};
use postgres::{Client, Error, GenericClient};
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: String,
    pub code: String,
    pub object: String,
    pub detail: String,
    pub remedy: String,
}

impl Finding {
    /// The part of the remedy that can be run: what follows the first semicolon is advice.
    pub fn statement(&self) -> &str {
        self.remedy.split_once(';').map_or(self.remedy.as_str(), |(statement, _)| statement)
    }
}

/// All findings, the gravest first.
pub fn findings(client: &mut impl GenericClient) -> Result<Vec<Finding>, Error> {
    let rows = client.query("SELECT severity, code, object, detail, remedy FROM thorbis.doctor()", &[])?;
    let finding = |row: &postgres::Row| Finding {
        severity: row.get(0),
        code: row.get(1),
        object: row.get(2),
        detail: row.get(3),
        remedy: row.get(4),
    };
    Ok(rows.iter().map(finding).collect())
}

pub enum Remedy {
    /// What the finding says, up to its first semicolon.
    Printed,
    /// The remedy is advice; this follows it.
    Written(&'static str),
}

pub struct Case {
    pub code: &'static str,
    severity: &'static str,
    /// Empty for what every fresh installation has. `{database}` and `{tenant}` are filled in.
    situation: &'static str,
    remedy: Remedy,
}

pub const fn case(severity: &'static str, code: &'static str, situation: &'static str, remedy: Remedy) -> Case {
    Case { code, severity, situation, remedy }
}

/// A schema with a protected table and a partitioned one. Every situation finds it there.
const OWN_TABLES: &str = "
    CREATE SCHEMA fleet AUTHORIZATION thorbis_owner;
    CREATE TABLE fleet.trucks (tenant_id uuid, id uuid, plate text, PRIMARY KEY (tenant_id, id));
    CREATE TABLE fleet.trips (tenant_id uuid, id uuid, day date, PRIMARY KEY (tenant_id, id, day)) PARTITION BY RANGE (day);
    CREATE TABLE fleet.trips_old PARTITION OF fleet.trips FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    ALTER TABLE fleet.trucks OWNER TO thorbis_owner;
    ALTER TABLE fleet.trips OWNER TO thorbis_owner;
    ALTER TABLE fleet.trips_old OWNER TO thorbis_owner;
    SELECT thorbis.protect('fleet.trucks', options => '{\"update_columns\": [\"plate\"]}');
    SELECT thorbis.protect('fleet.trips')";

/// The findings of a code that were not there before.
pub fn new_findings(client: &mut Client, code: &str, before: &[Finding]) -> Result<Vec<Finding>, String> {
    let mut found = findings(client).map_err(|e| describe(&e))?;
    found.retain(|finding| finding.code == code && !before.contains(finding));
    Ok(found)
}

fn run(client: &mut Client, sql: &str) -> Result<(), String> {
    client.batch_execute(sql).map_err(|e| format!("{sql}\n{}", describe(&e)))
}

/// Within a transaction: the situation is found, and gone after the remedy.
fn try_case(client: &mut Client, database: &str, before: &[Finding], case: &Case) -> Result<(), String> {
    let before = if case.situation.is_empty() { &[] } else { before };
    run(client, &case.situation.replace("{database}", database).replace("{tenant}", &A.id.to_string()))?;
    let found = new_findings(client, case.code, before)?;
    if found.is_empty() {
        return Err("not found".into());
    }
    // The gravest comes first; a remedy in two steps is two findings.
    if found[0].severity != case.severity {
        return Err(format!("expected severity {}, not {:?}", case.severity, found[0]));
    }
    match case.remedy {
        Remedy::Printed => {
            for statement in found.iter().map(Finding::statement).collect::<BTreeSet<_>>() {
                run(client, statement).map_err(|e| format!("the remedy fails: {e}"))?;
            }
        }
        Remedy::Written(statement) => run(client, statement)?,
    }
    let left = new_findings(client, case.code, before)?;
    if left.is_empty() { Ok(()) } else { Err(format!("still there after the remedy: {left:#?}")) }
}

/// Tries all of them, in two databases at once, and panics with every one that failed.
#[track_caller]
pub fn try_cases(cases: &[Case]) {
    let failures: Vec<String> = std::thread::scope(|scope| {
        let halves = cases.chunks(cases.len().div_ceil(2)).map(|half| scope.spawn(|| failures(half)));
        halves.collect::<Vec<_>>().into_iter().flat_map(|half| half.join().expect("no case panics")).collect()
    });
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn failures(cases: &[Case]) -> Vec<String> {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(OWN_TABLES));
    let before = ok(findings(&mut client));
    let mut failures = Vec::new();
    for case in cases {
        ok(client.batch_execute("BEGIN"));
        if let Err(why) = try_case(&mut client, &db.name, &before, case) {
            failures.push(format!("{}: {}\n  {why}", case.code, case.situation));
        }
        ok(client.batch_execute("ROLLBACK"));
    }
    failures
}
