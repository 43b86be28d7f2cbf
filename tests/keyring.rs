//! The keyring fails closed: without it personal data is neither read nor written, the error says what is wrong and
//! shows no key, and everything else works on. Who may set it, and what becomes of changes. What is said about it is in
//! keyring_status.rs, rotation in rotation.rs.

use postgres::error::DbError;
use std::collections::BTreeMap;
use std::os::unix::fs::chown;
use std::time::{Duration, Instant};
use thorbis_tests::keyring::{Kept, USES, status};
use thorbis_tests::{A, Keyring, assert_sqlstate, assert_sqlstate_in, db_error, in_context, ok, one, sqlstate, until};

/// What stands in files that are no keyring, and must not be repeated.
const SECRET: &str = "c2VjcmV0IHRoYXQgbm8gZXJyb3IgbWF5IHNob3c";

/// The file now holds this, which is no keyring or not the right one: see `fails`.
#[track_caller]
fn fails_with(kept: &Kept, text: &str, code: &str, names: &str) {
    kept.file.write_text(text);
    fails(kept, code, names);
}

/// Every use of personal data in new sessions fails with this SQLSTATE and a message that holds `names`.
#[track_caller]
fn fails(kept: &Kept, code: &str, names: &str) {
    for sql in USES {
        let error = assert_sqlstate(kept.uses(&mut kept.db.app(), sql), code);
        assert!(error.message().contains(names), "{sql}: {:?} is not in {:?}", names, error.message());
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{sql}: no hint");
        keeps_quiet(kept, &error);
    }
    works_elsewhere(kept);
}

/// Tables without personal data, reading what is kept in clear, and writing what is not personal.
#[track_caller]
fn works_elsewhere(kept: &Kept) {
    ok(in_context(&mut kept.db.app(), A.id, A.owner, |tx| {
        tx.batch_execute(
            "SELECT count(*) FROM restaurants.orders; INSERT INTO restaurants.orders DEFAULT VALUES;
             SELECT first_name FROM shared.customers; SELECT id, first_name FROM shared.customers_pii;
             UPDATE shared.customers SET tax_exempt = NOT tax_exempt",
        )
    }));
}

/// No part of the error holds a key, or a good part of one.
#[track_caller]
fn keeps_quiet(kept: &Kept, error: &DbError) {
    let parts = [Some(error.message()), error.detail(), error.hint(), error.where_()];
    let said = parts.into_iter().flatten().collect::<Vec<_>>().join("\n");
    for key in kept.ring.keys.values().map(String::as_str).chain([SECRET]) {
        assert!((0..key.len() - 12).all(|i| !said.contains(&key[i..i + 12])), "the error shows a key:\n{said}");
    }
}

// --- fail closed

#[test]
fn no_keyring_configured() {
    let kept = Kept::in_a_new_database();
    let set = |setting: &str, value: &str| {
        ok(kept.db.superuser().batch_execute(&format!("ALTER DATABASE {} SET {setting} = '{value}'", kept.db.name)))
    };
    set("thorbis.keyring_file", "");
    fails(&kept, "55000", "no keyring is configured");
    set("thorbis.keyring_file", &kept.file.path);
    set("thorbis.keyring_command", "cat /dev/null");
    fails(&kept, "55000", "thorbis.keyring_command");
    set("thorbis.keyring_command", "");
    kept.works();
}

#[test]
fn missing_file() {
    let kept = Kept::in_a_new_database();
    kept.file.sh("rm \"$FILE\"");
    fails(&kept, "58P01", &kept.file.path);
    kept.file.sh("ln -s \"$FILE.nowhere\" \"$FILE\"");
    fails(&kept, "58P01", &kept.file.path);
}

#[test]
fn unreadable_file() {
    let kept = Kept::in_a_new_database();
    kept.file.sh("chmod 000 \"$FILE\"");
    fails(&kept, "58030", &kept.file.path);
    kept.file.sh("chmod 400 \"$FILE\"");
    kept.works();
}

