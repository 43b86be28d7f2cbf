//! Every risk that protect() refuses: refused with its code, accepted when the caller says so, then reported for ever as
//! a warning; found by the doctor when it comes later; and gone when the remedy is run.

use postgres::Client;
use std::collections::BTreeSet;
use thorbis_tests::{Database, Finding, assert_sqlstate, describe, findings, ok, one};

struct Case {
    code: &'static str,
    /// What spoils the clean table.
    spoil: &'static str,
    /// None: the remedy that the finding prints, up to its first semicolon. Some: the remedy is advice, this follows it.
    remedy: Option<&'static str>,
    /// The server version from which on the situation exists.
    since: i32,
}

const fn case(code: &'static str, spoil: &'static str, remedy: Option<&'static str>) -> Case {
    Case { code, spoil, remedy, since: 0 }
}

const CLEAN: &str = "
    CREATE SCHEMA fleet AUTHORIZATION thorbis_owner;
    CREATE TABLE fleet.trucks (tenant_id uuid NOT NULL, id uuid NOT NULL, plate text, depot_id uuid,
                               CONSTRAINT trucks_pkey PRIMARY KEY (tenant_id, id));
    CREATE TABLE fleet.depots (tenant_id uuid NOT NULL, id uuid PRIMARY KEY, UNIQUE (tenant_id, id));
    ALTER TABLE fleet.trucks OWNER TO thorbis_owner;
    ALTER TABLE fleet.depots OWNER TO thorbis_owner";

const CASES: &[Case] = &[
    case(
        "primary_key_without_tenant",
        "ALTER TABLE fleet.trucks DROP CONSTRAINT trucks_pkey, ADD CONSTRAINT trucks_pkey PRIMARY KEY (id)",
        None,
    ),
    case("unique_without_tenant", "ALTER TABLE fleet.trucks ADD CONSTRAINT trucks_plate_key UNIQUE (plate)", None),
    case(
        "unique_without_tenant",
        "CREATE UNIQUE INDEX trucks_plate ON fleet.trucks (lower(plate)) WHERE plate IS NOT NULL",
        Some("DROP INDEX fleet.trucks_plate; CREATE UNIQUE INDEX trucks_plate ON fleet.trucks (tenant_id, lower(plate))"),
    ),
    case(
        // INCLUDE is no part of the key.
        "unique_without_tenant",
        "CREATE UNIQUE INDEX trucks_plate ON fleet.trucks (plate) INCLUDE (tenant_id)",
        Some("DROP INDEX fleet.trucks_plate"),
    ),
    case(
        "exclusion_without_tenant",
        "ALTER TABLE fleet.trucks ADD CONSTRAINT trucks_plate_excl EXCLUDE USING btree (plate WITH =)",
        Some(
            "ALTER TABLE fleet.trucks DROP CONSTRAINT trucks_plate_excl,
                 ADD CONSTRAINT trucks_plate_excl EXCLUDE USING btree (tenant_id WITH =, plate WITH =)",
        ),
    ),
    case(
        "foreign_key_without_tenant",
        "ALTER TABLE fleet.trucks ADD CONSTRAINT trucks_depot FOREIGN KEY (depot_id) REFERENCES fleet.depots (id)",
        Some(
            "ALTER TABLE fleet.trucks DROP CONSTRAINT trucks_depot,
                 ADD FOREIGN KEY (tenant_id, depot_id) REFERENCES fleet.depots (tenant_id, id)",
        ),
    ),
    case(
        // The other direction: another table's rows point at these.
        "foreign_key_without_tenant",
        "ALTER TABLE fleet.trucks DROP CONSTRAINT trucks_pkey, ADD CONSTRAINT trucks_pkey PRIMARY KEY (tenant_id, id),
                 ADD CONSTRAINT trucks_swapped UNIQUE (id, tenant_id);
         ALTER TABLE fleet.depots ADD COLUMN truck_id uuid, ADD COLUMN truck_tenant uuid,
                 ADD CONSTRAINT depots_truck FOREIGN KEY (truck_id, truck_tenant) REFERENCES fleet.trucks (id, tenant_id)",
        Some("ALTER TABLE fleet.depots DROP CONSTRAINT depots_truck"),
    ),
    case("public_grant", "GRANT SELECT ON fleet.trucks TO PUBLIC", None),
    case("public_grant", "GRANT SELECT (plate) ON fleet.trucks TO PUBLIC", None),
    case("dangerous_grant", "GRANT TRUNCATE ON fleet.trucks TO stranger_login", None),
    case("dangerous_grant", "GRANT TRIGGER, REFERENCES ON fleet.trucks TO stranger_login", None),
    Case { since: 170_000, ..case("dangerous_grant", "GRANT MAINTAIN ON fleet.trucks TO stranger_login", None) },
    case("other_permissive_policy", "CREATE POLICY everybody ON fleet.trucks USING (true)", None),
    case("owner_can_login", "ALTER TABLE fleet.trucks OWNER TO app_login", None),
    case(
        "owner_has_members",
        "CREATE ROLE risks_owner; GRANT risks_owner TO stranger_login; ALTER TABLE fleet.trucks OWNER TO risks_owner",
        None,
    ),
    case(
        "child_of_other_table",
        "CREATE TABLE fleet.things (tenant_id uuid NOT NULL, id uuid NOT NULL);
         ALTER TABLE fleet.trucks INHERIT fleet.things",
        None,
    ),
];

