//! What time does to invoices: a task of `thorbis.maintain()`.

use crate::access::invalidation::{self, Watched};
use crate::audit::maintain::Step;
use crate::billing::books::Books;
use crate::pg::fresh;
use uuid::Uuid;

const TENANTS: &str = "SELECT t.id FROM shared.tenants t ORDER BY t.id";

const DUE: &str = "
SELECT count(*) FROM shared.invoices i JOIN shared.tenants t ON t.id = i.tenant_id
 WHERE i.tenant_id = $1 AND i.status IN ('issued', 'partially_paid')
   AND i.due_date < (now() AT TIME ZONE t.timezone)::date";

/// Whoever pays at this moment is not waited for: the next time sees what came of it. What is locked stays so until all
/// tasks are done, so there is a limit; the rest comes the next time.
const OVERDUE: &str = "
UPDATE shared.invoices i SET status = 'overdue'
 WHERE i.tenant_id = $1 AND i.id IN (
       SELECT d.id FROM shared.invoices d JOIN shared.tenants t ON t.id = d.tenant_id
        WHERE d.tenant_id = $1 AND d.status IN ('issued', 'partially_paid')
          AND d.due_date < (now() AT TIME ZONE t.timezone)::date
        ORDER BY d.id LIMIT 10000 FOR NO KEY UPDATE OF d SKIP LOCKED)";

/// Invoices that were not paid by their due date, in the time zone of their tenant, become overdue.
pub fn mark_overdue(dry_run: bool) -> Vec<Step> {
    let Some(tenants) = invalidation::relation(Watched::Tenants) else { return Vec::new() };
    if invalidation::named("shared", "invoices").is_none() {
        return Vec::new();
    }
    let mut ids: Vec<Uuid> = Vec::new();
    fresh::read(tenants.owner, tenants.oid, TENANTS, &[], |row| {
        ids.extend(row.uuid(1));
    });
    let mut count = 0;
    for books in ids.into_iter().map(Books::of) {
        if dry_run {
            books.read(DUE, &[], |row| count += row.bigint(1).unwrap_or(0));
        } else {
            count += books.write(OVERDUE, &[], |_| ()) as i64;
        }
    }
    if count == 0 { Vec::new() } else { vec![Step::new("shared.invoices", "overdue", count)] }
}
