//! Fresh databases: copies of a template in which the extension, all schemas and two tenants are there already.

use crate::cluster::Cluster;
use crate::tenants;
use postgres::{Client, NoTls};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

/// Login roles of every template. They hold nothing that differs between databases, so all share them:
/// an application's login, one that may act as tenant user but not choose the tenant, and one with nothing.
pub const FIXTURE_ROLES: [&str; 3] = ["app_login", "app_only_login", "stranger_login"];

static COUNTER: AtomicU32 = AtomicU32::new(0);

pub struct Database {
    cluster: &'static Cluster,
    pub name: String,
    /// Roles of this database alone: dropped after it.
    roles: Mutex<Vec<String>>,
}

impl Database {
    /// Everything installed, tenants A and B with rows in every table.
    pub fn new() -> Database {
        let cluster = Cluster::shared();
        Database::create(cluster, &format!("TEMPLATE {}", template(cluster)))
    }

    /// One that all tests of a program share, for those that write nothing. It goes with the cluster.
    pub fn untouched() -> &'static Database {
        static UNTOUCHED: OnceLock<Database> = OnceLock::new();
        UNTOUCHED.get_or_init(Database::new)
    }

    /// No extension, no schemas.
    pub fn empty() -> Database {
        let cluster = Cluster::shared();
        // The template's making also makes the roles and their grants on settings: all databases share them, and two
        // first installations at once would collide there.
        template(cluster);
        Database::create(cluster, "TEMPLATE template0")
    }

    /// The extension, and nothing installed yet.
    pub fn with_extension() -> Database {
        let db = Database::empty();
        db.superuser().batch_execute("CREATE EXTENSION thorbis_db").expect("the extension can be created");
        db
    }

    /// The extension and every schema, and no tenant.
    pub fn installed() -> Database {
        let db = Database::with_extension();
        crate::ok(db.superuser().batch_execute("SELECT thorbis.install()"));
        db
    }

    /// What follows CREATE DATABASE and the name is the test's choice; no extension.
    pub fn defined(definition: &str) -> Database {
        let cluster = Cluster::shared();
        template(cluster);
        Database::create(cluster, definition)
    }

    /// CREATE DATABASE ... TEMPLATE of this one, to which nobody may be connected. PostgreSQL copies no settings.
    pub fn copy(&self) -> Database {
        Database::create(self.cluster, &format!("TEMPLATE {}", self.name))
    }

    fn create(cluster: &'static Cluster, from: &str) -> Database {
        let name = format!("t_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let created = cluster.maintenance().batch_execute(&format!("CREATE DATABASE {name} {from}"));
        crate::ok(created);
        Database { cluster, name, roles: Mutex::default() }
    }

    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    pub fn superuser(&self) -> Client {
        self.connect_as("postgres")
    }

    /// The application: member of thorbis_gateway and thorbis_app.
    pub fn app(&self) -> Client {
        self.connect_as("app_login")
    }

    /// Member of thorbis_app alone.
    pub fn app_only(&self) -> Client {
        self.connect_as("app_only_login")
    }

    pub fn connect_as(&self, role: &str) -> Client {
        self.cluster.connect(&self.name, role)
    }

    /// A connection whose start-up packet carries `options`, as PGOPTIONS would.
    pub fn connect_with_options(&self, role: &str, options: &str) -> Result<Client, postgres::Error> {
        self.cluster.config(&self.name, role).options(options).connect(NoTls)
    }

    /// A role of this database's own; `definition` follows CREATE ROLE's name (`LOGIN IN ROLE thorbis_app`).
    pub fn role(&self, purpose: &str, definition: &str) -> String {
        let role = format!("{purpose}_{}", self.name);
        crate::ok(self.superuser().batch_execute(&format!("CREATE ROLE {role} {definition}")));
        self.roles.lock().expect("no test panics while it holds this").push(role.clone());
        role
    }
}

impl Default for Database {
    fn default() -> Self {
        Database::new()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A test may have failed half-way: clean up as far as it goes, and never panic while panicking.
        let Ok(mut client) = self.cluster.config("postgres", "postgres").connect(NoTls) else { return };
        let mut statements = vec![format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)];
        if let Ok(roles) = self.roles.lock() {
            statements.extend(roles.iter().map(|role| format!("DROP OWNED BY {role}")));
            statements.extend(roles.iter().map(|role| format!("DROP ROLE IF EXISTS {role}")));
        }
        for statement in statements {
            if let Err(e) = client.batch_execute(&statement) {
                eprintln!("{statement}: {}", crate::describe(&e));
            }
        }
    }
}

/// The template's name holds a fingerprint of the installed library and of the fixture, so that a new build makes a
/// new one. Made once, by whichever process asks first.
fn template(cluster: &Cluster) -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let mut client = cluster.maintenance();
        crate::ok(client.batch_execute("SELECT pg_advisory_lock(hashtext('thorbis-tests template'))"));
        let name = template_name(&mut client);
        let exists: bool =
            crate::one(&mut client, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", &[&name]);
        if !exists {
            build_template(cluster, &mut client, &name);
        }
        name
    })
}

fn template_name(client: &mut Client) -> String {
    let sql = "
        SELECT 'template_' || left(md5(string_agg(s.modification::text || s.size, ',') || $1), 12)
          FROM (SELECT setting || '/thorbis_db.so' FROM pg_config() WHERE name = 'PKGLIBDIR'
                UNION ALL
                SELECT setting || '/extension/thorbis_db--' || (SELECT default_version
                                                                  FROM pg_available_extensions
                                                                 WHERE name = 'thorbis_db') || '.sql'
                  FROM pg_config() WHERE name = 'SHAREDIR') f(path), pg_stat_file(f.path, true) s";
    let fixture = tenants::FIXTURE.to_owned();
    let name: Option<String> = crate::one(client, sql, &[&fixture]);
    name.expect("thorbis_db is installed in the server: run scripts/install.sh")
}

fn build_template(cluster: &Cluster, maintenance: &mut Client, name: &str) {
    let unfinished = format!("{name}_unfinished");
    crate::ok(maintenance.batch_execute(&format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)")));
    make_database(cluster, &unfinished);
    crate::ok(maintenance.batch_execute(&format!("ALTER DATABASE {unfinished} RENAME TO {name}")));
}

/// A database as `Database::new` has them, for a cluster of a test's own.
pub fn make_database(cluster: &Cluster, name: &str) {
    crate::ok(cluster.maintenance().batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")));
    let mut client = cluster.connect(name, "postgres");
    crate::ok(client.batch_execute("CREATE EXTENSION thorbis_db"));
    crate::ok(client.batch_execute("SELECT thorbis.install()"));
    make_roles(&mut client);
    tenants::fill(&mut client);
}

fn make_roles(client: &mut Client) {
    for role in FIXTURE_ROLES {
        let exists = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
        if !crate::one::<bool>(client, exists, &[&role]) {
            crate::ok(client.batch_execute(&format!("CREATE ROLE {role} LOGIN")));
        }
    }
    crate::ok(client.batch_execute("SELECT thorbis.grant_app('app_login'); GRANT thorbis_app TO app_only_login"));
}
