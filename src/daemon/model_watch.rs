//! Takes a promoted model over without a restart: watches the folders in which the configured models lie (for the
//! links that a promotion swaps), loads the pipeline anew beside the running one, and exchanges them. A study that is
//! under way keeps the pipeline with which it began. What does not load changes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::network::ModelFolder;
use crate::observe::events::daemon as events;
use crate::pipeline::Pipeline;

/// A promotion is several changes at once; the last one counts.
const SETTLE: Duration = Duration::from_millis(300);

/// The pipeline that the next study goes through.
#[derive(Clone)]
pub(super) struct CurrentPipeline(Arc<RwLock<Arc<Pipeline>>>);

impl CurrentPipeline {
    pub(super) fn new(pipeline: Pipeline) -> Self {
        CurrentPipeline(Arc::new(RwLock::new(Arc::new(pipeline))))
    }

    pub(super) fn get(&self) -> Arc<Pipeline> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn exchange(&self, pipeline: Pipeline) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pipeline);
    }
}

pub(super) async fn run(config: Arc<Config>, current: CurrentPipeline, stop: CancellationToken) {
    let changed = Arc::new(Notify::new());
    let watcher = match watch(&config, changed.clone()) {
        Ok(watcher) => watcher,
        Err(error) => {
            events::ModelsNotWatched { why: &error.to_string() }.emit();
            return;
        }
    };
    // A promotion between loading and watching must not be missed: the first look is without a change.
    loop {
        look(&config, &current).await;
        tokio::select! {
            _ = stop.cancelled() => break,
            _ = changed.notified() => {}
        }
        tokio::select! {
            _ = stop.cancelled() => break,
            _ = tokio::time::sleep(SETTLE) => {}
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

/// Loads what the configuration names now, if that is something else than what runs.
async fn look(config: &Arc<Config>, current: &CurrentPipeline) {
    let running: Vec<String> = current.get().engine().models().into_iter().map(|model| model.digest).collect();
    let attempt = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || -> Result<Option<Pipeline>, String> {
            let digest = |path: &PathBuf| ModelFolder::load(path).map(|folder| folder.digest().to_owned());
            let wanted: Vec<String> =
                config.analyze.models.iter().map(digest).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
            if wanted == running {
                return Ok(None);
            }
            let loaded = Pipeline::load(&config.assemble, &config.analyze, &config.report);
            loaded.map(Some).map_err(|e| e.to_string())
        })
        .await
    };
    match attempt {
        Ok(Ok(None)) => {}
        Ok(Ok(Some(pipeline))) => {
            let models = pipeline.engine().models();
            let models: Vec<String> = models.iter().map(|m| format!("{} {}", m.name, m.version)).collect();
            current.exchange(pipeline);
            events::ModelsTakenOver { models: &models.join(", ") }.emit();
        }
        Ok(Err(why)) => events::ModelsKept { why: &why }.emit(),
        Err(error) => events::ModelsKept { why: &format!("a defect in fcdd: {error}") }.emit(),
    }
}
