//! Who makes a change, and from where. The actor is the user of the context, which tenants cannot set; what a client says of
//! itself (`application_name`, `app.request_id`) is noted as what it is.

use crate::context::current;
use crate::pg::cell::BackendCell;
use crate::pg::{identity, raw};
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};
use std::rc::Rc;
use uuid::Uuid;

/// Longest request id that is noted, in bytes.
const LONGEST_REQUEST_ID: usize = 128;

static REQUEST_ID: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// Who acts now.
pub struct Origin {
    pub actor: Option<Uuid>,
    pub roles: Rc<Roles>,
    pub application: Option<String>,
    pub request_id: Option<String>,
}

/// The names of the database roles.
pub struct Roles {
    /// Who logged in.
    pub session: String,
    /// Who they act as since SET ROLE; functions that run as somebody else do not count.
    pub current: String,
}

pub fn init() {
    GucRegistry::define_string_guc(
        c"app.request_id",
        c"Identifies the request of the application in the log of changes.",
        c"Whatever the application says, up to 128 bytes: SET LOCAL app.request_id = '...'.",
        &REQUEST_ID,
        GucContext::Userset,
        GucFlags::default(),
    );
}

pub fn current() -> Origin {
    Origin { actor: current::get().user, roles: roles(), application: application(), request_id: request_id() }
}

/// Where the client connected from, as an inet datum that lives as long as the backend.
pub fn client_address() -> Option<pg_sys::Datum> {
    static ADDRESS: BackendCell<Cell<Option<Option<pg_sys::Datum>>>> = BackendCell::new(Cell::new(None));
    if ADDRESS.get().is_none() {
        // SAFETY: the copy goes into memory that is never freed. The function takes no arguments and gives NULL for local
        // sockets and background processes.
        ADDRESS.set(Some(unsafe {
            pgrx::PgMemoryContexts::TopMemoryContext
                .switch_to(|_| pgrx::direct_function_call_as_datum(pg_sys::inet_client_addr, &[]))
        }));
    }
    ADDRESS.get().flatten()
}

fn roles() -> Rc<Roles> {
    /// Transaction, session role, role of SET ROLE.
    type Key = (pg_sys::LocalTransactionId, pg_sys::Oid, pg_sys::Oid);
    type Known = Option<(Key, Rc<Roles>)>;
    static KNOWN: BackendCell<RefCell<Known>> = BackendCell::new(RefCell::new(None));
    // SAFETY: reads a static variable.
    let key = (raw::local_transaction_id(), raw::user_ids().0, unsafe { pg_sys::GetOuterUserId() });
    if let Some((_, roles)) = KNOWN.borrow().as_ref().filter(|(known, _)| *known == key) {
        return Rc::clone(roles);
    }
    // A role that was dropped meanwhile is known by its number.
    let name = |role: pg_sys::Oid| identity::role_name(role).unwrap_or_else(|| role.to_u32().to_string());
    let roles = Rc::new(Roles { session: name(key.1), current: name(key.2) });
    KNOWN.replace(Some((key, Rc::clone(&roles))));
    roles
}

fn application() -> Option<String> {
    // SAFETY: a terminated string for the life of the process, or null.
    unsafe {
        let name = pg_sys::application_name;
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned()).filter(|name| !name.is_empty())
    }
}

fn request_id() -> Option<String> {
    let given = REQUEST_ID.get()?;
    let text = given.to_string_lossy();
    let end = (0..=LONGEST_REQUEST_ID.min(text.len())).rev().find(|end| text.is_char_boundary(*end))?;
    (end > 0).then(|| text[..end].to_owned())
}
