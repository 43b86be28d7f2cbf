//! `audit.verify()`: whether the log still is what was sealed.
//!
//! First the chain of seals alone; then the rows, some hundred thousand at a time, in the order in which they were sealed. It
//! only reads, so a standby verifies as well.

use crate::access::invalidation;
use crate::audit::error::AuditError;
use crate::audit::leaf::{self, Change};
use crate::audit::seal::{self, HEADER, HEADER_COLUMNS, require_operator};
use crate::domain::merkle::{Hash256, Tree};
use crate::domain::progress::Progress;
use crate::domain::seal::{Header, Kind, Month, blind, leaf};
use crate::pg::cursor::{self, Row};
use crate::pg::error::OrRaise;
use crate::pg::function::written;
use crate::pg::identity::ActingAs;
use crate::pg::settings_scope::SettingsScope;
use pgrx::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// What is recomputed at once: so many rows are sorted, and so many seals are held in memory.
const ROWS_AT_ONCE: i64 = 250_000;
const SEALS_AT_ONCE: usize = 10_000;
/// More are counted only.
const MOST_FINDINGS: usize = 1000;

type Found = (&'static str, Option<i64>, String);

/// Rows (finding, seal, detail); one row `ok` when nothing is wrong.
#[pg_extern(sql = false)]
fn verify_audit(
    from: Option<TimestampWithTimeZone>,
    to: Option<TimestampWithTimeZone>,
    root: Option<&[u8]>,
) -> TableIterator<'static, (name!(finding, &'static str), name!(seal, Option<i64>), name!(detail, String))> {
    require_operator("audit.verify()");
    let seals = invalidation::named("audit", "seals").ok_or(AuditError::NoLog).or_raise();
    let settings = SettingsScope::pinned_path();
    settings.set("datestyle", "ISO");
    let _identity = ActingAs::owner(seals.owner);
    let mut findings = Findings::default();
    let chain = Chain::verify(root, &mut findings);
    let limits = [(">=", from), ("<=", to)].into_iter().filter_map(|(operator, time)| {
        // SAFETY: a timestamptz. In this style it comes back as it is.
        let time = unsafe { written(time?.into_datum()?, pg_sys::TIMESTAMPTZOID) };
        Some(format!("s.sealed_at {operator} '{time}'::timestamptz"))
    });
    let limits: Vec<String> = limits.collect();
    let rows = verify_rows(&chain, &limits, None, &mut findings);
    if findings.is_empty() {
        let unsealed =
            format!("SELECT count(*) FROM audit.change_log c WHERE {}", seal::unsealed(&seal::sealed(), None));
        let unsealed = cursor::collect(&unsealed, |row| row.bigint(1)).pop().unwrap_or(0);
        let dropped = match chain.tombstones.len() {
            0 => String::new(),
            months => format!(", {} of {months} months were dropped by retention", chain.dropped),
        };
        let detail =
            format!("{} seals; {rows} rows are what was sealed{dropped}, {unsealed} are not sealed yet", chain.seals);
        findings.add("ok", None, detail);
    }
    TableIterator::new(findings.finish())
}

/// How much is wrong with the rows of a month. As the owner of the log.
pub fn findings_of(month: Month) -> usize {
    let chain = Chain::verify(None, &mut Findings::default());
    let mut findings = Findings::default();
    verify_rows(&chain, &[], Some(month), &mut findings);
    findings.found.len() + findings.more
}

#[derive(Default)]
struct Findings {
    found: Vec<Found>,
    more: usize,
}

