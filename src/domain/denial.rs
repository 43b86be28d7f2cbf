//! The line that stands in the server log for each thing that was refused.
//!
//! Whoever may run SQL can have text of their own written to the log: RAISE LOG, an application name, a statement that
//! fails. So each line carries a code that only the server can make, and reading a log believes no other line.

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::collections::HashSet;

/// What a line begins with; a JSON object follows.
const PREFIX: &str = "thorbis_db denial: ";
/// What stands between the object's other members and the code.
const CODE: &str = r#","mac":""#;
const CODE_DIGITS: usize = 32;
/// In characters: no line is longer, however its names and its rule are written.
const LONGEST_LINE: usize = 8192;
/// How many characters of a rule are noted.
const LONGEST_RULE: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Denial {
    /// Microseconds since 1970, UTC.
    pub at: i64,
    /// Number of the database.
    pub database: u32,
    pub tenant: Option<String>,
    pub user: Option<String>,
    pub role: String,
    pub session_role: String,
    /// SQLSTATE.
    pub code: String,
    /// The error message: names the rule, never a value.
    pub rule: String,
}

impl Denial {
    /// One line of text, whatever the names hold.
    pub fn to_line(&self, key: &[u8]) -> String {
        let rule = self.rule.chars().take(LONGEST_RULE).collect();
        let object = serde_json::to_string(&Denial { rule, ..self.clone() }).expect("plain data");
        let open = object.strip_suffix('}').unwrap_or(&object);
        format!("{PREFIX}{open}{CODE}{}\"}}", code(key, &object))
    }

    /// What follows the prefix. With a key, only what was written with it.
    fn parse(text: &str, key: Option<&[u8]>) -> Option<Denial> {
        // Quotes within the values are escaped: the first place that looks like the code is it.
        let (open, rest) = text.split_once(CODE)?;
        let given = rest.get(..CODE_DIGITS).filter(|_| rest[CODE_DIGITS..].starts_with("\"}"))?;
        let object = format!("{open}}}");
        if key.is_some_and(|key| code(key, &object) != given) {
            return None;
        }
        serde_json::from_str(&object).ok()
    }
}

fn code(key: &[u8], object: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(PREFIX.as_bytes());
    mac.update(object.as_bytes());
    let digest: [u8; 32] = mac.finalize().into_bytes().into();
    digest[..CODE_DIGITS / 2].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The denials in a log of any of PostgreSQL's formats, in its order. A line that stands there again, because somebody
/// quoted the log in a statement that was logged, counts once.
pub fn in_log(log: &str, key: Option<&[u8]>) -> Vec<Denial> {
    let (mut found, mut seen, mut rest) = (Vec::new(), HashSet::new(), log);
    while let Some(at) = rest.find(PREFIX) {
        rest = &rest[at + PREFIX.len()..];
        let end = rest.char_indices().nth(LONGEST_LINE).map_or(rest.len(), |(end, _)| end);
        let line = rest[..end].split('\n').next().unwrap_or_default();
        if let Some(denial) = Denial::parse(&unescaped(line), key)
            && seen.insert(denial.clone())
        {
            found.push(denial);
        }
    }
    found
}

/// The text of a line: csvlog doubles its quotes, jsonlog escapes them.
fn unescaped(line: &str) -> String {
    if line.starts_with("{\"\"") {
        line.replace("\"\"", "\"")
    } else if line.starts_with("{\\") {
        let mut text = String::with_capacity(line.len());
        let mut characters = line.chars();
        while let Some(c) = characters.next() {
            text.extend(if c == '\\' { characters.next() } else { Some(c) });
        }
        text
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &[u8] = b"known to the server alone";

    fn denial(role: &str, rule: &str) -> Denial {
        Denial {
            at: 1_700_000_000_000_001,
            database: 5,
            tenant: Some("aaaaaaaa-0000-4000-8000-000000000001".into()),
            user: None,
            role: role.into(),
            session_role: "app_login".into(),
            code: "42501".into(),
            rule: rule.into(),
        }
    }

    #[test]
    fn a_line_in_the_midst_of_others() {
        let denial = denial("app_login", "permission denied: customers:pii is required");
        let line = denial.to_line(KEY);
        let log = format!("12:00 [7] LOG:  x\n12:00 [7] a@b LOG:  {line}\n12:00 [7] ERROR:  permission denied\n");
        let quoted = format!("{log}STATEMENT:  SELECT '{line}'\n");
        for log in [log, quoted] {
            assert_eq!(in_log(&log, Some(KEY)), std::slice::from_ref(&denial));
        }
    }

    #[test]
    fn no_line_of_anybody_else_counts() {
        let genuine = denial("app_login", "a rule").to_line(KEY);
        let object = genuine.strip_prefix(PREFIX).expect("it begins so");
        for forged in [
            denial("app_login", "a rule").to_line(b"another key"),
            format!("{PREFIX}{}", object.replace("aaaaaaaa", "bbbbbbbb")),
            format!("{PREFIX}{}", object.replace("a rule", "a\trule")),
            format!("{PREFIX}{{\"at\": 1}}"),
            format!("{PREFIX}{}", object.split(CODE).next().unwrap_or_default()),
            format!("{PREFIX}{{{CODE}{}\"}}", "0".repeat(32)),
            format!("{PREFIX}{}\n{}", &object[..40], &object[40..]),
            PREFIX.into(),
        ] {
            assert_eq!(in_log(&format!("LOG:  {forged}\n"), Some(KEY)), [], "{forged}");
        }
        // Without the key the form is all there is to go by.
        assert_eq!(in_log(&denial("r", "x").to_line(b"another key"), None), [denial("r", "x")]);
    }

    #[test]
    fn a_rule_that_quotes_a_line_is_one_denial() {
        let inner = denial("app_login", "inner").to_line(KEY);
        let cut: String = inner.chars().take(LONGEST_RULE).collect();
        assert_eq!(in_log(&denial("r", &inner).to_line(KEY), Some(KEY)), [denial("r", &cut)]);
    }

    proptest! {
        #[test]
        fn whatever_stands_in_it_is_read_again(role in ".{0,63}", rule in "(?s).{0,300}", before in "(?s).{0,50}") {
            let mut written = denial(&role, &rule);
            let line = written.to_line(KEY);
            prop_assert!(!line.contains('\n'));
            written.rule = rule.chars().take(LONGEST_RULE).collect();
            let csv = format!("2026-01-01,\"LOG\",00000,\"{}\",,,\n", line.replace('"', "\"\""));
            let json = serde_json::json!({"message": line, "backend_type": "client backend"}).to_string();
            for log in [format!("{before}\nLOG:  {line}\nHINT:  x"), format!("{before}\n{csv}"), format!("{json}\n")] {
                prop_assert_eq!(in_log(&log, Some(KEY)), [written.clone()]);
            }
        }

        #[test]
        fn nonsense_raises_nothing(text in "(?s).{0,200}", cut in 0usize..200) {
            let line = denial("r", "x").to_line(KEY);
            let cut = cut.min(line.len());
            in_log(&format!("{PREFIX}{{{text}{CODE}{text}"), None);
            in_log(&format!("{}{text}", &line[..cut]), None);
        }
    }
}
