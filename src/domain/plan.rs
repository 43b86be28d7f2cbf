//! Which migrations to run, in which order.

use sha2::{Digest, Sha256};

/// One numbered step of a module. `up` and `down` are SQL texts embedded in the library.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    pub version: i32,
    pub name: &'static str,
    pub up: &'static str,
    pub down: &'static str,
}

/// A schema with its numbered steps and the views that are replaced whenever their text changes.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    pub name: &'static str,
    /// Comment of the schema.
    pub about: &'static str,
    pub requires: &'static [&'static str],
    /// Installed only when asked for by name; the others are the base of every installation.
    pub industry: bool,
    pub migrations: &'static [Migration],
    pub views: Option<&'static str>,
}

impl Module {
    pub fn latest(&self) -> i32 {
        self.migrations.last().map_or(0, |m| m.version)
    }
}

/// The modules needed for `wanted` industries, base modules included, each after what it requires. `modules` is
/// already in an order in which requirements come first (a test holds it to that).
pub fn closure<'a>(modules: &'a [Module], wanted: &[String]) -> Result<Vec<&'a Module>, String> {
    if let Some(unknown) = wanted.iter().find(|w| !modules.iter().any(|m| m.industry && m.name == w.as_str())) {
        return Err(unknown.clone());
    }
    let mut needed: Vec<&str> = modules.iter().filter(|m| !m.industry).map(|m| m.name).collect();
    needed.extend(wanted.iter().map(String::as_str));
    for module in modules.iter().rev() {
        if needed.contains(&module.name) {
            needed.extend(module.requires);
        }
    }
    Ok(modules.iter().filter(|m| needed.contains(&m.name)).collect())
}

/// Hex SHA-256: identifies a released text whatever the platform.
pub fn checksum(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn module(name: &'static str, requires: &'static [&'static str], industry: bool) -> Module {
        Module { name, about: "", requires, industry, migrations: &[], views: None }
    }

    const MODULES: &[Module] =
        &[module("shared", &[], false), module("stock", &["shared"], true), module("retail", &["stock"], true)];

    #[test]
    fn requirements_come_along_and_first() {
        let names = |wanted: &[&str]| -> Vec<&str> {
            let wanted: Vec<String> = wanted.iter().map(|w| w.to_string()).collect();
            closure(MODULES, &wanted).unwrap().iter().map(|m| m.name).collect()
        };
        assert_eq!(names(&[]), ["shared"]);
        assert_eq!(names(&["retail"]), ["shared", "stock", "retail"]);
    }

    #[test]
    fn unknown_industries_are_named() {
        assert_eq!(closure(MODULES, &["space".into()]).unwrap_err(), "space");
        assert_eq!(closure(MODULES, &["shared".into()]).unwrap_err(), "shared");
    }

    #[test]
    fn checksum_is_sha256() {
        assert_eq!(checksum("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
