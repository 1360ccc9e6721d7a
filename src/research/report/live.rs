//! While a run is trained its `report.html` shows the learning curves so far, and no figure: there is none yet.
//!
//! The page is written anew after each epoch and loads itself again. It tells when it was written, because nobody
//! rewrites it when training is killed.

use std::fs;
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::html::STYLE;
use super::words::{RESEARCH_ONLY, SYNTHETIC};
use super::{ReportError, charts};
use crate::research::archive::origin;
use crate::research::cache::Cache;
use crate::research::run::collect::{self, FoldState, FoldStatus};
use crate::research::run::folder::{Epoch, RunFolder, RunFolderError, TrainerEvent, write_durably};

/// Seconds after which a browser loads the page again.
const RELOAD_S: u32 = 15;

/// The page of a run that is being trained, and the record of what trains it.
#[derive(Debug)]
pub struct LivePage<'a> {
    run: &'a RunFolder,
    fold: usize,
    synthetic: bool,
}

impl<'a> LivePage<'a> {
    /// For the time that `fold` is trained here, on these scans.
    pub fn new(run: &'a RunFolder, cache: &Cache, fold: usize) -> Self {
        let stated = origin::stated(cache.subjects().iter().map(|subject| subject.source.as_path()));
        LivePage { run, fold, synthetic: stated.synthetic > 0 }
    }

    /// Follows the trainer.
    ///
    /// # Errors
    /// When a file cannot be read or written; training does not depend on it.
    pub fn hear(&self, event: &TrainerEvent) -> Result<(), ReportError> {
        match event {
            TrainerEvent::FoldStarted { device, .. } => {
                let line = match processor() {
                    Some(processor) => format!("{device}; {processor}"),
                    None => device.clone(),
                };
                Ok(add_machine(&self.run.fold(self.fold).machines_path(), &line)?)
            }
            TrainerEvent::Epoch(_) => self.write(),
            TrainerEvent::Step { .. } | TrainerEvent::FoldDone { .. } => Ok(()),
        }
    }

    fn write(&self) -> Result<(), ReportError> {
        let folds = collect::status(self.run)?;
        let histories: Vec<(usize, Vec<Epoch>)> = folds
            .iter()
            .map(|fold| Ok((fold.fold, self.run.fold(fold.fold).history()?)))
            .collect::<Result<_, RunFolderError>>()?;
        let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        let title = format!("training {}", name(self.run.path()));
        write_durably(&self.run.report_path(), page(&title, self.synthetic, &now, &folds, &histories)?.as_bytes())?;
        Ok(())
    }
}

/// The run's name, for titles.
pub(in crate::research) fn name(run: &Path) -> String {
    let path = run.canonicalize().unwrap_or_else(|_| run.to_owned());
    let names: Vec<String> = path.iter().rev().take(2).map(|part| part.to_string_lossy().into_owned()).collect();
    match names.as_slice() {
        // RUN/t1 and RUN/flair of a run of both.
        [modality, run] if ["t1", "flair"].contains(&modality.as_str()) => format!("{run}/{modality}"),
        [name, ..] => name.clone(),
        [] => String::new(),
    }
}

/// The processor's name, where the system tells it.
pub fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    let name = name.trim_start_matches([' ', '\t', ':']).trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// A fold that was resumed elsewhere was trained by two machines.
fn add_machine(path: &Path, line: &str) -> Result<(), RunFolderError> {
    let mut text = fs::read_to_string(path).unwrap_or_default();
    if text.lines().any(|known| known == line) {
        return Ok(());
    }
    text.push_str(line);
    text.push('\n');
    write_durably(path, text.as_bytes())
}

fn page(
    title: &str,
    synthetic: bool,
    now: &str,
    folds: &[FoldStatus],
    histories: &[(usize, Vec<Epoch>)],
) -> Result<String, ReportError> {
    let histories: Vec<(usize, Vec<Epoch>)> =
        histories.iter().filter(|(_, epochs)| !epochs.is_empty()).cloned().collect();
    let body: Markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content=(RELOAD_S);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                div.band { (RESEARCH_ONLY) }
                @if synthetic { div.band.synthetic { strong { (SYNTHETIC) } } }
                div.band {
                    strong { "Training goes on. " }
                    "Written at " (now) "; this page loads itself again. If the time stands still, training was stopped: \
                     the same call with --resume goes on. There are no figures before all folds are done."
                }
                figure { (PreEscaped(charts::learning(&histories)?)) figcaption { "Learning curves so far" } }
                table {
                    tr { th { "fold" } th {} th { "epochs" } th { "training loss" } th { "validation loss" } th { "validation accuracy" } th { "learning rate" } }
                    @for fold in folds {
                        @let last = histories.iter().find(|(number, _)| *number == fold.fold).and_then(|(_, e)| e.last());
                        tr {
                            td { (fold.fold) }
                            td { (match fold.state { FoldState::Done => "done", FoldState::Begun => "begun", FoldState::Missing => "" }) }
                            td { (fold.epochs) }
                            @if let Some(epoch) = last {
                                td { (format!("{:.4}", epoch.train_loss)) } td { (format!("{:.4}", epoch.validation_loss)) }
                                td { (format!("{:.3}", epoch.validation_accuracy)) } td { (format!("{:.0e}", epoch.learning_rate)) }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(body.into_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::research::run::folder::write_table;
    use crate::research::run::plan::{Plan, Profile, Said};
    use crate::study::Sequence;

    #[test]
    fn curves_so_far_and_no_figures() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path().join("run"));
        let said = Said { folds: Some(2), ..Said::default() };
        run.begin(&Plan::new(Profile::Default, Sequence::T1, "0".repeat(64), None, 1, &said)).unwrap();
        let epoch = |epoch| Epoch {
            epoch,
            train_loss: 0.5 / epoch as f64,
            train_accuracy: 0.5,
            validation_loss: 0.625,
            validation_accuracy: 0.5,
            validation_auc: None,
            learning_rate: 1e-3,
            seconds: 1.0,
            waited_s: 0.0,
        };
        let live = LivePage { run: &run, fold: 1, synthetic: true };
        let started = TrainerEvent::FoldStarted {
            fold: 1,
            epochs_done: 0,
            epochs: 9,
            subjects: [1, 1, 1],
            device: "cpu, 2 threads".to_owned(),
        };
        for epochs in 1..3 {
            live.hear(&started).unwrap();
            let history: Vec<Epoch> = (1..=epochs).map(epoch).collect();
            write_table(&run.fold(1).history_path(), &history).unwrap();
            live.hear(&TrainerEvent::Epoch(epoch(epochs))).unwrap();
            let page = fs::read_to_string(run.report_path()).unwrap();
            assert!(page.contains("Training goes on") && page.contains("http-equiv=\"refresh\""), "{page}");
            assert!(page.contains("Synthetic subjects"), "{page}");
            assert!(page.contains("<svg") && page.contains("0.6250") && !page.contains("AUC"), "{page}");
            assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
        }
        // Told twice, written once.
        let machines = fs::read_to_string(run.fold(1).machines_path()).unwrap();
        assert!(machines.starts_with("cpu, 2 threads") && machines.lines().count() == 1, "{machines}");
    }
}
