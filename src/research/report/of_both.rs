//! From the finished runs of T1 and of FLAIR to what the report of both together says.
//!
//! Serving takes the mean of the two calibrated logits, `scale · mean + offset` of it, and a threshold
//! ([`crate::analyze::fuse`]). Here the same is done with out-of-fold logits, and everything that has to be fitted for a
//! fold (both calibrations, scale and offset, threshold) is fitted on the other folds: both runs have one `splits.json`,
//! so no network and no fit has seen whom it scores. Only subjects with both scores are fused and compared; those with
//! one are in the report of that sequence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Alone, Contents, Fusion, OperatingPoint, ReportError};
use crate::analyze::fuse::Rule;
use crate::network::manifest::Calibration;
use crate::research::confounds;
use crate::research::evaluate::{Abstention, Scored, Scoring, SubjectRow, measure};
use crate::research::models::export;
use crate::research::run::folder::{RunFolder, RunFolderError, read_table};
use crate::research::statistics::bootstrap::RESAMPLES;
use crate::research::statistics::{auc_interval, paired_auc_difference, sigmoid, youden};
use crate::study::Sequence;

/// Why two runs have no report together.
#[derive(Debug, thiserror::Error)]
pub enum FusedReportError {
    /// A file of a run, or of the report.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    /// A page cannot be drawn or written.
    #[error(transparent)]
    Page(#[from] ReportError),
    /// A subject's networks are not of one split.
    #[error(
        "{subject} is {first}, but {second}: the two runs were not split alike and cannot be fused; train both with one \
         fcdd admin retrain --modality both"
    )]
    Apart {
        /// Who.
        subject: String,
        /// In the run of T1.
        first: String,
        /// In the run of FLAIR.
        second: String,
    },
    /// Nobody has both scores.
    #[error("no subject has a T1 and a FLAIR score: there is nothing to fuse")]
    Nobody,
}

/// A run of one sequence with its own report.
#[derive(Debug)]
pub struct Single<'a> {
    /// Which sequence.
    pub sequence: Sequence,
    /// Its folder.
    pub run: &'a RunFolder,
    /// What its report says.
    pub contents: &'a Contents,
}

/// Out-of-fold scores of one sequence.
struct Scores {
    sequence: Sequence,
    /// By subject.
    rows: BTreeMap<String, Scored>,
}

