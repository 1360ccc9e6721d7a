//! From a finished run to what its report says.
//!
//! ```text
//! predictions.csv ─┐                         ┌─ measures, confounds, intensity, abstention
//! checkpoint_best ─┼─▶ Heard ──▶ Scored ─────┤
//! cache           ─┘   (maps)    (Heat-Score)└─ tiles, cautions ──▶ Contents
//! ```
//!
//! The scores are the trainer's own, from `predictions.csv`. Each fold's network is run once more in ONNX Runtime, on its
//! test subjects only: for the maps, for the time of a scan, and because what does not say what the trainer said is
//! no map of that network.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::{Contents, OperatingPoint, ReportError, of_cohort};
use crate::research::archive::origin::Data;
use crate::research::cache::Cache;
use crate::research::confounds;
use crate::research::evaluate::{
    Abstention, Heard, IntensityComparison, MapError, MapRule, Mirroring, Networks, Scored, Scoring, SubjectRow,
    measure, score, subject_row,
};
use crate::research::models::export::{self, ExportError};
use crate::research::run::collect::{self, CollectError};
use crate::research::run::folder::{Epoch, Part, Prediction, RunFolder, RunFolderError, write_table};
use crate::research::run::plan::{Plan, Profile, TrainingPrecision};
use crate::research::statistics::youden;

