//! How far the roles of a user reach: `rbac.approval_limits` for refunds.

use crate::access::functions::may;
use crate::billing::books::Books;
use crate::billing::error::BillingError;
use crate::billing::money;
use crate::context::current;
use crate::pg::error::SqlError;
use crate::pg::fresh::Arg;

/// A role held directly reaches as far as its own limit says, else as the roles say that it inherits the permission from; a
/// permission without a limit, and a grant for an emergency, reach everywhere.
const WITHIN: &str = "
WITH RECURSIVE held AS (
    SELECT ur.role_id AS root, ur.role_id
      FROM rbac.user_roles ur WHERE ur.tenant_id = $1 AND ur.user_id = $2 AND ur.valid_during @> now()
    UNION
    SELECT h.root, rh.inherits_role_id
      FROM held h JOIN rbac.role_hierarchy rh ON rh.tenant_id = $1 AND rh.role_id = h.role_id
), permitting AS (
    SELECT h.root, h.role_id FROM held h
     WHERE EXISTS (SELECT FROM rbac.roles r WHERE r.tenant_id = $1 AND r.id = h.role_id AND r.is_owner)
        OR EXISTS (SELECT FROM rbac.role_permissions rp
                    WHERE rp.tenant_id = $1 AND rp.role_id = h.role_id AND rp.resource = 'payments'
                      AND rp.action IN ('refund', 'admin'))
), limits AS (
    SELECT a.role_id, a.max_amount, a.max_percent FROM rbac.approval_limits a
     WHERE a.tenant_id = $1 AND a.resource = 'payments' AND a.action = 'refund'
)
SELECT EXISTS (
    SELECT FROM permitting p
           LEFT JOIN limits own ON own.role_id = p.root
           LEFT JOIN limits inherited ON inherited.role_id = p.role_id
     WHERE coalesce($5 * 0.01 <= CASE WHEN own.role_id IS NULL THEN inherited.max_amount ELSE own.max_amount END, true)
       AND coalesce($3 * 100 <= $4 * CASE WHEN own.role_id IS NULL THEN inherited.max_percent ELSE own.max_percent END, true)
    UNION ALL
    SELECT FROM rbac.access_grants g
     WHERE g.tenant_id = $1 AND g.user_id = $2 AND g.resource = 'payments' AND g.action IN ('refund', 'admin')
       AND g.valid_during @> now()
)";

/// Raises 42501 unless the current user may pay back `refunded` of `paid`, both in hundredths. Jobs without a user may.
/// A highest amount is in the currency of the tenant: of another currency it allows nothing, or whatever holders of
/// payments:admin pay back.
pub fn require_within_limit(books: Books, refunded: i64, paid: i64, currency: &str) {
    let Some(user) = current::get().user else { return };
    let compared = match money::currency(books, None).0 == currency {
        true => refunded,
        false if may("payments", "admin") => 0,
        false => i64::MAX,
    };
    let mut within = false;
    let arguments = [Arg::Uuid(user), Arg::Bigint(refunded), Arg::Bigint(paid), Arg::Bigint(compared)];
    books.read(WITHIN, &arguments, |row| within = row.boolean(1) == Some(true));
    if !within {
        BillingError::ApprovalLimit.raise();
    }
}
