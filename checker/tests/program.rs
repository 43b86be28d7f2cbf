//! The program as an auditor runs it, on a proof that a server made (proof.json).

use std::path::Path;
use std::process::{Command, Output};

/// The hash of the last seal of proof.json, as audit.roots of that server showed it.
const ROOT: &str = "9ab8950505f998cd72663b710e045cab045b95e954d2425d48752e808b63d6b2";

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut program = Command::new(env!("CARGO_BIN_EXE_thorbis-check-proof"));
    let Output { status, stdout, stderr } =
        program.args(arguments).current_dir(directory).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// proof.json with one text replaced, in a file of its own.
fn changed(name: &str, from: &str, to: &str) -> (Option<i32>, String, String) {
    let proof = include_str!("proof.json");
    assert!(proof.contains(from), "{from}");
    let file = std::env::temp_dir().join(format!("thorbis-check-proof-{}-{name}.json", std::process::id()));
    std::fs::write(&file, proof.replacen(from, to, 1)).expect("the temporary directory is writable");
    let result = run(&[file.to_str().expect("a path"), "--root", ROOT]);
    let _ = std::fs::remove_file(&file);
    result
}

#[test]
fn a_good_proof_holds() {
    let (status, text, errors) = run(&["proof.json", "--root", ROOT]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    for line in ["table_name  shared.customers", "operation  UPDATE", "request_id  (null)", "sealed at 2026-11-"] {
        assert!(text.contains(line), "{line} in:\n{text}");
    }
    assert!(text.ends_with(&format!("proof holds: the row stands in the log with the root {ROOT}\n")), "{text}");
    assert_eq!(run(&["--root", ROOT, "proof.json"]), (Some(0), text, errors));
    let (status, text, _) = run(&["proof.json"]);
    assert_eq!(status, Some(0));
    assert!(text.contains(&format!("has the hash {ROOT}\ncompare it")), "{text}");
}

#[test]
fn what_does_not_hold_is_said() {
    for (name, from, to, says) in [
        ("value", "shared.customers", "shared.customer", "the row is not what was sealed"),
        ("null", "\"request_id\", null", "\"request_id\", \"\"", "the row is not what was sealed"),
        ("names", "\"old_values\"", "\"new_values\"", "columns of audit.change_log"),
        ("time", "\"occurred_at\", \"179", "\"occurred_at\", \"159", "occurred_at is not of the seal's month"),
        ("place", "\"leaf_index\": ", "\"leaf_index\": 1", "the row is not what was sealed"),
        ("version", "\"version\": 1", "\"version\": 2", "in no format that this version knows"),
        ("format", "\"blind\"", "\"blend\"", "this is no proof"),
        ("syntax", "{\"row\":", "{\"row\"", "this is no proof"),
    ] {
        let (status, text, errors) = changed(name, from, to);
        assert_eq!((status, text.as_str()), (Some(1), ""), "{name}");
        assert!(errors.contains(says), "{name}: {errors}");
    }
    let (status, _, errors) = run(&["proof.json", "--root", &"0".repeat(64)]);
    assert_eq!(status, Some(1));
    assert!(errors.contains("none of the seals has the hash 0000"), "{errors}");
}

#[test]
fn wrong_calls_are_not_failed_proofs() {
    let calls: [&[&str]; 7] = [
        &[],
        &["proof.json", "proof.json"],
        &["proof.json", "--root"],
        &["proof.json", "--root", "ab"],
        &["--wrong"],
        &["missing.json"],
        &["proof.json", "--toor", ROOT],
    ];
    for call in calls {
        let (status, text, errors) = run(call);
        assert_eq!((status, text.as_str()), (Some(2), ""), "{call:?}");
        assert!(!errors.is_empty());
    }
    let (status, text, _) = run(&["--help"]);
    assert_eq!(status, Some(0));
    assert!(text.starts_with("usage: thorbis-check-proof"));
}
