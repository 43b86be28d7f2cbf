//! Private clusters: the one all tests share, and extra ones that a test stops and deletes when it is done.

use postgres::{Client, Config, NoTls};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Durability costs time and protects nothing here. autovacuum would make plans depend on the moment. A test that waits
/// for a lock for ever fails.
const SETTINGS: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "autovacuum=off",
    "jit=off",
    "statement_timeout=3min",
    "max_connections=200",
    "max_prepared_transactions=20",
    // A base backup beside busy tests must not lose the segments it still needs.
    "wal_keep_size=1GB",
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

/// What the script prints, or what it complains about.
fn cluster_sh(args: &[&str]) -> Result<String, String> {
    let script = repository_root().join("scripts/cluster.sh");
    let output = Command::new(&script).args(args).output().map_err(|e| format!("{}: {e}", script.display()))?;
    let [printed, complaints] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    if output.status.success() { Ok(printed) } else { Err(format!("cluster.sh {}:\n{complaints}", args.join(" "))) }
}

/// A name no other test of this or another process has.
fn own_name(purpose: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("test-{purpose}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

impl Cluster {
    /// The cluster of this run, started by the first test that asks for it.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Cluster::launch("start", "test", "auto", &[], false))
    }

    /// An empty cluster of a test's own. Roles are global, so what a restore needs can only be tried in one.
    pub fn fresh(purpose: &str) -> Cluster {
        Cluster::fresh_with(purpose, &[])
    }

    /// The same with settings (`name=value`) of its own, which precede the usual ones.
    pub fn fresh_with(purpose: &str, settings: &[&str]) -> Cluster {
        Cluster::launch("start", &own_name(purpose), "auto", settings, true)
    }

    /// A hot standby of this cluster.
    pub fn standby(&self) -> Cluster {
        Cluster::launch("standby", &own_name("standby"), &self.name, &[], true)
    }

    fn launch(verb: &str, name: &str, argument: &str, settings: &[&str], temporary: bool) -> Cluster {
        let args: Vec<&str> = [verb, name, argument].iter().chain(SETTINGS).chain(settings).copied().collect();
        let printed = cluster_sh(&args).unwrap_or_else(|complaints| panic!("{complaints}"));
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

    /// Stops the server and keeps its files.
    pub fn stop(&self) {
        cluster_sh(&["stop", &self.name]).unwrap_or_else(|complaints| panic!("{complaints}"));
    }

    /// Starts it at the same place after it was stopped or killed. The settings are those of `fresh_with`.
    pub fn start_again(&self, settings: &[&str]) -> Result<(), String> {
        let port = self.port.to_string();
        let args: Vec<&str> = ["start", &self.name, &port].iter().chain(SETTINGS).chain(settings).copied().collect();
        let printed = cluster_sh(&args)?;
        assert!(printed.contains(&format!("PGPORT={port}\n")), "somebody else took its port:\n{printed}");
        Ok(())
    }

    /// The data directory. Beside it stand the log and the keyring.
    pub fn data_directory(&self) -> PathBuf {
        PathBuf::from(crate::one::<String>(&mut self.maintenance(), "SHOW data_directory", &[]))
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
            // Never panics: the test may be panicking already. scripts/test.sh deletes what is left.
            if let Err(complaints) = cluster_sh(&["destroy", &self.name]) {
                eprintln!("{complaints}");
            }
        }
    }
}
