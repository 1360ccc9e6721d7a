//! Every figure of a report, from out-of-fold scores.
//!
//! The mean over the folds is primary, with its standard deviation (ddof = 1). Pooled figures mix scores of different
//! networks and are named so; intervals belong to them (Wilson for shares; for the AUC a bootstrap over subjects within
//! their folds). Calibration and threshold are cross-fitted: what is applied to a fold was fitted on the others; or they
//! are those of a model, which saw none of its subjects' labels ([`Scoring`]).

use serde::Serialize;

use super::Scored;
use super::heat_score::{self, Undefined};
use super::map_category::{self, CategoryCounts, MapCategory};
use crate::network::manifest::Calibration;
use crate::research::run::folder::Epoch;
use crate::research::statistics::bootstrap::RESAMPLES;
use crate::research::statistics::probability_scores::ReliabilityBin;
use crate::research::statistics::roc::RocPoint;
use crate::research::statistics::{
    Confusion, Interval, MeanSd, Platt, auc, auc_interval, brier, calibration_error, cross_fitted, mean_sd, roc_curve,
    sigmoid, wilson, youden,
};

/// Bins of the calibration curve.
const BINS: usize = 10;

/// Where calibration and threshold come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Scoring {
    /// Fitted on the other folds.
    CrossFitted,
    /// A model's own.
    Given {
        /// From logits to probabilities.
        calibration: Calibration,
        /// Called FCD from this calibrated probability on.
        threshold: f64,
    },
    /// Made by the caller from the other folds, in the order of the subjects.
    Made {
        /// Calibrated.
        probabilities: Vec<f64>,
        /// Whether it was called FCD.
        called: Vec<bool>,
    },
}

/// A figure of all folds.
#[derive(Debug, Clone, Serialize)]
pub struct Measure {
    /// Mean and standard deviation over the folds in which it is defined.
    pub over_folds: Option<MeanSd>,
    /// Of all subjects together, with scores of different networks mixed.
    pub pooled: Option<f64>,
    /// 95 % interval of the pooled figure.
    pub interval: Option<Interval>,
}

/// The figures of one fold's test part.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FoldMeasures {
    /// Its number; none: all networks of a model together.
    pub fold: Option<usize>,
    /// Subjects that its network scored.
    pub subjects: usize,
    /// Share of right calls.
    pub accuracy: Option<f64>,
    /// Mean of sensitivity and specificity.
    pub balanced_accuracy: Option<f64>,
    /// Area under the ROC curve.
    pub auc: Option<f64>,
    /// Share of patients called FCD.
    pub sensitivity: Option<f64>,
    /// Share of controls not called FCD.
    pub specificity: Option<f64>,
    /// F1.
    pub f1: Option<f64>,
    /// Mean squared error of the calibrated probability.
    pub brier: Option<f64>,
    /// Expected calibration error.
    pub calibration_error: Option<f64>,
    /// Best epoch's training accuracy minus its validation accuracy.
    pub train_validation_gap: Option<f64>,
    /// Epochs trained.
    pub epochs: Option<usize>,
    /// Wall time of those, s.
    pub seconds: Option<f64>,
}

/// How the maps fare.
#[derive(Debug, Clone, Serialize)]
pub struct HeatMeasures {
    /// On the lesions.
    pub lesion: heat_score::Summary,
    /// On the mirrored lesions.
    pub mirrored: heat_score::Summary,
    /// Mean over patients of the mean on other patients' lesions.
    pub others: Option<f64>,
    /// Patients whose lesion crosses the midline: no mirrored null.
    pub midline: usize,
    /// Figure 2's categories on the lesions.
    pub categories: CategoryCounts,
    /// And on the mirrored lesions.
    pub mirrored_categories: CategoryCounts,
}

/// A row of the table of subjects.
#[derive(Debug, Clone, Serialize)]
pub struct SubjectFigures {
    /// `sub-…`
    pub subject: String,
    /// The fold whose network scored it; none: all networks of a model together.
    pub fold: Option<usize>,
    /// True for a patient.
    pub fcd: bool,
    /// `logits[1] − logits[0]`, as the network said.
    pub logit: f64,
    /// Calibrated probability.
    pub probability: f64,
    /// Whether it was called FCD, by the threshold.
    pub called_fcd: bool,
    /// Heat-Score, where defined.
    pub heat_score: Option<f64>,
    /// Figure 2's category, where defined.
    pub category: Option<MapCategory>,
}

