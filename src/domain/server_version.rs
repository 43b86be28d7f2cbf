//! The oldest minor release of each major version that isolates tenants.

/// Lowest `server_version_num` per major: the releases that fixed CVE-2025-8713 (statistics readable through views and
/// partitions), which lets one tenant learn values of another.
const MINIMUM: [(u32, u32); 4] = [(15, 150014), (16, 160010), (17, 170006), (18, 180000)];

/// `Err` names the release to upgrade to, as `15.14`.
pub fn check(version_num: u32) -> Result<(), String> {
    let major = version_num / 10_000;
    match MINIMUM.iter().find(|(m, _)| *m == major) {
        Some((_, minimum)) if version_num >= *minimum => Ok(()),
        Some((_, minimum)) => Err(format!("{major}.{}", minimum % 10_000)),
        // A newer major than this build knows cannot load the library; an older one never had the fixes.
        None if major > 18 => Ok(()),
        None => Err("15.14".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn the_release_with_the_fix_is_the_first_accepted() {
        assert_eq!(check(150013), Err("15.14".into()));
        assert_eq!(check(150014), Ok(()));
        assert_eq!(check(160009), Err("16.10".into()));
        assert_eq!(check(170005), Err("17.6".into()));
        assert_eq!(check(170006), Ok(()));
        assert_eq!(check(180000), Ok(()));
        assert_eq!(check(140022), Err("15.14".into()));
    }
}