#[test]
fn file_that_others_may_use() {
    let kept = Kept::in_a_new_database();
    for mode in ["644", "640", "604", "660", "606", "610", "601", "777"] {
        kept.file.sh(&format!("chmod {mode} \"$FILE\""));
        fails(&kept, "F0000", &kept.file.path);
    }
    kept.file.sh("chmod 600 \"$FILE\"");
    kept.works();
    // Only root can give files away.
    if chown(&kept.file.path, Some(1), None).is_ok() {
        fails(&kept, "F0000", &kept.file.path);
    }
}

/// Whatever copies the data directory, such as a base backup, would carry the keys along.
#[test]
fn file_inside_the_data_directory() {
    let kept = Kept::in_a_new_database();
    let data = kept.db.cluster().data_directory().display().to_string();
    let inside = format!("{data}/keyring-of-a-test.json");
    kept.file.sh(&format!("umask 077; cp \"$FILE\" '{inside}'; mkdir -p '{data}/../elsewhere'"));
    let set = |path: &str| {
        ok(kept
            .db
            .superuser()
            .batch_execute(&format!("ALTER DATABASE {} SET thorbis.keyring_file = '{path}'", kept.db.name)))
    };
    for path in [
        inside.clone(),
        format!("{data}/base/../keyring-of-a-test.json"),
        format!("{data}/../elsewhere/../data/keyring-of-a-test.json"),
    ] {
        set(&path);
        fails(&kept, "F0000", &path);
    }
    kept.file.sh(&format!("ln -sf '{inside}' \"$FILE.link\""));
    let link = format!("{}.link", kept.file.path);
    set(&link);
    fails(&kept, "F0000", &link);
    // Relative paths begin there as well.
    set("keyring-of-a-test.json");
    fails(&kept, "F0000", "keyring-of-a-test.json");
    kept.file.sh(&format!("rm '{inside}'"));
}

/// A pipe would keep whoever opens it waiting.
#[test]
fn what_is_no_regular_file() {
    let kept = Kept::in_a_new_database();
    kept.file.sh("rm \"$FILE\"; mkfifo -m 600 \"$FILE\"");
    fails(&kept, "F0000", &kept.file.path);
    kept.file.sh("rm \"$FILE\"; mkdir -m 700 \"$FILE\"");
    fails(&kept, "F0000", &kept.file.path);
    ok(kept
        .db
        .superuser()
        .batch_execute(&format!("ALTER DATABASE {} SET thorbis.keyring_file = '/dev/zero'", kept.db.name)));
    fails(&kept, "F0000", "/dev/zero");
}

#[test]
fn file_that_is_no_keyring() {
    let kept = Kept::in_a_new_database();
    let key = &kept.ring.keys["dev-1"];
    for text in [
        "",
        " ",
        SECRET,
        &format!("[\"{SECRET}\"]"),
        &format!("\"{SECRET}\""),
        &format!("{{\"{SECRET}\": 1}}"),
        &format!("{{\"active\": \"dev-1\", \"keys\": \"{SECRET}\"}}"),
        &format!("{{\"active\": \"dev-1\", \"keys\": [\"{SECRET}\"]}}"),
        &format!("{{\"active\": \"dev-1\", \"keys\": {{\"dev-1\": {{\"{SECRET}\": 1}}}}}}"),
        &format!("{{\"keys\": {{\"dev-1\": \"{key}\"}}}}"),
        &format!("{{\"active\": 1, \"keys\": {{\"dev-1\": \"{key}\"}}}}"),
        &format!("{{\"active\": \"dev-1\", \"keys\": {{\"dev-1\": \"{key}\"}}, \"more\": \"{SECRET}\"}}"),
        &format!("{{\"active\": \"dev-1\", \"keys\": {{\"dev-1\": \"{key}\"}}"),
        &format!("{} {SECRET}", kept.ring.to_json()),
    ] {
        fails_with(&kept, text, "F0000", &kept.file.path);
    }
    // Bytes that are no text at all.
    kept.file.sh("head -c 5000 /dev/urandom > \"$FILE\"");
    for sql in USES {
        let error = assert_sqlstate_in(kept.uses(&mut kept.db.app(), sql), &["F0000", "58030"]);
        assert!(error.message().contains(&kept.file.path), "{}", error.message());
    }
    kept.file.write(&kept.ring);
    kept.works();
}

