//! `thorbis.verify_ledgers()`: every balance is the sum of its movements, and the running balances follow one another;
//! invoices, payments, credit notes and drawers agree with their rows.
//!
//! The order of the movements of a balance is not asked for: if each begins where another one ended, from zero to the
//! balance, then every value is left as often as it is reached.

use crate::deploy::error::DeployError;
use crate::ledgers::request::requests;
use crate::pg::error::SqlError;
use crate::pg::identity::{self, ActingAs};
use crate::pg::settings_scope::SettingsScope;
use crate::pg::sql::{column, optional, query};
use pgrx::prelude::*;

/// What each movement does to a balance (ledger, tenant, key, change, what there is after it) and the balances themselves.
const LEDGERS: &str = "
    WITH changes (ledger, tenant_id, key, change, after) AS (
        SELECT 'stock_balances', tenant_id, stock_item_id || ' ' || from_location_id, -quantity, from_balance_after
          FROM shared.stock_movements WHERE from_balance_after IS NOT NULL
        UNION ALL
        SELECT 'stock_balances', tenant_id, stock_item_id || ' ' || to_location_id, quantity, to_balance_after
          FROM shared.stock_movements WHERE to_balance_after IS NOT NULL
        UNION ALL
        SELECT 'gift_cards', tenant_id, gift_card_id::text, amount, balance_after FROM shared.gift_card_activities
        UNION ALL
        SELECT 'loyalty_accounts', tenant_id, loyalty_account_id::text, points, balance_after FROM shared.loyalty_entries
    ), balances (ledger, tenant_id, key, balance) AS (
        SELECT 'stock_balances', tenant_id, stock_item_id || ' ' || stock_location_id, on_hand FROM shared.stock_balances
        UNION ALL
        SELECT 'gift_cards', tenant_id, id::text, balance FROM shared.gift_cards
        UNION ALL
        SELECT 'loyalty_accounts', tenant_id, id::text, points_balance FROM shared.loyalty_accounts
    ), sums (ledger, tenant_id, key, total) AS (
        SELECT ledger, tenant_id, key, sum(change) FROM changes GROUP BY 1, 2, 3
        UNION ALL
        SELECT 'loyalty_lots', l.tenant_id, l.id::text,
               l.points - coalesce((SELECT sum(u.points) FROM shared.loyalty_lot_uses u
                                     WHERE u.tenant_id = l.tenant_id AND u.loyalty_lot_id = l.id), 0)
          FROM shared.loyalty_lots l
        UNION ALL
        SELECT 'loyalty_accounts lots', tenant_id, loyalty_account_id::text, sum(points_remaining)
          FROM shared.loyalty_lots GROUP BY 2, 3
        UNION ALL
        SELECT 'stock_balances ' || CASE direction WHEN 'out' THEN 'reserved' ELSE 'incoming' END, tenant_id,
               stock_item_id || ' ' || stock_location_id, sum(quantity - fulfilled_quantity)
          FROM shared.stock_reservations WHERE status = 'open' GROUP BY 1, 2, 3
    ), stored (ledger, tenant_id, key, balance) AS (
        SELECT * FROM balances
        UNION ALL
        SELECT 'loyalty_lots', tenant_id, id::text, points_remaining FROM shared.loyalty_lots
        UNION ALL
        SELECT 'loyalty_accounts lots', tenant_id, id::text, points_balance FROM shared.loyalty_accounts
        UNION ALL
        SELECT 'stock_balances reserved', tenant_id, stock_item_id || ' ' || stock_location_id, reserved
          FROM shared.stock_balances
        UNION ALL
        SELECT 'stock_balances incoming', tenant_id, stock_item_id || ' ' || stock_location_id, incoming
          FROM shared.stock_balances
    ), steps (ledger, tenant_id, key, value, times) AS (
        SELECT ledger, tenant_id, key, after, 1 FROM changes
        UNION ALL
        SELECT ledger, tenant_id, key, after - change, -1 FROM changes
        UNION ALL
        SELECT ledger, tenant_id, key, balance, -1 FROM balances
        UNION ALL
        SELECT ledger, tenant_id, key, 0, 1 FROM balances
    )
    SELECT ledger, tenant_id, key, balance::text, coalesce(total, 0)::text
      FROM stored FULL JOIN sums USING (ledger, tenant_id, key)
     WHERE coalesce(balance, 0) <> coalesce(total, 0)
    UNION ALL
    SELECT ledger || ' running balance', tenant_id, key, NULL, value::text
      FROM steps GROUP BY 1, 2, 3, value HAVING sum(times) <> 0
    UNION ALL
    SELECT document || ' ' || measure, tenant_id, document_id::text, stored::text, ledger::text
      FROM shared.v_payment_reconciliation
     ORDER BY 1, 2, 3, 5";

/// Rows (ledger, tenant_id, key, stored, expected).
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn verify_ledgers() -> TableIterator<
    'static,
    (
        name!(ledger, String),
        name!(tenant_id, pgrx::Uuid),
        name!(key, String),
        name!(stored, Option<String>),
        name!(expected, String),
    ),
> {
    if !identity::operates_all_tenants() {
        DeployError::NotOperator { function: "thorbis.verify_ledgers()" }.raise();
    }
    crate::deploy::require_installed();
    let _path = SettingsScope::pinned_path();
    // The owner of the ledgers reads all rows of all tenants, whatever the caller may read.
    let _identity = ActingAs::owner(requests().owner);
    TableIterator::new(query(LEDGERS, &[], |row| {
        (column(row, 1), column(row, 2), column(row, 3), optional(row, 4), column(row, 5))
    }))
}
