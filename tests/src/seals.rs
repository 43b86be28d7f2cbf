//! Sealing the audit log, and what verifying it says.

use crate::session::one;
use crate::{describe, ok};
use postgres::GenericClient;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// As long as any statement of a test may take: the transactions of all databases hold sealing back.
const LONGEST_WAIT: Duration = Duration::from_secs(180);

/// Seals until nothing is left.
#[track_caller]
pub fn seal_all(client: &mut impl GenericClient) {
    let deadline = Instant::now() + LONGEST_WAIT;
    loop {
        ok(client.batch_execute("SELECT * FROM audit.seal()"));
        if one::<i64>(client, "SELECT unsealed_rows FROM audit.v_chain_status", &[]) == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "some of the log is never sealed: is there an old open transaction?");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What verifying with these arguments finds, as `finding` or `finding seal`.
#[track_caller]
pub fn verify_with(client: &mut impl GenericClient, arguments: &str) -> Vec<String> {
    let sql = format!("SELECT concat_ws(' ', finding, seal) FROM audit.verify({arguments})");
    match client.query(&sql, &[]) {
        Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
        Err(e) => panic!("verifying fails: {}", describe(&e)),
    }
}

#[track_caller]
pub fn verify(client: &mut impl GenericClient) -> Vec<String> {
    verify_with(client, "")
}

#[track_caller]
pub fn assert_verifies(client: &mut impl GenericClient) {
    let found: Vec<(String, String)> = ok(client.query("SELECT finding, detail FROM audit.verify()", &[]))
        .iter()
        .map(|r| (r.get(0), r.get(1)))
        .collect();
    assert!(matches!(&found[..], [(finding, _)] if finding == "ok"), "{found:?}");
}

/// What is exported: the newest hash, in hexadecimal digits.
pub fn newest_root(client: &mut impl GenericClient) -> String {
    one(client, "SELECT hash FROM audit.roots ORDER BY number DESC LIMIT 1", &[])
}

/// Rows of the log as they come with a backup of another cluster: row n, of 0 to `count`, has the transaction `transaction`
/// and the time `occurred_at`, both SQL over n.
#[track_caller]
pub fn write_foreign_rows(
    client: &mut impl GenericClient,
    tenant: Uuid,
    system: i64,
    count: i64,
    transaction: &str,
    occurred_at: &str,
) {
    let sql = format!(
        "INSERT INTO audit.change_log (tenant_id, occurred_at, id, system_id, transaction_id, table_name, operation, row_key,
                                       new_values, session_role, database_role)
         SELECT $1::uuid, t.at, (lpad(to_hex((extract(epoch FROM t.at) * 1000)::bigint), 12, '0') || '7000'
                           || to_hex((-9223372036854775808)::bigint | n))::uuid,
                $2::bigint, ({transaction})::bigint, 'test.things', 'INSERT', n::text, jsonb_build_object('n', n), 'them', 'them'
           FROM generate_series(0, $3::bigint - 1) n, LATERAL (SELECT ({occurred_at})::timestamptz) t(at)"
    );
    ok(client.execute(&sql, &[&tenant, &system, &count]));
}
