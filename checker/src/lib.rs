//! Checks a proof that a row stands in the audit log of thorbis_db, and says what it proves.

pub mod domain;

use domain::merkle::Hash256;
use domain::proof::Proof;
use domain::seal::Month;
use std::fmt::Write;

/// The row and what is proved about it, or what does not hold. `root` is a hash of audit.roots, kept from earlier.
pub fn check(json: &str, root: Option<Hash256>) -> Result<String, String> {
    let proof: Proof = serde_json::from_str(json).map_err(|e| format!("this is no proof: {e}"))?;
    let (number, hash) = proof.check(root).map_err(|e| format!("the proof does not hold: {e}"))?;
    let mut text = String::new();
    for (name, value) in &proof.row {
        let value = value.as_deref();
        let value = if name == "occurred_at" { value.map(written_time) } else { value.map(str::to_owned) };
        let value = value.as_deref().map_or_else(|| "(null)".to_owned(), on_one_line);
        let _ = writeln!(text, "{:>16}  {value}", on_one_line(name));
    }
    let seal = &proof.seal;
    let sealed_at = written_time(&seal.sealed_at.to_string());
    let _ = writeln!(
        text,
        "\nsealed at {sealed_at} in seal {}, row {} of {}",
        seal.number,
        proof.leaf_index + 1,
        seal.row_count
    );
    let _ = match root {
        Some(root) => writeln!(text, "proof holds: the row stands in the log with the root {root}"),
        None => writeln!(
            text,
            "proof holds for a log whose seal {number} has the hash {hash}\ncompare it with what was exported from audit.roots, or give that with --root"
        ),
    };
    Ok(text)
}

/// Line ends and what moves the cursor are written as escapes: no value can pass for a line of this program's.
fn on_one_line(value: &str) -> String {
    let is_plain = |c: char| !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    value.chars().map(|c| if is_plain(c) { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

/// Microseconds since 1970 as a person writes a time; anything else as it is.
fn written_time(micros: &str) -> String {
    const SECOND: i64 = 1_000_000;
    const DAY: i64 = 86_400 * SECOND;
    let Ok(time) = micros.parse::<i64>() else { return micros.to_owned() };
    let (day, of_day) = (time.div_euclid(DAY), time.rem_euclid(DAY));
    let month = Month::of_day(day);
    let (seconds, fraction) = (of_day / SECOND, of_day % SECOND);
    let date = month.to_string();
    format!(
        "{}-{:02} {:02}:{:02}:{:02}.{fraction:06} UTC",
        date.strip_suffix("-01").unwrap_or(&date),
        day - month.first_day() + 1,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}
