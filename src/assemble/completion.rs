//! When a study is complete: nobody is sending it and it was quiet for a while, or it has waited for too long.
//!
//! DICOM has no "last image" mark. A quiet period alone fires while a slow sender pauses inside an
//! association, and an open association alone never ends with senders that keep theirs open for hours:
//! hence both, and a maximum wait.

use std::time::Duration;

use crate::config::Assemble;

/// What is known of a study that is still receiving.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals {
    /// How long ago its first object came.
    pub since_first: Duration,
    /// How long ago its latest object came.
    pub since_last: Duration,
    /// Whether an association that has sent objects of this study is still open.
    pub association_open: bool,
}

/// Whether a study may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// It may, because it was quiet.
    Quiet,
    /// It may, because the maximum wait is over although images may still come.
    WaitedEnough,
    /// Not within this time, unless something changes earlier.
    NotWithin(Duration),
}

/// Decides for one study.
pub fn completion(arrivals: Arrivals, config: &Assemble) -> Completion {
    let seconds = |s: f64| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX);
    let until_quiet = seconds(config.quiet_s).saturating_sub(arrivals.since_last);
    let until_enough = seconds(config.max_wait_s).saturating_sub(arrivals.since_first);
    if !arrivals.association_open && until_quiet.is_zero() {
        Completion::Quiet
    } else if until_enough.is_zero() {
        Completion::WaitedEnough
    } else if arrivals.association_open {
        Completion::NotWithin(until_enough)
    } else {
        Completion::NotWithin(until_quiet.min(until_enough))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn after(since_first: u64, since_last: u64, association_open: bool) -> Completion {
        let config = Assemble { quiet_s: 60.0, max_wait_s: 600.0, ..Assemble::default() };
        let arrivals = Arrivals { since_first: ms(since_first), since_last: ms(since_last), association_open };
        completion(arrivals, &config)
    }

    #[test]
    fn quiet_counts_from_the_last_image() {
        assert_eq!(after(59_999, 59_999, false), Completion::NotWithin(ms(1)));
        assert_eq!(after(60_000, 60_000, false), Completion::Quiet);
        assert_eq!(after(60_000, 30_000, false), Completion::NotWithin(ms(30_000)));
    }

    #[test]
    fn an_open_association_holds_a_study_until_the_maximum_wait() {
        assert_eq!(after(120_000, 120_000, true), Completion::NotWithin(ms(480_000)));
        assert_eq!(after(600_000, 1_000, true), Completion::WaitedEnough);
    }

    #[test]
    fn a_trickle_cannot_hold_a_study_for_ever() {
        assert_eq!(after(590_000, 1_000, false), Completion::NotWithin(ms(10_000)));
        assert_eq!(after(600_000, 1_000, false), Completion::WaitedEnough);
    }
}
