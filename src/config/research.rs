//! `[research]`: the local archive, and what `fcdd admin retrain-periodically` makes of it. The daemon reads none of it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::validate::Check;

/// The research side.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Research {
    /// The site secret that pseudonyms follow from (`fcdd admin archive secret FILE` makes one); outside every archive.
    pub secret_file: Option<PathBuf>,
    /// The archive that is trained on periodically.
    pub archive: Option<PathBuf>,
    /// Folder of the periodic runs, each in a folder named by its date.
    pub runs: Option<PathBuf>,
    /// Folder that finished runs are exported to; what the daemon serves is not changed.
    pub models: Option<PathBuf>,
    /// Folder for preprocessed scans; without it: `fcdd` in the user's cache folder.
    pub cache: Option<PathBuf>,
    /// Arguments of `fcdd admin retrain` that differ from its defaults.
    pub retrain_arguments: Vec<String>,
    /// Arguments of `fcdd admin export` that differ from its defaults.
    pub export_arguments: Vec<String>,
    /// A new run begins at the earliest so many days after the last finished one.
    pub new_run_after_days: u32,
}

impl Default for Research {
    fn default() -> Self {
        Research {
            secret_file: None,
            archive: None,
            runs: None,
            models: None,
            cache: None,
            retrain_arguments: Vec::new(),
            export_arguments: Vec::new(),
            new_run_after_days: 28,
        }
    }
}

/// The folders without which nothing can be trained periodically.
#[derive(Debug, Clone, Copy)]
pub struct PeriodicFolders<'a> {
    /// The archive.
    pub archive: &'a Path,
    /// Where runs go.
    pub runs: &'a Path,
    /// Where models go.
    pub models: &'a Path,
}

/// What `fcdd admin retrain-periodically` says to `fcdd admin retrain` itself.
const RETRAIN_SAYS: [&str; 5] = ["--archive", "--output", "--cache", "--resume", "--fold"];
/// What it says to `fcdd admin export` itself.
const EXPORT_SAYS: [&str; 4] = ["--output", "-o", "--name", "--folds-present"];

impl Research {
    /// The folders for periodic retraining; none when they are not configured.
    pub fn periodic(&self) -> Option<PeriodicFolders<'_>> {
        match (&self.archive, &self.runs, &self.models) {
            (Some(archive), Some(runs), Some(models)) => Some(PeriodicFolders { archive, runs, models }),
            _ => None,
        }
    }

    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let paths = [&mut self.secret_file, &mut self.archive, &mut self.runs, &mut self.models, &mut self.cache];
        paths.into_iter().flatten()
    }

    pub(super) fn validate(&self, check: &mut Check<'_, '_>) {
        let folders = [("archive", &self.archive), ("runs", &self.runs), ("models", &self.models)];
        if folders.iter().any(|(_, folder)| folder.is_some()) {
            for (name, folder) in folders {
                let missing = "must be a folder: periodic retraining needs archive, runs and models";
                check.that(folder.as_ref().is_some_and(|f| !f.as_os_str().is_empty()), &["research", name], missing);
            }
        }
        check.that(
            self.new_run_after_days <= 3660,
            &["research", "new_run_after_days"],
            "must be at most 3660, which is ten years",
        );
        let own = |said: &[&str], argument: &String| {
            said.iter()
                .any(|own| argument == own || argument.strip_prefix(own).is_some_and(|rest| rest.starts_with('=')))
        };
        check.that(
            !self.retrain_arguments.iter().any(|argument| own(&RETRAIN_SAYS, argument)),
            &["research", "retrain_arguments"],
            "must not have --archive, --output, --cache, --resume or --fold: archive, runs and cache of [research] say \
             where, and a run has all its folds",
        );
        check.that(
            !self.export_arguments.iter().any(|argument| own(&EXPORT_SAYS, argument)),
            &["research", "export_arguments"],
            "must not have --output, --name or --folds-present: models of [research] says where, and a model is named \
             after its run",
        );
    }
}
