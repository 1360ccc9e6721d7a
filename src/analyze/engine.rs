//! The engine: models that were loaded and warmed once, and one call per study.

use std::collections::BTreeMap;
use std::time::Instant;

use rayon::prelude::*;

use super::fuse;
use super::gates::{self, GateInput};
use super::gradcam;
use super::looks;
use super::model::Model;
use super::preprocess::{self, FieldOfView, Prepared, PreprocessError};
use super::prior;
use super::regions::{self, MapContext};
use super::running::{Inference, RunningModel};
use super::runtime::RuntimeError;
use super::session::{FoldOutput, SessionError};
use crate::config;
use crate::network::ModelFolderError;
use crate::network::logit::{mean, sigmoid};
use crate::observe::events::analyze::{SeriesRefused, SitePrevalenceIgnored, StudyAnalyzed};
use crate::study::{
    Analysis, AssembledStudy, Decision, ModelIdentity, ModelOutcome, Prior, Reason, Region, Sequence, SourceVolume,
    Stack, Verdict,
};
use crate::volume::{SingularAffine, Volume};

/// The sequences for which there can be a model, in the order of the outcomes.
const SEQUENCES: [Sequence; 2] = [Sequence::T1, Sequence::Flair];

/// What keeps the engine from starting or from finishing a study. What is wrong with a study is no error but a
/// reason in its verdict.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    /// ONNX Runtime is not there.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A model folder cannot be used.
    #[error(transparent)]
    Model(#[from] ModelFolderError),
    /// A model does not run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Two models for one sequence.
    #[error("the models {first} and {second} are both for {}; `analyze.models` may name one per sequence", sequence.label())]
    TwoModels {
        /// The sequence.
        sequence: Sequence,
        /// The model that was loaded first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A source volume whose affine has no inverse passed assembly and preprocessing.
    #[error(transparent)]
    Geometry(#[from] SingularAffine),
}

/// Loaded models, ready to analyze; shared by reference between threads, one inference per model at a time.
#[derive(Debug)]
pub struct Engine {
    models: Vec<LoadedModel>,
    fusion: fuse::Rule,
    site_prevalence: Option<f64>,
}

#[derive(Debug)]
struct LoadedModel {
    model: Model,
    // What its shown probabilities assume.
    prior: Prior,
    running: RunningModel,
}

impl Engine {
    /// Loads, verifies, opens and warms every configured model. Blocking; takes seconds.
    ///
    /// # Errors
    /// The first model that cannot be used, or the missing runtime; see [`AnalyzeError`].
    pub fn load(config: &config::Analyze) -> Result<Engine, AnalyzeError> {
        let mut models: Vec<LoadedModel> = Vec::with_capacity(config.models.len());
        for folder in &config.models {
            let model = Model::load(folder)?;
            if let Some(first) = models.iter().find(|m| m.model.sequence == model.sequence) {
                return Err(AnalyzeError::TwoModels {
                    sequence: model.sequence,
                    first: first.model.name.clone(),
                    second: model.name,
                });
            }
            models.push(LoadedModel::open(model, config)?);
        }
        let fusion = fuse::Rule { calibration: config.fused_calibration, threshold: config.fused_threshold };
        Ok(Engine { models, fusion, site_prevalence: config.site_prevalence })
    }

    /// The loaded models, in the order of the configuration.
    pub fn models(&self) -> Vec<ModelIdentity> {
        self.models.iter().map(|m| m.running.identity()).collect()
    }

    /// Analyzes one study. Blocking, on all cores.
    ///
    /// # Errors
    /// Only what is wrong with this machine or its models; what is wrong with the study is in the verdict.
    pub fn analyze(&self, study: &AssembledStudy) -> Result<Analysis, AnalyzeError> {
        let begun = Instant::now();
        let mut analysis = if study.problems.is_empty() {
            self.analyze_series(study)?
        } else {
            without_outcomes(study.problems.clone())
        };
        let took_ms = milliseconds(begun);
        analysis.timings_ms.insert("analyze".to_owned(), took_ms);
        let reasons: Vec<&str> = analysis.verdict.reasons().iter().map(|r| r.code.as_str()).collect();
        StudyAnalyzed {
            study_uid: study.study_uid.as_str(),
            verdict: analysis.verdict.code(),
            reasons: &reasons.join(","),
            models: analysis.outcomes.len(),
            took_ms,
        }
        .emit();
        Ok(analysis)
    }

    fn analyze_series(&self, study: &AssembledStudy) -> Result<Analysis, AnalyzeError> {
        if SEQUENCES.into_iter().all(|s| usable(study, s).is_none()) {
            return Ok(without_outcomes(vec![no_usable_series(study)]));
        }
        let mut reasons = Vec::new();
        let mut remarks = Vec::new();
        let mut timings_ms = BTreeMap::new();
        let mut ran = Vec::new();
        // Preprocessing side by side: a good part of it (finding the head) keeps one core only.
        let plans: Vec<Plan> = SEQUENCES.par_iter().map(|sequence| self.plan(study, *sequence)).collect();
        for (sequence, plan) in SEQUENCES.into_iter().zip(plans) {
            match plan {
                Plan::Examine { model, series, prepared, took_ms } => {
                    timings_ms.insert(stage("preprocess", sequence), took_ms);
                    match model.examine(&series, *prepared, &mut timings_ms)? {
                        Ok(examined) => {
                            reasons.extend(examined.reasons.iter().cloned());
                            remarks.extend(examined.fell_back.clone());
                            ran.push((model, examined, series.source));
                        }
                        Err(reason) => reasons.push(reason),
                    }
                }
                Plan::Missing => remarks.push(missing(sequence)),
                Plan::NoModel => remarks.push(no_model(sequence)),
                Plan::Nothing => {}
            }
        }
        let identity = |examined: &Examined| examined.outcome.model.clone();
        let untrained = ran.iter().map(|(_, examined, _)| identity(examined)).filter(|model| !model.trained);
        reasons.extend(untrained.map(|model| untrained_model(&model)));
        if let Some(prevalence) = self.site_prevalence {
            let ignoring = ran.iter().filter(|(model, ..)| model.prior == Prior::Unstated);
            remarks.extend(
                ignoring.map(|(model, examined, _)| {
                    prior::ignored(model.model.sequence, &examined.outcome.model, prevalence)
                }),
            );
        }

        let (mut outcomes, maps): (Vec<_>, Vec<_>) =
            ran.into_iter().map(|(model, examined, source)| (examined.outcome, (model, examined.map, source))).unzip();
        let fused = fuse::fuse(&outcomes, self.fusion);
        let verdict = fuse::verdict(fused.as_ref(), reasons);
        if verdict == Verdict::Suspected {
            for (outcome, (model, map, source)) in outcomes.iter_mut().zip(&maps) {
                let begun = Instant::now();
                outcome.regions = model.regions(map, source)?;
                timings_ms.insert(stage("regions", outcome.sequence), milliseconds(begun));
            }
        }
        Ok(Analysis { outcomes, fused, verdict, remarks, timings_ms })
    }

    /// What is to be done for a sequence; where a network is to look, what it will see.
    fn plan<'a>(&'a self, study: &'a AssembledStudy, sequence: Sequence) -> Plan<'a> {
        let model = self.models.iter().find(|m| m.model.sequence == sequence);
        match (model, usable(study, sequence)) {
            (Some(model), Some((stack, source))) => {
                let begun = Instant::now();
                let prepared = Box::new(preprocess::prepare(&source.volume, &model.model.input));
                let series = Series { study, stack, source };
                Plan::Examine { model, series, prepared, took_ms: milliseconds(begun) }
            }
            (Some(_), None) => Plan::Missing,
            (None, Some(_)) => Plan::NoModel,
            (None, None) => Plan::Nothing,
        }
    }
}

/// What is to be done for a sequence.
enum Plan<'a> {
    /// A network looks at its series.
    Examine {
        model: &'a LoadedModel,
        series: Series<'a>,
        prepared: Box<Result<Prepared, PreprocessError>>,
        took_ms: f64,
    },
    /// There is a model and no series.
    Missing,
    /// There is a series and no model.
    NoModel,
    /// There is neither.
    Nothing,
}

/// A series that was chosen for a sequence, within its study.
struct Series<'a> {
    study: &'a AssembledStudy,
    stack: &'a Stack,
    source: &'a SourceVolume,
}

