//! Which of several T1 (or FLAIR) stacks is analyzed, by these rules in order; the first that tells two
//! stacks apart decides:
//!
//! 1. a 3D acquisition before a 2D one (where the header does not say: slices at most 1.5 mm apart are 3D),
//! 2. without contrast agent before with,
//! 3. the smaller largest voxel edge, if it differs by more than 0.2 mm: thin and isotropic slices,
//! 4. more coverage along the normal, if it differs by more than 15 mm,
//! 5. original before derived (Image Type value 1),
//! 6. the latest acquisition (a repeated scan replaces the one before),
//! 7. the higher series number, then the series UID: so that the choice is always the same.
//!
//! Only stacks with a usable volume take part: regular, MR, readable, and not too few slices.

use std::cmp::Ordering;

use crate::dicom::Uid;

/// What the rules look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Place in the study's list of stacks.
    pub stack: usize,
    /// MR Acquisition Type is 3D, or the slices are near enough to pass for it.
    pub is_3d: bool,
    /// A contrast agent was given.
    pub has_contrast: bool,
    /// Largest of slice distance, row distance and column distance, mm.
    pub largest_edge_mm: f64,
    /// First to last slice, mm.
    pub coverage_mm: f64,
    /// Image Type value 1 is ORIGINAL.
    pub is_original: bool,
    /// Sortable acquisition time.
    pub acquired_at: String,
    /// Series Number.
    pub series_number: Option<i64>,
    /// Series Instance UID.
    pub series_uid: Uid,
    /// Stack within the series.
    pub index_in_series: usize,
}

/// `Less` when `a` is the better one, and why the other one is not.
fn compare(a: &Candidate, b: &Candidate) -> (Ordering, String) {
    let decided = |a_is_better: bool, why: String| (if a_is_better { Ordering::Less } else { Ordering::Greater }, why);
    if a.is_3d != b.is_3d {
        return decided(a.is_3d, "it is 2D and the other one 3D".to_owned());
    }
    if a.has_contrast != b.has_contrast {
        return decided(!a.has_contrast, "it was taken after contrast agent".to_owned());
    }
    if (a.largest_edge_mm - b.largest_edge_mm).abs() > 0.2 {
        let (small, large) = order(a.largest_edge_mm, b.largest_edge_mm);
        let why = format!("its voxels are up to {large:.2} mm long, those of the other one {small:.2} mm");
        return decided(a.largest_edge_mm < b.largest_edge_mm, why);
    }
    if (a.coverage_mm - b.coverage_mm).abs() > 15.0 {
        let (small, large) = order(a.coverage_mm, b.coverage_mm);
        let why = format!("it covers {small:.0} mm, the other one {large:.0} mm");
        return decided(a.coverage_mm > b.coverage_mm, why);
    }
    if a.is_original != b.is_original {
        return decided(a.is_original, "it is derived and the other one original".to_owned());
    }
    if a.acquired_at != b.acquired_at {
        return decided(a.acquired_at > b.acquired_at, "the other one was acquired later".to_owned());
    }
    let key = |c: &Candidate| (c.series_number, c.series_uid.clone(), c.index_in_series);
    decided(key(a) > key(b), "the other one has the higher series number or UID".to_owned())
}

fn order(a: f64, b: f64) -> (f64, f64) {
    (a.min(b), a.max(b))
}

/// The candidates from best to worst, each but the first with the reason why the best was preferred.
pub fn rank(mut candidates: Vec<Candidate>) -> Vec<(Candidate, Option<String>)> {
    // The tolerances make the comparison non-transitive in theory; a tournament is still well-defined and
    // does not depend on the order in which the stacks came, since the start order is fixed.
    candidates.sort_by(|a, b| (&a.series_uid, a.index_in_series).cmp(&(&b.series_uid, b.index_in_series)));
    let mut ranked: Vec<Candidate> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let place = ranked.iter().position(|r| compare(&candidate, r).0 == Ordering::Less).unwrap_or(ranked.len());
        ranked.insert(place, candidate);
    }
    let best = ranked.first().cloned();
    ranked
        .into_iter()
        .map(|c| {
            let why = best.as_ref().filter(|b| b.stack != c.stack).map(|b| compare(b, &c).1);
            (c, why)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(stack: usize, change: impl FnOnce(&mut Candidate)) -> Candidate {
        let mut c = Candidate {
            stack,
            is_3d: true,
            has_contrast: false,
            largest_edge_mm: 1.0,
            coverage_mm: 170.0,
            is_original: true,
            acquired_at: "20260101120000".into(),
            series_number: Some(stack as i64),
            series_uid: Uid::parse(&format!("1.2.{}", stack + 1)).unwrap(),
            index_in_series: 0,
        };
        change(&mut c);
        c
    }

    /// The first wins over the second, whichever comes first, for the reason given.
    fn wins(better: Candidate, worse: Candidate, because: &str) {
        for pair in [vec![better.clone(), worse.clone()], vec![worse.clone(), better.clone()]] {
            let ranked = rank(pair);
            assert_eq!(ranked[0].0, better);
            let why = ranked[1].1.clone().unwrap();
            assert!(why.contains(because), "{why}");
        }
    }

    #[test]
    fn each_rule_decides_where_the_ones_before_are_silent() {
        let plain = |n| candidate(n, |_| ());
        // Each loser is better by every later rule.
        wins(
            candidate(0, |c| (c.has_contrast, c.largest_edge_mm) = (true, 3.0)),
            candidate(1, |c| c.is_3d = false),
            "2D",
        );
        wins(candidate(0, |c| c.largest_edge_mm = 3.0), candidate(1, |c| c.has_contrast = true), "contrast");
        wins(candidate(0, |c| c.coverage_mm = 90.0), candidate(1, |c| c.largest_edge_mm = 1.5), "1.50 mm");
        wins(candidate(0, |c| c.is_original = false), candidate(1, |c| c.coverage_mm = 120.0), "120 mm");
        wins(plain(0), candidate(1, |c| (c.is_original, c.acquired_at) = (false, "2027".into())), "derived");
        wins(candidate(0, |c| c.acquired_at = "20260101130000".into()), plain(1), "later");
        wins(plain(1), plain(0), "series number");
    }

    #[test]
    fn small_differences_do_not_decide() {
        let finer = candidate(0, |c| c.largest_edge_mm = 0.9);
        let later = candidate(1, |c| c.acquired_at = "20260101130000".into());
        assert_eq!(rank(vec![finer, later])[0].0.stack, 1);
    }
}
