//! From a finished run to a model folder that the daemon may serve.
//!
//! Every fold's best weights become one ONNX file. Before anything is written, the serving session runs each file on
//! the subjects that its network never saw and must say what the trainer said; the same runs give the map's threshold.
//! Calibration and decision threshold are fitted on those out-of-fold logits. Rules, all of them in the manifest:
//! Platt's line on the logits; the threshold with the largest Youden's J on the calibrated probabilities; regions lie
//! above the 95th percentile of the controls' maxima; a scan is unlike the training's beyond 1.25 times the 99th percentile of
//! its subjects' own distances.
//!
//! Beside the networks lie three records: a hash per subject that took part ([`SUBJECTS`]), the out-of-fold logits
//! ([`OUT_OF_FOLD`]), by which models are compared later, and the run's figures ([`METRICS`]) where there are any, without
//! their table of subjects.

mod agreement;
mod looks;
mod records;
mod subjects;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub(in crate::research) use agreement::difference;
pub use agreement::{BF16_TOLERANCE, LOGIT_TOLERANCE};
pub use records::{METRICS, OUT_OF_FOLD, OutOfFold};
pub use subjects::{Subject, Subjects};

use crate::analyze::runtime::RuntimeError;
use crate::analyze::session::SessionError;
use crate::network::manifest::{
    self, Calibration, CalibrationKind, Change, Decision, Input, Manifest, Map, Precision, PrecisionList, SUBJECTS,
    Training,
};
use crate::network::model_folder::require_empty;
use crate::network::{ModelFolder, ModelFolderError, Weights, onnx_model};
use crate::research::run::folder::{Part, Prediction, RunFolder, RunFolderError};
use crate::research::run::plan::Plan;
use crate::research::run::weights_file::{self, BestNote, WeightsFileError};
use crate::research::statistics::bootstrap::percentile;
use crate::research::statistics::{Platt, auc_within_folds, youden};
use agreement::Checked;
use records::{out_of_fold_rows, records};

/// Percentile of the out-of-fold controls' maxima above which a part of the map is a region.
pub const CONTROL_PERCENTILE: f64 = 95.0;
/// How the decision threshold is chosen.
pub const THRESHOLD_RULE: &str = "largest Youden's J on calibrated out-of-fold probabilities";

/// What the caller decides.
#[derive(Debug, Clone)]
pub struct Request {
    /// The model's name.
    pub name: String,
    /// Its semantic version.
    pub version: String,
    /// YYYY-MM-DD, for the changelog.
    pub date: String,
    /// Whether no scan of a person is in the archive.
    pub synthetic: bool,
    /// Export the folds that are done although others are missing.
    pub folds_present: bool,
    /// The ONNX Runtime library, where it is not found by itself.
    pub onnxruntime: Option<PathBuf>,
}

/// What was exported, and the figures behind it.
#[derive(Debug)]
pub struct Exported {
    /// The model.
    pub folder: ModelFolder,
    /// The figures.
    pub figures: Figures,
}

/// The figures behind an export.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Folds that were exported.
    pub folds: usize,
    /// Subjects with an out-of-fold logit.
    pub subjects: usize,
    /// Largest difference of ONNX Runtime's logit from the trainer's.
    pub largest_logit_difference: f64,
    /// Area under the ROC curve over pairs of the same fold.
    pub auc: Option<f64>,
    /// Decision threshold on the calibrated probability.
    pub threshold: f64,
    /// Map threshold, logit units.
    pub map_threshold_logit: f64,
    /// Largest change of a probability by bf16; none where this machine has no bf16.
    pub largest_bf16_change: Option<f64>,
    /// Why the logits could not be calibrated; none where they were.
    pub not_calibrated: Option<String>,
}