/// All figures of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Metrics {
    /// Subjects scored.
    pub subjects: usize,
    /// Patients among them.
    pub patients: usize,
    /// Share of right calls.
    pub accuracy: Measure,
    /// Mean of sensitivity and specificity.
    pub balanced_accuracy: Measure,
    /// Area under the ROC curve.
    pub auc: Measure,
    /// Share of patients called FCD.
    pub sensitivity: Measure,
    /// Share of controls not called FCD.
    pub specificity: Measure,
    /// F1.
    pub f1: Measure,
    /// Mean squared error of the calibrated probability.
    pub brier: Measure,
    /// Expected calibration error, ten equal bins.
    pub calibration_error: Measure,
    /// Training accuracy minus validation accuracy at the best epoch.
    pub train_validation_gap: Option<MeanSd>,
    /// Accuracy of the uncalibrated network at a probability of 0.5, as the paper counts.
    pub accuracy_uncalibrated: Measure,
    /// None without lesion masks.
    pub heat: Option<HeatMeasures>,
    /// Per fold.
    pub folds: Vec<FoldMeasures>,
    /// Pooled ROC curve.
    pub roc: Vec<RocPoint>,
    /// Pooled calibration curve.
    pub reliability: Vec<ReliabilityBin>,
    /// Per subject.
    pub per_subject: Vec<SubjectFigures>,
}

