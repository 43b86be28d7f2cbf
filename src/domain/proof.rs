//! A proof that a row stands in the audit log, and its check, for which nothing else is needed: no database, and no
//! trust in who made it.

use crate::domain::merkle::{Hash256, root_of_path};
use crate::domain::seal::{self, COLUMNS, Header, Kind, Month, RowDigest};
use serde::{Deserialize, Serialize};

pub const FORMAT: &str = "thorbis_db audit proof";
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    pub format: String,
    pub version: u32,
    /// Names and texts of the columns, in the order in which they are hashed.
    pub row: Vec<(String, Option<String>)>,
    pub blind: Hash256,
    /// The place of the row among those of its seal, from 0.
    pub leaf_index: u64,
    pub path: Vec<Hash256>,
    /// The seal that covers the row.
    pub seal: Header,
    /// The seals after it, until the one whose hash was exported.
    pub later_seals: Vec<Header>,
}

/// What does not hold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("it is in no format that this version knows: \"{FORMAT}\", version {VERSION}")]
    Format,
    #[error("the row does not have the columns of audit.change_log in their order")]
    Columns,
    #[error("the row's {0} is not of the seal's {1}")]
    Elsewhere(&'static str, &'static str),
    #[error("the seal is not one of rows, or it does not have as many as it says")]
    Seal,
    #[error("row and path do not lead to the root of seal {0}: the row is not what was sealed")]
    Row(i64),
    #[error("seal {0} does not follow the one before it")]
    Chain(i64),
    #[error("none of the seals has the hash {0}")]
    Root(Hash256),
}

impl Proof {
    /// What the row and the seals come to: the number and the hash of the last seal. That the log is the one whose hash
    /// was exported is checked with `root`; without it, the caller compares.
    pub fn check(&self, root: Option<Hash256>) -> Result<(i64, Hash256), ProofError> {
        if self.format != FORMAT || self.version != VERSION {
            return Err(ProofError::Format);
        }
        if !self.row.iter().map(|(name, _)| name.as_str()).eq(COLUMNS) {
            return Err(ProofError::Columns);
        }
        self.check_place()?;
        let mut digest = RowDigest::default();
        self.row.iter().for_each(|(_, text)| digest.column(text.as_ref().map(String::as_bytes)));
        let leaf = seal::leaf(self.blind, digest.finish());
        let rows = u64::try_from(self.seal.row_count).map_err(|_| ProofError::Seal)?;
        if root_of_path(leaf, self.leaf_index, rows, &self.path) != Some(self.seal.root) {
            return Err(ProofError::Row(self.seal.number));
        }
        let mut hashes = vec![self.seal.hash()];
        let mut last = &self.seal;
        for seal in &self.later_seals {
            if last.number.checked_add(1) != Some(seal.number) || hashes.last() != Some(&seal.previous_hash) {
                return Err(ProofError::Chain(seal.number));
            }
            hashes.push(seal.hash());
            last = seal;
        }
        match root {
            Some(root) if !hashes.contains(&root) => Err(ProofError::Root(root)),
            _ => Ok((last.number, hashes[hashes.len() - 1])),
        }
    }

    /// The text of a column; None when it is NULL.
    pub fn column(&self, name: &str) -> Option<&str> {
        self.row.iter().find(|(known, _)| known == name).and_then(|(_, text)| text.as_deref())
    }

