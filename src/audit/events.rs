//! Security events: what changes who may do what, and what is done with personal data as a whole.
//!
//! They are rows of `audit.security_events`, written within the transaction and rolled back with it. Roles, permissions,
//! bindings and protection are tables: a trigger writes theirs, whoever changes them by whatever way. The rest is told here.

use crate::access::invalidation;
use crate::audit::origin;
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::{guarded, written};
use crate::pg::settings_scope::SettingsScope;
use crate::pg::trigger::{Firing, Trigger, TriggerError, TriggerRow};
use crate::protect::table::qualified_name;
use crate::v1_function;
use pgrx::pg_sys;
use serde_json::{Map, Value, json};
use uuid::Uuid;

const INSERT: &str = "INSERT INTO audit.security_events
        (tenant_id, event, object, detail, actor_id, session_role, database_role, client_address)
    VALUES ($1, $2, $3, $4::jsonb, nullif($5, '')::uuid, $6, $7, inet_client_addr())";

/// Columns that say what a row is about, in words that are nobody's personal data. Ids are shown too.
const WORDS: [&str; 5] = ["resource", "action", "code", "role_name", "table_id"];
/// Columns that only tell of the change itself.
const MAINTAINED: [&str; 7] =
    ["created_by", "updated_by", "updated_at", "bound_at", "bound_by", "protected_at", "protected_by"];

/// Writes an event of a tenant, or of the platform. Does nothing where schema audit is not deployed.
pub fn record(tenant: Option<Uuid>, event: &str, object: &str, detail: Value) {
    let Some(events) = invalidation::named("audit", "security_events") else { return };
    let origin = origin::current();
    let actor = origin.actor.map(|actor| actor.to_string()).unwrap_or_default();
    let _path = SettingsScope::pinned_path();
    // Writes as the owner of the table: whoever causes an event has no right to write one.
    fresh::write(
        events.owner,
        INSERT,
        &[
            Arg::Uuid(tenant.unwrap_or(Uuid::nil())),
            Arg::Text(event),
            Arg::Text(object),
            Arg::Text(&detail.to_string()),
            Arg::Text(&actor),
            Arg::Text(&origin.roles.session),
            Arg::Text(&origin.roles.current),
        ],
    );
}

v1_function!(
    /// AFTER INSERT OR UPDATE OR DELETE FOR EACH ROW, or AFTER TRUNCATE. The argument is what the rows are, in the event's
    /// name: `role.insert`.
    thorbis_record_security_event, pg_finfo_thorbis_record_security_event, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::Any) };
        if !trigger.is_truncate() {
            // SAFETY: as above. Statements that change rows have none to tell of.
            unsafe { Trigger::of(fcinfo, Firing::AfterRow) };
        }
        let Some(what) = trigger.arguments().first().copied().filter(|what| !what.is_empty()) else {
            TriggerError::Arguments { table: trigger.table_name() }.raise()
        };
        record_change(&trigger, what);
        trigger.unchanged()
    })
});

fn record_change(trigger: &Trigger, what: &str) {
    let _path = SettingsScope::pinned_path();
    let object = qualified_name(trigger.relation());
    let of_row = |row, verb: &str, changed: &[String]| {
        let detail = detail(trigger, row, changed);
        record(trigger.uuid(row, "tenant_id"), &format!("{what}.{verb}"), &object, detail);
    };
    if trigger.is_insert() {
        of_row(trigger.new_row(), "insert", &[]);
    } else if trigger.is_delete() {
        of_row(trigger.old(), "delete", &[]);
    } else if trigger.is_update() {
        let mut changed = trigger.changed_columns();
        changed.retain(|column| !MAINTAINED.contains(&column.as_str()));
        if changed.iter().any(|column| column == "tenant_id") {
            // Each tenant learns its half of it.
            of_row(trigger.old(), "delete", &[]);
            of_row(trigger.new_row(), "insert", &[]);
        } else if !changed.is_empty() {
            of_row(trigger.new_row(), "update", &changed);
        }
    } else {
        record(None, &format!("{what}.truncate"), &object, json!({}));
    }
}

/// The ids and words of a row, and which columns changed: what they changed from is in the log of changes. The caller has
/// pinned the path, so that names of tables are written in full.
fn detail(trigger: &Trigger, row: TriggerRow, changed: &[String]) -> Value {
    let mut detail = Map::new();
    // SAFETY: the relation is open while its trigger runs.
    let columns = unsafe { pgrx::PgTupleDesc::from_pg_unchecked(trigger.descriptor()) };
    for column in columns.iter().filter(|column| !column.attisdropped) {
        let name = column.name();
        let is_id = column.atttypid == pg_sys::UUIDOID && name != "tenant_id" && !MAINTAINED.contains(&name);
        if !is_id && !WORDS.contains(&name) {
            continue;
        }
        if let Some(value) = trigger.value(row, column.attnum.into()) {
            // SAFETY: the value is of the column's type.
            detail.insert(name.into(), unsafe { written(value, column.atttypid) }.into());
        }
    }
    if !changed.is_empty() {
        detail.insert("changed".into(), changed.into());
    }
    detail.into()
}