/// Makes every figure. `histories` are the folds' epochs, by fold number; `seed` is the bootstrap's.
///
/// Where a calibration or threshold cannot be fitted (a single fold, one class on the other side), the network's own
/// probability and 0.5 are used for all.
pub fn measure(scored: &[Scored], histories: &[(usize, Vec<Epoch>)], scoring: &Scoring, seed: u64) -> Metrics {
    let labels: Vec<bool> = scored.iter().map(|s| s.row.fcd).collect();
    let logits: Vec<f64> = scored.iter().map(|s| s.logit).collect();
    let folds: Vec<usize> = scored.iter().map(Scored::network).collect();
    let (probabilities, called) = match scoring {
        Scoring::CrossFitted => cross_fitted_calls(&labels, &logits, &folds),
        Scoring::Given { calibration, threshold } => {
            let probabilities: Vec<f64> = logits.iter().map(|logit| calibration.probability(*logit)).collect();
            let called = probabilities.iter().map(|probability| probability >= threshold).collect();
            (probabilities, called)
        }
        Scoring::Made { probabilities, called } => (probabilities.clone(), called.clone()),
    };
    let decisions: Vec<f64> = called.iter().map(|c| f64::from(u8::from(*c))).collect();
    let uncalibrated: Vec<f64> = logits.iter().map(|z| f64::from(u8::from(*z >= 0.0))).collect();

    let mut networks: Vec<Option<usize>> = scored.iter().map(|s| s.fold).collect();
    networks.sort_unstable_by_key(|fold| fold.unwrap_or(usize::MAX));
    networks.dedup();
    let mut rows_of = Vec::new();
    for fold in networks {
        let rows: Vec<usize> = (0..scored.len()).filter(|&i| scored.get(i).is_some_and(|s| s.fold == fold)).collect();
        let epochs = histories.iter().find(|(number, _)| fold == Some(*number)).map(|(_, epochs)| epochs.as_slice());
        let epochs = epochs.unwrap_or_default();
        let measures = FoldMeasures {
            fold,
            train_validation_gap: gap(epochs),
            epochs: (!epochs.is_empty()).then_some(epochs.len()),
            seconds: (!epochs.is_empty()).then(|| epochs.iter().map(|epoch| epoch.seconds).sum()),
            ..of_rows(&rows, &labels, &logits, &probabilities, &decisions)
        };
        rows_of.push((measures, rows));
    }
    let whole = of_rows(&(0..labels.len()).collect::<Vec<_>>(), &labels, &logits, &probabilities, &decisions);
    let per_fold: Vec<FoldMeasures> = rows_of.iter().map(|(measures, _)| measures.clone()).collect();
    let confusion = Confusion::at(&labels, &decisions, 0.5).unwrap_or_default();
    let patients = labels.iter().filter(|l| **l).count();
    let controls = labels.len() - patients;
    let right = confusion.true_positives + confusion.true_negatives;
    let over =
        |field: fn(&FoldMeasures) -> Option<f64>| mean_sd(&per_fold.iter().filter_map(field).collect::<Vec<_>>());
    let figure = |field: fn(&FoldMeasures) -> Option<f64>, interval: Option<Interval>| Measure {
        over_folds: over(field),
        pooled: field(&whole),
        interval,
    };
    let uncalibrated_of = |rows: &[usize]| {
        let take = |i: &usize| Some((*labels.get(*i)?, *uncalibrated.get(*i)?));
        let (l, d): (Vec<bool>, Vec<f64>) = rows.iter().filter_map(take).unzip();
        Confusion::at(&l, &d, 0.5).and_then(|c| c.accuracy())
    };
    let uncalibrated_right = labels.iter().zip(&uncalibrated).filter(|(l, d)| **l == (**d > 0.5)).count();
    Metrics {
        subjects: labels.len(),
        patients,
        accuracy: figure(|m| m.accuracy, wilson(right, labels.len(), 0.95)),
        balanced_accuracy: figure(|m| m.balanced_accuracy, None),
        auc: Measure {
            over_folds: over(|m| m.auc),
            pooled: auc(&labels, &logits),
            interval: auc_interval(&labels, &logits, &folds, RESAMPLES, seed),
        },
        sensitivity: figure(|m| m.sensitivity, wilson(confusion.true_positives, patients, 0.95)),
        specificity: figure(|m| m.specificity, wilson(confusion.true_negatives, controls, 0.95)),
        f1: figure(|m| m.f1, None),
        brier: figure(|m| m.brier, None),
        calibration_error: figure(|m| m.calibration_error, None),
        train_validation_gap: over(|m| m.train_validation_gap),
        accuracy_uncalibrated: Measure {
            over_folds: mean_sd(&rows_of.iter().filter_map(|(_, rows)| uncalibrated_of(rows)).collect::<Vec<_>>()),
            pooled: uncalibrated_of(&(0..labels.len()).collect::<Vec<_>>()),
            interval: wilson(uncalibrated_right, labels.len(), 0.95),
        },
        heat: heat(scored, &called),
        folds: per_fold,
        roc: roc_curve(&labels, &logits).unwrap_or_default(),
        reliability: calibration_error(&labels, &probabilities, BINS).map(|(_, bins)| bins).unwrap_or_default(),
        per_subject: scored
            .iter()
            .zip(probabilities.iter().zip(&called))
            .map(|(s, (probability, called))| SubjectFigures {
                subject: s.row.subject.clone(),
                fold: s.fold,
                fcd: s.row.fcd,
                logit: s.logit,
                probability: *probability,
                called_fcd: *called,
                heat_score: s.heat.as_ref().and_then(|heat| heat.lesion.ok()),
                category: s.heat.as_ref().and_then(|heat| heat.category.ok()),
            })
            .collect(),
    }
}

/// Probabilities and calls, each fitted on the other folds.
fn cross_fitted_calls(labels: &[bool], logits: &[f64], folds: &[usize]) -> (Vec<f64>, Vec<bool>) {
    let pick = |rows: &[usize]| -> (Vec<bool>, Vec<f64>) {
        rows.iter().filter_map(|&i| Some((*labels.get(i)?, *logits.get(i)?))).unzip()
    };
    let at = |i: usize| logits.get(i).copied().unwrap_or_default();
    let calibrated = cross_fitted(
        folds,
        |rows| {
            let (l, z) = pick(rows);
            Platt::fit(&l, &z).filter(|platt| platt.slope > 0.0)
        },
        |platt, i| sigmoid(platt.logit(at(i))),
    );
    let called = cross_fitted(
        folds,
        |rows| {
            let (l, z) = pick(rows);
            youden(&l, &z)
        },
        |threshold, i| at(i) >= *threshold,
    );
    (
        calibrated.unwrap_or_else(|| logits.iter().map(|z| sigmoid(*z)).collect()),
        called.unwrap_or_else(|| logits.iter().map(|z| *z >= 0.0).collect()),
    )
}

