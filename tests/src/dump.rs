//! pg_dump and pg_restore of the server's own version.

use crate::cluster::Cluster;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a restored database is called.
const RESTORED: &str = "restored";

/// A dump file in a directory of its own.
pub struct Dump {
    directory: PathBuf,
    file: PathBuf,
}

impl Dump {
    /// In the custom format, unless the options say another.
    pub fn of(cluster: &Cluster, database: &str, role: &str, options: &[&str]) -> Dump {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("thorbis-dump-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the temporary directory is writable");
        let file = directory.join("dump");
        let mut dump = cluster.program("pg_dump");
        dump.args(["--format=custom", "--username", role]).args(options).arg("--file").arg(&file).arg(database);
        run(&mut dump);
        Dump { directory, file }
    }

    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Into the database `restored`, which is there.
    pub fn restore(&self, server: &Cluster, options: &[&str]) {
        let database = format!("--dbname={RESTORED}");
        run(server.program("pg_restore").args(["--username=postgres", &database]).args(options).arg(&self.file));
    }

    /// The database is called `restored`.
    pub fn restored_into_an_empty_server(&self) -> Cluster {
        let server = Cluster::fresh("restore");
        crate::ok(server.maintenance().batch_execute(&format!("CREATE DATABASE {RESTORED} TEMPLATE template0")));
        self.restore(&server, &["--exit-on-error"]);
        server
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the client programs are installed");
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}
