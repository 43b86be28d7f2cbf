//! `encrypt_pii`, `decrypt_pii`, `mask_pii`, `pii_blind_index`.
//!
//! Reading is permission-checked here, so no view, cursor or COPY gets around it. The tenant is that of the context,
//! never an argument: to a tenant's user, a ciphertext of another tenant does not open.

use crate::access::clock::{UnixMicros, coarse_unix_micros};
use crate::access::error::AccessError;
use crate::access::{cache, functions as access, invalidation};
use crate::context::current::{self, Key};
use crate::domain::envelope::{self, Envelope, Place};
use crate::domain::personal::Kind;
use crate::pg::cell::BackendCell;
use crate::pg::error::SqlError;
use crate::pg::function::{argument, bytes_datum, guarded, null, text_datum, with_text};
use crate::pg::settings_scope::SettingsScope;
use crate::pg::uuid::from_datum;
use crate::pg::{identity, raw};
use crate::pii::data_keys::{self, DataKey};
use crate::pii::error::PiiError;
use crate::pii::{fields, random};
use crate::v1_function;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use uuid::Uuid;

/// Permission for the fields that no table has, and for ciphertexts that are bound to no field.
const RESOURCE: &str = "pii";
const DECRYPT: &str = "decrypt";
/// Permission on a table's resource to read its encrypted columns.
pub const PII: &str = "pii";

/// Longest value. A failed allocation of Rust's ends the server, where one of PostgreSQL's ends the statement.
const MOST_BYTES: usize = 16 << 20;

/// As PostgreSQL stores it, with its header.
pub const MOST_STORED_BYTES: usize = MOST_BYTES + 4;

/// Raises 54000 for what is longer than any value or envelope of one.
pub fn check_length(text: &str) {
    if text.len() > 2 * MOST_BYTES {
        PiiError::TooLong.raise();
    }
}

/// What is done with the value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Show,
    Mask,
}

/// What the caller may open.
#[derive(Clone, Copy)]
pub struct Grant {
    /// None: of every tenant.
    tenant: Option<Uuid>,
    kind: Kind,
}

impl Grant {
    /// For our own code, which has checked what it needs to.
    pub const EVERYTHING: Grant = Grant { tenant: None, kind: Kind::Text };

    /// The same, of one tenant.
    pub fn within(tenant: Uuid) -> Grant {
        Grant { tenant: Some(tenant), kind: Kind::Text }
    }
}

/// The last grant: a listing asks for the same column again and again.
struct Remembered {
    caller: Key,
    field: String,
    what: Use,
    grant: Grant,
    until: Option<UnixMicros>,
}

static LAST: BackendCell<RefCell<Option<Remembered>>> = BackendCell::new(RefCell::new(None));
static UNCHECKED: BackendCell<Cell<Option<Scope>>> = BackendCell::new(Cell::new(None));

#[derive(Clone, Copy)]
struct Scope {
    /// None is all.
    tenant: Option<Uuid>,
    /// What does not open is NULL instead of an error.
    lenient: bool,
}

/// While it lives, SQL of our own may decrypt without the permission: an export is allowed by another one.
pub struct Unchecked {
    before: Option<Scope>,
    _serial: SettingsScope,
}

impl Unchecked {
    /// Of one tenant, and what does not open is NULL: one broken value must not hide the rest of a person's data.
    pub fn within(tenant: Uuid) -> Unchecked {
        Self::begin(Scope { tenant: Some(tenant), lenient: true })
    }

    /// Of all tenants; what does not open is an error.
    pub fn everywhere() -> Unchecked {
        Self::begin(Scope { tenant: None, lenient: false })
    }

    fn begin(scope: Scope) -> Unchecked {
        let serial = SettingsScope::pinned_path();
        // Parallel workers would not know of it.
        serial.set("max_parallel_workers_per_gather", "0");
        Unchecked { before: UNCHECKED.replace(Some(scope)), _serial: serial }
    }
}

impl Drop for Unchecked {
    fn drop(&mut self) {
        UNCHECKED.set(self.before);
    }
}

