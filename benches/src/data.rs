//! How much is measured, and the database it is measured in.

use crate::Result;
use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use std::time::Instant;
use uuid::Uuid;

/// How much of everything.
pub struct Scale {
    pub orders: usize,
    pub tenants: usize,
    /// Point reads in one run.
    pub reads: usize,
    /// Calls of a native function in one run.
    pub calls: usize,
    /// Calls of a plpgsql function in one run.
    pub few_calls: usize,
    /// Rows that one UPDATE changes.
    pub updates: usize,
    /// Customers, each with a data key of their own.
    pub customers: usize,
    /// Values under one data key.
    pub values: usize,
    /// Values that pgcrypto decrypts in one run.
    pub few_values: usize,
    /// Orders that one statement writes, with a log of changes.
    pub audited: usize,
    /// One-row inserts of each contender.
    pub inserts: usize,
    /// Lines of all orders of one size whose total is calculated.
    pub order_lines: usize,
}

pub const FULL: Scale = Scale {
    orders: 1_000_000,
    tenants: 100,
    reads: 2_000,
    calls: 1_000_000,
    few_calls: 20_000,
    updates: 200_000,
    customers: 100_000,
    values: 100_000,
    few_values: 2_000,
    audited: 100_000,
    inserts: 30_000,
    order_lines: 10_000,
};
pub const QUICK: Scale = Scale {
    orders: 100_000,
    tenants: 100,
    reads: 500,
    calls: 100_000,
    few_calls: 2_000,
    updates: 20_000,
    customers: 10_000,
    values: 100_000,
    few_values: 200,
    audited: 10_000,
    inserts: 10_000,
    order_lines: 2_000,
};

/// The tenant that is read, its owner and its employee: see `sql/tenants.sql`.
pub const TENANT: Uuid = Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0042);
pub const OWNER: Uuid = Uuid::from_u128(0x0000_0000_0000_4000_a000_0000_0000_0042);
pub const EMPLOYEE: Uuid = Uuid::from_u128(0x0000_0000_0000_4000_9000_0000_0000_0042);

/// Reading tenants' data is the application's business; comparing is the superuser's, whom no policy concerns.
pub struct Sessions {
    pub superuser: Client,
    pub app: Client,
}

/// A new database `bench` with everything in it.
pub fn prepare(scale: &Scale) -> Result<Sessions> {
    let start = Instant::now();
    eprintln!("==> loading {} orders of {} tenants", scale.orders, scale.tenants);
    let mut server = connect("postgres", "postgres")?;
    server.batch_execute("DROP DATABASE IF EXISTS bench")?;
    server.batch_execute("CREATE DATABASE bench")?;
    let mut superuser = connect("bench", "postgres")?;
    superuser.batch_execute(
        "CREATE EXTENSION thorbis_db;
         SELECT thorbis.install('{restaurants}');
         CREATE ROLE bench_app LOGIN;
         SELECT thorbis.grant_app('bench_app');
         CREATE SCHEMA bench;
         GRANT USAGE ON SCHEMA bench TO bench_app",
    )?;
    for sql in [
        include_str!("../sql/tenants.sql"),
        include_str!("../sql/orders.sql"),
        include_str!("../sql/document.sql"),
        include_str!("../sql/reads.sql"),
        include_str!("../sql/calls.sql"),
        include_str!("../sql/updates.sql"),
        include_str!("../sql/personal.sql"),
        include_str!("../sql/audit.sql"),
        include_str!("../sql/totals.sql"),
    ] {
        superuser.batch_execute(&scale.fill_in(sql))?;
    }
    empty_log(&mut superuser)?;
    superuser.batch_execute("VACUUM ANALYZE")?;
    superuser.batch_execute("CHECKPOINT")?;
    eprintln!("    took {:.0} s", start.elapsed().as_secs_f64());
    let app = connect("bench", "bench_app")?;
    Ok(Sessions { superuser, app })
}

impl Scale {
    fn fill_in(&self, sql: &str) -> String {
        [
            ("{orders}", self.orders),
            ("{tenants}", self.tenants),
            ("{calls}", self.calls),
            ("{few_calls}", self.few_calls),
            ("{updates}", self.updates),
            ("{customers}", self.customers),
            ("{values}", self.values),
            ("{few_values}", self.few_values),
            ("{audited}", self.audited),
            ("{order_lines}", self.order_lines),
        ]
        .iter()
        .fold(sql.to_owned(), |sql, (name, number)| sql.replace(name, &number.to_string()))
    }
}

fn connect(database: &str, role: &str) -> Result<Client> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set: run scripts/bench.sh"));
    let mut config = Config::new();
    config.host(&variable("PGHOST")?).port(variable("PGPORT")?.parse()?).dbname(database).user(role);
    config.application_name("thorbis-bench");
    Ok(config.connect(NoTls)?)
}

/// The log of changes grows with whatever is written, and would weigh on what comes.
pub fn empty_log(superuser: &mut Client) -> Result<()> {
    superuser.batch_execute("CALL bench.empty_log('audit.change_log')")?;
    Ok(())
}

/// Creates an extension that the server may come without; false when it does.
pub fn create_extension(superuser: &mut Client, name: &str) -> Result<bool> {
    let available = format!("SELECT count(*) FROM pg_available_extensions WHERE name = '{name}'");
    if first_row(superuser, &available)? != [Some("1".to_owned())] {
        eprintln!("    contrib {name} is not installed in this server: nothing to compare with");
        return Ok(false);
    }
    superuser.batch_execute(&format!("CREATE EXTENSION {name}"))?;
    Ok(true)
}

/// Begins a transaction on behalf of the employee.
pub fn begin_in_context(client: &mut Client) -> Result<()> {
    begin_as(client, EMPLOYEE)
}

/// Begins a transaction on behalf of a user of the tenant.
pub fn begin_as(client: &mut Client, user: Uuid) -> Result<()> {
    client.batch_execute(&format!("BEGIN; SELECT thorbis.set_context('{TENANT}', '{user}')"))?;
    Ok(())
}

/// The first row of a result, as text.
pub fn first_row(client: &mut Client, sql: &str) -> Result<Vec<Option<String>>> {
    let row = client.simple_query(sql)?.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
        _ => None,
    });
    row.ok_or_else(|| format!("no row: {sql}").into())
}

/// What was measured where, in one line.
pub fn describe(sessions: &mut Sessions, scale: &Scale) -> Result<String> {
    let sql = "SELECT thorbis.version(), current_setting('server_version')";
    let versions = first_row(&mut sessions.superuser, sql)?;
    let version = |i: usize| versions[i].clone().unwrap_or_default();
    Ok(format!(
        "thorbis_db {} on PostgreSQL {}, {} orders of {} tenants, {} customers, medians of {} alternating runs",
        version(0),
        version(1),
        scale.orders,
        scale.tenants,
        scale.customers,
        crate::measure::ALTERNATIONS
    ))
}
