//! When a study is complete: nobody is sending it and it was quiet for a while, or it has waited for too long.
//!
//! DICOM has no "last image" mark. A quiet period alone fires while a slow sender pauses inside an
//! association, and an open association alone never ends with senders that keep theirs open for hours:
//! hence both, and a maximum wait.

use crate::config::Assemble;

/// What is known of a study that is still receiving.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals {
    /// When the first object came, Unix ms.
    pub first_received_ms: i64,
    /// When the latest object came, Unix ms.
    pub last_received_ms: i64,
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
    /// Not before this time (Unix ms), unless something changes earlier.
    NotBefore(i64),
}

/// Decides for one study at time `now_ms` (Unix ms).
///
/// A clock that jumped backwards makes a study wait at most one quiet period from now.
pub fn completion(arrivals: Arrivals, now_ms: i64, config: &Assemble) -> Completion {
    let quiet_ms = (config.quiet_s * 1000.0) as i64;
    let max_wait_ms = (config.max_wait_s * 1000.0) as i64;
    let quiet_from = arrivals.last_received_ms.min(now_ms).saturating_add(quiet_ms);
    let latest = arrivals.first_received_ms.min(now_ms).saturating_add(max_wait_ms);
    if !arrivals.association_open && now_ms >= quiet_from {
        Completion::Quiet
    } else if now_ms >= latest {
        Completion::WaitedEnough
    } else if arrivals.association_open {
        Completion::NotBefore(latest)
    } else {
        Completion::NotBefore(quiet_from.min(latest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now_ms: i64, first: i64, last: i64, open: bool) -> Completion {
        let config = Assemble { quiet_s: 60.0, max_wait_s: 600.0, ..Assemble::default() };
        let arrivals = Arrivals { first_received_ms: first, last_received_ms: last, association_open: open };
        completion(arrivals, now_ms, &config)
    }

    #[test]
    fn quiet_counts_from_the_last_image() {
        assert_eq!(at(59_999, 0, 0, false), Completion::NotBefore(60_000));
        assert_eq!(at(60_000, 0, 0, false), Completion::Quiet);
        assert_eq!(at(60_000, 0, 30_000, false), Completion::NotBefore(90_000));
    }

    #[test]
    fn an_open_association_holds_a_study_until_the_maximum_wait() {
        assert_eq!(at(120_000, 0, 0, true), Completion::NotBefore(600_000));
        assert_eq!(at(600_000, 0, 599_000, true), Completion::WaitedEnough);
    }

    #[test]
    fn a_trickle_cannot_hold_a_study_for_ever() {
        assert_eq!(at(590_000, 0, 589_000, false), Completion::NotBefore(600_000));
        assert_eq!(at(600_000, 0, 599_000, false), Completion::WaitedEnough);
    }

    #[test]
    fn a_clock_that_jumped_back_costs_one_quiet_period() {
        assert_eq!(at(1_000, 500_000, 500_000, false), Completion::NotBefore(61_000));
    }
}