/// Why a run gives no model.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The run's folder.
    #[error(transparent)]
    Run(#[from] RunFolderError),
    /// The model's folder.
    #[error(transparent)]
    Model(#[from] ModelFolderError),
    /// ONNX Runtime is not there.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A network does not run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Folds that are not done.
    #[error(
        "{run}: of {folds} folds these are not finished: {missing:?}; finish them (`fcdd admin retrain --resume`), or \
         export those that are there with --folds-present"
    )]
    MissingFolds {
        /// The run.
        run: PathBuf,
        /// How many it should have.
        folds: usize,
        /// Those that are not done.
        missing: Vec<usize>,
    },
    /// A checkpoint that cannot be read, or holds another network.
    #[error(transparent)]
    Checkpoint(#[from] WeightsFileError),
    /// A checkpoint of another run.
    #[error("{path} is of {found}, expected {expected}; the folder mixes two runs")]
    OtherPlan {
        /// The file.
        path: PathBuf,
        /// The run's plan and the fold.
        expected: String,
        /// What the checkpoint says.
        found: String,
    },
    /// A subject whose volume or identity is not to be had.
    #[error("subject {subject}: {message}")]
    Subject {
        /// The subject.
        subject: String,
        /// What is wrong.
        message: String,
    },
    /// ONNX Runtime says something else than the trainer.
    #[error(
        "fold {fold}, subject {subject}: ONNX Runtime's logit {onnx} differs from the trainer's {trainer} by \
         {difference:.2e}, {allowed:.0e} is allowed; the checkpoint, the predictions or the cache are not of one run"
    )]
    Disagreement {
        /// The fold.
        fold: usize,
        /// The subject.
        subject: String,
        /// The trainer's logit.
        trainer: f64,
        /// ONNX Runtime's.
        onnx: f64,
        /// Between them (of logits; of probabilities for a run in bf16).
        difference: f64,
        /// What is allowed.
        allowed: f64,
    },
    /// Nothing to fit on.
    #[error("the out-of-fold subjects are {patients} patients and {controls} controls; both are needed")]
    OneClass {
        /// Patients.
        patients: usize,
        /// Controls.
        controls: usize,
    },
}

/// One fold on its way.
struct Fold {
    number: usize,
    onnx: Vec<u8>,
    tests: Vec<Prediction>,
}

/// Writes a model folder into `output` from a run. `progress` hears of every subject that was run (done, total).
///
/// # Errors
/// What is missing or does not agree, and where; nothing is written then.
pub fn export(
    run: &RunFolder,
    subjects: &dyn Subjects,
    request: &Request,
    output: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Exported, ExportError> {
    require_empty(output)?;
    let plan = run.plan()?;
    let folds = read_folds(run, &plan, request)?;
    let identities: BTreeMap<String, String> =
        subjects.all().into_iter().map(|subject| (subject.id.clone(), subject.hash())).collect();
    let out_of_fold = out_of_fold_rows(&folds, &identities)?;
    let labels: Vec<bool> = out_of_fold.iter().map(|row| row.fcd).collect();
    let logits: Vec<f64> = out_of_fold.iter().map(|row| row.logit).collect();
    let patients = labels.iter().filter(|fcd| **fcd).count();
    let one_class = || ExportError::OneClass { patients, controls: labels.len() - patients };
    if patients == 0 || patients == labels.len() {
        return Err(one_class());
    }

    let (calibration, not_calibrated) = calibrate(&labels, &logits);
    let probabilities: Vec<f64> = logits.iter().map(|logit| calibration.probability(*logit)).collect();
    let threshold = youden(&labels, &probabilities).ok_or_else(one_class)?;

    let mut checked = Checked::new(&plan, subjects, request)?;
    let total = out_of_fold.len();
    let mut done = 0;
    for fold in &folds {
        checked.fold(fold, &calibration, &mut || {
            done += 1;
            progress(done, total);
        })?;
    }
    let map_threshold_logit = percentile(&mut checked.control_maxima, CONTROL_PERCENTILE).ok_or_else(one_class)?;
    let bf16_is_good = checked.largest_bf16_change.is_some_and(|change| change < BF16_TOLERANCE);

    let spec = plan.spec();
    let manifest = Manifest {
        format: manifest::FORMAT,
        name: request.name.clone(),
        version: request.version.clone(),
        sequence: plan.sequence,
        architecture: spec.architecture,
        width: spec.width,
        geometry: spec.geometry,
        trained: true,
        intended_use: intended_use(request.synthetic).to_owned(),
        data_source: format!(
            "{}{} subjects ({patients} FCD, {} controls scored out of fold), archive {}",
            if request.synthetic { "synthetic data only: " } else { "" },
            identities.len(),
            labels.len() - patients,
            plan.archive
        ),
        training_run: format!("plan {}", plan.digest()),
        input: Input {
            shape: plan.input.value,
            axes: "RAS".into(),
            stem_stride_one_axis: manifest::stem_stride_one_axis(spec.geometry).into(),
            spacing_mm: plan.spacing_mm.value,
            preprocessing: manifest::PREPROCESSING.into(),
            background: plan.background.value,
        },
        map: Map {
            stride: spec.total_stride(),
            shape: spec.map_shape(plan.input.value),
            threshold_logit: map_threshold_logit,
            threshold_rule: Some("percentile of out-of-fold controls' maxima inside the head".into()),
            control_percentile: Some(CONTROL_PERCENTILE),
        },
        decision: Decision { threshold: threshold.clamp(0.0, 1.0), rule: Some(THRESHOLD_RULE.into()) },
        calibration,
        precision: PrecisionList {
            validated: std::iter::once(Precision::Fp32).chain(bf16_is_good.then_some(Precision::Bf16)).collect(),
        },
        training: Some(Training {
            synthetic: request.synthetic,
            subjects: SUBJECTS.into(),
            prevalence: patients as f64 / labels.len() as f64,
            folds: plan.folds.value,
            plan: plan.digest(),
        }),
        distribution: looks::distribution(subjects)?,
        files: Vec::new(),
        records: Vec::new(),
        changelog: vec![Change {
            version: request.version.clone(),
            date: request.date.clone(),
            text: format!("Exported by fcdd from {} of {} folds.", folds.len(), plan.folds.value),
        }],
    };
    let figures = Figures {
        folds: folds.len(),
        subjects: out_of_fold.len(),
        largest_logit_difference: checked.largest_difference,
        auc: auc_within_folds(&labels, &logits, &out_of_fold.iter().map(|row| row.fold).collect::<Vec<_>>()),
        threshold,
        map_threshold_logit,
        largest_bf16_change: checked.largest_bf16_change,
        not_calibrated,
    };
    let records = records(run, &identities, &out_of_fold)?;
    let files: Vec<Vec<u8>> = folds.into_iter().map(|fold| fold.onnx).collect();
    Ok(Exported { folder: ModelFolder::write_with_records(output, manifest, &files, &records)?, figures })
}

fn intended_use(synthetic: bool) -> &'static str {
    if synthetic {
        "Demonstration and tests. Trained on synthetic data only: its results say nothing about patients."
    } else {
        "Research use only: not a medical device. For studies like those that it was trained on."
    }
}