#[test]
fn key_of_another_length() {
    let kept = Kept::in_a_new_database();
    let mut superuser = kept.db.superuser();
    for bytes in [0, 1, 16, 31, 33, 64] {
        let sql = "SELECT replace(encode(substr(sha512('x') || sha512('y'), 1, $1), 'base64'), E'\\n', '')";
        let key: String = one(&mut superuser, sql, &[&bytes]);
        let ring = Keyring { active: "k".into(), keys: BTreeMap::from([("k".into(), key)]) };
        fails_with(&kept, &ring.to_json(), "F0000", "\"k\"");
    }
    for key in ["no base64 at all!", "____", SECRET] {
        let ring = Keyring { active: "k".into(), keys: BTreeMap::from([("k".into(), key.into())]) };
        fails_with(&kept, &ring.to_json(), "F0000", "\"k\"");
    }
    // One of several is enough to refuse them all.
    let mut ring = kept.ring.clone();
    ring.keys.insert("old".into(), "c2hvcnQ=".into());
    fails_with(&kept, &ring.to_json(), "F0000", "\"old\"");
}

#[test]
fn active_key_that_is_not_there() {
    let kept = Kept::in_a_new_database();
    let absent = Keyring { active: "dev-2".into(), keys: kept.ring.keys.clone() };
    kept.file.write(&absent);
    for sql in USES {
        let error = assert_sqlstate_in(kept.uses(&mut kept.db.app(), sql), &["55000", "F0000"]);
        let said = error.message();
        assert!(said.contains("\"dev-2\"") && said.contains(&kept.file.path), "{said}");
        keeps_quiet(&kept, &error);
    }
    works_elsewhere(&kept);
}

/// The version that wrapped the data keys was taken out of the keyring too early.
#[test]
fn version_that_is_gone() {
    let kept = Kept::in_a_new_database();
    kept.file.write(&Keyring::new(&mut kept.db.superuser(), "k2"));
    fails(&kept, "55000", "\"dev-1\"");
    fails(&kept, "55000", &kept.file.path);
    let status = status(&mut kept.db.superuser());
    assert_eq!((status["k2"].0.as_str(), status["dev-1"].0.as_str()), ("active", "missing"));
    let rotated = kept.db.superuser().batch_execute("CALL thorbis.rotate_keys()");
    assert!(db_error(rotated).message().contains("\"dev-1\""));
    kept.file.write(&kept.ring);
    kept.works();
}

/// Another key under the same id opens nothing, and is not taken for the right one.
#[test]
fn other_key_under_the_same_id() {
    let kept = Kept::in_a_new_database();
    kept.file.write(&Keyring::new(&mut kept.db.superuser(), "dev-1"));
    for sql in USES {
        let error = assert_sqlstate(kept.uses(&mut kept.db.app(), sql), "22000");
        keeps_quiet(&kept, &error);
    }
    works_elsewhere(&kept);
    kept.file.write(&kept.ring);
    kept.works();
}

// --- who may set it

#[test]
fn only_superusers_set_and_see_where_the_keyring_is() {
    let kept = Kept::in_a_new_database();
    let role = kept.db.role("setter", "LOGIN");
    ok(kept.db.superuser().batch_execute(&format!("SELECT thorbis.grant_app('{role}')")));
    for setting in ["thorbis.keyring_file", "thorbis.keyring_command"] {
        let attempts = [
            format!("SET {setting} = '/tmp/mine.json'"),
            format!("SELECT set_config('{setting}', '/tmp/mine.json', false)"),
            format!("ALTER ROLE CURRENT_USER SET {setting} = '/tmp/mine.json'"),
            format!("SHOW {setting}"),
            format!("SELECT current_setting('{setting}')"),
            format!("SET LOCAL {setting} = '/tmp/mine.json'"),
        ];
        for sql in &attempts {
            // Before the library is loaded PostgreSQL does not know whose setting it is: what was set is dropped then.
            let mut client = kept.db.connect_as(&role);
            let _ = client.batch_execute(sql);
            works_or_is_closed(kept.uses(&mut client, USES[0]));
            assert_sqlstate(client.batch_execute(sql), "42501");
            works_or_is_closed(kept.uses(&mut client, USES[0]));
        }
        // In a start-up packet it is refused or without effect.
        if let Ok(mut client) = kept.db.connect_with_options(&role, &format!("-c {setting}=/tmp/mine.json")) {
            works_or_is_closed(kept.uses(&mut client, USES[0]));
        }
        ok(kept.db.superuser().batch_execute(&format!("ALTER ROLE {role} RESET ALL")));
        ok(kept.uses(&mut kept.db.connect_as(&role), USES[0]));
    }
}

