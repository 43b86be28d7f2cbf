//! `write_outbox_event(topic, column, ...)`: one event for one row, in the transaction that changes it.
//!
//! Written as the owner of the outbox: whoever changes the row need not be able to write events. The statement's plan is
//! kept; the payload is made without SQL.

use crate::access::invalidation;
use crate::deploy::error::DeployError;
use crate::outbox::payload;
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::guarded;
use crate::pg::trigger::{ColumnType, Firing, Trigger, TriggerError};
use crate::v1_function;
use pgrx::pg_sys;

/// A tenant that is being deleted takes its rows along, of which nobody needs to hear.
const WRITE: &str = "INSERT INTO shared.outbox (tenant_id, topic, document, document_id, operation, payload)
     SELECT t.id, $2, $3, $4, $5, $6 FROM shared.tenants t WHERE t.id OPERATOR(pg_catalog.=) $1";

v1_function!(
    /// AFTER INSERT, UPDATE or DELETE FOR EACH ROW, on a protected table with a uuid `id`.
    thorbis_write_outbox_event, pg_finfo_thorbis_write_outbox_event, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::AfterRow) };
        let arguments = trigger.arguments();
        let Some((topic, columns)) = arguments.split_first() else {
            TriggerError::Arguments { table: trigger.table_name() }.raise()
        };
        let (operation, row) = match (trigger.is_insert(), trigger.is_delete()) {
            (true, _) => ("insert", trigger.new_row()),
            (_, true) => ("delete", trigger.old()),
            _ => ("update", trigger.new_row()),
        };
        let source = payload::source(&trigger);
        trigger.required_column(&source.tenant_column, ColumnType::Uuid);
        trigger.required_column("id", ColumnType::Uuid);
        let payload = payload::of(&trigger, &source, row, columns);
        let key = trigger.uuid(row, &source.tenant_column).zip(trigger.uuid(row, "id"));
        let Some(outbox) = invalidation::named("shared", "outbox") else { DeployError::NotInstalled.raise() };
        if let Some((tenant, id)) = key {
            let args = [
                Arg::Uuid(tenant),
                Arg::Text(topic),
                Arg::Text(&source.document),
                Arg::Uuid(id),
                Arg::Text(operation),
                Arg::Value(pg_sys::JSONBOID, Some(payload)),
            ];
            fresh::write(outbox.owner, WRITE, &args);
        }
        trigger.unchanged()
    })
});