fn read_folds(run: &RunFolder, plan: &Plan, request: &Request) -> Result<Vec<Fold>, ExportError> {
    let (there, missing): (Vec<usize>, Vec<usize>) = (0..plan.folds.value).partition(|fold| run.fold(*fold).is_done());
    if there.is_empty() || !(missing.is_empty() || request.folds_present) {
        return Err(ExportError::MissingFolds { run: run.path().to_owned(), folds: plan.folds.value, missing });
    }
    let spec = plan.spec();
    let properties = BTreeMap::from([
        ("name".to_owned(), request.name.clone()),
        ("version".to_owned(), request.version.clone()),
        ("trained".to_owned(), if request.synthetic { "on synthetic data only" } else { "true" }.to_owned()),
    ]);
    there
        .into_iter()
        .map(|number| {
            let folder = run.fold(number);
            let path = folder.checkpoint_best();
            let weights = read_checkpoint(&path, plan, number)?;
            let onnx = onnx_model(&spec, &weights, plan.input.value, &properties)
                .map_err(|source| WeightsFileError::Weights { path, source })?;
            let mut tests = folder.predictions()?;
            tests.retain(|row| row.part == Part::Test);
            Ok(Fold { number, onnx, tests })
        })
        .collect()
}

/// The weights of a fold's best epoch, if the file says that it is of this plan and fold.
pub(in crate::research) fn read_checkpoint(path: &Path, plan: &Plan, fold: usize) -> Result<Weights, ExportError> {
    let (tensors, note) = weights_file::read(path)?;
    let note: BestNote = toml::from_str(&note).map_err(|e| {
        let message = format!("it does not say of which plan and fold it is: {}", e.message());
        WeightsFileError::Damaged { path: path.to_owned(), message }
    })?;
    let expected = plan.digest();
    if note.plan != expected || note.fold != fold {
        let found = format!("plan {}, fold {}", note.plan, note.fold);
        let expected = format!("plan {expected}, fold {fold}");
        return Err(ExportError::OtherPlan { path: path.to_owned(), expected, found });
    }
    let wrong = |source| WeightsFileError::Weights { path: path.to_owned(), source };
    Ok(Weights::new(&plan.spec(), tensors).map_err(wrong)?)
}

/// Platt's line; none, with the reason, where it does not rise: the networks rank no better than chance.
pub(in crate::research) fn calibrate(labels: &[bool], logits: &[f64]) -> (Calibration, Option<String>) {
    match Platt::fit(labels, logits) {
        Some(Platt { slope, offset }) if slope > 0.0 && slope.is_finite() && offset.is_finite() => {
            let fitted_on = Some("out-of-fold logits (approximate for an ensemble)".to_owned());
            (Calibration { kind: CalibrationKind::Platt, scale: slope, offset, fitted_on }, None)
        }
        fitted => {
            let slope = fitted.map_or("none".to_owned(), |platt| format!("{:.3}", platt.slope));
            let why = format!("not calibrated: the out-of-fold logits do not rise with the label (slope {slope})");
            (Calibration { fitted_on: Some(why.clone()), ..Calibration::NONE }, Some(why))
        }
    }
}
