//! Statements on behalf of a tenant's user, and small shorthands.

use crate::database::Database;
use crate::tenants::Tenant;
use postgres::types::{FromSql, ToSql};
use postgres::{Client, Error, GenericClient, Transaction};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// What `tenants_seen` says without a context.
pub const NO_TENANTS: [Uuid; 0] = [];

/// The single value of a single row.
#[track_caller]
pub fn one<T>(client: &mut impl GenericClient, sql: &str, params: &[&(dyn ToSql + Sync)]) -> T
where
    T: for<'a> FromSql<'a>,
{
    crate::ok(client.query_one(sql, params)).get(0)
}

/// One transaction on behalf of a user, committed when `work` succeeds.
pub fn in_context<T>(
    client: &mut Client,
    tenant: Uuid,
    user: Uuid,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut transaction = client.transaction()?;
    transaction.execute("SELECT thorbis.set_context($1, $2)", &[&tenant, &user])?;
    let value = work(&mut transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// The same for the tenant's owner, who holds every permission: it must succeed.
#[track_caller]
pub fn as_owner<T>(db: &Database, tenant: &Tenant, work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>) -> T {
    crate::ok(in_context(&mut db.app(), tenant.id, tenant.owner, work))
}

/// SET LOCAL of both settings, for tests that switch the context by hand.
pub fn set_local(tenant: Uuid, user: Uuid) -> String {
    format!("SET LOCAL app.current_tenant_id = '{tenant}'; SET LOCAL app.current_user_id = '{user}'")
}

/// Whatever can be planned in parallel is, with workers alone doing the work.
pub fn force_parallel(client: &mut Client) {
    let version: i32 = one(client, "SELECT current_setting('server_version_num')::int", &[]);
    let setting = if version >= 160_000 { "debug_parallel_query" } else { "force_parallel_mode" };
    crate::ok(client.batch_execute(&format!(
        "SET {setting} = on; SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0;
         SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET max_parallel_workers_per_gather = 2;
         SET parallel_leader_participation = off"
    )));
}

/// Waits for something that another session or process is doing.
#[track_caller]
pub fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !happened() {
        assert!(Instant::now() < deadline, "it did not come about that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Transactions begun and ended by hand: what a test of attacks on the context needs.
pub trait Session {
    /// BEGIN, with the owner of `tenant` as the user.
    fn begin_as(&mut self, tenant: &Tenant);
    /// Tries to make `tenant` the context of the running transaction.
    fn switch_to(&mut self, tenant: &Tenant) -> Result<(), Error>;
    /// The tenants whose customers are visible.
    fn tenants_seen(&mut self) -> Result<Vec<Uuid>, Error>;
    /// What the reader function says.
    fn current_tenant(&mut self) -> Result<Option<Uuid>, Error>;
}

impl Session for Client {
    #[track_caller]
    fn begin_as(&mut self, tenant: &Tenant) {
        crate::ok(self.batch_execute(&format!("BEGIN; {}", set_local(tenant.id, tenant.owner))));
    }

    fn switch_to(&mut self, tenant: &Tenant) -> Result<(), Error> {
        self.batch_execute(&set_local(tenant.id, tenant.owner))
    }

    fn tenants_seen(&mut self) -> Result<Vec<Uuid>, Error> {
        let rows = self.query("SELECT DISTINCT tenant_id FROM shared.customers ORDER BY 1", &[])?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn current_tenant(&mut self) -> Result<Option<Uuid>, Error> {
        Ok(self.query_one("SELECT get_current_tenant_id()", &[])?.get(0))
    }
}
