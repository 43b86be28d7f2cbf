//! What was deployed, object by object, so that drift can be told from what users added.

use crate::domain::plan::Module;
use crate::pg::sql::{self, column, query};
use std::collections::BTreeMap;

/// (kind, identity) to definition.
pub type Objects = BTreeMap<(String, String), String>;

/// The objects of a schema as they are now.
pub fn of(schema: &str) -> Objects {
    query(include_str!("objects.sql"), &[schema.into()], |row| ((column(row, 1), column(row, 2)), column(row, 3)))
        .into_iter()
        .collect()
}

/// The objects as they were deployed.
pub fn deployed(module: &str) -> Objects {
    query(
        "SELECT kind, identity, definition FROM thorbis.deployed_objects WHERE module = $1",
        &[module.into()],
        |row| ((column(row, 1), column(row, 2)), column(row, 3)),
    )
    .into_iter()
    .collect()
}

/// Records what a deployment made or changed, and forgets what it dropped. Objects that were there before and stayed
/// the same are the users' own, or recorded already.
pub fn record(module: &Module, before: &Objects) {
    let after = of(module.name);
    for (key, definition) in after.iter().filter(|(key, definition)| before.get(*key) != Some(*definition)) {
        sql::run(
            "INSERT INTO thorbis.deployed_objects (module, kind, identity, definition) VALUES ($1, $2, $3, $4)
             ON CONFLICT (module, kind, identity) DO UPDATE SET definition = excluded.definition,
                 server_major = excluded.server_major",
            &[module.name.into(), key.0.as_str().into(), key.1.as_str().into(), definition.as_str().into()],
        );
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        sql::run(
            "DELETE FROM thorbis.deployed_objects WHERE module = $1 AND kind = $2 AND identity = $3",
            &[module.name.into(), key.0.as_str().into(), key.1.as_str().into()],
        );
    }
}

/// Deployed objects that are gone or different, in words. Texts that another major version printed are not compared.
pub fn drift(module: &str) -> Vec<String> {
    let same_server = sql::exists(
        "SELECT 1 FROM thorbis.deployed_objects WHERE module = $1
            AND server_major = current_setting('server_version_num')::int4 / 10000 LIMIT 1",
        &[module.into()],
    );
    let now = of(module);
    deployed(module)
        .into_iter()
        .filter_map(|((kind, identity), definition)| match now.get(&(kind.clone(), identity.clone())) {
            None => Some(format!("{kind} {identity} is missing")),
            Some(found) if same_server && *found != definition => Some(format!("{kind} {identity} was changed")),
            Some(_) => None,
        })
        .collect()
}
