//! Gift cards: found by a keyed hash of their code, their status and balance following what is done with them.
//!
//! The code itself is in no table, message or log entry. The key of the hash is derived from the tenant's data key and a
//! name that no SQL text can be, so that `pii_blind_index()` does not compute it: whoever reads the hashes, in the database
//! or in a dump, cannot try codes against them.

use crate::access::functions as access;
use crate::ledgers::entry::{Entry, require_positive};
use crate::ledgers::error::LedgerError;
use crate::ledgers::request::{Arguments, Caller, jsonb, numeric_arg, text_arg};
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::guarded;
use crate::pg::trigger::{Firing, Trigger};
use crate::pii::data_keys;
use crate::v1_function;
use pgrx::{AnyNumeric, IntoDatum, pg_sys};
use uuid::Uuid;
use zeroize::Zeroizing;

const RESOURCE: &str = "gift_cards";
const CODE_FIELD: &str = "shared.gift_cards.code\0";

/// What an activity needs and does: the permission, the statuses in which it is possible, the one it leads to.
struct Rule {
    action: &'static str,
    from: [&'static str; 2],
    to: Option<&'static str>,
}

/// None for a type that the CHECK constraint refuses.
fn rule(activity: &str) -> Option<Rule> {
    let active = ["ACTIVE", "ACTIVE"];
    let (action, from, to) = match activity {
        "ACTIVATE" => ("activate", ["PENDING", "PENDING"], Some("ACTIVE")),
        "LOAD" => ("activate", active, None),
        "REDEEM" => ("redeem", active, None),
        "REFUND" | "ADJUST_INCREMENT" | "ADJUST_DECREMENT" => ("adjust", active, None),
        "CLEAR_BALANCE" => ("adjust", ["ACTIVE", "BLOCKED"], None),
        "BLOCK" => ("adjust", active, Some("BLOCKED")),
        "UNBLOCK" => ("adjust", ["BLOCKED", "BLOCKED"], Some("ACTIVE")),
        "DEACTIVATE" => ("adjust", ["ACTIVE", "BLOCKED"], Some("DEACTIVATED")),
        _ => return None,
    };
    Some(Rule { action, from, to })
}

v1_function!(
    /// BEFORE INSERT FOR EACH ROW on shared.gift_card_activities.
    thorbis_apply_gift_card_activity, pg_finfo_thorbis_apply_gift_card_activity, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        match Entry::of(&trigger) {
            Some(entry) => apply(entry),
            None => trigger.unchanged(),
        }
    })
});

fn apply(mut entry: Entry) -> pg_sys::Datum {
    let (activity, card, amount) = (entry.text("type"), entry.uuid("gift_card_id"), entry.numeric("amount"));
    let (Some(activity), Some(card), Some(mut amount)) = (activity, card, amount) else {
        // The NOT NULL constraints report it.
        return entry.trigger.unchanged();
    };
    let Some(rule) = rule(&activity) else { return entry.trigger.unchanged() };
    if amount.is_nan() {
        LedgerError::NotANumber("the amount of a gift card activity").raise();
    }
    entry.require(RESOURCE, rule.action);
    let state = Card::locked(entry.trigger.owner(), entry.tenant, card);
    if !rule.from.contains(&state.status.as_str()) {
        LedgerError::CardStatus { activity, status: state.status }.raise();
    }
    if activity == "CLEAR_BALANCE" {
        amount = AnyNumeric::from(0) - state.balance.clone();
        entry.compute("amount", amount.clone().into_datum());
    }
    let after = state.balance + amount.clone();
    if after < AnyNumeric::from(0) {
        LedgerError::NotEnoughOnCard.raise();
    }
    if rule.to == Some("DEACTIVATED") && after != AnyNumeric::from(0) {
        LedgerError::CardNotEmpty.raise();
    }
    fresh::write(
        entry.trigger.owner(),
        "UPDATE shared.gift_cards SET balance = $3, status = coalesce($4, status)
          WHERE tenant_id OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2",
        &[Arg::Uuid(entry.tenant), Arg::Uuid(card), numeric_arg(after.clone()), text_arg(rule.to)],
    );
    entry.compute("balance_after", after.into_datum());
    entry.sign();
    entry.applied()
}

/// A card, locked until the transaction ends.
struct Card {
    status: String,
    balance: AnyNumeric,
}

impl Card {
    fn locked(owner: pg_sys::Oid, tenant: Uuid, id: Uuid) -> Card {
        let mut card = None;
        fresh::write_returning(
            owner,
            "SELECT status, balance FROM shared.gift_cards
              WHERE tenant_id OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2 FOR NO KEY UPDATE",
            &[Arg::Uuid(tenant), Arg::Uuid(id)],
            |row| card = row.text(1).zip(row.numeric(2)),
        );
        let (status, balance) = card.unwrap_or_else(|| LedgerError::Unknown("gift card").raise());
        Card { status, balance }
    }
}

/// The code as it counts: letters and digits, in upper case.
fn normalised(code: &str) -> Zeroizing<String> {
    let code: Zeroizing<String> = Zeroizing::new(
        code.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect(),
    );
    if !(8..=64).contains(&code.len()) || !code.chars().all(|c| c.is_ascii_alphanumeric()) {
        LedgerError::CardCode.raise();
    }
    code
}

