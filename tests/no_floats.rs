//! No floating point for money or quantities: not in a column, an argument or a result, and not in our sources.

use std::fs;
use std::path::Path;
use thorbis_tests::{assert_none, repository_root};

#[test]
fn no_column_is_a_float() {
    assert_none(
        "real or double precision",
        "SELECT a.attrelid::regclass || '.' || a.attname
           FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
          WHERE c.relnamespace = ANY ({schemas}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND a.attnum > 0 AND NOT a.attisdropped
            AND (t.oid IN ('real'::regtype, 'double precision'::regtype) OR t.typelem IN ('real'::regtype, 'double precision'::regtype)
                 OR t.typbasetype IN ('real'::regtype, 'double precision'::regtype))",
        &[],
    );
}

#[test]
fn no_function_takes_or_gives_a_float() {
    assert_none(
        "real or double precision",
        "SELECT p.oid::regprocedure::text FROM pg_proc p
          WHERE (p.pronamespace = ANY ({schemas})
                 OR EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                             WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' AND e.extname = 'thorbis_db'))
            -- those of contrib modules compute distances and similarities
            AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                             WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' AND e.extname <> 'thorbis_db')
            AND (ARRAY[p.prorettype] || p.proargtypes::oid[] || coalesce(p.proallargtypes, '{}'))
                && ARRAY['real', 'double precision', 'real[]', 'double precision[]']::regtype[]::oid[]",
        &[],
    );
}

/// Words of floating point in sources, and the lines that may hold them: file, part of the line, reason.
const WORDS: [&str; 6] = ["f32", "f64", "float4", "float8", "double precision", "real"];
const MAY: [(&str, &str, &str); 3] = [
    (
        "src/protect/emptied.rs",
        "| \"real\" | \"double precision\"",
        "what empties a column of a table that is not ours",
    ),
    ("sql/schema/shared/0009_taxes.sql", "'Brazilian real'", "the currency"),
    ("sql/extension/04_access.sql", "cached plans of real tables", "the English word"),
];

#[test]
fn no_source_uses_floating_point() {
    let root = repository_root();
    let mut lines = Vec::new();
    for folder in ["src", "sql"] {
        look(root.as_ref(), &root.join(folder), &mut lines);
    }
    let exception =
        |name: &str, line: &str| MAY.iter().position(|(file, part, _)| *file == name && line.contains(part));
    let forbidden: Vec<String> = lines
        .iter()
        .filter(|(name, _, line)| exception(name, line).is_none())
        .map(|(name, number, line)| format!("{name}:{number}: {line}"))
        .collect();
    assert!(forbidden.is_empty(), "{}", forbidden.join("\n"));
    let used = |i: usize| lines.iter().any(|(name, _, line)| exception(name, line) == Some(i));
    let stale: Vec<&str> = (0..MAY.len()).filter(|&i| !used(i)).map(|i| MAY[i].1).collect();
    assert!(stale.is_empty(), "exceptions that nothing needs: {stale:?}");
}

/// File, number and text of each line below the folder that has a word of floating point.
fn look(root: &Path, folder: &Path, found: &mut Vec<(String, usize, String)>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            look(root, &path, found);
            continue;
        }
        let name = path.strip_prefix(root).expect("it is below").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("sources are text");
        let lines = text.lines().enumerate().filter(|(_, line)| floats(line).is_some());
        found.extend(lines.map(|(i, line)| (name.clone(), i + 1, line.trim().to_owned())));
    }
}

/// A word of floating point in the code of a line.
fn floats(line: &str) -> Option<&'static str> {
    let code = line.trim_start();
    if code.starts_with("//") || code.starts_with("--") {
        return None;
    }
    WORDS.iter().copied().find(|word| {
        let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        code.match_indices(word).any(|(at, _)| {
            let bytes = code.as_bytes();
            !is_word(at.checked_sub(1).and_then(|before| bytes.get(before))) && !is_word(bytes.get(at + word.len()))
        })
    })
}

#[test]
fn the_source_test_finds_what_it_looks_for() {
    for line in ["let x: f64 = 1.0;", "amount double precision NOT NULL", "total::float8", "a real,"] {
        assert!(floats(line).is_some(), "{line}");
    }
    for line in ["// f64 is wrong", "-- real", "let buf32 = 1;", "surreal", "is_real_time"] {
        assert!(floats(line).is_none(), "{line}");
    }
}
