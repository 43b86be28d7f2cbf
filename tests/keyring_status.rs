//! What thorbis.keyring_status() and the doctor say about the keyring: which keys are in use, missing or wrong, and no key.

use postgres::Client;
use std::collections::BTreeMap;
use thorbis_tests::keyring::{Kept, USES, status};
use thorbis_tests::{Keyring, findings, ok, one};

/// What the doctor says about the keyring.
fn keyring(client: &mut Client) -> Vec<String> {
    let findings = ok(findings(client)).into_iter().filter(|f| f.code == "keyring");
    findings.map(|f| format!("{} {}", f.severity, f.detail)).collect()
}

/// The doctor asks what every use would.
#[test]
fn doctor_reports_an_unusable_keyring() {
    let kept = Kept::in_a_new_database();
    assert_eq!(keyring(&mut kept.db.superuser()), Vec::<String>::new());
    for (damage, says) in [("chmod 644", "others"), ("rm", "does not exist")] {
        kept.file.sh(&format!("{damage} \"$FILE\""));
        let found = keyring(&mut kept.db.superuser());
        assert_eq!(found.len(), 1, "{damage}");
        assert!(found[0].starts_with("error ") && found[0].contains(says), "{found:?}");
    }
}

/// A keyring that is there and not the right one: a version taken out too early, or another key under the same id.
#[test]
fn missing_and_wrong_keys_are_told_apart() {
    let kept = Kept::in_a_new_database();
    let mut superuser = kept.db.superuser();
    let keys: i64 = one(&mut superuser, "SELECT count(*) FROM thorbis.data_keys", &[]);
    for (id, state, says) in [("k2", "missing", "is not in the keyring"), ("dev-1", "wrong", "is another one")] {
        kept.file.write(&Keyring::new(&mut superuser, id));
        for client in [&mut superuser, &mut kept.db.superuser()] {
            assert_eq!(status(client)["dev-1"], (state.into(), keys));
            let found = keyring(client);
            assert_eq!(found.len(), 1, "{state}: {found:?}");
            assert!(
                found[0].starts_with("error ") && found[0].contains("\"dev-1\"") && found[0].contains(says),
                "{found:?}"
            );
        }
    }
    kept.file.write(&kept.ring);
    assert_eq!(status(&mut superuser)["dev-1"], ("active".into(), keys));
    assert_eq!(keyring(&mut superuser), Vec::<String>::new());
}

#[test]
fn status_counts_data_keys_and_shows_no_key() {
    let mut kept = Kept::in_a_new_database();
    let mut superuser = kept.db.superuser();
    let count = |client: &mut Client, id: &str| -> i64 {
        one(client, "SELECT count(*) FROM thorbis.data_keys WHERE keyring_key = $1", &[&id])
    };
    let old = count(&mut superuser, "dev-1");
    assert!(old >= 4);
    assert_eq!(status(&mut superuser), BTreeMap::from([("dev-1".into(), ("active".into(), old))]));
    kept.ring.add(&mut superuser, "k2");
    kept.file.write(&kept.ring);
    ok(kept.uses(&mut kept.db.app(), USES[6]));
    let expected = [("dev-1", "available", old), ("k2", "active", 1)];
    assert_eq!(status(&mut superuser), expected.map(|(id, state, keys)| (id.into(), (state.into(), keys))).into());
    let text: String = one(&mut superuser, "SELECT string_agg(s::text, ' ') FROM thorbis.keyring_status() s", &[]);
    assert!(text.contains(&kept.file.path), "{text}");
    assert!(kept.ring.keys.values().all(|key| !text.contains(key.as_str())));
}
