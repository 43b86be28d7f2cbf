//! Merkle trees as in RFC 6962 (Certificate Transparency), over SHA-256. Memory grows with the logarithm of the leaves.
//!
//! Leaves come as hashes that are made already; they must not be made as `node` makes its own (`domain::seal::leaf`).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// 32 bytes of SHA-256, written in hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash256(pub [u8; 32]);

impl Hash256 {
    pub const ZERO: Hash256 = Hash256([0; 32]);

    /// SHA-256 of the parts, one after another.
    pub fn of(parts: &[&[u8]]) -> Hash256 {
        let mut hasher = Sha256::new();
        parts.iter().for_each(|part| hasher.update(part));
        Hash256(hasher.finalize().into())
    }

    /// None unless there are 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Hash256> {
        bytes.try_into().ok().map(Hash256)
    }
}

impl fmt::Display for Hash256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is written in 64 hexadecimal digits")]
pub struct NotAHash;

impl FromStr for Hash256 {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Hash256, NotAHash> {
        let digits: Vec<u8> =
            text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>().ok_or(NotAHash)?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
        if digits.len() == 64 { Hash256::from_slice(&bytes).ok_or(NotAHash) } else { Err(NotAHash) }
    }
}

impl Serialize for Hash256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hash256, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A node over two others.
fn node(left: Hash256, right: Hash256) -> Hash256 {
    Hash256::of(&[&[1], &left.0, &right.0])
}

/// A tree that grows leaf by leaf and remembers the roots of its complete subtrees only.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// From the largest to the smallest: one for each bit of `size`.
    complete: Vec<Hash256>,
    size: u64,
}

impl Tree {
    pub fn push(&mut self, leaf: Hash256) {
        let mut hash = leaf;
        // As in counting: each carry joins two subtrees of the same height.
        for _ in 0..self.size.trailing_ones() {
            let left = self.complete.pop().expect("one for each bit of the size");
            hash = node(left, hash);
        }
        self.complete.push(hash);
        self.size += 1;
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn root(&self) -> Hash256 {
        let joined = self.complete.iter().rev().copied().reduce(|right, left| node(left, right));
        joined.unwrap_or_else(|| Hash256::of(&[]))
    }
}

impl FromIterator<Hash256> for Tree {
    fn from_iter<I: IntoIterator<Item = Hash256>>(leaves: I) -> Tree {
        let mut tree = Tree::default();
        leaves.into_iter().for_each(|leaf| tree.push(leaf));
        tree
    }
}

/// The audit path of one leaf, made from all leaves in their order.
#[derive(Debug)]
pub struct Path {
    /// The subtrees beside the way from the root to the leaf, from the top: which leaves they have, and their trees.
    siblings: Vec<(Range<u64>, Tree)>,
    position: u64,
}

impl Path {
    /// Of the leaf at `index`, from 0, in a tree of `size` leaves.
    pub fn new(index: u64, size: u64) -> Path {
        let mut siblings = Vec::new();
        let mut within = 0..size;
        while within.end - within.start > 1 {
            let half = (within.end - within.start).next_power_of_two() / 2;
            let (left, right) = (within.start..within.start + half, within.start + half..within.end);
            let (down, beside) = if index < right.start { (left, right) } else { (right, left) };
            siblings.push((beside, Tree::default()));
            within = down;
        }
        Path { siblings, position: 0 }
    }

    pub fn push(&mut self, leaf: Hash256) {
        if let Some((_, tree)) = self.siblings.iter_mut().find(|(leaves, _)| leaves.contains(&self.position)) {
            tree.push(leaf);
        }
        self.position += 1;
    }

    /// From the leaf's neighbour up.
    pub fn finish(self) -> Vec<Hash256> {
        self.siblings.iter().rev().map(|(_, tree)| tree.root()).collect()
    }
}

/// The root that a leaf and its audit path lead to; None when the path does not fit a tree of this size.
pub fn root_of_path(leaf: Hash256, index: u64, size: u64, path: &[Hash256]) -> Option<Hash256> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for beside in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node(*beside, hash);
            // A node at the right edge without a sibling is its own parent.
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node(hash, *beside);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hashes(list: &[&str]) -> Vec<Hash256> {
        list.iter().map(|text| text.parse().expect("a hash")).collect()
    }

    /// As RFC 6962 makes them of entries.
    fn leaf(entry: &[u8]) -> Hash256 {
        Hash256::of(&[&[0], entry])
    }

    fn numbered(count: u64) -> Vec<Hash256> {
        (0..count).map(|n| leaf(&n.to_be_bytes())).collect()
    }

    fn path_of(leaves: &[Hash256], index: u64) -> Vec<Hash256> {
        let mut path = Path::new(index, leaves.len() as u64);
        leaves.iter().for_each(|leaf| path.push(*leaf));
        path.finish()
    }

    /// The definition in RFC 6962, section 2.1, word for word.
    fn defined(leaves: &[Hash256]) -> Hash256 {
        match leaves {
            [] => Hash256::of(&[]),
            [one] => *one,
            _ => {
                let half = leaves.len().next_power_of_two() / 2;
                node(defined(&leaves[..half]), defined(&leaves[half..]))
            }
        }
    }

    /// The same for audit paths, section 2.1.1.
    fn defined_path(index: usize, leaves: &[Hash256]) -> Vec<Hash256> {
        if leaves.len() < 2 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (mut path, beside) = match index < left.len() {
            true => (defined_path(index, left), right),
            false => (defined_path(index - left.len(), right), left),
        };
        path.push(defined(beside));
        path
    }

