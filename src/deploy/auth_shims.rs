//! `thorbis.install_auth_shims`: Supabase's `auth.uid()`, `auth.jwt()`, `auth.role()` where they are missing.

use crate::audit::events;
use crate::deploy::{extension_schema, require_superuser};
use crate::pg::sql;
use pgrx::prelude::*;
use serde_json::json;

/// (name, return type, body). They answer as those of Supabase Auth; `uid` knows bound roles and settings too.
const SHIMS: [(&str, &str, &str); 3] = [
    ("uid", "uuid", "SELECT @schema@.get_current_user_id()"),
    ("jwt", "jsonb", "SELECT nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::pg_catalog.jsonb"),
    ("role", "text", "SELECT auth.jwt() ->> 'role'"),
];

const INSTALLED: &str = "installed";

/// Creates what is missing and touches nothing that exists. Rows: name and what came of it.
#[pg_extern(sql = false)]
fn install_auth_shims() -> TableIterator<'static, (name!(function, String), name!(outcome, &'static str))> {
    require_superuser("thorbis.install_auth_shims()");
    if !sql::exists("SELECT 1 FROM pg_namespace WHERE nspname = 'auth'", &[]) {
        sql::run("CREATE SCHEMA auth", &[]);
        sql::run("GRANT USAGE ON SCHEMA auth TO thorbis_app, thorbis_platform", &[]);
    }
    let rows = SHIMS.map(|(name, returns, body)| {
        let function = format!("auth.{name}()");
        let present = sql::exists(
            "SELECT 1 FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
              WHERE n.nspname = 'auth' AND p.proname = $1 AND p.pronargs = 0",
            &[name.into()],
        );
        if present {
            return (function, "present, untouched");
        }
        let body = body.replace("@schema@", &extension_schema());
        sql::run(
            &format!("CREATE FUNCTION {function} RETURNS {returns} LANGUAGE sql STABLE PARALLEL SAFE AS $${body}$$"),
            &[],
        );
        sql::run(&format!("REVOKE ALL ON FUNCTION {function} FROM PUBLIC"), &[]);
        sql::run(&format!("GRANT EXECUTE ON FUNCTION {function} TO thorbis_app, thorbis_platform, thorbis_owner"), &[]);
        (function, INSTALLED)
    });
    let installed: Vec<&String> = rows.iter().filter(|row| row.1 == INSTALLED).map(|row| &row.0).collect();
    if !installed.is_empty() {
        events::record(None, "auth_shims.install", "auth", json!({"functions": installed}));
    }
    TableIterator::new(rows)
}