const PROTECT: &str = "SELECT thorbis.protect('fleet.trucks', options => '{}')";

fn run(client: &mut Client, sql: &str) -> Result<(), String> {
    client.batch_execute(sql).map_err(|e| format!("{sql}\n{}", describe(&e)))
}

/// What the doctor says about the table.
fn about_the_table(client: &mut Client, code: &str) -> Result<Vec<Finding>, String> {
    let mut found = findings(client).map_err(|e| describe(&e))?;
    found.retain(|f| f.code == code && f.object.starts_with("fleet.trucks "));
    Ok(found)
}

/// It is found with this severity alone, and gone after the remedy.
fn found_and_mended(client: &mut Client, case: &Case, severity: &str) -> Result<(), String> {
    let found = about_the_table(client, case.code)?;
    if found.is_empty() || found.iter().any(|f| f.severity != severity) {
        return Err(format!("the doctor should report it with severity {severity}: {found:#?}"));
    }
    match case.remedy {
        Some(written) => run(client, written)?,
        None => {
            for statement in found.iter().map(Finding::statement).collect::<BTreeSet<_>>() {
                run(client, statement).map_err(|e| format!("the remedy fails: {e}"))?;
            }
        }
    }
    let left = about_the_table(client, case.code)?;
    if left.is_empty() { Ok(()) } else { Err(format!("still there after the remedy: {left:#?}")) }
}

/// The risk is there first: refused, accepted, reported.
fn before_protection(client: &mut Client, case: &Case) -> Result<(), String> {
    run(client, case.spoil)?;
    run(client, "SAVEPOINT refused")?;
    let error = match client.batch_execute(PROTECT) {
        Ok(()) => return Err("protect() does not refuse it".into()),
        Err(e) => e.as_db_error().cloned().ok_or_else(|| describe(&e))?,
    };
    let (detail, hint) = (error.detail().unwrap_or_default(), error.hint().unwrap_or_default());
    if error.code().code() != "55000" || !detail.lines().any(|line| line.starts_with(&format!("{}: ", case.code))) {
        return Err(format!("refused otherwise: {} {}\n{detail}", error.code().code(), error.message()));
    }
    if !hint.contains(&format!("\"{}\"", case.code)) {
        return Err(format!("the hint does not say how to accept it: {hint}"));
    }
    run(client, "ROLLBACK TO refused")?;
    let codes: Vec<String> =
        detail.lines().filter_map(|line| line.split_once(": ")).map(|(code, _)| format!("\"{code}\"")).collect();
    let accepted =
        format!("SELECT thorbis.protect('fleet.trucks', options => '{{\"accept_risks\": [{}]}}')", codes.join(", "));
    run(client, &accepted)?;
    found_and_mended(client, case, "warning")
}

/// The risk comes later: an error of the doctor.
fn after_protection(client: &mut Client, case: &Case) -> Result<(), String> {
    run(client, PROTECT)?;
    run(client, case.spoil)?;
    found_and_mended(client, case, "error")?;
    run(client, PROTECT)
}