    /// The seal covers rows of this month, cluster and transaction.
    fn check_place(&self) -> Result<(), ProofError> {
        if self.seal.kind != Kind::Rows {
            return Err(ProofError::Seal);
        }
        let number = |name| self.column(name).and_then(|text| text.parse::<i64>().ok());
        let month = number("occurred_at").map(Month::of);
        let places = [
            ("occurred_at", "month", month == Some(self.seal.month)),
            ("system_id", "system_id", number("system_id") == Some(self.seal.system_id)),
            ("transaction_id", "transactions", number("transaction_id").is_some_and(|n| self.seal.covers(n))),
        ];
        match places.into_iter().find(|(.., fits)| !fits) {
            Some((column, field, _)) => Err(ProofError::Elsewhere(column, field)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::merkle::{Path, Tree};

    const TIME: i64 = 1_793_700_000_123_456;

    fn row(n: u64) -> Vec<(String, Option<String>)> {
        let text = |name: &str| match name {
            "occurred_at" => Some(TIME.to_string()),
            "system_id" => Some("77".into()),
            "transaction_id" => Some((1000 + n).to_string()),
            "new_row_key" | "request_id" => None,
            _ => Some(format!("{name} {n}")),
        };
        COLUMNS.iter().map(|name| (name.to_string(), text(name))).collect()
    }

    fn leaf(n: u64) -> Hash256 {
        let mut digest = RowDigest::default();
        row(n).iter().for_each(|(_, text)| digest.column(text.as_ref().map(String::as_bytes)));
        seal::leaf(Hash256::of(&[&n.to_be_bytes()]), digest.finish())
    }

    /// Of row 5 of 11, with two later seals.
    fn proof() -> Proof {
        let tree: Tree = (0..11).map(leaf).collect();
        let mut path = Path::new(5, 11);
        (0..11).for_each(|n| path.push(leaf(n)));
        let mut seal = Header {
            number: 3,
            kind: Kind::Rows,
            system_id: 77,
            from_transaction: 1000,
            to_transaction: 1011,
            month: Month::of(TIME),
            row_count: 11,
            root: tree.root(),
            sealed_at: TIME,
            previous_hash: Hash256::of(&[b"the one before"]),
        };
        let first = seal;
        let later_seals = (0..2).map(|_| {
            seal = Header { number: seal.number + 1, previous_hash: seal.hash(), root: Hash256::of(&[]), ..seal };
            seal
        });
        Proof {
            format: FORMAT.into(),
            version: VERSION,
            row: row(5),
            blind: Hash256::of(&[&5u64.to_be_bytes()]),
            leaf_index: 5,
            path: path.finish(),
            seal: first,
            later_seals: later_seals.collect(),
        }
    }

    #[test]
    fn a_good_proof_holds_for_each_of_its_seals() {
        let proof = proof();
        let last = proof.later_seals[1].hash();
        assert_eq!(proof.check(None), Ok((5, last)));
        for root in [proof.seal.hash(), proof.later_seals[0].hash(), last] {
            assert_eq!(proof.check(Some(root)), Ok((5, last)));
        }
        let other = Hash256::of(&[b"another log"]);
        assert_eq!(proof.check(Some(other)), Err(ProofError::Root(other)));
        let json = serde_json::to_string(&proof).expect("JSON");
        assert_eq!(serde_json::from_str::<Proof>(&json).expect("a proof"), proof);
    }

    #[test]
    fn what_was_changed_is_said() {
        type Change = fn(&mut Proof);
        let cases: [(Change, ProofError); 21] = [
            (|p| p.format.push('!'), ProofError::Format),
            (|p| p.version = 2, ProofError::Format),
            (|p| drop(p.row.pop()), ProofError::Columns),
            (|p| p.row.swap(9, 10), ProofError::Columns),
            (|p| p.row.push(("more".into(), None)), ProofError::Columns),
            (|p| p.row[9].1 = Some("{}".into()), ProofError::Row(3)),
            (|p| p.row[8].1 = Some(String::new()), ProofError::Row(3)),
            (|p| p.row[0].1 = None, ProofError::Row(3)),
            (|p| p.row[1].1 = Some("0".into()), ProofError::Elsewhere("occurred_at", "month")),
            (|p| p.row[3].1 = Some("78".into()), ProofError::Elsewhere("system_id", "system_id")),
            (|p| p.row[4].1 = Some("1011".into()), ProofError::Elsewhere("transaction_id", "transactions")),
            (|p| p.row[4].1 = Some("x".into()), ProofError::Elsewhere("transaction_id", "transactions")),
            (|p| p.blind.0[0] ^= 1, ProofError::Row(3)),
            (|p| p.leaf_index = 4, ProofError::Row(3)),
            (|p| p.path.truncate(3), ProofError::Row(3)),
            (|p| p.seal.kind = Kind::Tombstone, ProofError::Seal),
            (|p| p.seal.row_count = -1, ProofError::Seal),
            (|p| p.seal.row_count = 64, ProofError::Row(3)),
            (|p| p.seal.sealed_at += 1, ProofError::Chain(4)),
            (|p| p.later_seals.swap(0, 1), ProofError::Chain(5)),
            (|p| p.later_seals[1].number = 6, ProofError::Chain(6)),
        ];
        for (n, (change, expected)) in cases.into_iter().enumerate() {
            let mut changed = proof();
            change(&mut changed);
            assert_eq!(changed.check(None), Err(expected), "case {n}");
        }
    }

    /// A header that was changed throughout leads to another hash, which is not the one exported.
    #[test]
    fn an_exported_root_tells_a_rewritten_log() {
        let exported = proof().later_seals[1].hash();
        let mut rewritten = proof();
        rewritten.later_seals.clear();
        rewritten.seal.sealed_at += 1;
        assert!(rewritten.check(None).is_ok());
        assert_eq!(rewritten.check(Some(exported)), Err(ProofError::Root(exported)));
    }
}