/// A role that set its own keyring before the library was loaded has none: it harms itself, and uses no other.
#[track_caller]
fn works_or_is_closed<T>(result: Result<T, postgres::Error>) {
    if result.is_err() {
        let error = assert_sqlstate(result, "55000");
        assert_eq!(error.message(), "no keyring is configured");
    }
}

#[test]
fn application_may_neither_rotate_nor_look_at_keys() {
    let kept = Kept::in_a_new_database();
    for role in ["app_login", "app_only_login", "stranger_login"] {
        let mut client = kept.db.connect_as(role);
        for sql in [
            "SELECT * FROM thorbis.keyring_status()",
            "CALL thorbis.rotate_keys()",
            "CALL thorbis.rotate_keys(10)",
            "SELECT thorbis.begin_key_rotation()",
            "SELECT thorbis.rewrap_data_keys(gen_random_uuid(), 10)",
            "SELECT thorbis.finish_key_rotation(gen_random_uuid())",
            "SELECT * FROM thorbis.data_keys",
            "SELECT id FROM thorbis.data_keys",
            "DELETE FROM thorbis.data_keys",
            "INSERT INTO thorbis.data_keys (tenant_id, subject_kind, subject_id, keyring_key, wrapped)
             VALUES (gen_random_uuid(), 'tenant', gen_random_uuid(), 'k', '')",
            "SELECT * FROM thorbis.key_rotations",
            "UPDATE thorbis.key_rotations SET done = 0",
            "LOCK TABLE thorbis.data_keys IN ACCESS SHARE MODE",
        ] {
            ok(client.batch_execute("BEGIN"));
            assert_sqlstate(client.batch_execute(sql), "42501");
            ok(client.batch_execute("ROLLBACK"));
        }
    }
    // Operators may look, and dump.
    let mut platform = kept.db.superuser();
    ok(platform.batch_execute("SET ROLE thorbis_platform"));
    assert!(!status(&mut platform).is_empty());
    assert!(one::<i64>(&mut platform, "SELECT count(*) FROM thorbis.data_keys", &[]) > 0);
    for sql in
        ["DELETE FROM thorbis.data_keys", "UPDATE thorbis.data_keys SET wrapped = ''", "TRUNCATE thorbis.data_keys"]
    {
        assert_sqlstate(platform.batch_execute(sql), "42501");
    }
}

// --- changes

#[test]
fn replaced_file_counts_in_open_sessions() {
    let mut kept = Kept::in_a_new_database();
    let (mut superuser, mut app) = (kept.db.superuser(), kept.db.app());
    let other = Keyring::new(&mut superuser, "k2");
    // Everything it needs is in its memory by then.
    ok(kept.uses(&mut app, USES[0]));
    for replaced in [true, false] {
        for round in 0..3 {
            if replaced {
                kept.file.write(&other);
            } else {
                // Written over, not replaced: the same file with other contents.
                kept.file.sh(&format!("printf '%s' '{}' > \"$FILE\"", other.to_json()));
            }
            let error = assert_sqlstate(kept.uses(&mut app, USES[0]), "55000");
            assert!(error.message().contains("\"dev-1\""), "round {round}: {}", error.message());
            kept.file.write(&kept.ring);
            ok(kept.uses(&mut app, USES[0]));
        }
    }
    kept.file.sh("rm \"$FILE\"");
    assert_sqlstate(kept.uses(&mut app, USES[0]), "58P01");
    kept.file.write(&kept.ring);
    ok(kept.uses(&mut app, USES[0]));
    // A new active key is used for the next data key, within the transaction that has looked before.
    ok(app.batch_execute(&format!("BEGIN; {}; {}", thorbis_tests::set_local(A.id, A.owner), USES[0])));
    kept.ring.add(&mut superuser, "k3");
    kept.file.write(&kept.ring);
    ok(app.batch_execute(&format!("{}; COMMIT", USES[6])));
    assert_eq!(status(&mut superuser)["k3"].1, 1);
}