fn of_rows(rows: &[usize], labels: &[bool], logits: &[f64], probabilities: &[f64], decisions: &[f64]) -> FoldMeasures {
    let floats = |values: &[f64]| -> Vec<f64> { rows.iter().filter_map(|&i| values.get(i).copied()).collect() };
    let labels: Vec<bool> = rows.iter().filter_map(|&i| labels.get(i).copied()).collect();
    let (logits, probabilities, decisions) = (floats(logits), floats(probabilities), floats(decisions));
    let confusion = Confusion::at(&labels, &decisions, 0.5);
    FoldMeasures {
        subjects: rows.len(),
        accuracy: confusion.and_then(|c| c.accuracy()),
        balanced_accuracy: confusion.and_then(|c| c.balanced_accuracy()),
        auc: auc(&labels, &logits),
        sensitivity: confusion.and_then(|c| c.sensitivity()),
        specificity: confusion.and_then(|c| c.specificity()),
        f1: confusion.and_then(|c| c.f1()),
        brier: brier(&labels, &probabilities),
        calibration_error: calibration_error(&labels, &probabilities, BINS).map(|(error, _)| error),
        ..FoldMeasures::default()
    }
}

/// Training minus validation accuracy at the epoch with the lowest validation loss.
fn gap(epochs: &[Epoch]) -> Option<f64> {
    let best = epochs.iter().min_by(|a, b| a.validation_loss.total_cmp(&b.validation_loss))?;
    Some(best.train_accuracy - best.validation_accuracy)
}

