//! thorbis.verify_ledgers() finds whatever was changed behind the back of the ledgers; who may ask; what the functions are.

use thorbis_tests::ledgers::{assert_books_are_right, call, disagreements, of, rows};
use thorbis_tests::{A, Database, assert_sqlstate, in_context, ok, one};

#[test]
fn the_books_of_the_fixture_are_right() {
    let db = Database::new();
    assert!(rows(&db, "shared.stock_movements") > 0 && rows(&db, "shared.loyalty_entries") > 0);
    assert_books_are_right(&db);
}

/// Each change behind the back of the triggers, and the ledger whose name the finding bears.
#[test]
fn every_change_behind_its_back_is_found() {
    let changes = [
        ("UPDATE shared.stock_balances SET on_hand = on_hand + 1", "stock_balances "),
        ("UPDATE shared.stock_balances SET reserved = 1", "stock_balances reserved "),
        ("UPDATE shared.stock_balances SET incoming = 1", "stock_balances incoming "),
        ("DELETE FROM shared.stock_balances", "stock_balances "),
        ("DELETE FROM shared.stock_movements", "stock_balances "),
        ("UPDATE shared.stock_movements SET quantity = quantity - 1", "stock_balances "),
        (
            "UPDATE shared.stock_movements SET to_balance_after = to_balance_after - 1",
            "stock_balances running balance ",
        ),
        ("UPDATE shared.gift_cards SET balance = balance + 1", "gift_cards "),
        ("DELETE FROM shared.gift_card_activities", "gift_cards "),
        ("UPDATE shared.gift_card_activities SET balance_after = 1", "gift_cards running balance "),
        ("UPDATE shared.loyalty_accounts SET points_balance = points_balance + 1", "loyalty_accounts "),
        ("UPDATE shared.loyalty_entries SET points = points + 1", "loyalty_accounts "),
        ("UPDATE shared.loyalty_entries SET balance_after = balance_after + 1", "loyalty_accounts running balance "),
        ("UPDATE shared.loyalty_lots SET points_remaining = points_remaining - 1", "loyalty_lots "),
        ("UPDATE shared.loyalty_lots SET points_remaining = points_remaining - 1", "loyalty_accounts lots "),
        ("DELETE FROM shared.loyalty_lot_uses", "loyalty_lots "),
        ("UPDATE shared.payments SET allocated_total = allocated_total - 1", "payment allocated_total "),
        ("DELETE FROM shared.refunds", "payment refunded "),
        ("UPDATE shared.invoices SET paid_total = paid_total - 1", "invoice paid_total "),
        ("DELETE FROM shared.credit_notes", "invoice credited_total "),
        ("DELETE FROM shared.credit_note_lines", "credit_note net_total "),
    ];
    for (change, ledger) in changes {
        let db = Database::new();
        let sql = format!("SET session_replication_role = replica; {change} WHERE tenant_id = '{}'", A.id);
        ok(db.superuser().batch_execute(&sql));
        let found = disagreements(&db);
        assert!(found.iter().any(|line| line.starts_with(ledger)), "{change}: {found:?}");
        assert!(found.iter().all(|line| line.contains(&A.id.to_string())), "{change}: {found:?}");
    }
}

#[test]
fn only_operators_verify() {
    let db = Database::new();
    let verified =
        in_context(&mut db.app(), A.id, A.owner, |tx| tx.query("SELECT * FROM thorbis.verify_ledgers()", &[]));
    assert_sqlstate(verified, "42501");
    let mut platform = db.superuser();
    // Without a privilege on a table, too: what is read does not depend on what the caller may read.
    ok(platform.batch_execute(
        "SET session_replication_role = replica; UPDATE shared.payments SET allocated_total = allocated_total - 1;
         RESET session_replication_role; REVOKE ALL ON shared.payments, shared.stock_balances FROM thorbis_platform;
         SET ROLE thorbis_platform",
    ));
    assert_eq!(ok(platform.query("SELECT * FROM thorbis.verify_ledgers()", &[])).len(), 2, "one of each tenant");
}

/// A tenant that is deleted takes its ledgers along; a person who is erased does not.
#[test]
fn ledgers_survive_the_person() {
    let db = Database::new();
    let entries = rows(&db, "shared.loyalty_entries");
    let erased = in_context(&mut db.app(), A.id, A.owner, |tx| {
        tx.query("SELECT * FROM gdpr.erase_subject($1, false)", &[&A.customer])
    });
    ok(erased);
    assert_eq!(rows(&db, "shared.loyalty_entries"), entries);
    let redeem = format!("SELECT shared.redeem_gift_card('{}', 1)", of(&A, thorbis_tests::ledgers::CARD));
    ok(in_context(&mut db.app(), A.id, A.owner, |tx| call(tx, &redeem, &[])));
    assert_books_are_right(&db);
}

#[test]
fn trigger_functions_on_tables_of_ones_own_do_no_harm() {
    let db = Database::new();
    let mut superuser = db.superuser();
    for function in [
        "apply_stock_movement",
        "apply_gift_card_activity",
        "apply_loyalty_entry",
        "apply_loyalty_lots",
        "keep_posted_count",
    ] {
        for timing in ["BEFORE", "AFTER"] {
            let sql = format!(
                "CREATE TABLE public.t (a int, tenant_id uuid);
                 CREATE TRIGGER x {timing} INSERT OR UPDATE OR DELETE ON public.t FOR EACH ROW EXECUTE FUNCTION public.{function}();
                 INSERT INTO public.t VALUES (1, '{}')",
                A.id
            );
            if let Err(error) = superuser.batch_execute(&sql) {
                let code = error.code().map_or("", |code| code.code()).to_owned();
                assert!(["42703", "39P01"].contains(&code.as_str()), "{function}: {error:?}");
            }
            ok(superuser.batch_execute("ROLLBACK; DROP TABLE IF EXISTS public.t"));
        }
    }
    // With the columns they look for, but of other types.
    for (function, columns) in [
        (
            "apply_stock_movement",
            "stock_item_id uuid DEFAULT gen_random_uuid(), from_location_id uuid DEFAULT gen_random_uuid(), to_location_id uuid DEFAULT gen_random_uuid(), quantity integer DEFAULT 1",
        ),
        (
            "apply_gift_card_activity",
            "type text DEFAULT 'LOAD', gift_card_id uuid DEFAULT gen_random_uuid(), amount integer DEFAULT 1",
        ),
        (
            "apply_loyalty_entry",
            "type text DEFAULT 'REDEEM', loyalty_account_id uuid DEFAULT gen_random_uuid(), points integer DEFAULT 1",
        ),
    ] {
        let sql = format!(
            "CREATE TABLE public.t (tenant_id uuid, {columns});
             CREATE TRIGGER x BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.{function}();
             INSERT INTO public.t VALUES ('{}')",
            A.id
        );
        assert_sqlstate(superuser.batch_execute(&sql), "42804");
    }
    assert_eq!(one::<i32>(&mut superuser, "SELECT 1", &[]), 1, "the session lives");
    assert_books_are_right(&db);
}