#[track_caller]
fn try_all(cases: &[Case]) {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(CLEAN));
    let server: i32 = one(&mut client, "SELECT current_setting('server_version_num')::int", &[]);
    let mut failures = Vec::new();
    for case in cases.iter().filter(|case| server >= case.since) {
        for (when, attempt) in
            [("before protect()", before_protection as fn(&mut _, &_) -> _), ("later", after_protection)]
        {
            ok(client.batch_execute("BEGIN"));
            if let Err(why) = attempt(&mut client, case) {
                failures.push(format!("{} {when}: {}\n  {why}", case.code, case.spoil));
            }
            ok(client.batch_execute("ROLLBACK"));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_risk_is_refused_accepted_reported_and_mended() {
    try_all(CASES);
}

/// REFERENCES on the columns of a key is all that a foreign key of one's own needs.
#[test]
fn references_on_single_columns_are_a_dangerous_grant() {
    try_all(&[case("dangerous_grant", "GRANT REFERENCES (tenant_id, id) ON fleet.trucks TO stranger_login", None)]);
}

/// Several risks at once: all are named, and accepting one is not accepting another.
#[test]
fn all_risks_are_named_at_once_and_each_is_accepted_by_itself() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(CLEAN));
    ok(client.batch_execute(
        "GRANT SELECT ON fleet.trucks TO PUBLIC; ALTER TABLE fleet.trucks ADD UNIQUE (plate);
         CREATE POLICY everybody ON fleet.trucks USING (true)",
    ));
    let protect = |accepted: &str| {
        format!("SELECT thorbis.protect('fleet.trucks', options => '{{\"accept_risks\": [{accepted}]}}')")
    };
    let codes = |detail: &str| -> BTreeSet<String> {
        detail.lines().map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect()
    };
    let all = ["other_permissive_policy", "public_grant", "unique_without_tenant"].map(str::to_owned);
    let error = assert_sqlstate(client.batch_execute(&protect("")), "55000");
    assert_eq!(codes(error.detail().unwrap_or_default()), BTreeSet::from(all.clone()));
    let error = assert_sqlstate(client.batch_execute(&protect("\"public_grant\"")), "55000");
    assert_eq!(codes(error.detail().unwrap_or_default()), BTreeSet::from([all[0].clone(), all[2].clone()]));
    let quoted = all.map(|code| format!("\"{code}\"")).join(", ");
    ok(client.batch_execute(&protect(&quoted)));
}

// --- completeness

/// The codes that risks.sql can print: the first literal of each SELECT, and the kinds of key before `_without_tenant`.
fn codes_of_the_risks() -> BTreeSet<String> {
    let text = include_str!("../src/protect/risks.sql");
    let literal = |text: &str| text.strip_prefix('\'')?.split_once('\'').map(|(code, _)| code.to_owned());
    let (before, _) = text.split_once("AS k(contype)").expect("the kinds of key have the name k(contype)");
    let kinds = &before[before.rfind("CASE WHEN").expect("they are told by a CASE")..];
    let mut codes = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("SELECT ")) {
        let rest = &line["SELECT ".len()..];
        if let Some(suffix) = rest.strip_prefix("k.contype || ").and_then(literal) {
            let arms = kinds.split(" THEN ").flat_map(|arm| arm.split(" ELSE ")).filter_map(literal);
            codes.extend(arms.map(|kind| format!("{kind}{suffix}")));
        } else {
            codes.insert(literal(rest).unwrap_or_else(|| panic!("a risk that begins otherwise: {line}")));
        }
    }
    codes
}

#[test]
fn every_risk_has_a_case() {
    let codes = codes_of_the_risks();
    assert!(codes.len() >= 9 && codes.contains("exclusion_without_tenant"), "{codes:?}");
    let tried: BTreeSet<String> = CASES.iter().map(|case| case.code.to_owned()).collect();
    assert_eq!(codes, tried, "risks.sql (left) and the cases of this file (right)");
}

#[test]
fn every_risk_is_explained_in_the_documentation() {
    let documentation = include_str!("../docs/POLICIES.md");
    let missing: BTreeSet<_> =
        CASES.iter().filter(|c| !documentation.contains(&format!("`{}`", c.code))).map(|c| c.code).collect();
    assert!(missing.is_empty(), "docs/POLICIES.md does not know {missing:?}");
}