fn heat(scored: &[Scored], called: &[bool]) -> Option<HeatMeasures> {
    let of_patients: Vec<_> =
        scored.iter().zip(called).filter_map(|(s, called)| Some((s.heat.as_ref()?, *called))).collect();
    if of_patients.is_empty() {
        return None;
    }
    let lesion: Vec<(Result<f64, Undefined>, bool)> =
        of_patients.iter().map(|(heat, hit)| (heat.lesion, *hit)).collect();
    let mirrored: Vec<(Result<f64, Undefined>, bool)> =
        of_patients.iter().filter_map(|(heat, hit)| Some((heat.mirrored?, *hit))).collect();
    let others: Vec<f64> = of_patients.iter().filter_map(|(heat, _)| heat.others).collect();
    let categories: Vec<_> = of_patients.iter().map(|(heat, _)| heat.category).collect();
    let mirrored_categories: Vec<_> = of_patients.iter().filter_map(|(heat, _)| heat.mirrored_category).collect();
    Some(HeatMeasures {
        lesion: heat_score::summarise(&lesion),
        midline: of_patients.len() - mirrored.len(),
        mirrored: heat_score::summarise(&mirrored),
        others: mean_sd(&others).map(|m| m.mean),
        categories: map_category::count(&categories),
        mirrored_categories: map_category::count(&mirrored_categories),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::manifest::CalibrationKind;
    use crate::research::evaluate::{SubjectHeat, SubjectRow};

    fn scored(subject: usize, fold: usize, fcd: bool, logit: f64) -> Scored {
        let row = SubjectRow {
            subject: format!("sub-{subject:05}"),
            fcd,
            scanner: None,
            protocol: None,
            voxel_mm: None,
            sex: None,
            age: None,
        };
        Scored { row, fold: Some(fold), logit, heat: None }
    }

    /// Two folds of eight with equal logits, separated in both but for one patient of fold 1 at -3.
    fn cohort() -> Vec<Scored> {
        let controls = (0..8).map(|i| scored(i, i % 2, false, -1.0 - 0.1 * (i / 2) as f64));
        let patients = (8..16).map(|i| scored(i, i % 2, true, if i == 15 { -3.0 } else { 1.0 + 0.1 * (i / 2) as f64 }));
        controls.chain(patients).collect()
    }

    #[test]
    fn figures_are_those_of_the_hand() {
        let metrics = measure(&cohort(), &[], &Scoring::CrossFitted, 1);
        assert_eq!((metrics.subjects, metrics.patients, metrics.folds.len()), (16, 8, 2));
        // One of 16 is wrong: the folds' accuracies are 1 and 7/8.
        let accuracy = metrics.accuracy.over_folds.unwrap();
        assert!((accuracy.mean - 0.9375).abs() < 1e-12, "{accuracy:?}");
        assert!((accuracy.sd.unwrap() - (0.125_f64 / 2.0_f64.sqrt())).abs() < 1e-12);
        assert_eq!(metrics.sensitivity.pooled, Some(7.0 / 8.0));
        assert_eq!(metrics.specificity.pooled, Some(1.0));
        // Fold 0: 1; fold 1: the patient at -3 loses against all four controls of sixteen pairs.
        assert!((metrics.auc.over_folds.unwrap().mean - 0.875).abs() < 1e-12);
        assert!(metrics.accuracy.interval.unwrap().lower < 0.9375);
        assert!(metrics.heat.is_none());
    }

    #[test]
    fn the_gap_is_that_of_the_best_epoch() {
        let epoch = |epoch, train_accuracy, validation_loss, validation_accuracy| Epoch {
            epoch,
            train_loss: 0.0,
            train_accuracy,
            validation_loss,
            validation_accuracy,
            validation_auc: None,
            learning_rate: 1e-3,
            seconds: 1.0,
            waited_s: 0.0,
        };
        let history = vec![epoch(1, 0.6, 0.7, 0.5), epoch(2, 0.9, 0.4, 0.75), epoch(3, 1.0, 0.9, 0.7)];
        let metrics = measure(&cohort(), &[(0, history)], &Scoring::CrossFitted, 1);
        assert!((metrics.train_validation_gap.unwrap().mean - 0.15).abs() < 1e-12);
        assert_eq!((metrics.folds[0].epochs, metrics.folds[0].seconds), (Some(3), Some(3.0)));
        assert_eq!((metrics.folds[1].epochs, metrics.folds[1].seconds), (None, None));
    }

    #[test]
    fn heat_scores_come_with_their_nulls() {
        let mut cohort = cohort();
        for (index, value) in [(8, 2.0), (9, 4.0)] {
            cohort[index].heat = Some(SubjectHeat {
                lesion: Ok(value),
                mirrored: (index == 8).then_some(Ok(0.5)),
                others: Some(0.1),
                category: Ok(MapCategory::Near),
                mirrored_category: (index == 8).then_some(Ok(MapCategory::Wrong)),
            });
        }
        let heat = measure(&cohort, &[], &Scoring::CrossFitted, 1).heat.unwrap();
        assert_eq!((heat.lesion.mean, heat.mirrored.mean, heat.midline), (Some(3.0), Some(0.5), 1));
        assert!((heat.others.unwrap() - 0.1).abs() < 1e-12);
        assert_eq!((heat.categories.near, heat.mirrored_categories.wrong), (2, 1));
    }

    #[test]
    fn a_models_own_calibration_and_threshold_are_used_as_they_are() {
        let calibration = Calibration { kind: CalibrationKind::Platt, scale: 2.0, offset: -1.0, fitted_on: None };
        let mut cohort: Vec<Scored> = [(false, 0.4), (true, 0.5), (true, 0.6), (false, 0.6)]
            .into_iter()
            .enumerate()
            .map(|(i, (fcd, logit))| scored(i, 0, fcd, logit))
            .collect();
        for s in &mut cohort[1..] {
            s.fold = None;
        }
        let metrics = measure(&cohort, &[], &Scoring::Given { calibration, threshold: 0.5 }, 1);
        // 2 · 0.5 − 1 = 0: the threshold itself is called.
        assert_eq!(metrics.per_subject.iter().map(|s| s.called_fcd).collect::<Vec<_>>(), [false, true, true, true]);
        assert_eq!(metrics.per_subject[1].probability, 0.5);
        assert_eq!(metrics.folds.iter().map(|f| (f.fold, f.subjects)).collect::<Vec<_>>(), [(Some(0), 1), (None, 3)]);
        assert_eq!(metrics.accuracy.pooled, Some(0.75));
    }

    #[test]
    fn one_class_gives_no_auc_and_no_nan() {
        let controls: Vec<Scored> = (0..4).map(|i| scored(i, i % 2, false, i as f64)).collect();
        let metrics = measure(&controls, &[], &Scoring::CrossFitted, 1);
        assert_eq!(metrics.auc.pooled, None);
        assert!(!serde_json::to_string(&metrics).unwrap().contains("NaN"));
    }
}
