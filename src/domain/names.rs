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
    let digest = &crate::domain::plan::checksum(table)[..8];
    let room = MAX_BYTES - prefix.len() - suffix.len() - digest.len() - 1;
    let cut = (0..=room).rev().find(|&i| table.is_char_boundary(i)).unwrap_or(0);
    format!("{prefix}{}_{digest}{suffix}", &table[..cut])
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
    fn resources_are_words() {
        assert_eq!(resource_for("My Orders"), "my_orders");
        assert_eq!(resource_for("2024 sales"), "t_2024_sales");
        assert!(is_word("orders") && !is_word("Orders") && !is_word("a'b") && !is_word(""));
    }
}
