//! Loads the models, and takes promoted ones over without a restart: watches the folders in which the configured models
//! lie (for the links that a promotion swaps), loads the pipeline anew beside the running one, and exchanges them. A
//! study that is under way keeps the pipeline with which it began. What does not load changes nothing.
//!
//! Intake does not wait for any of it: with models that do not load, studies are received and wait, complete, until
//! somebody mends the models.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{DaemonError, WakeUps};
use crate::config::Config;
use crate::ledger::{Ledger, LedgerError};
use crate::network::ModelFolder;
use crate::observe::events::daemon as events;
use crate::pipeline::{Pipeline, PipelineError};

/// A promotion is several changes at once; the last one counts.
const SETTLE: Duration = Duration::from_millis(300);

/// Without models a look costs nothing that anybody waits for, and not everything that mends them is a change in their
/// folders (the library, a driver).
const LOOK_WITHOUT_MODELS: Duration = Duration::from_secs(30);

/// The task's name in the ledger's troubles.
const TASK: &str = "models";

/// The pipeline that the next study goes through; none while models do not load.
#[derive(Clone, Default)]
pub(super) struct CurrentPipeline(Arc<RwLock<Option<Arc<Pipeline>>>>);

impl CurrentPipeline {
    pub(super) fn get(&self) -> Option<Arc<Pipeline>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn exchange(&self, pipeline: Pipeline) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(pipeline));
    }
}

/// Models, in words.
pub(super) fn in_words(pipeline: &Pipeline) -> String {
    let models = pipeline.engine().models();
    let words: Vec<String> =
        models.iter().map(|m| format!("{} {} on {} {}", m.name, m.version, m.provider, m.precision)).collect();
    words.join(", ")
}

/// At start-up: loads what the configuration names. Models that do not load are told of and waited for; anything else
/// that is wrong (rules, templates) is the configuration's fault and an error.
pub(super) async fn load_first(
    config: &Arc<Config>,
    ledger: &Ledger,
    current: &CurrentPipeline,
) -> Result<(), DaemonError> {
    let attempt = {
        let config = config.clone();
        let load = move || Pipeline::load(&config.assemble, &config.analyze, &config.report);
        tokio::task::spawn_blocking(load).await.map_err(DaemonError::StartUp)?
    };
    match attempt {
        Ok(pipeline) => current.exchange(pipeline),
        Err(PipelineError::Analyze(error)) => {
            let why = error.to_string();
            events::NoModels { why: &why }.emit();
            ledger.enter_trouble(TASK, &format!("they do not load, complete studies wait: {why}")).await?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

pub(super) async fn run(
    config: Arc<Config>,
    ledger: Ledger,
    current: CurrentPipeline,
    wake_ups: WakeUps,
    stop: CancellationToken,
) {
    let changed = Arc::new(Notify::new());
    let watcher = match watch(&config, changed.clone()) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            events::ModelsNotWatched { why: &error.to_string() }.emit();
            None
        }
    };
    // A promotion between loading and watching must not be missed: the first look is without a change.
    loop {
        let has_models = current.get().is_some();
        if (watcher.is_some() || !has_models) && look(&config, &ledger, &current).await {
            wake_ups.study_complete.notify_one();
        }
        let another_try = async {
            if current.get().is_none() {
                tokio::time::sleep(LOOK_WITHOUT_MODELS).await
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            _ = stop.cancelled() => break,
            () = another_try => {}
            _ = changed.notified() => {
                tokio::select! {
                    _ = stop.cancelled() => break,
                    _ = tokio::time::sleep(SETTLE) => {}
                }
            }
        }
    }
    drop(watcher);
}

/// Links are swapped in the folder that holds them, so that one is watched, not what they point to.
fn watch(config: &Config, changed: Arc<Notify>) -> notify::Result<notify::RecommendedWatcher> {
    let models: BTreeSet<PathBuf> = config.analyze.models.iter().cloned().collect();
    let names: BTreeSet<_> = models.iter().filter_map(|path| path.file_name().map(ToOwned::to_owned)).collect();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is no change. After an overflow nobody knows what changed: look.
        let concerns_us = match &event {
            Ok(event) => {
                !matches!(event.kind, EventKind::Access(_))
                    && (event.need_rescan()
                        || event.paths.iter().any(|p| p.file_name().is_some_and(|name| names.contains(name))))
            }
            Err(_) => true,
        };
        if concerns_us {
            changed.notify_one();
        }
    })?;
    let folders: BTreeSet<&Path> = models.iter().filter_map(|path| path.parent()).collect();
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Loads what the configuration names now, if that is something else than what runs; whether it did.
async fn look(config: &Arc<Config>, ledger: &Ledger, current: &CurrentPipeline) -> bool {
    let running: Option<Vec<String>> =
        current.get().map(|pipeline| pipeline.engine().models().into_iter().map(|model| model.digest).collect());
    let had_models = running.is_some();
    let attempt = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || -> Result<Option<Pipeline>, String> {
            let digest = |path: &PathBuf| ModelFolder::load(path).map(|folder| folder.digest().to_owned());
            let wanted: Vec<String> =
                config.analyze.models.iter().map(digest).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
            if Some(wanted) == running {
                return Ok(None);
            }
            let loaded = Pipeline::load(&config.assemble, &config.analyze, &config.report);
            loaded.map(Some).map_err(|e| e.to_string())
        })
        .await
    };
    match attempt {
        Ok(Ok(None)) => false,
        Ok(Ok(Some(pipeline))) => {
            let models = in_words(&pipeline);
            current.exchange(pipeline);
            events::ModelsTakenOver { models: &models }.emit();
            report_trouble(ledger.end_trouble(TASK).await);
            true
        }
        Ok(Err(why)) if had_models => {
            events::ModelsKept { why: &why }.emit();
            let text = format!("changed ones do not load, the running ones are kept: {why}");
            report_trouble(ledger.enter_trouble(TASK, &text).await);
            false
        }
        // Said once, when it began.
        Ok(Err(_)) => false,
        Err(error) => {
            events::ModelsKept { why: &format!("a defect in fcdd: {error}") }.emit();
            false
        }
    }
}

/// What cannot be noted is at least logged.
fn report_trouble(noted: Result<(), LedgerError>) {
    if let Err(error) = noted {
        events::TaskTrouble { task: "model watch", error: &error }.emit();
    }
}
