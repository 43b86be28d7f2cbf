//! Names of the objects that protection adds to a table.

/// PostgreSQL cuts identifiers at this many bytes.
const MAX_BYTES: usize = 63;

/// `prefix` + `table` + `suffix`, with `table` shortened so that PostgreSQL does not have to cut the result. Shortened
/// names carry a digest of the whole table name: two long tables of one schema must not want the same index name.
pub fn derived(prefix: &str, table: &str, suffix: &str) -> String {
    let whole = format!("{prefix}{table}{suffix}");
    if whole.len() <= MAX_BYTES {
        return whole;
    }
    let digest = |text: &str| format!("_{}", &crate::domain::plan::checksum(text)[..8]);
    match (MAX_BYTES - digest("").len()).checked_sub(prefix.len() + suffix.len()) {
        Some(room) => format!("{prefix}{}{}{suffix}", cut(table, room), digest(table)),
        // A suffix with a long name of a column in it.
        None => format!("{}{}", cut(&whole, MAX_BYTES - digest("").len()), digest(&whole)),
    }
}

/// The beginning of a text, in whole letters.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..(0..=bytes.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)]
}

/// The column with the envelopes of an encrypted column.
pub fn encrypted_column(column: &str) -> String {
    derived("", column, "_encrypted")
}

/// The column with its blind index.
pub fn blind_index_column(column: &str) -> String {
    derived("", column, "_bidx")
}

/// A resource or action name, as policies and permissions use it: lower-case words joined by underscores.
pub fn is_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= MAX_BYTES
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The resource name `protect()` takes when none is given: the table's name made a word.
pub fn resource_for(table: &str) -> String {
    let word: String =
        table.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    if word.starts_with(|c: char| c.is_ascii_lowercase()) { word } else { format!("t_{word}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_plain() {
        assert_eq!(derived("tenant_isolation_", "orders", ""), "tenant_isolation_orders");
    }

    #[test]
    fn long_names_fit_and_stay_distinct() {
        let (a, b) = (format!("{}a", "é".repeat(31)), format!("{}b", "é".repeat(31)));
        let (a, b) = (derived("idx_", &a, "_tenant_id"), derived("idx_", &b, "_tenant_id"));
        assert!(a.len() <= MAX_BYTES && b.len() <= MAX_BYTES && a != b, "{a} {b}");
    }

    #[test]
    fn long_suffixes_fit_too() {
        let (a, b) = ("y".repeat(62), format!("{}z", "y".repeat(61)));
        let names = [&a, &b].map(|column| derived("", &"t".repeat(63), &format!("_{column}_encrypted_check")));
        assert!(names.iter().all(|name| name.len() <= MAX_BYTES) && names[0] != names[1], "{names:?}");
        assert_ne!(encrypted_column(&a), encrypted_column(&b));
        assert_eq!(encrypted_column("email"), "email_encrypted");
    }

    #[test]
    fn resources_are_words() {
        assert_eq!(resource_for("My Orders"), "my_orders");
        assert_eq!(resource_for("2024 sales"), "t_2024_sales");
        assert!(is_word("orders") && !is_word("Orders") && !is_word("a'b") && !is_word(""));
    }
}