v1_function!(
    /// `thorbis.create_gift_card(code text, customer_id uuid) -> jsonb`
    thorbis_create_gift_card, pg_finfo_thorbis_create_gift_card, |fcinfo| {
    guarded(|| {
        // SAFETY: as the SQL declaration says.
        let args = unsafe { Arguments::of(fcinfo) };
        let caller = Caller::permitted(RESOURCE, "activate");
        let code = normalised(&Zeroizing::new(args.text(0, "code")));
        let hash = data_keys::blind_index(caller.tenant, CODE_FIELD).of(&code);
        let customer = args.optional_uuid(1);
        if let Some(customer) = customer {
            let known = "SELECT 1 FROM shared.customers WHERE tenant_id = $1 AND id = $2";
            if caller.first(known, &[Arg::Uuid(caller.tenant), Arg::Uuid(customer)], |_| ()).is_none() {
                LedgerError::Unknown("customer").raise();
            }
        }
        let insert = "INSERT INTO shared.gift_cards (tenant_id, code_hash, customer_id, currency, created_by)
                      SELECT $1, $2, $3, t.currency, $4 FROM shared.tenants t WHERE t.id = $1
                      ON CONFLICT (tenant_id, code_hash) DO NOTHING
                      RETURNING jsonb_build_object('gift_card_id', id)::text";
        let arguments = [Arg::Uuid(caller.tenant), Arg::Bytes(&hash), Arg::optional_uuid(customer),
            Arg::optional_uuid(access::actor())];
        let made = caller.text(insert, &arguments);
        jsonb(&made.unwrap_or_else(|| LedgerError::CardExists.raise()))
    })
});

v1_function!(
    /// `thorbis.find_gift_card(code text) -> jsonb`
    thorbis_find_gift_card, pg_finfo_thorbis_find_gift_card, |fcinfo| {
    guarded(|| {
        // SAFETY: as the SQL declaration says.
        let args = unsafe { Arguments::of(fcinfo) };
        let caller = Caller::permitted(RESOURCE, "redeem");
        let code = normalised(&Zeroizing::new(args.text(0, "code")));
        let find = "SELECT jsonb_build_object('gift_card_id', id, 'status', status, 'currency', currency, 'balance', balance)::text
                      FROM shared.gift_cards WHERE tenant_id = $1 AND code_hash = $2";
        let found = data_keys::known_blind_index(caller.tenant, CODE_FIELD)
            .and_then(|index| caller.text(find, &[Arg::Uuid(caller.tenant), Arg::Bytes(&index.of(&code))]));
        jsonb(&found.unwrap_or_else(|| LedgerError::Unknown("gift card").raise()))
    })
});

v1_function!(
    /// `thorbis.record_gift_card_activity(activity text, gift_card_id uuid, amount numeric, reason text, document text,
    /// document_id uuid, idempotency_key text) -> jsonb`
    thorbis_record_gift_card_activity, pg_finfo_thorbis_record_gift_card_activity, |fcinfo| {
    guarded(|| {
        // SAFETY: as the SQL declaration says.
        let args = unsafe { Arguments::of(fcinfo) };
        let activity = args.text(0, "activity");
        let Some(rule) = rule(&activity) else { LedgerError::Unknown("gift card activity").raise() };
        let caller = Caller::permitted(RESOURCE, rule.action);
        let types = [pg_sys::TEXTOID, pg_sys::UUIDOID, pg_sys::NUMERICOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::UUIDOID];
        let request = args.request("record_gift_card_activity", &types);
        jsonb(&caller.once(args.optional_text(6).as_deref(), &request, || record(&caller, &activity, args)))
    })
});

const INSERT_ACTIVITY: &str = "
    INSERT INTO shared.gift_card_activities (tenant_id, gift_card_id, type, amount, reason, document, document_id, created_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    RETURNING jsonb_build_object('activity_id', id, 'balance', balance_after)::text";

fn record(caller: &Caller, activity: &str, args: Arguments) -> String {
    let amount = args.numeric(2, "amount");
    match activity {
        "LOAD" | "REDEEM" | "REFUND" | "ADJUST_INCREMENT" | "ADJUST_DECREMENT" => {
            require_positive("the amount of a gift card activity", &amount)
        }
        _ if amount.is_nan() || amount < AnyNumeric::from(0) => {
            LedgerError::NotPositive("the amount of a gift card activity").raise()
        }
        _ => {}
    }
    let is_whole = caller.first(
        "SELECT $2 = round($2, minor_unit) FROM shared.tenants WHERE id = $1",
        &[Arg::Uuid(caller.tenant), numeric_arg(amount.clone())],
        |row| row.boolean(1) == Some(true),
    );
    if is_whole == Some(false) {
        LedgerError::MinorUnit.raise();
    }
    let takes = ["REDEEM", "ADJUST_DECREMENT"].contains(&activity);
    let change = if takes { AnyNumeric::from(0) - amount } else { amount };
    let arguments = [
        Arg::Uuid(caller.tenant),
        Arg::Uuid(args.uuid(1, "gift_card_id")),
        Arg::Text(activity),
        numeric_arg(change),
        text_arg(args.optional_text(3).as_deref()),
        text_arg(args.optional_text(4).as_deref()),
        Arg::optional_uuid(args.optional_uuid(5)),
        Arg::optional_uuid(access::actor()),
    ];
    caller.text(INSERT_ACTIVITY, &arguments).unwrap_or_else(|| LedgerError::RowLeftOut.raise())
}
