//! One amount shared out in whole units: the largest remainder gets the next unit, ties go to the first.

use crate::domain::totals::error::Failure;
use crate::domain::totals::exact::{Exact, product, sum};
use crate::domain::totals::model::Minor;

/// Shares of `total` in proportion to `weights`. With `room` no share is larger than its room: what finds no place goes
/// to the others, by their remainders, as long as one of them has room.
pub fn apportion<I: Exact>(total: Minor, weights: &[I], room: Option<&[Minor]>) -> Result<Vec<Minor>, Failure> {
    let mut all = I::zero();
    for weight in weights {
        all = sum(&all, weight)?;
    }
    let mut shares = vec![0; weights.len()];
    if total == 0 || all.is_zero() {
        return Ok(shares);
    }
    let factor = I::from(total);
    let mut rests = Vec::with_capacity(weights.len());
    let mut missing = total;
    for (i, weight) in weights.iter().enumerate() {
        let (whole, rest) = product(&factor, weight)?.quotient(&all);
        // A share is no larger than the total.
        let whole = whole.to_i64().ok_or(Failure::Overflow)?;
        shares[i] = room.map_or(whole, |room| whole.min(room[i]));
        missing -= shares[i];
        rests.push(rest);
    }
    hand_out(&mut shares, &rests, missing, room);
    Ok(shares)
}

/// One unit each to those with the largest rests.
fn hand_out<R: Ord>(shares: &mut [Minor], rests: &[R], mut missing: Minor, room: Option<&[Minor]>) {
    if missing == 0 {
        return;
    }
    let mut order: Vec<usize> = (0..shares.len()).collect();
    let by_rest = |a: &usize, b: &usize| rests[*b].cmp(&rests[*a]).then(a.cmp(b));
    let few = usize::try_from(missing).is_ok_and(|few| few < order.len());
    if room.is_none() && few {
        // Who is among the first matters, not in which order.
        order.select_nth_unstable_by(missing as usize - 1, by_rest);
        order.truncate(missing as usize);
    } else {
        order.sort_unstable_by(by_rest);
    }
    while missing > 0 {
        let before = missing;
        for &i in &order {
            if missing > 0 && room.is_none_or(|room| shares[i] < room[i]) {
                shares[i] += 1;
                missing -= 1;
            }
        }
        if missing == before {
            // Nobody has room.
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(total: Minor, weights: &[i128], room: Option<&[Minor]>) -> Vec<Minor> {
        apportion(total, weights, room).ok().unwrap()
    }

    #[test]
    fn ties_go_to_the_first() {
        assert_eq!(shares(1, &[100, 100, 100], None), [1, 0, 0]);
        assert_eq!(shares(2, &[100, 100, 100], None), [1, 1, 0]);
    }

    #[test]
    fn the_largest_rest_comes_first() {
        assert_eq!(shares(299, &[4300, 1400, 2300], None), [161, 52, 86]);
        assert_eq!(shares(303, &[1591, 4478], None), [79, 224]);
    }

    #[test]
    fn nothing_has_no_share() {
        assert_eq!(shares(100, &[0, 1000], None), [0, 100]);
        assert_eq!(shares(0, &[0, 0], None), [0, 0]);
        assert_eq!(shares(7, &[7, 0], None), [7, 0]);
    }

    #[test]
    fn who_is_full_passes_it_on() {
        assert_eq!(shares(4, &[9, 9, 9], Some(&[1, 1, 5])), [1, 1, 2]);
        assert_eq!(shares(3, &[1, 1, 1], Some(&[0, 0, 2])), [0, 0, 2], "one finds no place");
    }
}