/// What one model made of one series.
struct Examined {
    outcome: ModelOutcome,
    map: PlacedMap,
    /// Gates that stayed shut.
    reasons: Vec<Reason>,
    /// Set when the model's provider failed, now or earlier, and it runs on another one.
    fell_back: Option<Reason>,
}

/// What regions are found on: the small map at its place, and where the network looked.
struct PlacedMap {
    cells: Volume,
    view: FieldOfView,
    middle_x_mm: f64,
}

impl LoadedModel {
    fn open(mut model: Model, config: &config::Analyze) -> Result<Self, AnalyzeError> {
        let prior = prior::of_model(model.training_prevalence, config.site_prevalence);
        let running = RunningModel::open(&mut model, config)?;
        if let (Some(site_prevalence), Prior::Unstated) = (config.site_prevalence, prior) {
            SitePrevalenceIgnored { model: &model.name, version: &model.version, site_prevalence }.emit();
        }
        Ok(LoadedModel { model, prior, running })
    }

    /// Gates, infers and draws one preprocessed series. The inner error is the reason why the series cannot be seen
    /// by a network at all.
    fn examine(
        &self,
        series: &Series<'_>,
        prepared: Result<Prepared, PreprocessError>,
        timings_ms: &mut BTreeMap<String, f64>,
    ) -> Result<Result<Examined, Reason>, AnalyzeError> {
        let Series { study, stack, source } = series;
        let sequence = self.model.sequence;
        let Prepared { tensor, view, measures, .. } = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let Reason { code, text } = error.reason();
                let reason = Reason { code, text: format!("{}: {text}", sequence.label()) };
                SeriesRefused {
                    study_uid: study.study_uid.as_str(),
                    series_uid: stack.series_uid.as_str(),
                    code: &reason.code,
                    text: &reason.text,
                }
                .emit();
                return Ok(Err(reason));
            }
        };
        let begun = Instant::now();
        let source_grid = source.volume.grid();
        let mut reasons =
            gates::check(&GateInput { sequence, header: &stack.header, grid: &source_grid, head: &measures });
        if let Some(distribution) = &self.model.distribution {
            let looks = looks::measures(tensor.view(), view.head.view());
            reasons.extend(looks::check(distribution, &looks, sequence, &self.model.name));
        }
        timings_ms.insert(stage("gates", sequence), milliseconds(begun));

        let begun = Instant::now();
        let Inference { folds, identity, fell_back } = self.running.infer(tensor.view())?;
        timings_ms.insert(stage("inference", sequence), milliseconds(begun));
        drop(tensor);

        let begun = Instant::now();
        let cells = gradcam::place(folds.iter().map(|f| &f.cam), self.model.stride, &view.grid);
        let heatmap = gradcam::display(&cells, &view, &source_grid)?;
        timings_ms.insert(stage("gradcam", sequence), milliseconds(begun));

        let calibrated = |fold: &FoldOutput| self.model.calibration.calibrated_logit(fold.logit);
        let logit = mean(folds.iter().map(calibrated));
        let shown = |logit| prior::probability(logit, self.prior);
        let decision = Decision { probability: sigmoid(logit), threshold: self.model.decision_threshold };
        let outcome = ModelOutcome {
            sequence,
            model: identity,
            probability: shown(logit),
            fold_probabilities: folds.iter().map(calibrated).map(shown).collect(),
            threshold: prior::threshold(&decision, self.prior),
            prior: self.prior,
            logit,
            decision,
            heatmap,
            regions: Vec::new(),
        };
        let map = PlacedMap { cells, view, middle_x_mm: measures.middle_x_mm };
        Ok(Ok(Examined { outcome, map, reasons, fell_back }))
    }

    fn regions(&self, map: &PlacedMap, source: &SourceVolume) -> Result<Vec<Region>, AnalyzeError> {
        let on_input = gradcam::on_input_grid(&map.cells, &map.view)?;
        let context = MapContext {
            sequence: self.model.sequence,
            grid: &map.view.grid,
            source: &source.volume.grid(),
            threshold_logit: self.model.region_threshold_logit,
            middle_x_mm: map.middle_x_mm,
            cell_width_mm: self.model.cell_mm[0],
        };
        Ok(regions::find(&on_input, &context)?)
    }
}