v1_function!(
    /// `encrypt_pii(plaintext text) -> text` and `encrypt_pii(plaintext text, field text, row_id text) -> text`, STRICT:
    /// under the current tenant's own key.
    thorbis_encrypt_pii, pg_finfo_thorbis_encrypt_pii, |fcinfo| {
    // SAFETY: the SQL declarations have one or three text arguments.
    unsafe {
        guarded(|| {
            let tenant = current_tenant();
            with_arguments(fcinfo, |text, field, row| match text {
                "" => null(fcinfo),
                text => text_datum(&seal(&data_keys::of_tenant(tenant), field, row, text)),
            })
        })
    }
});

v1_function!(
    /// `decrypt_pii(ciphertext text)` and `decrypt_pii(ciphertext text, field text, row_id text)`, STRICT.
    thorbis_decrypt_pii, pg_finfo_thorbis_decrypt_pii, |fcinfo| {
    // SAFETY: the SQL declarations have one or three text arguments.
    unsafe { guarded(|| with_arguments(fcinfo, |text, field, row| shown(fcinfo, Use::Show, text, field, row))) }
});

v1_function!(
    /// `decrypt_pii(ciphertext text, field text, row_id uuid)`, STRICT. A symbol of its own: what an argument is, is known
    /// from the declaration only; a call by the fast path has no expression to ask.
    thorbis_decrypt_pii_of_uuid, pg_finfo_thorbis_decrypt_pii_of_uuid, |fcinfo| {
    // SAFETY: the SQL declaration is (text, text, uuid).
    unsafe { guarded(|| with_uuid(fcinfo, |text, field, row| shown(fcinfo, Use::Show, text, field, row))) }
});

v1_function!(
    /// `mask_pii(ciphertext text, field text, row_id text)`, STRICT.
    thorbis_mask_pii, pg_finfo_thorbis_mask_pii, |fcinfo| {
    // SAFETY: the SQL declaration has three text arguments.
    unsafe { guarded(|| with_arguments(fcinfo, |text, field, row| shown(fcinfo, Use::Mask, text, field, row))) }
});

v1_function!(
    /// `mask_pii(ciphertext text, field text, row_id uuid)`, STRICT.
    thorbis_mask_pii_of_uuid, pg_finfo_thorbis_mask_pii_of_uuid, |fcinfo| {
    // SAFETY: the SQL declaration is (text, text, uuid).
    unsafe { guarded(|| with_uuid(fcinfo, |text, field, row| shown(fcinfo, Use::Mask, text, field, row))) }
});

v1_function!(
    /// `pii_blind_index(value text, field text) -> bytea`, STRICT.
    thorbis_pii_blind_index, pg_finfo_thorbis_pii_blind_index, |fcinfo| {
    // SAFETY: the SQL declaration has two text arguments.
    unsafe {
        guarded(|| {
            let tenant = current_tenant();
            let (Some(value), Some(field)) = (argument(fcinfo, 0), argument(fcinfo, 1)) else { return null(fcinfo) };
            with_text(value, |value| {
                with_text(field, |field| {
                    [value, field].into_iter().for_each(check_length);
                    let kind = fields::find(field).map(|known| known.kind).unwrap_or_default();
                    match kind.normalised(value).as_str() {
                        "" => null(fcinfo),
                        value => bytes_datum(&data_keys::blind_index(tenant, field).of(value)),
                    }
                })
            })
        })
    }
});

/// # Safety
/// `fcinfo` is the call info PostgreSQL passed.
unsafe fn shown(
    fcinfo: pg_sys::FunctionCallInfo,
    what: Use,
    ciphertext: &str,
    field: &str,
    row: &str,
) -> pg_sys::Datum {
    let grant = authorise(field, row, what);
    let value = if ciphertext.is_empty() { None } else { open(grant, ciphertext, field, row) };
    match (value, what) {
        (Some(value), Use::Show) => text_datum(&value),
        (Some(value), Use::Mask) => text_datum(&grant.kind.masked(&value)),
        // SAFETY: per contract.
        (None, _) if ciphertext.is_empty() || UNCHECKED.get().is_some_and(|scope| scope.lenient) => unsafe {
            null(fcinfo)
        },
        (None, _) => PiiError::NotDecrypted.raise(),
    }
}