/// Why a run has no report.
#[derive(Debug, thiserror::Error)]
pub enum RunReportError {
    /// Not all folds are done, or they are not of one run.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// A file of the run.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    /// A checkpoint that cannot be read or is another run's, or a network that says something else than the trainer.
    #[error(transparent)]
    Checkpoint(#[from] ExportError),
    /// A network cannot be run on a subject.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A page cannot be drawn or written.
    #[error(transparent)]
    Page(#[from] ReportError),
    /// The labels changed since.
    #[error("{subject} was trained on as {trained}, now the cache says {cached}: which is right? Train a new run")]
    Label {
        /// Who.
        subject: String,
        /// In predictions.csv.
        trained: &'static str,
        /// In the cache.
        cached: &'static str,
    },
}

/// What the caller decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// Whose scans the archive holds; none: what its `dataset_description.json` says.
    pub data: Option<Data>,
    /// The ONNX Runtime library, where it is not found by itself.
    pub onnxruntime: Option<&'a Path>,
}

/// Makes the report of a run in which all folds are done and writes `report.html`, `report.md`, `metrics.json` and
/// `subjects.csv`. `progress` hears of every subject that was run through a network and of every one that was scored:
/// two for each.
///
/// # Errors
/// What is missing or does not fit; an old report is still there then.
pub fn write(
    run: &RunFolder,
    cache: &Cache,
    request: &Request<'_>,
    progress: &(dyn Fn() + Sync),
) -> Result<Contents, RunReportError> {
    let contents = contents(run, cache, request, progress)?;
    let subjects: Vec<SubjectRow> = cache.subjects().iter().map(subject_row).collect();
    write_table(&run.subjects_path(), &subjects)?;
    super::write(run.path(), &contents)?;
    Ok(contents)
}

fn contents(
    run: &RunFolder,
    cache: &Cache,
    request: &Request<'_>,
    progress: &(dyn Fn() + Sync),
) -> Result<Contents, RunReportError> {
    let plan = run.plan()?;
    let mut tests = collect::collect(run)?;
    tests.retain(|row| row.part == Part::Test);
    let folds = plan.folds.value;
    let rule = match plan.profile {
        Profile::Default => MapRule::serving(plan.spec().total_stride()),
        Profile::Paper => MapRule::paper(plan.spec().total_stride()),
    };

    let (heard, took) = hear(run, cache, &plan, &tests, request.onnxruntime, progress)?;
    let scored = score(&heard, cache, &rule, progress)?;
    let tiles = of_cohort::tiles::<RunReportError>(&heard, &scored, cache, &rule)?;
    let numbers: Vec<usize> = scored.iter().map(Scored::network).collect();
    let mirroring = Mirroring::of(&heard, &numbers, plan.seed);
    drop(heard);

    let histories: Vec<(usize, Vec<Epoch>)> =
        (0..folds).map(|fold| Ok((fold, run.fold(fold).history()?))).collect::<Result<_, RunFolderError>>()?;
    let metrics = measure(&scored, &histories, &Scoring::CrossFitted, plan.seed);
    let labels: Vec<bool> = scored.iter().map(|s| s.row.fcd).collect();
    let logits: Vec<f64> = scored.iter().map(|s| s.logit).collect();
    let mut cautions = Vec::new();
    let synthetic = of_cohort::any_synthetic(request.data, cache, &mut cautions);
    let (operating_point, not_calibrated) = operating_point(&labels, &logits);
    cautions.extend(not_calibrated.map(|why| format!("The model would be exported {why}.")));
    cautions.extend(of_cohort::cautions(&metrics, &scored, cache, plan.spec().total_stride()));
    if plan.lesion_guidance.is_some() {
        let text = "The network was shown the lesion masks while it learned (lesion_guidance): the Heat-Score says how well it \
                    learned that, and cannot be compared with one of a network that learned from labels alone.";
        cautions.push(text.to_owned());
    }
    if plan.precision.value == TrainingPrecision::Bf16 {
        cautions.push("The scores were computed in bf16 by the trainer, the maps in fp32.".to_owned());
    }

    let training_s: Option<f64> = metrics.folds.iter().map(|fold| fold.seconds).sum();
    Ok(Contents {
        format: super::FORMAT,
        title: format!("Cross-validation of {} ({})", super::name(run.path()), plan.sequence.label()),
        synthetic,
        scored_by: format!(
            "{folds} folds. Each subject was scored by the one network that never saw it; calibration and threshold were \
             fitted on the other folds."
        ),
        cautions,
        confounds: Some(confounds::report(&scored, plan.seed)),
        maps: rule.sentence(),
        intensity: Some(IntensityComparison::of(&scored, cache, &numbers, plan.seed)),
        fusion: None,
        mirroring,
        abstention: Abstention::of(&labels, &logits, &numbers),
        withheld: Some(of_cohort::withheld(&scored, cache, None)),
        operating_point,
        forward_pass: of_cohort::forward_pass(took, 1),
        model: None,
        hardware: hardware(run, &plan),
        training_s,
        histories,
        tiles,
        metrics,
        plan: Some(plan),
    })
}

/// Runs every fold's network on its test subjects.
fn hear(
    run: &RunFolder,
    cache: &Cache,
    plan: &Plan,
    tests: &[Prediction],
    library: Option<&Path>,
    progress: &(dyn Fn() + Sync),
) -> Result<(Vec<Heard>, Vec<Duration>), RunReportError> {
    let (mut heard, mut took) = (Vec::new(), Vec::new());
    let spec = plan.spec();
    for fold in 0..plan.folds.value {
        let weights = export::read_checkpoint(&run.fold(fold).checkpoint_best(), plan, fold)?;
        let mut network = Networks::of_fold(&spec, &weights, plan.input.value, library)?;
        for row in tests.iter().filter(|row| row.fold == fold) {
            let answer = network.answer(cache, &row.subject)?;
            export::difference(row, answer.logit, plan.precision.value)?;
            let index = cache.index_of(&row.subject);
            let known = index.map(|index| subject_row(cache.subject(index)));
            let known = known.ok_or_else(|| MapError::Unknown { subject: row.subject.clone() })?;
            if known.fcd != row.fcd {
                let word = |fcd: bool| if fcd { "fcd" } else { "hc" };
                let subject = row.subject.clone();
                return Err(RunReportError::Label { subject, trained: word(row.fcd), cached: word(known.fcd) });
            }
            took.push(answer.took);
            heard.push(Heard {
                row: known,
                fold: Some(fold),
                logit: row.logit(),
                logit_of_mirrored: answer.logit_of_mirrored,
                cams: answer.cams,
            });
            progress();
        }
    }
    Ok((heard, took))
}

/// The threshold with which these scores would be exported, and why they cannot be calibrated, where that is so.
fn operating_point(labels: &[bool], logits: &[f64]) -> (Option<OperatingPoint>, Option<String>) {
    let (calibration, not_calibrated) = export::calibrate(labels, logits);
    let probabilities: Vec<f64> = logits.iter().map(|logit| calibration.probability(*logit)).collect();
    let Some(threshold) = youden(labels, &probabilities) else { return (None, None) };
    let point = OperatingPoint {
        threshold,
        rule: export::THRESHOLD_RULE.to_owned(),
        calibration: [calibration.scale, calibration.offset],
        fitted_on: calibration.fitted_on.unwrap_or_default(),
    };
    (Some(point), not_calibrated)
}

/// What trained the folds, and in which arithmetic.
fn hardware(run: &RunFolder, plan: &Plan) -> Vec<String> {
    let mut folds_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for fold in 0..plan.folds.value {
        let machines = std::fs::read_to_string(run.fold(fold).machines_path()).unwrap_or_default();
        let machines = if machines.is_empty() { "a machine that was not recorded".to_owned() } else { machines };
        for machine in machines.lines() {
            folds_of.entry(machine.to_owned()).or_default().push(fold.to_string());
        }
    }
    let precision = match plan.precision.value {
        TrainingPrecision::Fp32 => "fp32",
        TrainingPrecision::Bf16 => "bf16",
    };
    let mut lines: Vec<String> = folds_of
        .iter()
        .map(|(machine, folds)| format!("training in {precision} of fold {} on {machine}", folds.join(", ")))
        .collect();
    lines.push(format!("maps and times on {}", of_cohort::this_machine()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::research::run::folder::write_durably;
    use crate::research::run::plan::Said;
    use crate::research::statistics::sigmoid;
    use crate::study::Sequence;

    #[test]
    fn the_operating_point_is_that_of_an_export() {
        let labels = [false, false, true, true];
        let (point, not_calibrated) = operating_point(&labels, &[-2.0, -1.0, 1.0, 2.0]);
        let point = point.unwrap();
        let [slope, offset] = point.calibration;
        // Youden: all patients, no control, from the lower patient on.
        assert!((point.threshold - sigmoid(slope + offset)).abs() < 1e-12 && slope > 0.0, "{point:?}");
        assert!(point.rule.contains("Youden") && not_calibrated.is_none());
        let (point, not_calibrated) = operating_point(&labels, &[2.0, 1.0, -1.0, -2.0]);
        assert_eq!(point.unwrap().calibration, [1.0, 0.0]);
        assert!(not_calibrated.unwrap().contains("do not rise"));
        assert!(operating_point(&[true; 4], &[2.0, 1.0, -1.0, -2.0]).0.is_none());
    }

    #[test]
    fn folds_are_listed_by_what_trained_them() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path().join("run"));
        let said = Said { folds: Some(3), ..Said::default() };
        let plan = Plan::new(Profile::Paper, Sequence::T1, "0".repeat(64), None, 1, &said);
        run.begin(&plan).unwrap();
        write_durably(&run.fold(0).machines_path(), b"cuda:0; big\n").unwrap();
        write_durably(&run.fold(2).machines_path(), b"cuda:0; big\ncpu, 2 threads\n").unwrap();
        let lines = hardware(&run, &plan);
        assert_eq!(
            lines[..3],
            [
                "training in fp32 of fold 1 on a machine that was not recorded",
                "training in fp32 of fold 2 on cpu, 2 threads",
                "training in fp32 of fold 0, 2 on cuda:0; big"
            ]
        );
        assert!(lines[3].starts_with("maps and times on cpu"), "{lines:?}");
    }
}
