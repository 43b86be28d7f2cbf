//! pgbouncer in transaction mode with one server connection: two clients take turns on the same backend, and nothing of
//! one reaches the other. Simple queries only: pgbouncer before 1.21 knows no prepared statements of the protocol.

use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use thorbis_tests::{A, B, Database, Tenant, assert_sqlstate, ok, set_local};

struct Pgbouncer {
    process: Child,
    port: u16,
    directory: PathBuf,
    database: String,
}

impl Pgbouncer {
    /// In front of `db`, with a single server connection for app_login.
    fn start(db: &Database) -> Pgbouncer {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let directory = std::env::temp_dir().join(format!("thorbis-pgbouncer-{}-{port}", std::process::id()));
        std::fs::create_dir(&directory).expect("the temporary directory is writable");
        // As root it becomes another user, who must be able to read its files.
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).expect("own directory");
        let (ini, users, log) = (directory.join("pgbouncer.ini"), directory.join("users"), directory.join("log"));
        std::fs::write(&users, "\"app_login\" \"\"\n").expect("own directory");
        let text = format!(
            "[databases]\n{database} = host={host} port={server_port}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {users}\npool_mode = transaction\n\
             default_pool_size = 1\nmin_pool_size = 0\nreserve_pool_size = 0\nserver_reset_query = DISCARD ALL\n",
            database = db.name,
            host = db.cluster().host,
            server_port = db.cluster().port,
            users = users.display(),
        );
        std::fs::write(&ini, text).expect("own directory");
        let program =
            if std::path::Path::new("/usr/sbin/pgbouncer").exists() { "/usr/sbin/pgbouncer" } else { "pgbouncer" };
        let mut command = Command::new(program);
        if std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0) {
            command.args(["-u", &std::env::var("THORBIS_OS_USER").unwrap_or_else(|_| "postgres".into())]);
        }
        let log_file = std::fs::File::create(&log).expect("own directory");
        let started = command.arg(&ini).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file).spawn();
        let process = started.expect("pgbouncer is installed: run scripts/setup.sh test");
        let pool = Pgbouncer { process, port, directory, database: db.name.clone() };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return pool;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("pgbouncer does not answer:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
    }

    fn connect(&self) -> Client {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).dbname(&self.database).user("app_login");
        ok(config.connect(NoTls))
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The first column of all rows.
fn values(client: &mut Client, sql: &str) -> Vec<String> {
    ok(client.simple_query(sql))
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect()
}

fn tenants(client: &mut Client) -> Vec<String> {
    values(client, "SELECT DISTINCT tenant_id FROM shared.customers")
}

fn backend(client: &mut Client) -> Vec<String> {
    values(client, "SELECT pg_backend_pid()")
}

fn begin(client: &mut Client, tenant: &Tenant) {
    ok(client.batch_execute(&format!("BEGIN; {}", set_local(tenant.id, tenant.owner))));
}

fn two_clients(pool: &Pgbouncer) -> (Client, Client) {
    let (mut one, mut two) = (pool.connect(), pool.connect());
    assert_eq!(backend(&mut one), backend(&mut two), "both clients must be served by one backend");
    (one, two)
}

#[test]
fn clients_of_two_tenants_take_turns_on_one_backend() {
    let db = Database::new();
    let pool = Pgbouncer::start(&db);
    let (mut one, mut two) = two_clients(&pool);
    for _ in 0..3 {
        for (client, tenant) in [(&mut one, &A), (&mut two, &B)] {
            begin(client, tenant);
            assert_eq!(tenants(client), [tenant.id.to_string()]);
            ok(client.batch_execute("COMMIT"));
        }
    }
    for client in [&mut one, &mut two] {
        assert!(tenants(client).is_empty(), "without a context nothing is left of the last transaction");
    }
}

