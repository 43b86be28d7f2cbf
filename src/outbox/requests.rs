//! Requests that must not be done twice: a client that got no answer asks again, with the same key.
//!
//! A key belongs to a user of a tenant: what was answered to one is shown to nobody else. Meant to be begun and completed
//! in the transaction that does the work; whoever comes with the same key meanwhile waits for its end.

use crate::access::invalidation::{self, Relation};
use crate::context::current;
use crate::deploy::error::DeployError;
use crate::outbox::error::OutboxError;
use crate::pg::error::{SqlError, required};
use crate::pg::fresh::{self, Arg};
use pgrx::prelude::*;

const LONGEST_KEY: i32 = 200;

/// Takes the key, when it is new or expired. Whoever else takes it now is waited for.
const TAKE: &str = "INSERT INTO shared.idempotency_keys AS k (tenant_id, requested_by, key, request_hash)
     VALUES ($1, $2, $3, sha256(convert_to($4, 'UTF8')))
     ON CONFLICT (tenant_id, requested_by, key) DO UPDATE
        SET request_hash = excluded.request_hash, response = NULL, expires_at = excluded.expires_at,
            created_at = excluded.created_at
      WHERE k.expires_at <= clock_timestamp()";

const ANSWER: &str = "SELECT k.request_hash = sha256(convert_to($4, 'UTF8')), k.response::text
     FROM shared.idempotency_keys k
     WHERE k.tenant_id = $1 AND k.requested_by IS NOT DISTINCT FROM $2 AND k.key = $3";

const COMPLETE: &str = "UPDATE shared.idempotency_keys k SET response = $4::jsonb
     WHERE k.tenant_id = $1 AND k.requested_by IS NOT DISTINCT FROM $2 AND k.key = $3
        AND (k.response IS NULL OR k.response = $4::jsonb)";

/// The response of the request when it was done already, NULL when it is now to be done.
#[pg_extern(sql = false)]
fn begin_idempotent_request(key: Option<&str>, request: Option<&str>) -> Option<String> {
    let (keys, caller) = open();
    let args = [caller[0], caller[1], Arg::Text(checked(key)), Arg::Text(required("request", request))];
    if fresh::write(keys.owner, TAKE, &args) == 1 {
        return None;
    }
    let mut known = None;
    fresh::read(keys.owner, keys.oid, ANSWER, &args, |row| known = Some((row.boolean(1), row.text(2))));
    match known {
        Some((Some(true), Some(response))) => Some(response),
        Some((Some(true), None)) => OutboxError::Unfinished.raise(),
        _ => OutboxError::OtherRequest.raise(),
    }
}

#[pg_extern(sql = false)]
fn complete_idempotent_request(key: Option<&str>, response: Option<&str>) {
    let (keys, caller) = open();
    let response = Arg::Text(required("response", response));
    let args = [caller[0], caller[1], Arg::Text(checked(key)), response];
    if fresh::write(keys.owner, COMPLETE, &args) == 1 {
        return;
    }
    let mut exists = false;
    fresh::read(keys.owner, keys.oid, ANSWER, &args, |_| exists = true);
    if exists {
        OutboxError::OtherResponse.raise();
    }
    OutboxError::NotBegun.raise()
}

/// The table, and on whose behalf.
fn open() -> (Relation, [Arg<'static>; 2]) {
    let Some(keys) = invalidation::named("shared", "idempotency_keys") else { DeployError::NotInstalled.raise() };
    let context = current::get();
    let Some(tenant) = context.tenant else { OutboxError::NoTenant.raise() };
    (keys, [Arg::Uuid(tenant), Arg::optional_uuid(context.user)])
}

fn checked(key: Option<&str>) -> &str {
    let key = required("key", key);
    if key.is_empty() || key.chars().count() > LONGEST_KEY as usize {
        OutboxError::OutOfRange { what: "the length of the key", least: 1, most: LONGEST_KEY }.raise();
    }
    key
}
