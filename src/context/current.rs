//! The tenant and user in force, and the latch.
//!
//! Sources, highest first: bound role, (verified token: not built yet), settings, claims. Sources that disagree are an
//! error, never a silent choice. The first tenant read in a transaction stays: `set_config()` inside a query cannot
//! make one statement read two tenants.
//!
//! Everything is keyed by the local transaction id, so nothing has to be reset when a transaction ends. A rollback to
//! a savepoint does not release the latch.

use crate::access::invalidation;
use crate::context::error::ContextError;
use crate::context::settings::{self, ContextMode};
use crate::context::{bound_roles, bound_roles::Binding};
use crate::pg::cell::BackendCell;
use crate::pg::error::SqlError;
use crate::pg::{identity, raw};
use pgrx::pg_sys;
use std::cell::Cell;
use uuid::Uuid;

/// On whose behalf the transaction runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    pub tenant: Option<Uuid>,
    pub user: Option<Uuid>,
}

/// Everything that a resolved context depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    transaction: pg_sys::LocalTransactionId,
    settings: u64,
    access: u64,
    session_user: pg_sys::Oid,
    current_user: pg_sys::Oid,
}

impl Key {
    const NEVER: Key = Key {
        transaction: 0,
        settings: 0,
        access: 0,
        session_user: pg_sys::InvalidOid,
        current_user: pg_sys::InvalidOid,
    };

    /// Equal but for the access data: what one statement may keep while others commit.
    #[inline]
    pub fn same_caller(&self, other: &Key) -> bool {
        *self == Key { access: self.access, ..*other }
    }

    #[inline]
    pub fn now() -> Key {
        let (session_user, current_user) = raw::user_ids();
        Key {
            transaction: raw::local_transaction_id(),
            settings: settings::generation(),
            access: invalidation::generation(),
            session_user,
            current_user,
        }
    }
}

static MEMO: BackendCell<Cell<(Key, Context)>> =
    BackendCell::new(Cell::new((Key::NEVER, Context { tenant: None, user: None })));
static LATCH: BackendCell<Cell<(pg_sys::LocalTransactionId, Uuid)>> = BackendCell::new(Cell::new((0, Uuid::nil())));

/// The context if nothing changed since it was resolved: five comparisons, cannot raise.
#[inline]
pub fn remembered() -> Option<Context> {
    // SAFETY: compared in place, because a copy of both costs more than the comparison; only the context is copied out.
    let (key, context) = unsafe { &*MEMO.as_ptr() };
    (*key == Key::now()).then_some(*context)
}

/// What this transaction last resolved, for whomever and from whatever settings: what it has come to read. Cannot raise.
pub fn known() -> Context {
    let (key, context) = MEMO.get();
    let (latched_in, latched) = LATCH.get();
    let now = raw::local_transaction_id();
    if key.transaction == now {
        context
    } else if latched_in == now {
        Context { tenant: Some(latched), user: None }
    } else {
        Context::default()
    }
}

/// Resolves, checks and latches the context. Raises 28000 when sources disagree or the tenant would change.
pub fn get() -> Context {
    if let Some(context) = remembered() {
        return context;
    }
    invalidation::refresh();
    let key = Key::now();
    let context = resolve(key);
    if let Some(tenant) = context.tenant {
        check_latch(key.transaction, tenant);
        // Without a tenant nothing is remembered: claims may still arrive in this transaction.
        MEMO.set((key, context));
    }
    context
}

/// Raises if the transaction already reads another tenant. Operators of all tenants neither check nor latch.
pub fn check_latch(transaction: pg_sys::LocalTransactionId, tenant: Uuid) {
    let (latched_in, latched) = LATCH.get();
    if latched_in == transaction && latched == tenant {
        return;
    }
    // Our own code acts as the owner of a table for a statement: who it acts for is the outer user.
    if identity::operates_all_tenants() || identity::outer_user_operates_all_tenants() {
        return;
    }
    if latched_in == transaction {
        ContextError::Latched.raise();
    }
    LATCH.set((transaction, tenant));
}

fn resolve(key: Key) -> Context {
    let mut merged = Merged::default();
    let mut bound = [bound_roles::of(key.session_user), None];
    if key.current_user != key.session_user {
        bound[1] = bound_roles::of(key.current_user);
    }
    for Binding { tenant, user } in bound.into_iter().flatten() {
        merged.add("a bound role", Some(tenant), user);
    }
    // Verified tokens (thorbis.authenticate) take this place.
    if settings::context_mode() == ContextMode::Gateway {
        let (tenant, user) = settings::current();
        merged.add("app.current_tenant_id or app.current_user_id", tenant, user);
        // Anybody may set request.jwt.claims, so they count only in sessions of a gateway, and never add a user to a
        // bound role.
        if identity::is_member(key.session_user, "thorbis_gateway") {
            let claims = settings::claims();
            let is_bound = bound.iter().any(Option::is_some);
            let user = claims.user.filter(|_| !is_bound || merged.context.user.is_some());
            merged.add("request.jwt.claims", claims.tenant, user);
        }
    }
    merged.context
}

/// Sources folded into one context.
#[derive(Default)]
struct Merged {
    context: Context,
    tenant_source: &'static str,
    user_source: &'static str,
}

impl Merged {
    fn add(&mut self, source: &'static str, tenant: Option<Uuid>, user: Option<Uuid>) {
        merge("tenant", &mut self.context.tenant, &mut self.tenant_source, source, tenant);
        merge("user", &mut self.context.user, &mut self.user_source, source, user);
    }
}

fn merge(what: &'static str, held: &mut Option<Uuid>, by: &mut &'static str, source: &'static str, new: Option<Uuid>) {
    match (*held, new) {
        (Some(a), Some(b)) if a != b => ContextError::Conflict { what, first: by, second: source }.raise(),
        (None, Some(_)) => {
            *held = new;
            *by = source;
        }
        _ => {}
    }
}