#[test]
fn session_set_does_not_reach_the_next_client() {
    let db = Database::new();
    let pool = Pgbouncer::start(&db);
    let (mut one, mut two) = two_clients(&pool);
    // A read of a protected table loads the library: from then on a plain SET outside a transaction is refused.
    assert!(tenants(&mut one).is_empty());
    let set = format!("SET app.current_tenant_id = '{}'", A.id);
    assert_sqlstate(one.batch_execute(&set), "25P01");
    ok(one.batch_execute(&format!("BEGIN; {set}; SET app.current_user_id = '{}'", A.owner)));
    assert_eq!(tenants(&mut one), [A.id.to_string()]);
    ok(one.batch_execute("COMMIT"));
    assert_eq!(backend(&mut one), backend(&mut two));
    assert!(tenants(&mut two).is_empty());
    begin(&mut two, &B);
    assert_eq!(tenants(&mut two), [B.id.to_string()], "and it is no conflict for the next one");
    ok(two.batch_execute("COMMIT"));
}

#[test]
fn autocommit_set_config_does_not_reach_the_next_client() {
    let db = Database::new();
    let pool = Pgbouncer::start(&db);
    let (mut one, mut two) = two_clients(&pool);
    for local in [true, false] {
        ok(one.batch_execute(&format!(
            "SELECT set_config('app.current_tenant_id', '{}', {local}), set_config('app.current_user_id', '{}', {local})",
            A.id, A.owner
        )));
        assert!(tenants(&mut two).is_empty(), "is_local = {local}");
    }
}

/// request.jwt.claims is an ordinary setting that PostgREST sets with SET LOCAL. A client that sets it for its session
/// instead leaves it on the pooled connection, and whoever sends SQL as the gateway is believed.
#[test]
fn session_claims_reach_the_next_client_exposed_in_gateway_mode() {
    let db = Database::new();
    let pool = Pgbouncer::start(&db);
    let (mut one, mut two) = two_clients(&pool);
    let claims = format!(r#"request.jwt.claims = '{{"tenant_id":"{}","sub":"{}"}}'"#, A.id, A.owner);
    ok(one.batch_execute(&format!("BEGIN; SET LOCAL {claims}; COMMIT")));
    assert!(tenants(&mut two).is_empty(), "SET LOCAL, as PostgREST does it, ends with the transaction");
    ok(one.batch_execute(&format!("SET {claims}")));
    assert_eq!(tenants(&mut two), [A.id.to_string()]);
    // It is at least no mixture: another tenant's own context is refused, not merged.
    begin(&mut two, &B);
    assert_sqlstate(two.simple_query("SELECT tenant_id FROM shared.customers"), "28000");
    ok(two.batch_execute("ROLLBACK"));
}

#[test]
fn permission_cache_of_the_backend_is_kept_apart_by_user() {
    let db = Database::new();
    let pool = Pgbouncer::start(&db);
    let (mut one, mut two) = two_clients(&pool);
    let count = "SELECT count(*) FROM shared.users";
    for _ in 0..2 {
        ok(one.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.owner))));
        assert_eq!(values(&mut one, count), ["3"]);
        ok(one.batch_execute("COMMIT"));
        ok(two.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.employee))));
        assert_eq!(values(&mut two, count), ["1"], "the employee sees the own row only");
        ok(two.batch_execute("COMMIT"));
    }
}

#[test]
fn error_of_one_client_does_not_hold_up_the_next() {
    let db = Database::new();
    let pool = Pgbouncer::start(&db);
    let (mut one, mut two) = two_clients(&pool);
    begin(&mut one, &A);
    assert_eq!(tenants(&mut one), [A.id.to_string()]);
    ok(one.batch_execute(&set_local(B.id, B.owner)));
    assert_sqlstate(one.simple_query("SELECT tenant_id FROM shared.customers"), "28000");
    ok(one.batch_execute("ROLLBACK"));
    begin(&mut two, &B);
    assert_eq!(tenants(&mut two), [B.id.to_string()]);
    ok(two.batch_execute("COMMIT"));
}