    /// The entries and hashes of Certificate Transparency's own tests (merkle_tree_test.cc).
    #[test]
    fn trees_of_certificate_transparency() {
        let entries: [&[u8]; 8] =
            [b"", b"\x00", b"\x10", b"\x20\x21", b"\x30\x31", b"@ABC", b"PQRSTUVW", b"`abcdefghijklmno"];
        let roots = hashes(&[
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ]);
        let leaves: Vec<Hash256> = entries.iter().map(|entry| leaf(entry)).collect();
        for (size, root) in roots.iter().enumerate() {
            assert_eq!(leaves[..size].iter().copied().collect::<Tree>().root(), *root, "{size} leaves");
        }
        let paths: [(u64, usize, &[&str]); 5] = [
            (0, 1, &[]),
            (
                0,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                5,
                8,
                &[
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
            (
                1,
                5,
                &[
                    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                ],
            ),
        ];
        for (index, size, path) in paths {
            assert_eq!(path_of(&leaves[..size], index), hashes(path), "leaf {index} of {size}");
            let root = root_of_path(leaves[index as usize], index, size as u64, &hashes(path));
            assert_eq!(root, Some(roots[size]), "leaf {index} of {size}");
        }
    }

    #[test]
    fn small_trees_are_as_defined() {
        for size in 0..70 {
            let leaves = numbered(size);
            let tree: Tree = leaves.iter().copied().collect();
            assert_eq!((tree.root(), tree.size()), (defined(&leaves), size));
            for index in 0..size {
                let path = path_of(&leaves, index);
                assert_eq!(path, defined_path(index as usize, &leaves), "leaf {index} of {size}");
                assert_eq!(root_of_path(leaves[index as usize], index, size, &path), Some(tree.root()));
            }
        }
    }

    #[test]
    fn memory_grows_with_the_logarithm() {
        let tree: Tree = std::iter::repeat_n(Hash256::ZERO, 100_000).collect();
        assert!(tree.complete.len() <= 17);
        assert!(Path::new(77_777, 100_000).siblings.len() <= 17);
    }

    #[test]
    fn hashes_are_written_in_hexadecimal() {
        let hash = Hash256::of(&[]);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_string().to_uppercase().parse(), Ok(hash));
        for text in ["", "e3b0", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65), &"a".repeat(66), &"é".repeat(32)] {
            assert_eq!(text.parse::<Hash256>(), Err(NotAHash), "{text}");
        }
        assert_eq!(serde_json::to_string(&hash).ok(), Some(format!("\"{hash}\"")));
        assert_eq!(Hash256::from_slice(&[0; 31]), None);
    }

    proptest! {
        #[test]
        fn large_trees_are_as_defined(size in 1u64..3000, at in any::<prop::sample::Index>()) {
            let (leaves, index) = (numbered(size), at.index(size as usize));
            let root = leaves.iter().copied().collect::<Tree>().root();
            prop_assert_eq!(root, defined(&leaves));
            let path = path_of(&leaves, index as u64);
            prop_assert_eq!(root_of_path(leaves[index], index as u64, size, &path), Some(root));
        }

        /// Nothing but the leaf at its place leads to the root.
        #[test]
        fn another_leaf_place_or_path_leads_elsewhere(size in 2u64..200, at in any::<prop::sample::Index>(),
                                                      other in any::<prop::sample::Index>(), bit in 0usize..256) {
            let (leaves, index) = (numbered(size), at.index(size as usize));
            let root = leaves.iter().copied().collect::<Tree>().root();
            let path = path_of(&leaves, index as u64);
            let flipped = |hash: Hash256| {
                let mut hash = hash;
                hash.0[bit / 8] ^= 1 << (bit % 8);
                hash
            };
            prop_assert_ne!(root_of_path(flipped(leaves[index]), index as u64, size, &path), Some(root));
            let mut changed = path.clone();
            let one = other.index(path.len());
            changed[one] = flipped(changed[one]);
            prop_assert_ne!(root_of_path(leaves[index], index as u64, size, &changed), Some(root));
            let place = other.index(size as usize);
            if place != index {
                prop_assert_ne!(root_of_path(leaves[index], place as u64, size, &path), Some(root));
            }
            prop_assert_ne!(root_of_path(leaves[index], index as u64, size, &path[1..]), Some(root));
            let longer = [&path[..], &[root]].concat();
            prop_assert_ne!(root_of_path(leaves[index], index as u64, size, &longer), Some(root));
            prop_assert_eq!(root_of_path(leaves[index], size, size, &path), None);
        }

        #[test]
        fn any_change_of_the_leaves_changes_the_root(size in 1usize..300, at in any::<prop::sample::Index>()) {
            let leaves = numbered(size as u64);
            let (index, root) = (at.index(size), defined(&leaves));
            let tree = |leaves: &[Hash256]| leaves.iter().copied().collect::<Tree>().root();
            let mut missing = leaves.clone();
            missing.remove(index);
            let mut changed = leaves.clone();
            changed[index] = leaf(b"another");
            let mut added = leaves.clone();
            added.insert(index, leaf(b"another"));
            for other in [missing, changed, added] {
                prop_assert_ne!(tree(&other), root);
            }
            if index > 0 {
                let mut swapped = leaves.clone();
                swapped.swap(index - 1, index);
                prop_assert_ne!(tree(&swapped), root);
            }
        }
    }
}
