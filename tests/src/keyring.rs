//! Keyrings that tests make. The server writes their files: they must belong to its user, who may be another than the
//! test's.

use crate::cluster::Cluster;
use crate::database::Database;
use crate::session::in_context;
use crate::tenants::A;
use crate::{ok, one};
use postgres::{Client, Error, GenericClient};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a keyring file says.
#[derive(Clone, Debug)]
pub struct Keyring {
    pub active: String,
    pub keys: BTreeMap<String, String>,
}

impl Keyring {
    /// The cluster's own, which the databases of all tests use.
    pub fn of_the_cluster(superuser: &mut impl GenericClient) -> Keyring {
        let path = "current_setting('data_directory') || '/../keyring.json'";
        let text: String = one(superuser, &format!("SELECT pg_read_file({path})"), &[]);
        let value: Value = serde_json::from_str(&text).expect("the cluster's keyring is JSON");
        let keys = serde_json::from_value(value["keys"].clone()).expect("its keys are an object of texts");
        Keyring { active: value["active"].as_str().expect("it names the active key").to_owned(), keys }
    }

    /// One new random key.
    pub fn new(superuser: &mut impl GenericClient, id: &str) -> Keyring {
        let mut keyring = Keyring { active: id.to_owned(), keys: BTreeMap::new() };
        keyring.add(superuser, id);
        keyring
    }

    /// A new random key of that id, which becomes the active one.
    pub fn add(&mut self, superuser: &mut impl GenericClient, id: &str) {
        let random = "SELECT encode(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 'base64')";
        self.keys.insert(id.to_owned(), one(superuser, random, &[]));
        self.active = id.to_owned();
    }

    pub fn to_json(&self) -> String {
        json!({"active": self.active, "keys": self.keys}).to_string()
    }
}

/// A keyring file beside the data directory of a cluster, of one test. It goes with the cluster.
pub struct KeyringFile {
    superuser: std::sync::Mutex<Client>,
    pub path: String,
}

impl KeyringFile {
    /// A path of its own: nothing is there yet.
    pub fn absent(cluster: &Cluster) -> KeyringFile {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let mut superuser = cluster.maintenance();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory = cluster.data_directory();
        let directory = directory.parent().expect("a data directory is in another").display();
        let path = format!("{directory}/keyring-{}-{number}.json", std::process::id());
        // What a hanging program of the server's should not do.
        ok(superuser.batch_execute("SET statement_timeout = '1min'"));
        KeyringFile { superuser: superuser.into(), path }
    }

    pub fn new(cluster: &Cluster, keyring: &Keyring) -> KeyringFile {
        let file = KeyringFile::absent(cluster);
        file.write(keyring);
        file
    }

    /// Replaces the file as a whole, as an administrator should.
    pub fn write(&self, keyring: &Keyring) {
        self.write_text(&keyring.to_json());
    }

    pub fn write_text(&self, text: &str) {
        assert!(!text.contains(['\\', '\t', '\n']), "COPY would write them otherwise");
        self.copy_to_program(text, "umask 077 && cat > \"$FILE.new\" && mv \"$FILE.new\" \"$FILE\"");
    }

    /// A shell command of the server's user; `$FILE` is the path.
    pub fn sh(&self, command: &str) {
        self.copy_to_program("", &format!("cat > /dev/null; {command}"));
    }

    fn copy_to_program(&self, text: &str, command: &str) {
        let quoted = |text: &str| text.replace('\'', "''");
        let program = format!("FILE='{}'; export FILE; {command}", self.path);
        let copy = format!("COPY (SELECT '{}'::text) TO PROGRAM '{}'", quoted(text), quoted(&program));
        ok(self.superuser.lock().expect("no test panics while it holds this").batch_execute(&copy));
    }

    /// Sessions of the database that begin from now on use it.
    pub fn assign_to(&self, database: &str) {
        let sql = format!("ALTER DATABASE {database} SET thorbis.keyring_file = '{}'", self.path);
        ok(self.superuser.lock().expect("no test panics while it holds this").batch_execute(&sql));
    }
}

/// A database with a keyring file of its own, which holds the cluster's key at first.
pub struct Kept {
    pub db: Database,
    pub file: KeyringFile,
    pub ring: Keyring,
}

impl Kept {
    pub fn in_a_new_database() -> Kept {
        let db = Database::new();
        let ring = Keyring::of_the_cluster(&mut db.superuser());
        let file = KeyringFile::new(db.cluster(), &ring);
        file.assign_to(&db.name);
        Kept { db, file, ring }
    }

    pub fn uses(&self, client: &mut Client, sql: &str) -> Result<u64, Error> {
        in_context(client, A.id, A.owner, |tx| tx.execute(sql, &[]))
    }

    #[track_caller]
    /// Every use, taken back.
    pub fn works(&self) {
        let mut app = self.db.app();
        for sql in USES {
            let mut tx = ok(app.transaction());
            ok(tx.execute("SELECT thorbis.set_context($1, $2)", &[&A.id, &A.owner]));
            ok(tx.execute(*sql, &[]));
            ok(tx.rollback());
        }
    }
}

/// Reading and writing in every form.
pub const USES: &[&str] = &[
    "SELECT email FROM shared.customers_pii",
    "SELECT email FROM shared.customers_masked",
    "SELECT decrypt_pii(email_encrypted, 'shared.customers.email', id) FROM shared.customers",
    "SELECT thorbis.find_customer_by_email('carla@aaaaaaaa.example')",
    "SELECT encrypt_pii('x')",
    "SELECT pii_blind_index('x', 'shared.customers.email')",
    "INSERT INTO shared.customers (email, first_name, last_name) VALUES ('new@keyring.example', 'A', 'B')",
    "INSERT INTO shared.customers_pii (email, first_name, last_name) VALUES ('new@keyring.example', 'A', 'B')",
    "UPDATE shared.users SET phone = '+1 555 0100'",
    // The log keeps the name, which stands in clear in the table, encrypted.
    "UPDATE shared.customers SET first_name = 'Changed'",
    "UPDATE shared.customers_pii SET email = 'new@keyring.example' WHERE email LIKE 'carla@%'",
];

/// (state, data keys) by key id.
pub fn status(client: &mut Client) -> BTreeMap<String, (String, i64)> {
    let rows = ok(client.query("SELECT key_id, state, data_keys FROM thorbis.keyring_status()", &[]));
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}
