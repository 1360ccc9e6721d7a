//! A model at work: its sessions, who it says it is, and what happens when its provider fails in mid-run.
//!
//! A failure fails the study, unless the configuration says to go on (`analyze.fall_back_in_mid_run`): then the model is
//! opened again on the next provider that the device setting allows, stays there until the next start, and every result
//! says so. Nothing falls back silently.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ndarray::ArrayView3;

use super::engine::AnalyzeError;
use super::model::Model;
use super::runtime::{self, Provider};
use super::session::{FoldOutput, ModelSessions, SessionError};
use crate::config;
use crate::observe::events::analyze::{ModelReady, ProviderFailed, ProviderRefused};
use crate::study::{ModelIdentity, Reason};

/// A model with open sessions; one inference at a time.
#[derive(Debug)]
pub(super) struct RunningModel {
    config: config::Analyze,
    folder: PathBuf,
    // ONNX Runtime's sessions are not safe to run twice at once.
    sessions: Mutex<ModelSessions>,
    standing: Mutex<StandingNow>,
}

#[derive(Debug, Clone)]
struct StandingNow {
    identity: ModelIdentity,
    fell_back: Option<Reason>,
}

/// What an inference gave.
#[derive(Debug)]
pub(super) struct Inference {
    /// One output per fold.
    pub folds: Vec<FoldOutput>,
    /// The model as it ran.
    pub identity: ModelIdentity,
    /// Set when its provider failed, now or earlier, and it runs on another one.
    pub fell_back: Option<Reason>,
}

impl RunningModel {
    /// Opens and warms the model on the first provider that runs it; its files are taken out of `model`.
    pub(super) fn open(model: &mut Model, config: &config::Analyze) -> Result<RunningModel, AnalyzeError> {
        let (sessions, identity) = open_on(model, config, &Provider::candidates(config.device))?;
        Ok(RunningModel {
            config: config.clone(),
            folder: model.folder.clone(),
            sessions: Mutex::new(sessions),
            standing: Mutex::new(StandingNow { identity, fell_back: None }),
        })
    }

    /// Who it is, and where it runs now.
    pub(super) fn identity(&self) -> ModelIdentity {
        self.standing().identity.clone()
    }

    /// Runs every fold on one tensor `[D, H, W]`.
    pub(super) fn infer(&self, tensor: ArrayView3<'_, f32>) -> Result<Inference, AnalyzeError> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match sessions.run(tensor) {
                Ok(folds) => {
                    let StandingNow { identity, fell_back } = self.standing().clone();
                    return Ok(Inference { folds, identity, fell_back });
                }
                Err(failure @ SessionError::Run { .. }) => *sessions = self.next_sessions(&sessions, failure)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sessions on the next provider after one that failed; the failure itself where there is none, or where the
    /// configuration does not want it.
    fn next_sessions(&self, failed: &ModelSessions, failure: SessionError) -> Result<ModelSessions, AnalyzeError> {
        let providers = failed.provider.candidates_after(self.config.device);
        let before = self.identity();
        let goes_on = self.config.fall_back_in_mid_run && !providers.is_empty();
        let why = failure.to_string();
        ProviderFailed { model: &before.name, provider: &before.provider, why: &why, goes_on }.emit();
        if !goes_on {
            return Err(failure.into());
        }
        let mut model = Model::load(&self.folder)?;
        if model.digest != before.digest {
            // Another model was promoted meanwhile; this study began with the old one.
            return Err(failure.into());
        }
        let (sessions, identity) = open_on(&mut model, &self.config, &providers)?;
        let text = format!(
            "{}: {} failed in mid-run, the model {} went on with {} ({why})",
            model.sequence.label(),
            before.provider,
            before.name,
            identity.provider
        );
        *self.standing() = StandingNow { identity, fell_back: Some(Reason::new("provider_fell_back", text)) };
        Ok(sessions)
    }

    fn standing(&self) -> MutexGuard<'_, StandingNow> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_on(
    model: &mut Model,
    config: &config::Analyze,
    providers: &[Provider],
) -> Result<(ModelSessions, ModelIdentity), AnalyzeError> {
    let begun = Instant::now();
    let environment = runtime::environment(config.onnxruntime.as_deref())?;
    let threads = match config.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let files = std::mem::take(&mut model.files);
    let sessions =
        ModelSessions::open(&environment, &model.name, &files, model.shapes(), &model.validated, providers, threads)?;
    for refusal in &sessions.refusals {
        let provider = refusal.provider.to_string();
        ProviderRefused { model: &model.name, provider: &provider, because: &refusal.because }.emit();
    }
    let identity = ModelIdentity {
        name: model.name.clone(),
        version: model.version.clone(),
        digest: model.digest.clone(),
        trained: model.trained,
        synthetic: model.synthetic,
        data_source: model.data_source.clone(),
        architecture: model.architecture.clone(),
        folds: files.len(),
        provider: sessions.provider.to_string(),
        precision: runtime::precision_name(sessions.precision).to_owned(),
        cell_mm: model.cell_mm,
    };
    ModelReady {
        model: &identity.name,
        version: &identity.version,
        digest: &identity.digest,
        folds: identity.folds,
        provider: &identity.provider,
        precision: &identity.precision,
        trained: identity.trained,
        took_ms: begun.elapsed().as_secs_f64() * 1000.0,
    }
    .emit();
    Ok((sessions, identity))
}