impl Findings {
    fn add(&mut self, finding: &'static str, seal: Option<i64>, detail: String) {
        if self.found.len() < MOST_FINDINGS {
            self.found.push((finding, seal, detail));
        } else {
            self.more += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    fn finish(mut self) -> Vec<Found> {
        if self.more > 0 {
            self.found.push(("more", None, format!("{} more findings", self.more)));
        }
        self.found
    }
}

/// What the walk along the chain leaves for the rows.
#[derive(Default)]
struct Chain {
    seals: i64,
    /// Rows that tombstones stand for.
    dropped: i64,
    /// The last tombstone of each month that has one: rows of seals before it are gone.
    tombstones: HashMap<Month, i64>,
}

impl Chain {
    fn verify(root: Option<&[u8]>, findings: &mut Findings) -> Chain {
        let mut walk = Walk::default();
        let query = format!("SELECT {HEADER}, s.hash FROM audit.seals s ORDER BY s.number");
        let mut is_known = false;
        cursor::read(&query, |row| {
            let stored = row.bytes(HEADER_COLUMNS + 1);
            let good = seal::header(row).filter(|header| header.hash().0 == *stored);
            is_known |= good.is_some_and(|header| root == Some(&header.hash().0[..]));
            walk.step(row.bigint(1), good, findings);
            walk.previous = Hash256::from_slice(&stored).unwrap_or(Hash256::ZERO);
        });
        if let (Some(root), false) = (root, is_known) {
            let root: String = root.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
            let detail = format!("no seal has the hash {root}: since it was exported, seals were removed or rewritten");
            findings.add("root_unknown", None, detail);
        }
        walk.chain
    }
}

/// Along the chain, seal by seal.
struct Walk {
    chain: Chain,
    number: i64,
    previous: Hash256,
    /// Of each cluster, the range of transactions and the month sealed last; unknown after a gap.
    ranges: HashMap<i64, (i64, i64, Month)>,
    is_whole: bool,
    months: HashMap<Month, Sealed>,
}

/// Seals of a month: over their roots, and how many rows since the last tombstone.
#[derive(Default)]
struct Sealed {
    roots: Tree,
    rows: i64,
}

impl Default for Walk {
    fn default() -> Walk {
        Walk {
            chain: Chain::default(),
            number: 0,
            previous: Hash256::ZERO,
            ranges: HashMap::new(),
            is_whole: true,
            months: HashMap::new(),
        }
    }
}

impl Walk {
    /// `seal` is None when its hash is not that of its header.
    fn step(&mut self, number: i64, seal: Option<Header>, findings: &mut Findings) {
        let last = std::mem::replace(&mut self.number, number);
        self.chain.seals += 1;
        let is_next = number == last + 1;
        if !is_next {
            let detail = format!("seals {} to {} are not there", last + 1, number - 1);
            findings.add("seal_missing", Some(last + 1), detail);
        }
        let Some(seal) = seal else {
            findings.add("seal_changed", Some(number), "its hash is not that of what it says".into());
            return self.forget_ranges();
        };
        if !is_next {
            self.forget_ranges();
        } else if seal.previous_hash != self.previous {
            let detail = format!("it does not follow seal {last}: one of the two was changed");
            findings.add("seal_changed", Some(number), detail);
            self.forget_ranges();
        }
        match seal.kind {
            Kind::Rows => self.rows(&seal, findings),
            Kind::Tombstone => self.tombstone(&seal, findings),
        }
    }

    fn forget_ranges(&mut self) {
        self.ranges.clear();
        self.is_whole = false;
    }

    /// The transactions of a cluster are sealed without a gap, each range once a month.
    fn rows(&mut self, seal: &Header, findings: &mut Findings) {
        let range = (seal.from_transaction, seal.to_transaction, seal.month);
        let follows = match self.ranges.insert(seal.system_id, range) {
            Some((from, to, month)) if (from, to) == (range.0, range.1) => seal.month > month,
            Some((_, to, _)) => range.0 == to,
            None => range.0 == 0 || !self.is_whole,
        };
        if !follows || range.0 >= range.1 {
            let detail = format!("transactions {} to {} of cluster {} do not follow", range.0, range.1, seal.system_id);
            findings.add("range_wrong", Some(seal.number), detail);
        }
        if let Some(tombstone) = self.chain.tombstones.get(&seal.month) {
            let detail =
                format!("{} rows came to month {} after seal {tombstone} dropped it", seal.row_count, seal.month);
            findings.add("rows_after_tombstone", Some(seal.number), detail);
        }
        let sealed = self.months.entry(seal.month).or_default();
        sealed.roots.push(seal.root);
        sealed.rows += seal.row_count;
    }

    fn tombstone(&mut self, seal: &Header, findings: &mut Findings) {
        let sealed = self.months.entry(seal.month).or_default();
        if (sealed.roots.root(), sealed.rows) != (seal.root, seal.row_count) {
            let detail = format!(
                "month {}: {} rows were dropped, {} were sealed, or other ones were",
                seal.month, seal.row_count, sealed.rows
            );
            findings.add("tombstone_wrong", Some(seal.number), detail);
        }
        // What is dropped by its age is of a month that is over.
        if Month::of(seal.sealed_at) <= seal.month {
            let detail = format!("month {} was not over when its rows were dropped", seal.month);
            findings.add("tombstone_wrong", Some(seal.number), detail);
        }
        sealed.rows = 0;
        self.chain.dropped += seal.row_count;
        self.chain.tombstones.insert(seal.month, seal.number);
    }
}

/// Recomputes the seals that were made within the limits, or of one month, with the rows between them; returns how many rows
/// there are.
fn verify_rows(chain: &Chain, limits: &[String], month: Option<Month>, findings: &mut Findings) -> i64 {
    let limits = match (limits, month) {
        (_, Some(month)) => format!("AND s.month = '{month}'::date"),
        ([], None) => String::new(),
        // All seals of a range, or rows of its other months would seem to be added.
        (limits, None) => format!(
            "AND (s.system_id, s.from_transaction) IN (SELECT s.system_id, s.from_transaction FROM audit.seals s WHERE {})",
            limits.join(" AND ")
        ),
    };
    let query = format!(
        "SELECT {HEADER}, s.blinding_key FROM audit.seals s WHERE s.kind = 'rows' {limits}
          ORDER BY s.system_id, s.from_transaction, s.month, s.number"
    );
    let total =
        format!("SELECT coalesce(sum(s.row_count), 0)::bigint FROM audit.seals s WHERE s.kind = 'rows' {limits}");
    let total = cursor::collect(&total, |row| row.bigint(1)).pop().unwrap_or(0);
    let mut progress = Progress::of(total as u64);
    let mut rows = 0;
    let mut chunk = Chunk::default();
    // In a run over all of it, what lies before the first seal and between seals is looked at as well.
    let mut covered: Option<BTreeMap<i64, i64>> = limits.is_empty().then(BTreeMap::new);
    let mut finish = |chunk: &mut Chunk| {
        rows += std::mem::take(chunk).verify(chain, month, &mut covered, &mut progress, findings);
    };
    cursor::read(&query, |row| {
        // What is malformed was found already.
        let Some(seal) = Recomputed::of(row) else { return };
        if !chunk.takes(&seal.header) {
            finish(&mut chunk);
        }
        chunk.rows = chunk.rows.saturating_add(seal.header.row_count);
        chunk.seals.push(seal);
    });
    finish(&mut chunk);
    rows
}

/// A seal and what the rows give.
struct Recomputed {
    header: Header,
    blinding_key: Vec<u8>,
    tree: Tree,
}

impl Recomputed {
    fn of(row: &Row) -> Option<Recomputed> {
        let blinding_key = row.bytes(HEADER_COLUMNS + 1);
        seal::header(row).map(|header| Recomputed { header, blinding_key, tree: Tree::default() })
    }
}

/// Seals of one cluster, one after another.
#[derive(Default)]
struct Chunk {
    seals: Vec<Recomputed>,
    rows: i64,
}

/// Rows of a month that no seal covers: how many, and between which transactions.
type Uncovered = BTreeMap<Month, (u64, i64, i64)>;

impl Chunk {
    /// Whether the seal is to be verified together with those that are there.
    fn takes(&self, next: &Header) -> bool {
        let Some(Recomputed { header: last, .. }) = self.seals.last() else { return true };
        let is_same_range = last.from_transaction == next.from_transaction;
        let is_next = last.to_transaction == next.from_transaction;
        let is_full = self.rows >= ROWS_AT_ONCE || self.seals.len() >= SEALS_AT_ONCE;
        last.system_id == next.system_id && (is_same_range || is_next && !is_full)
    }

    /// How many rows there are of its seals.
    fn verify(
        mut self,
        chain: &Chain,
        month: Option<Month>,
        covered: &mut Option<BTreeMap<i64, i64>>,
        progress: &mut Progress,
        findings: &mut Findings,
    ) -> i64 {
        let (Some(first), Some(last)) = (self.seals.first(), self.seals.last()) else { return 0 };
        let (system, until) = (first.header.system_id, last.header.to_transaction);
        let from = match covered {
            Some(covered) => covered.insert(system, until),
            None => Some(first.header.from_transaction),
        };
        let mut condition = format!("c.system_id = {system} AND c.transaction_id < {until}");
        if let Some(from) = from {
            condition.push_str(&format!(" AND c.transaction_id >= {from}"));
        }
        if let Some(month) = month {
            let next = month.next();
            condition.push_str(&format!(
                " AND c.occurred_at >= '{month} 00:00:00+00' AND c.occurred_at < '{next} 00:00:00+00'"
            ));
        }
        let (mut at, mut uncovered) = (0, Uncovered::new());
        leaf::changes(&condition, |change| {
            while self.seals.get(at).is_some_and(|seal| seal.header.to_transaction <= change.transaction) {
                at += 1;
            }
            if let Some(line) = progress.row_done() {
                notice!("{line}");
            }
            self.push(at, &change, &mut uncovered);
        });
        for (month, (count, first, last)) in uncovered {
            let detail = format!(
                "month {month}: {count} rows of transactions {first} to {last} of cluster {system}, which no seal covers"
            );
            findings.add("rows_added", None, detail);
        }
        for seal in &self.seals {
            seal.compare(chain, findings);
        }
        self.seals.iter().map(|seal| seal.tree.size() as i64).sum()
    }

    /// The row belongs to one of the seals from `at` on that have the same range.
    fn push(&mut self, at: usize, change: &Change, uncovered: &mut Uncovered) {
        let month = Month::of(change.occurred_at);
        let range = self.seals[at..].iter_mut().take_while(|seal| seal.header.covers(change.transaction));
        match range.into_iter().find(|seal| seal.header.month == month) {
            Some(seal) => {
                let blind = blind(&seal.blinding_key, change.id.as_bytes());
                seal.tree.push(leaf(blind, change.digest));
            }
            None => {
                let transaction = change.transaction;
                let (count, first, last) = uncovered.entry(month).or_insert((0, transaction, transaction));
                (*count, *first, *last) = (*count + 1, transaction.min(*first), transaction.max(*last));
            }
        }
    }
}

impl Recomputed {
    fn compare(&self, chain: &Chain, findings: &mut Findings) {
        let Header { number, month, from_transaction, to_transaction, system_id, row_count, root, .. } = self.header;
        let is_dropped = chain.tombstones.get(&month).is_some_and(|tombstone| *tombstone > number);
        let (there, sealed) = (self.tree.size() as i64, if is_dropped { 0 } else { row_count });
        let finding = match there.cmp(&sealed) {
            std::cmp::Ordering::Less => "rows_missing",
            std::cmp::Ordering::Greater => "rows_added",
            std::cmp::Ordering::Equal if is_dropped || self.tree.root() == root => return,
            std::cmp::Ordering::Equal => "rows_changed",
        };
        let what = if is_dropped { "dropped" } else { "sealed" };
        let detail = format!(
            "month {month}, transactions {from_transaction} to {} of cluster {system_id}: {row_count} rows were {what}, {there} are there",
            to_transaction - 1
        );
        findings.add(finding, Some(number), detail);
    }
}
