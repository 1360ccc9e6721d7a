//! All patients of a cohort: their maps, what those are worth, and which of them are shown.

use ndarray::Array3;

use super::maps::{self, MapError, MapRule, Volumes};
use super::{Scored, SubjectRow};
use crate::research::archive::Group;
use crate::research::cache::CachedSubject;
use crate::research::few_at_once;

/// What was heard of a subject from networks that never saw it.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Who, and what else is known.
    pub row: SubjectRow,
    /// The fold whose network it was; none: all networks of a model together.
    pub fold: Option<usize>,
    /// `logits[1] − logits[0]`.
    pub logit: f64,
    /// The same of the mirrored head.
    pub logit_of_mirrored: f64,
    /// Signed maps, a cell per value.
    pub cams: Vec<Array3<f32>>,
}

/// What the cache knows of a subject.
pub fn subject_row(subject: &CachedSubject) -> SubjectRow {
    SubjectRow {
        subject: subject.id.clone(),
        fcd: subject.group == Group::Fcd,
        scanner: subject.scanner.clone(),
        protocol: subject.acquisition.clone(),
        voxel_mm: Some(subject.source_spacing_mm.iter().sum::<f64>() / 3.0),
        sex: subject.sex.clone(),
        age: subject.age,
    }
}

/// Adds the Heat-Score of every patient who has a lesion mask; a few at once, `progress` hears of each subject.
///
/// # Errors
/// The first subject whose map cannot be drawn.
pub fn score(
    heard: &[Heard],
    volumes: &impl Volumes,
    rule: &MapRule,
    progress: &(dyn Fn() + Sync),
) -> Result<Vec<Scored>, MapError> {
    let is_patient_with_lesion = |h: &&Heard| h.row.fcd && volumes.lesion(&h.row.subject).is_some();
    let others: Vec<&str> = heard.iter().filter(is_patient_with_lesion).map(|h| h.row.subject.as_str()).collect();
    let scored = few_at_once::map(heard, |h| {
        let heat = if is_patient_with_lesion(&h) {
            let map = maps::map(&h.cams, volumes, &h.row.subject, rule)?;
            maps::subject_heat(map.view(), volumes, &h.row.subject, &others, rule)
        } else {
            None
        };
        progress();
        Ok(Scored { row: h.row.clone(), fold: h.fold, logit: h.logit, heat })
    });
    scored.into_iter().collect()
}

/// The patients with the best, the median and the worst Heat-Score: place in `scored`, which of the three, and the
/// score. Fewer where there are fewer.
pub fn chosen(scored: &[Scored]) -> Vec<(usize, &'static str, f64)> {
    let heat = |s: &Scored| s.heat.as_ref().and_then(|heat| heat.lesion.ok());
    let mut ranked: Vec<(usize, f64)> =
        scored.iter().enumerate().filter_map(|(place, s)| Some((place, heat(s)?))).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let which: &[(usize, &'static str)] = match ranked.len() {
        0 => &[],
        1 => &[(0, "only")],
        2 => &[(0, "best"), (1, "worst")],
        n => &[(0, "best"), ((n - 1) / 2, "median"), (n - 1, "worst")],
    };
    which.iter().filter_map(|(rank, name)| ranked.get(*rank).map(|(place, score)| (*place, *name, *score))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::maps::tests::MadeUp;
    use super::*;

    fn heard(subject: &str, fcd: bool, hot: usize) -> Heard {
        let row = SubjectRow {
            subject: subject.to_owned(),
            fcd,
            scanner: None,
            protocol: None,
            voxel_mm: None,
            sex: None,
            age: None,
        };
        let cam = Array3::from_shape_fn((8, 1, 1), |(i, _, _)| if i == hot { 4.0 } else { (i % 2) as f32 });
        Heard { row, fold: Some(0), logit: 0.0, logit_of_mirrored: 0.0, cams: vec![cam] }
    }

    #[test]
    fn patients_with_a_mask_are_scored_and_three_are_chosen() {
        let lesion = |at: usize| Some((0..8).map(|i| u8::from(i == at)).collect::<Vec<u8>>());
        let names = ["sub-1", "sub-2", "sub-3", "sub-4", "sub-5"];
        let lesions = [lesion(2), lesion(2), lesion(5), None, lesion(3)];
        let subjects: BTreeMap<String, (Vec<f32>, Option<Vec<u8>>)> =
            names.iter().zip(lesions).map(|(name, lesion)| ((*name).to_owned(), (vec![0.0; 8], lesion))).collect();
        let volumes = MadeUp { shape: [8, 1, 1], head: vec![1; 8], subjects };
        // sub-1 is hot in its lesion, sub-2 elsewhere with its lesion cold, sub-3 elsewhere with its lesion lukewarm;
        // sub-4 has no mask, sub-5 is a control (a mask of his would be a mistake of the archive).
        let cohort = [
            heard("sub-1", true, 2),
            heard("sub-2", true, 6),
            heard("sub-3", true, 6),
            heard("sub-4", true, 6),
            heard("sub-5", false, 3),
        ];
        let count = std::sync::atomic::AtomicUsize::new(0);
        let tick = || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let scored = score(&cohort, &volumes, &MapRule::serving([1, 1, 1]), &tick).unwrap();
        assert_eq!(count.into_inner(), 5);
        assert!(scored[3].heat.is_none() && scored[4].heat.is_none());
        let chosen: Vec<(usize, &str)> = chosen(&scored).into_iter().map(|(place, name, _)| (place, name)).collect();
        assert_eq!(chosen, [(0, "best"), (2, "median"), (1, "worst")]);
        assert_eq!(super::chosen(&scored[..1])[0].1, "only");
        assert_eq!(super::chosen(&scored[..2]).len(), 2);
        assert!(super::chosen(&scored[3..]).is_empty());
    }
}
