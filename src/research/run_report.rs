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

use super::archive::Finding;
use super::archive::origin::{self, Data};
use super::cache::Cache;
use super::collect::{self, CollectError};
use super::confounds;
use super::evaluate::{
    Abstention, Heard, IntensityComparison, MapError, MapRule, Metrics, Networks, Scored, Scoring, SubjectRow,
    Withheld, chosen, maps, measure, score, subject_row,
};
use super::export::{self, ExportError};
use super::plan::{Plan, Profile, TrainingPrecision};
use super::report::{self, Contents, ForwardPass, OperatingPoint, ReportError, Tile};
use super::run_folder::{Epoch, Part, Prediction, RunFolder, RunFolderError, write_table};
use super::statistics::bootstrap::percentile;
use super::statistics::youden;

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
    report::write(run.path(), &contents)?;
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
    let tiles = tiles(&heard, &scored, cache, &rule)?;
    drop(heard);

    let histories: Vec<(usize, Vec<Epoch>)> =
        (0..folds).map(|fold| Ok((fold, run.fold(fold).history()?))).collect::<Result<_, RunFolderError>>()?;
    let metrics = measure(&scored, &histories, &Scoring::CrossFitted, plan.seed);
    let labels: Vec<bool> = scored.iter().map(|s| s.row.fcd).collect();
    let logits: Vec<f64> = scored.iter().map(|s| s.logit).collect();
    let numbers: Vec<usize> = scored.iter().map(Scored::network).collect();
    let withheld = Withheld::of(scored.iter().filter_map(|s| cache.index_of(&s.row.subject)).map(|index| {
        let gates: &[_] = &cache.subject(index).gates;
        gates
    }));
    let stated = origin::stated(cache.subjects().iter().map(|subject| subject.source.as_path()));
    let data = request.data.or_else(|| stated.data());

    let mut cautions = Vec::new();
    if data.is_none() {
        cautions.push(
            "No dataset_description.json says whose scans these are; if they are synthetic, nothing here is about people."
                .to_owned(),
        );
    }
    if data == Some(Data::People) && stated.synthetic > 0 {
        cautions.push(format!("{} of the scans are synthetic.", stated.synthetic));
    }
    let (operating_point, not_calibrated) = operating_point(&labels, &logits);
    cautions.extend(not_calibrated.map(|why| format!("The model would be exported {why}.")));
    cautions.extend(common_cautions(&metrics, &scored, cache, plan.spec().total_stride()));
    if plan.precision.value == TrainingPrecision::Bf16 {
        cautions.push("The scores were computed in bf16 by the trainer, the maps in fp32.".to_owned());
    }

    let training_s: Option<f64> = metrics.folds.iter().map(|fold| fold.seconds).sum();
    Ok(Contents {
        format: report::FORMAT,
        title: format!("Cross-validation of {} ({})", report::name(run.path()), plan.sequence.label()),
        synthetic: data == Some(Data::Synthetic) || stated.synthetic > 0,
        scored_by: format!(
            "{folds} folds. Each subject was scored by the one network that never saw it; calibration and threshold were \
             fitted on the other folds."
        ),
        cautions,
        confounds: Some(confounds::report(&scored, plan.seed)),
        maps: rule.sentence(),
        intensity: IntensityComparison::of(&scored, cache, &numbers, plan.seed),
        abstention: Abstention::of(&labels, &logits, &numbers),
        withheld,
        operating_point,
        forward_pass: forward_pass(took, 1),
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
            heard.push(Heard { row: known, fold: Some(fold), logit: row.logit(), cams: answer.cams });
            progress();
        }
    }
    Ok((heard, took))
}

/// Pictures of the patients with the best, the median and the worst Heat-Score.
pub(super) fn tiles(
    heard: &[Heard],
    scored: &[Scored],
    cache: &Cache,
    rule: &MapRule,
) -> Result<Vec<Tile>, RunReportError> {
    let mut tiles = Vec::new();
    for (place, which, value) in chosen(scored) {
        let Some((h, s)) = heard.get(place).zip(scored.get(place)) else { continue };
        let subject = h.row.subject.as_str();
        let Some(index) = cache.index_of(subject) else { continue };
        let map = maps::map(&h.cams, cache, subject, rule)?;
        let category = s.heat.as_ref().and_then(|heat| heat.category.ok());
        let category = category.map_or_else(String::new, |category| format!(", {}", category.name()));
        let caption = format!("{which}: {subject}, Heat-Score {value:.2}{category}");
        tiles.extend(Tile::new(caption, cache.shape(), cache.volume(index), &map, cache.roi(index))?);
    }
    Ok(tiles)
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

/// What every cohort's figures do not say.
pub(super) fn common_cautions(metrics: &Metrics, scored: &[Scored], cache: &Cache, stride: [usize; 3]) -> Vec<String> {
    let mut cautions = Vec::new();
    let with_heat = scored.iter().filter(|s| s.heat.is_some()).count();
    if with_heat < metrics.patients {
        cautions.push(format!(
            "{} of {} patients have no lesion mask that can be used: Heat-Score and categories are those of {with_heat}.",
            metrics.patients - with_heat,
            metrics.patients
        ));
    }
    if metrics.patients == 0 || metrics.patients == metrics.subjects {
        let class = if metrics.patients == 0 { "controls" } else { "patients" };
        cautions.push(format!("There are only {class}: whatever compares the two groups is undefined."));
    }
    let smallest = metrics.folds.iter().filter(|fold| fold.fold.is_some()).map(|fold| fold.subjects).min();
    if let Some(smallest) = smallest.filter(|smallest| *smallest < FEW_IN_A_FOLD) {
        cautions.push(format!("A fold tests as few as {smallest} subjects: figures of single folds jump."));
    }
    let [d, h, w] = stride.map(|stride| stride as f64 * cache.spec().spacing_mm);
    cautions.push(format!(
        "One cell of the map is {d:.0} x {h:.0} x {w:.0} mm wide: a heatmap points at a neighbourhood, not at a voxel."
    ));
    if !cache.excluded().is_empty() {
        cautions.push(format!(
            "{} scans of the archive could not be used: {}.",
            cache.excluded().len(),
            by_reason(cache.excluded())
        ));
    }
    cautions
}

/// Below so many subjects a fold's figures are not worth much by themselves.
const FEW_IN_A_FOLD: usize = 10;

fn by_reason(findings: &[Finding]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings {
        *counts.entry(finding.reason.code.as_str()).or_default() += 1;
    }
    counts.iter().map(|(code, count)| format!("{code} {count}")).collect::<Vec<_>>().join(", ")
}

/// The median, and what was measured.
pub(super) fn forward_pass(took: Vec<Duration>, networks: usize) -> Option<ForwardPass> {
    let mut milliseconds: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1000.0).collect();
    let median_ms = percentile(&mut milliseconds, 50.0)?;
    let each =
        if networks == 1 { "one network".to_owned() } else { format!("{networks} networks, one after the other") };
    let what =
        format!("forward pass of {each} in ONNX Runtime, without preprocessing and map, fp32, {}", this_machine());
    Some(ForwardPass { median_ms, scans: milliseconds.len(), what })
}

/// Where this program computes.
pub(super) fn this_machine() -> String {
    let threads = maps::threads();
    report::processor()
        .map_or_else(|| format!("cpu, {threads} threads"), |name| format!("cpu, {threads} threads; {name}"))
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
    lines.push(format!("maps and times on {}", this_machine()));
    lines
}
