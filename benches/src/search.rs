//! The highest load that something still bears, by halving.

/// The highest of the loads up to `most` that `bears` accepts, to within `resolution` (a share of `most`, 0 to 1). The
/// whole is tried first (RFC 2544 section 26.1 begins with the highest rate). Zero, when even the least is too much.
pub(crate) fn highest<E>(
    most: f64,
    resolution: f64,
    mut bears: impl FnMut(f64) -> Result<bool, E>,
) -> Result<f64, E> {
    if bears(most)? {
        return Ok(most);
    }
    let (mut good, mut bad) = (0.0, most);
    while bad - good > most * resolution {
        let middle = f64::midpoint(good, bad);
        if bears(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn limited(limit: f64) -> impl FnMut(f64) -> Result<bool, Infallible> {
        move |load| Ok(load <= limit)
    }

    #[test]
    fn what_bears_everything_needs_one_trial() {
        let mut trials = 0;
        let found = highest(100.0, 0.01, |load| {
            trials += 1;
            limited(1e9)(load)
        });
        assert_eq!((found, trials), (Ok(100.0), 1));
    }

    #[test]
    fn what_bears_nothing_ends_at_zero() {
        assert_eq!(highest(100.0, 0.01, limited(-1.0)), Ok(0.0));
    }

    proptest! {
        #[test]
        fn the_limit_is_found_to_within_the_resolution(limit in 0.0..100.0f64) {
            let Ok(found) = highest(100.0, 0.01, limited(limit));
            prop_assert!(found <= limit && limit - found <= 1.0, "{found} of {limit}");
        }
    }
}
