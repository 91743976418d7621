//! The highest load that something still bears, by halving.
//!
//! What is meant to be sent and what is sent are two things (RFC 2285 section 3.5, intended and offered load): a sender that is
//! held up sends less, and less was borne. So a trial says what it offered.

/// The highest load that was borne, of those up to `most`, to within `resolution` (a share of `most`, 0 to 1). A `trial`
/// of a load says how much was offered, if that was borne. The whole is tried first (RFC 2544 section 26.1 begins with the
/// highest rate). Zero, when even the least is too much.
pub(crate) fn highest<E>(
    most: f64,
    resolution: f64,
    mut trial: impl FnMut(f64) -> Result<Option<f64>, E>,
) -> Result<f64, E> {
    if let Some(offered) = trial(most)? {
        return Ok(offered.min(most));
    }
    let (mut good, mut bad, mut borne) = (0.0, most, 0.0);
    while bad - good > most * resolution {
        let middle = f64::midpoint(good, bad);
        match trial(middle)? {
            Some(offered) => (good, borne) = (middle, offered.min(middle).max(borne)),
            None => bad = middle,
        }
    }
    Ok(borne)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn limited(limit: f64) -> impl FnMut(f64) -> Result<Option<f64>, Infallible> {
        move |load| Ok((load <= limit).then_some(load))
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

    #[test]
    fn what_a_sender_did_not_reach_was_not_borne() {
        let held_up = |load: f64| Ok::<_, Infallible>((load < 60.0).then_some(load.min(40.0)));
        assert_eq!(highest(100.0, 0.01, held_up), Ok(40.0));
        let held_up = |load: f64| Ok::<_, Infallible>(Some(load / 2.0));
        assert_eq!(highest(100.0, 0.01, held_up), Ok(50.0));
    }

    proptest! {
        #[test]
        fn the_limit_is_found_to_within_the_resolution(limit in 0.0..100.0f64) {
            let Ok(found) = highest(100.0, 0.01, limited(limit));
            prop_assert!(found <= limit && limit - found <= 1.0, "{found} of {limit}");
        }
    }
}
