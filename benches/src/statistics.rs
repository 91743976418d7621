//! What a few repetitions say: the middle and the spread.

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
pub(crate) fn ratios(values: &[Option<f64>], baseline: &[Option<f64>]) -> Option<Spread> {
    let pairs = values.iter().zip(baseline).filter_map(|(value, base)| (*value).zip(*base));
    Spread::of(pairs.filter(|(_, base)| *base != 0.0).map(|(value, base)| value / base))
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
        let spread = ratios(&ours, &theirs).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (2.0, 2.5, 3.0));
        assert_eq!(ratios(&ours, &[]), None);
    }
}
