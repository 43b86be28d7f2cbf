//! Private clusters: the one all tests share, and extra ones that a test stops and deletes when it is done.

use postgres::{Client, Config, NoTls};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Durability costs time and protects nothing here. autovacuum would make plans depend on the moment.
const SETTINGS: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "autovacuum=off",
    "jit=off",
    "max_connections=200",
    "max_prepared_transactions=20",
];

pub struct Cluster {
    name: String,
    /// The socket's directory: the superuser may connect only through it.
    pub host: String,
    pub port: u16,
    temporary: bool,
}

pub fn repository_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the repository").to_path_buf()
}

fn cluster_sh(args: &[&str]) -> String {
    let script = repository_root().join("scripts/cluster.sh");
    let output = Command::new(&script).args(args).output().unwrap_or_else(|e| panic!("{}: {e}", script.display()));
    assert!(
        output.status.success(),
        "scripts/cluster.sh {} failed:\n{}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("the script prints UTF-8")
}

impl Cluster {
    /// The cluster of this run, started by the first test that asks for it.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Cluster::launch("start", "test", &["auto"], false))
    }

    /// An empty cluster of a test's own. Roles are global, so what a restore needs can only be tried in one.
    pub fn fresh(purpose: &str) -> Cluster {
        let name = format!("test-{purpose}-{}", std::process::id());
        Cluster::launch("start", &name, &["auto"], true)
    }

    /// A hot standby of this cluster.
    pub fn standby(&self) -> Cluster {
        let name = format!("test-standby-{}", std::process::id());
        Cluster::launch("standby", &name, &[&self.name], true)
    }

    fn launch(verb: &str, name: &str, more: &[&str], temporary: bool) -> Cluster {
        let args: Vec<&str> = [verb, name].iter().chain(more).chain(SETTINGS).copied().collect();
        let printed = cluster_sh(&args);
        let value = |key: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_else(|| panic!("scripts/cluster.sh printed no {key}")).to_owned()
        };
        let port = value("PGPORT=").parse().expect("a port is a number");
        Cluster { name: name.to_owned(), host: value("PGHOST="), port, temporary }
    }

    pub fn config(&self, database: &str, role: &str) -> Config {
        let mut config = Config::new();
        config.host(&self.host).port(self.port).dbname(database).user(role).application_name("thorbis-tests");
        config
    }

    pub fn connect(&self, database: &str, role: &str) -> Client {
        let connected = self.config(database, role).connect(NoTls);
        connected.unwrap_or_else(|e| panic!("{role} cannot connect to {database}: {}", crate::describe(&e)))
    }

    /// The superuser in the maintenance database.
    pub fn maintenance(&self) -> Client {
        self.connect("postgres", "postgres")
    }

    /// A program of the server's own version (pg_dump, psql), with the connection in its arguments.
    pub fn program(&self, name: &str) -> Command {
        let bindir: String = self
            .maintenance()
            .query_one("SELECT setting FROM pg_config() WHERE name = 'BINDIR'", &[])
            .expect("pg_config() answers")
            .get(0);
        let mut command = Command::new(Path::new(&bindir).join(name));
        command.arg("--host").arg(&self.host).arg("--port").arg(self.port.to_string());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.temporary {
            cluster_sh(&["destroy", &self.name]);
        }
    }
}