fn usable(study: &AssembledStudy, sequence: Sequence) -> Option<(&Stack, &SourceVolume)> {
    let stack = study.chosen(sequence)?;
    Some((stack, stack.volume.as_deref()?))
}

fn without_outcomes(reasons: Vec<Reason>) -> Analysis {
    Analysis {
        outcomes: Vec::new(),
        fused: None,
        verdict: Verdict::Unassessable { reasons },
        remarks: Vec::new(),
        timings_ms: BTreeMap::new(),
    }
}

/// Series are named by number, not by description: those are free text.
fn no_usable_series(study: &AssembledStudy) -> Reason {
    let stacks: Vec<String> = study
        .stacks
        .iter()
        .map(|s| {
            let number = s.series_number.map_or_else(|| "without number".to_owned(), |n| n.to_string());
            format!("series {number} ({}): {}", s.sequence.label(), s.verdict)
        })
        .collect();
    let found = if stacks.is_empty() { "the study has no series".to_owned() } else { stacks.join("; ") };
    Reason::new("no_usable_series", format!("no usable T1 or FLAIR series: {found}"))
}

fn missing(sequence: Sequence) -> Reason {
    let (code, label) = (format!("missing_{}", lower(sequence)), sequence.label());
    Reason { code, text: format!("no usable {label} series; the result rests on the other modality alone") }
}

fn no_model(sequence: Sequence) -> Reason {
    let (code, label) = (format!("no_model_{}", lower(sequence)), sequence.label());
    Reason { code, text: format!("no {label} model is installed; the study's {label} series was not looked at") }
}

fn untrained_model(model: &ModelIdentity) -> Reason {
    let ModelIdentity { name, version, .. } = model;
    Reason::new(
        "untrained_model",
        format!(
            "untrained demonstration model {name} {version}: random weights, its numbers and pictures mean nothing"
        ),
    )
}

fn stage(what: &str, sequence: Sequence) -> String {
    format!("{what}_{}", lower(sequence))
}

fn lower(sequence: Sequence) -> &'static str {
    match sequence {
        Sequence::T1 => "t1",
        Sequence::Flair => "flair",
        Sequence::Other => "other",
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
