//! Runs in alternation, and their medians.

use crate::Result;
use postgres::Client;
use std::time::Instant;

pub const ALTERNATIONS: usize = 15;

/// Nanoseconds of each run of one contender.
pub struct Runs(Vec<f64>);

impl Runs {
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// What remains of each run when the neighbouring run of another contender is taken off, shared out to `count`
    /// calls or rows.
    pub fn net_of(&self, other: &Runs, count: usize) -> f64 {
        Runs(self.0.iter().zip(&other.0).map(|(mine, theirs)| (mine - theirs) / count as f64).collect()).median()
    }
}

/// Runs contenders 0 to N - 1 in turn, again and again. `run` returns nanoseconds. The first turn only warms up.
pub fn alternate<const N: usize>(run: impl FnMut(usize) -> Result<f64>) -> Result<[Runs; N]> {
    alternate_often(ALTERNATIONS, run)
}

/// The same with more turns, for runs that are short.
pub fn alternate_often<const N: usize>(turns: usize, mut run: impl FnMut(usize) -> Result<f64>) -> Result<[Runs; N]> {
    let mut runs = [const { Runs(Vec::new()) }; N];
    for turn in 0..=turns {
        for (contender, runs) in runs.iter_mut().enumerate() {
            let nanoseconds = run(contender)?;
            if turn > 0 {
                runs.0.push(nanoseconds);
            }
        }
    }
    Ok(runs)
}

/// Nanoseconds from sending one statement to having its whole result.
pub fn time(client: &mut Client, sql: &str) -> Result<f64> {
    let start = Instant::now();
    client.simple_query(sql)?;
    Ok(nanoseconds(start))
}

pub fn nanoseconds(since: Instant) -> f64 {
    since.elapsed().as_nanos() as f64
}
