//! Database roles whose tenant is fixed: `thorbis.bind_role()`.

use crate::access::invalidation::{self, Watched};
use crate::pg::cell::BackendCell;
use crate::pg::identity;
use crate::pg::index_lookup::{self, Key};
use crate::pg::kept::Kept;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::ffi::CString;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    pub tenant: Uuid,
    pub user: Option<Uuid>,
}

/// A role and its binding, None for a role that is not bound.
type LookUp = (pg_sys::Oid, Kept<Option<Binding>>);

/// Look-ups of this backend, good for one generation of the access data. Unbound roles are remembered too.
static KNOWN: BackendCell<RefCell<Vec<LookUp>>> = BackendCell::new(RefCell::new(Vec::new()));
static GENERATION: BackendCell<Cell<u64>> = BackendCell::new(Cell::new(0));

/// The columns of `thorbis.bound_roles`.
const ROLE_NAME: i16 = 1;
const TENANT: i32 = 2;
const USER: i32 = 3;

/// The binding of a role, or None.
pub fn of(role: pg_sys::Oid) -> Option<Binding> {
    let generation = invalidation::generation();
    if GENERATION.get() != generation {
        KNOWN.borrow_mut().clear();
        GENERATION.set(generation);
    }
    let known = KNOWN.borrow().iter().find(|(known, _)| *known == role).and_then(|(_, kept)| kept.get());
    if let Some(binding) = known {
        return *binding;
    }
    // A change that arrived while reading moved the generation: the next look-up starts anew.
    let binding = read(role);
    let mut known = KNOWN.borrow_mut();
    known.retain(|(other, _)| *other != role);
    known.push((role, Kept::new(binding)));
    binding
}

fn read(role: pg_sys::Oid) -> Option<Binding> {
    let table = invalidation::relation(Watched::BoundRoles)?;
    // Whoever dropped the key has slower look-ups, and no role that is suddenly free.
    let index = invalidation::named("thorbis", "bound_roles_pkey").map_or(pg_sys::InvalidOid, |key| key.oid);
    let name = CString::new(identity::role_name(role)?).ok()?;
    index_lookup::find(table.oid, index, &[(ROLE_NAME, Key::Name(&name))], |row| {
        Some(Binding { tenant: row.uuid(TENANT), user: row.optional_uuid(USER) })
    })
}