/// Calls `body` with text, field and row of a STRICT function; the last two are empty where it has one argument.
///
/// # Safety
/// `fcinfo` is that of a STRICT function with one or three text arguments.
unsafe fn with_arguments<R>(fcinfo: pg_sys::FunctionCallInfo, body: impl FnOnce(&str, &str, &str) -> R) -> R {
    // SAFETY: per contract; STRICT, so none is null.
    unsafe {
        let args = (*fcinfo).args.as_slice((*fcinfo).nargs as usize);
        with_text(args[0].value, |text| match args {
            [_, field, row] => with_text(field.value, |field| {
                with_text(row.value, |row| {
                    [text, field, row].into_iter().for_each(check_length);
                    body(text, field, row)
                })
            }),
            _ => body(text, "", ""),
        })
    }
}

/// # Safety
/// `fcinfo` is that of a STRICT function with the arguments text, text, uuid.
unsafe fn with_uuid<R>(fcinfo: pg_sys::FunctionCallInfo, body: impl FnOnce(&str, &str, &str) -> R) -> R {
    // SAFETY: per contract; STRICT, so none is null.
    unsafe {
        let args = (*fcinfo).args.as_slice(3);
        let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
        let row = from_datum(args[2].value).hyphenated().encode_lower(&mut buffer);
        with_text(args[0].value, |text| {
            with_text(args[1].value, |field| {
                [text, field].into_iter().for_each(check_length);
                body(text, field, row)
            })
        })
    }
}

fn current_tenant() -> Uuid {
    current::get().tenant.unwrap_or_else(|| PiiError::NoTenant.raise())
}

/// The envelope of a text under a key.
pub fn seal(key: &DataKey, field: &str, row: &str, text: &str) -> String {
    if text.len() > MOST_BYTES {
        PiiError::TooLong.raise();
    }
    envelope::seal(key.id, &key.cipher, &random::bytes(), Place { tenant: key.tenant, field, row }, text)
}

/// The text of an envelope, None for every failure.
pub fn open(grant: Grant, ciphertext: &str, field: &str, row: &str) -> Option<String> {
    check_length(ciphertext);
    // A keyring that is gone is told before anything about the value.
    crate::pii::keyring::ensure();
    let envelope = Envelope::parse(ciphertext)?;
    let key = data_keys::by_id(envelope.data_key)?;
    if grant.tenant.is_some_and(|tenant| tenant != key.tenant) {
        return None;
    }
    envelope.open(&key.cipher, Place { tenant: key.tenant, field, row }).ok()
}

/// Raises 42501 unless the caller may read the field.
fn authorise(field: &str, row: &str, what: Use) -> Grant {
    // A statement prepared long ago in an open transaction sees a revocation, or a destroyed key, too.
    invalidation::refresh();
    let now = Key::now();
    if let Some(last) = LAST.borrow().as_ref()
        && last.caller == now
        && last.field == field
        && last.what == what
        && last.until.is_none_or(|until| coarse_unix_micros() < until)
        && UNCHECKED.get().is_none()
    {
        return last.grant;
    }
    decide(field, row, what)
}

fn decide(field: &str, row: &str, what: Use) -> Grant {
    let known = fields::find(field);
    let kind = known.as_ref().map(|known| known.kind).unwrap_or_default();
    if let Some(scope) = UNCHECKED.get() {
        return Grant { tenant: scope.tenant, kind };
    }
    let context = current::get();
    let caller = Key::now();
    let (resource, action) = match (&known, what) {
        (Some(known), Use::Show) => (known.resource.as_str(), PII),
        (Some(known), Use::Mask) => (known.resource.as_str(), "read"),
        (None, _) => (RESOURCE, DECRYPT),
    };
    let (held, until, tenant) = match (context.tenant, context.user) {
        (Some(tenant), Some(user)) => {
            let loaded = cache::loaded(tenant, user);
            (loaded.permissions.allow(resource, action), loaded.changes_at, Some(tenant))
        }
        _ => (identity::operates_all_tenants(), None, None),
    };
    let grant = Grant { tenant, kind };
    if held && raw::has_written() {
        // It may rest on what this transaction wrote, and end with a rollback to a savepoint.
        return grant;
    }
    if held {
        LAST.replace(Some(Remembered { caller, field: field.into(), what, grant, until }));
        return grant;
    }
    let own = known.as_ref().is_some_and(|known| known.own_row)
        && access::actor().is_some_and(|user| user.hyphenated().to_string() == row);
    if !own {
        AccessError::Required { resource: resource.into(), action: action.into() }.raise();
    }
    grant
}
