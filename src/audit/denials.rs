//! What was refused, in the server log.
//!
//! An error rolls back whatever the transaction wrote, so a denial cannot leave a row. It leaves a line, before the error
//! is raised. The line never carries the statement, which may hold anything.

use crate::context::current;
use crate::domain::denial::{self, Denial};
use crate::pg::cursor::EPOCH_MICROS;
use crate::pg::error::SqlError;
use crate::pg::identity;
use pgrx::prelude::*;
use std::ffi::{CString, c_char, c_int};

unsafe extern "C-unwind" {
    fn errstart(level: i32, domain: *const c_char) -> bool;
    fn errhidestmt(hide: bool) -> c_int;
    fn errhidecontext(hide: bool) -> c_int;
    fn errfinish(file: *const c_char, line: i32, function: *const c_char);
}

/// Writes the line, if the error is a denial. Reads what is known already: it resolves nothing that could raise in turn.
pub fn note(error: &(impl SqlError + ?Sized)) {
    let code = match error.code() {
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE => "42501",
        PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION => "28000",
        _ => return,
    };
    let context = current::known();
    // SAFETY: all of them read the state of the process.
    let (now, database, session, outer) = unsafe {
        let users = (pg_sys::GetSessionUserId(), pg_sys::GetOuterUserId());
        (pg_sys::GetCurrentTimestamp(), pg_sys::MyDatabaseId, users.0, users.1)
    };
    let denial = Denial {
        at: now + EPOCH_MICROS,
        database: database.to_u32(),
        tenant: context.tenant.map(|tenant| tenant.to_string()),
        user: context.user.map(|user| user.to_string()),
        role: role_name(outer),
        session_role: role_name(session),
        code: code.into(),
        rule: error.to_string(),
    };
    log(&denial.to_line(&server_key()));
}

/// The catalog cannot be asked outside of a transaction that works.
fn role_name(role: pg_sys::Oid) -> String {
    // SAFETY: reads the state of the transaction.
    let known = unsafe { pg_sys::IsTransactionState() }.then(|| identity::role_name(role)).flatten();
    known.unwrap_or_else(|| role.to_u32().to_string())
}

/// What only the server's own processes and its superusers know: initdb makes it at random, to answer logins of roles that
/// do not exist. A standby has that of its primary.
fn server_key() -> [u8; 32] {
    // SAFETY: points to MOCK_AUTH_NONCE_LEN, that is 32, bytes in shared memory, which stay as they are.
    unsafe { *pg_sys::GetMockAuthenticationNonce().cast::<[u8; 32]>() }
}

/// To the server log only, at the level LOG, without statement and context.
fn log(line: &str) {
    let Ok(line) = CString::new(line) else { return };
    // SAFETY: the protocol of ereport(); the message is copied. Nothing here owns memory that an error would leave behind:
    // across the boundary one becomes a panic.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            if errstart(PgLogLevel::LOG_SERVER_ONLY as i32, std::ptr::null()) {
                pg_sys::errmsg_internal(c"%s".as_ptr(), line.as_ptr());
                errhidestmt(true);
                errhidecontext(true);
                errfinish(c"denials.rs".as_ptr(), line!() as i32, c"note".as_ptr());
            }
        });
    }
}

/// Rows: the denials in a log, in its order. With `verify` those that this server wrote, else all that look like one.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn parse_denials(
    log: &[u8],
    verify: bool,
) -> TableIterator<
    'static,
    (
        name!(occurred_at, TimestampWithTimeZone),
        name!(database_id, pg_sys::Oid),
        name!(tenant_id, Option<pgrx::Uuid>),
        name!(user_id, Option<pgrx::Uuid>),
        name!(database_role, String),
        name!(session_role, String),
        name!(code, String),
        name!(rule, String),
    ),
> {
    let key = server_key();
    // Logs of databases in other encodings stand in the same file.
    let denials = denial::in_log(&String::from_utf8_lossy(log), verify.then_some(&key[..]));
    let uuid = |text: Option<String>| text.and_then(|t| t.parse().ok()).map(crate::pg::uuid::to_pgrx);
    let rows = denials.into_iter().filter_map(move |denial| {
        let at = TimestampWithTimeZone::try_from(denial.at.checked_sub(EPOCH_MICROS)?).ok()?;
        let database = pg_sys::Oid::from(denial.database);
        let (tenant, user) = (uuid(denial.tenant), uuid(denial.user));
        Some((at, database, tenant, user, denial.role, denial.session_role, denial.code, denial.rule))
    });
    TableIterator::new(rows.collect::<Vec<_>>())
}
