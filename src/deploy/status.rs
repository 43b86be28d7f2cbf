//! `thorbis.status` and `thorbis.version`.

use crate::deploy::{engine, manifest, objects};
use crate::domain::plan::{Module, checksum};
use pgrx::prelude::*;

/// The version of the library that is loaded.
#[pg_extern(sql = false)]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

type StatusRow = (String, Option<i32>, i32, &'static str, String);

/// One row a module: installed and available version, state, and what is pending or drifted.
#[pg_extern(sql = false)]
fn status() -> TableIterator<
    'static,
    (
        name!(module, String),
        name!(installed_version, Option<i32>),
        name!(available_version, i32),
        name!(state, &'static str),
        name!(detail, String),
    ),
> {
    TableIterator::new(manifest::MODULES.iter().map(status_of).collect::<Vec<_>>())
}

fn status_of(module: &Module) -> StatusRow {
    let applied = engine::applied(module.name);
    let installed = applied.iter().map(|(version, _)| *version).max();
    let row = |state, detail| (module.name.to_owned(), installed, module.latest(), state, detail);
    let Some(version) = installed else { return row("not installed", String::new()) };
    if version > module.latest() {
        return row("ahead", "the database is newer than this library".into());
    }
    let changed = |(version, sum): &&(i32, String)| {
        *version > 0 && module.migrations.iter().any(|m| m.version == *version && checksum(m.up) != *sum)
    };
    if let Some((version, _)) = applied.iter().find(changed) {
        return row("checksum mismatch", format!("migration {version} was changed after it was applied"));
    }
    let drift = objects::drift(module.name);
    if !drift.is_empty() {
        return row("drifted", drift.join("; "));
    }
    let views_changed =
        module.views.is_some_and(|v| !applied.iter().any(|(version, sum)| *version == 0 && checksum(v) == *sum));
    if version < module.latest() || views_changed {
        return row("pending", "SELECT thorbis.migrate();".into());
    }
    row("current", String::new())
}