#[test]
fn keyring_of_a_command() {
    let kept = Kept::in_a_new_database();
    let mut app = kept.db.app();
    let set = |command: &str| {
        ok(kept.db.superuser().batch_execute(&format!(
            "ALTER DATABASE {0} SET thorbis.keyring_file = '';
             ALTER DATABASE {0} SET thorbis.keyring_command = '{1}'",
            kept.db.name,
            command.replace('\'', "''")
        )))
    };
    set(&format!("cat '{}'", kept.file.path));
    drop(std::mem::replace(&mut app, kept.db.app()));
    ok(kept.uses(&mut app, USES[0]));
    kept.works();
    // It runs again when the server reads its configuration again, and not for each transaction.
    kept.file.write(&Keyring::new(&mut kept.db.superuser(), "k2"));
    ok(kept.uses(&mut app, USES[0]));
    ok(kept.db.superuser().batch_execute("SELECT pg_reload_conf()"));
    until("the session uses what the command prints now", || {
        kept.uses(&mut app, USES[0]).is_err_and(|e| sqlstate(&e) == "55000")
    });
    kept.file.write(&kept.ring);
    ok(kept.db.superuser().batch_execute("SELECT pg_reload_conf()"));
    until("the session reads again", || kept.uses(&mut app, USES[0]).is_ok());
    // What it prints when it fails, and what it complains about, is in no error.
    let json = kept.ring.to_json();
    for command in [
        "false".to_owned(),
        "exit 3".to_owned(),
        "/nowhere/to/be/found".to_owned(),
        format!("printf '%s' '{json}'; exit 1"),
        format!("echo '{SECRET}' >&2; kill -9 $$"),
        format!("echo '{SECRET}'"),
        "printf '\\377\\376'".to_owned(),
        "true".to_owned(),
    ] {
        set(&command);
        for sql in USES {
            let error = assert_sqlstate_in(kept.uses(&mut kept.db.app(), sql), &["38000", "F0000"]);
            assert!(error.message().contains("keyring"), "{command}: {}", error.message());
            keeps_quiet(&kept, &error);
        }
        works_elsewhere(&kept);
    }
}

/// Whatever the command does, the statement can be ended.
#[test]
fn hanging_command_is_ended_by_the_statement_timeout_and_by_cancelling() {
    let kept = Kept::in_a_new_database();
    for command in
        ["sleep 300", "sleep 300 & sleep 300", "trap \"\" TERM INT; sleep 300; sleep 300", "yes | cat > /dev/null"]
    {
        ok(kept.db.superuser().batch_execute(&format!(
            "ALTER DATABASE {0} SET thorbis.keyring_file = ''; ALTER DATABASE {0} SET thorbis.keyring_command = '{1}'",
            kept.db.name,
            command.replace('\'', "''")
        )));
        let mut app = kept.db.app();
        ok(app.batch_execute("SET statement_timeout = '500ms'"));
        let start = Instant::now();
        assert_sqlstate(kept.uses(&mut app, USES[0]), "57014");
        assert!(start.elapsed() < Duration::from_secs(20), "{command}: {:?}", start.elapsed());
        // The session goes on, and nothing of the command is left.
        ok(kept.uses(&mut app, "SELECT 1 FROM restaurants.orders"));
        let cancel = app.cancel_token();
        ok(app.batch_execute("SET statement_timeout = 0"));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| kept.uses(&mut app, USES[0]));
            let pid = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND state = 'active' AND query LIKE '%customers_pii%'";
            let mut superuser = kept.db.cluster().maintenance();
            until("the statement runs", || one::<i64>(&mut superuser, pid, &[&kept.db.name]) == 1);
            until("it ends", || {
                let _ = cancel.cancel_query(postgres::NoTls);
                waiting.is_finished()
            });
            assert_sqlstate(waiting.join().expect("it returns"), "57014");
        });
    }
}