/// Makes the report of both and writes `report.html`, `report.md` and `metrics.json` into `folder`; `seed` is the
/// bootstrap's.
///
/// # Errors
/// Runs that were not split alike, or files that cannot be read or written.
pub fn write(folder: &Path, runs: [Single<'_>; 2], seed: u64) -> Result<Contents, FusedReportError> {
    let synthetic = runs.iter().any(|run| run.contents.synthetic);
    let [t1, flair] = &runs;
    let contents = contents(folder, [&scores(t1)?, &scores(flair)?], synthetic, seed)?;
    super::write(folder, &contents)?;
    Ok(contents)
}

fn scores(single: &Single<'_>) -> Result<Scores, RunFolderError> {
    let known: Vec<SubjectRow> = read_table(&single.run.subjects_path())?;
    let known: BTreeMap<String, SubjectRow> = known.into_iter().map(|row| (row.subject.clone(), row)).collect();
    let scored = single.contents.metrics.per_subject.iter().filter_map(|figures| {
        let row = known.get(&figures.subject)?.clone();
        Some((figures.subject.clone(), Scored { row, fold: figures.fold, logit: figures.logit, heat: None }))
    });
    Ok(Scores { sequence: single.sequence, rows: scored.collect() })
}

/// A subject with a score of each sequence.
struct Both {
    row: SubjectRow,
    fold: Option<usize>,
    logits: [f64; 2],
}

/// Everything that is fitted.
struct Fitted {
    /// Of T1 and FLAIR.
    alone: [Calibration; 2],
    /// Of their mean.
    fusion: Rule,
}

impl Fitted {
    /// Fits on whom `counts` says yes to; without patients or controls: no calibration, and a threshold of 0.5.
    fn on(alone: [&Scores; 2], both: &[Both], counts: impl Fn(Option<usize>) -> bool) -> Fitted {
        let calibration = |scores: &Scores| {
            let counted = scores.rows.values().filter(|s| counts(s.fold));
            let (labels, logits): (Vec<bool>, Vec<f64>) = counted.map(|s| (s.row.fcd, s.logit)).unzip();
            export::calibrate(&labels, &logits).0
        };
        let mut fitted =
            Fitted { alone: alone.map(calibration), fusion: Rule { calibration: [1.0, 0.0], threshold: 0.5 } };
        let counted = both.iter().filter(|b| counts(b.fold));
        let (labels, means): (Vec<bool>, Vec<f64>) = counted.map(|b| (b.row.fcd, fitted.mean(b.logits))).unzip();
        let of_mean = export::calibrate(&labels, &means).0;
        fitted.fusion.calibration = [of_mean.scale, of_mean.offset];
        let probabilities: Vec<f64> = means.iter().map(|mean| sigmoid(of_mean.calibrated_logit(*mean))).collect();
        fitted.fusion.threshold = youden(&labels, &probabilities).unwrap_or(0.5);
        fitted
    }

    fn mean(&self, logits: [f64; 2]) -> f64 {
        let [t1, flair] = &self.alone;
        let plain = Rule { calibration: [1.0, 0.0], ..self.fusion };
        plain.logit([t1.calibrated_logit(logits[0]), flair.calibrated_logit(logits[1])].into_iter())
    }

    fn probability(&self, mean: f64) -> f64 {
        sigmoid(self.fusion.logit([mean].into_iter()))
    }
}

fn contents(folder: &Path, alone: [&Scores; 2], synthetic: bool, seed: u64) -> Result<Contents, FusedReportError> {
    let both = pair(alone)?;
    let folds: BTreeSet<Option<usize>> = both.iter().map(|b| b.fold).collect();
    let fitted: BTreeMap<Option<usize>, Fitted> =
        folds.iter().map(|fold| (*fold, Fitted::on(alone, &both, |other| other != *fold))).collect();
    let (mut scored, mut probabilities, mut called) = (Vec::new(), Vec::new(), Vec::new());
    for b in &both {
        let Some(fitted) = fitted.get(&b.fold) else { continue };
        let mean = fitted.mean(b.logits);
        let probability = fitted.probability(mean);
        scored.push(Scored { row: b.row.clone(), fold: b.fold, logit: mean, heat: None });
        probabilities.push(probability);
        called.push(probability >= fitted.fusion.threshold);
    }
    let metrics = measure(&scored, &[], &Scoring::Made { probabilities, called }, seed);
    let labels: Vec<bool> = scored.iter().map(|s| s.row.fcd).collect();
    let logits: Vec<f64> = scored.iter().map(|s| s.logit).collect();
    let numbers: Vec<usize> = scored.iter().map(Scored::network).collect();
    let of_all = Fitted::on(alone, &both, |_| true);
    let one_class = metrics.patients == 0 || metrics.patients == metrics.subjects;
    let threshold = (!one_class).then_some(of_all.fusion.threshold);
    let beside = [0, 1].map(|which| {
        let own: Vec<f64> = both.iter().map(|b| b.logits[which]).collect();
        Alone {
            sequence: alone[which].sequence,
            auc: auc_interval(&labels, &own, &numbers, RESAMPLES, seed),
            difference: paired_auc_difference(&labels, &logits, &own, &numbers, RESAMPLES, seed),
            only: only(alone[which], &both),
        }
    });
    Ok(Contents {
        format: super::FORMAT,
        title: format!("Cross-validation of {} (T1 and FLAIR together)", super::name(folder)),
        synthetic,
        scored_by: format!(
            "{} folds. Each subject was scored by the two networks that never saw it, one for each sequence; the score is \
             the mean of their calibrated logits. Calibrations and threshold were fitted on the other folds.",
            folds.len()
        ),
        cautions: Vec::new(),
        confounds: Some(confounds::report(&scored, seed)),
        maps: "",
        intensity: None,
        fusion: Some(Fusion { alone: beside.into(), calibration: of_all.fusion.calibration, threshold }),
        mirroring: None,
        abstention: Abstention::of(&labels, &logits, &numbers),
        withheld: None,
        operating_point: threshold.map(|threshold| OperatingPoint {
            threshold,
            rule: export::THRESHOLD_RULE.to_owned(),
            calibration: of_all.fusion.calibration,
            fitted_on: "means of the two calibrated out-of-fold logits (approximate for ensembles)".to_owned(),
        }),
        forward_pass: None,
        plan: None,
        model: None,
        hardware: vec![
            "from the out-of-fold scores of both runs; maps, times and plans are in their own reports".into(),
        ],
        training_s: None,
        histories: Vec::new(),
        tiles: Vec::new(),
        metrics,
    })
}

/// Who has both scores, by name.
fn pair([t1, flair]: [&Scores; 2]) -> Result<Vec<Both>, FusedReportError> {
    let mut both = Vec::new();
    for (subject, first) in &t1.rows {
        let Some(second) = flair.rows.get(subject) else { continue };
        if (first.fold, first.row.fcd) != (second.fold, second.row.fcd) {
            let said = |s: &Scored| {
                let class = if s.row.fcd { "a patient" } else { "a control" };
                let fold = s.fold.map_or_else(|| "no fold".to_owned(), |fold| format!("fold {fold}"));
                format!("{class} tested by {fold}")
            };
            return Err(FusedReportError::Apart {
                subject: subject.clone(),
                first: format!("{} in the run of {}", said(first), t1.sequence.label()),
                second: format!("{} in that of {}", said(second), flair.sequence.label()),
            });
        }
        both.push(Both {
            row: together(&first.row, &second.row),
            fold: first.fold,
            logits: [first.logit, second.logit],
        });
    }
    if both.is_empty() { Err(FusedReportError::Nobody) } else { Ok(both) }
}

/// What is known of a subject from both scans: whatever either could give away.
fn together(t1: &SubjectRow, flair: &SubjectRow) -> SubjectRow {
    let names = |a: &Option<String>, b: &Option<String>| match (a, b) {
        (Some(a), Some(b)) if a != b => Some(format!("{a} + {b}")),
        (a, b) => a.clone().or_else(|| b.clone()),
    };
    let edges = [t1.voxel_mm, flair.voxel_mm].map(|edge| edge.or(t1.voxel_mm).or(flair.voxel_mm));
    let [first, second] = edges;
    SubjectRow {
        subject: t1.subject.clone(),
        fcd: t1.fcd,
        scanner: names(&t1.scanner, &flair.scanner),
        protocol: names(&t1.protocol, &flair.protocol),
        voxel_mm: first.zip(second).map(|(a, b)| f64::midpoint(a, b)),
        sex: t1.sex.clone().or_else(|| flair.sex.clone()),
        age: t1.age.or(flair.age),
    }
}

/// Patients and controls of a sequence who have no score of the other.
fn only(scores: &Scores, both: &[Both]) -> [usize; 2] {
    let paired: BTreeSet<&str> = both.iter().map(|b| b.row.subject.as_str()).collect();
    let count = |fcd: bool| {
        scores.rows.iter().filter(|(subject, s)| s.row.fcd == fcd && !paired.contains(subject.as_str())).count()
    };
    [count(true), count(false)]
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn scored(number: usize, fcd: bool, logit: f64) -> (String, Scored) {
        let subject = format!("sub-{number:05}");
        let row = SubjectRow {
            subject: subject.clone(),
            fcd,
            scanner: Some("35083".to_owned()),
            protocol: Some("iso08".to_owned()),
            voxel_mm: Some(0.8),
            sex: None,
            age: None,
        };
        (subject, Scored { row, fold: Some(number / 2 % 5), logit, heat: None })
    }

    /// Two scores that know the label equally well, with errors of their own; FLAIR's are on another scale.
    fn cohort(seed: u64) -> [Scores; 2] {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut scores = |sequence, scale: f64| {
            let rows = (0..600).map(|number| {
                let fcd = number % 2 == 0;
                let noise: f64 = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
                scored(number, fcd, scale * (noise + if fcd { 0.7 } else { -0.7 }))
            });
            Scores { sequence, rows: rows.collect() }
        };
        [scores(Sequence::T1, 1.0), scores(Sequence::Flair, 5.0)]
    }

    fn of(scores: &[Scores; 2]) -> Result<Contents, FusedReportError> {
        contents(Path::new("runs/first"), [&scores[0], &scores[1]], true, 1)
    }

    #[test]
    fn two_independent_scores_are_better_together_and_know_it() {
        let made = of(&cohort(1)).unwrap();
        let fusion = made.fusion.as_ref().unwrap();
        for alone in &fusion.alone {
            assert!(alone.difference.unwrap().lower > 0.0, "{alone:?}");
        }
        // A logit of 1.4 · noise each: the sum of both is the calibrated logit, so the mean counts twice.
        let [scale, offset] = fusion.calibration;
        assert!((1.5..2.6).contains(&scale) && offset.abs() < 0.5, "{:?}", fusion.calibration);
        let error = made.metrics.calibration_error.pooled.unwrap();
        assert!(error < 0.1, "{error}");
        assert_eq!(made.metrics.subjects, 600);
        assert!(made.title.contains("first (T1 and FLAIR together)"), "{}", made.title);
    }

    #[test]
    fn nobodys_own_label_is_in_his_fit() {
        let honest = of(&cohort(2)).unwrap();
        // Another label of one subject: nothing of his fold changes, as he counts in the fits of the others only.
        let mut other = cohort(2);
        for scores in &mut other {
            scores.rows.get_mut("sub-00000").unwrap().row.fcd = false;
        }
        let other = of(&other).unwrap();
        let mut moved = 0;
        for (a, b) in honest.metrics.per_subject.iter().zip(&other.metrics.per_subject) {
            assert!(a.fold != Some(0) || a.probability == b.probability, "{} moved", a.subject);
            moved += usize::from(a.probability != b.probability);
        }
        assert_eq!(moved, 480);
    }

    #[test]
    fn who_has_one_score_is_counted_and_left_out() {
        let mut scores = cohort(3);
        scores[1].rows.remove("sub-00000");
        scores[0].rows.remove("sub-00001");
        scores[0].rows.remove("sub-00003");
        let made = of(&scores).unwrap();
        assert_eq!(made.metrics.subjects, 597);
        let only: Vec<[usize; 2]> = made.fusion.unwrap().alone.iter().map(|alone| alone.only).collect();
        assert_eq!(only, [[1, 0], [0, 2]]);
    }

    #[test]
    fn runs_that_were_split_apart_are_refused() {
        let mut scores = cohort(4);
        scores[1].rows.get_mut("sub-00007").unwrap().fold = Some(4);
        let error = of(&scores).unwrap_err().to_string();
        assert!(error.contains("sub-00007 is a control tested by fold 3 in the run of T1"), "{error}");
        scores[1].rows.clear();
        assert!(matches!(of(&scores), Err(FusedReportError::Nobody)));
    }

    #[test]
    fn different_scanners_stay_visible_to_the_confound_report() {
        let (_, a) = scored(1, true, 0.0);
        let mut b = a.row.clone();
        (b.scanner, b.protocol, b.voxel_mm) = (Some("20619".to_owned()), None, Some(1.0));
        let row = together(&a.row, &b);
        assert_eq!((row.scanner.as_deref(), row.protocol.as_deref()), (Some("35083 + 20619"), Some("iso08")));
        assert!((row.voxel_mm.unwrap() - 0.9).abs() < 1e-12);
    }
}
