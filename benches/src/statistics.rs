//! What a few repetitions say: the middle and the spread.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// Five numbers of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) lower_quartile: f64,
    pub(crate) median: f64,
    pub(crate) upper_quartile: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one value, none of which is NaN.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            min: *sorted.first()?,
            lower_quartile: quantile(&sorted, 1),
            median: quantile(&sorted, 2),
            upper_quartile: quantile(&sorted, 3),
            max: *sorted.last()?,
        })
    }
}

/// A quartile of a sorted sample: between two values, in proportion (type 7 of Hyndman and Fan, "Sample quantiles in
/// statistical packages", 1996).
fn quantile(sorted: &[f64], quarters: usize) -> f64 {
    let at = (sorted.len() - 1) * quarters;
    let (low, rest) = (at / 4, at % 4);
    let high = sorted.get(low + 1).copied().unwrap_or(sorted[low]);
    let share = [0.0, 0.25, 0.5, 0.75][rest];
    sorted[low] + (high - sorted[low]) * share
}

/// The ratios of values to those of a baseline that were taken at the same time, pair by pair: what the machine did
/// meanwhile hit both.
pub(crate) fn ratios(values: &[Option<f64>], baseline: &[Option<f64>]) -> Vec<f64> {
    let pairs = values.iter().zip(baseline).filter_map(|(value, base)| (*value).zip(*base));
    pairs.filter(|(_, base)| *base != 0.0).map(|(value, base)| value / base).collect()
}

/// So many values of both samples [`shift`] needs to say anything.
pub(crate) const LEAST_VALUES: usize = 5;

/// Whether a sample is of larger or of smaller values than another, where chance alone would make them as different once in a
/// hundred times (H. B. Mann, D. R. Whitney, "On a test of whether one of two random variables is stochastically larger than the
/// other", 1947; by the normal approximation, which is on the safe side from five values on and refuses fewer).
pub(crate) fn shift(before: &[f64], after: &[f64]) -> Ordering {
    const ONE_PERCENT: f64 = 2.576;
    #[allow(clippy::cast_precision_loss, reason = "samples are of some values")]
    let (m, n) = (before.len() as f64, after.len() as f64);
    let pairs = before.iter().flat_map(|old| after.iter().map(move |new| new.total_cmp(old)));
    let larger_pairs: f64 = pairs.map(|order| 0.5 * f64::from(order as i8 + 1)).sum();
    let deviations = (larger_pairs - m * n / 2.0) / (m * n * (m + n + 1.0) / 12.0).sqrt();
    if deviations.abs() >= ONE_PERCENT { deviations.total_cmp(&0.0) } else { Ordering::Equal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_sample_is_between_two_values() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 4.0));
        assert_eq!((spread.lower_quartile, spread.upper_quartile), (1.75, 3.25));
    }

    #[test]
    fn one_value_is_its_own_spread_and_none_has_none() {
        let spread = Spread::of([7.0]).unwrap();
        assert_eq!(
            [spread.min, spread.lower_quartile, spread.upper_quartile, spread.max],
            [7.0; 4]
        );
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_taken_pair_by_pair_and_gaps_are_left_out() {
        let ours = [Some(2.0), None, Some(9.0), Some(5.0), Some(1.0)];
        let theirs = [Some(1.0), Some(1.0), Some(3.0), None, Some(0.0)];
        assert_eq!(ratios(&ours, &theirs), [2.0, 3.0]);
        assert_eq!(ratios(&ours, &[]), [0.0; 0]);
    }

    #[test]
    fn a_shift_is_what_chance_makes_once_in_a_hundred_times() {
        let sample = |values: &[u8]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
        let shift = |before: &[u8], after: &[u8]| shift(&sample(before), &sample(after));
        // The largest numbers of pairs in the wrong order that are significant at 1 % (two-sided) are 0 of 5 and 5 values, 4 of 7 and 7.
        assert_eq!(shift(&[1, 2, 3, 4, 5], &[6, 7, 8, 9, 10]), Ordering::Greater);
        assert_eq!(shift(&[6, 7, 8, 9, 10], &[1, 2, 3, 4, 5]), Ordering::Less);
        assert_eq!(shift(&[1, 2, 3, 4, 6], &[5, 7, 8, 9, 10]), Ordering::Equal);
        let before = [10, 20, 30, 40, 50, 60, 70];
        assert_eq!(shift(&before, &[35, 71, 72, 73, 74, 75, 76]), Ordering::Greater);
        assert_eq!(shift(&before, &[25, 71, 72, 73, 74, 75, 76]), Ordering::Equal);
        // Fewer values cannot say it, however far apart they are; nor can such as are the same.
        assert_eq!(shift(&[1, 2, 3, 4], &[6, 7, 8, 9]), Ordering::Equal);
        assert_eq!(shift(&[3; 9], &[3; 9]), Ordering::Equal);
        assert_eq!(shift(&[], &[]), Ordering::Equal);
    }
}
