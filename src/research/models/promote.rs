//! Which model the daemon serves, and by whose decision.
//!
//! In the folder of the models, `current-t1` and `current-flair` are symbolic links to model folders; the
//! configuration names the links. Promotion swaps a link by a rename, so that the daemon sees the old model or the new
//! one. Every decision, also a refusal, is first a line of `promotions.jsonl`, synced, and only then the link moves.
//!
//! **The rule.** The challenger's run must have passed its confound report. It is compared with the champion on the
//! subjects for which both have an out-of-fold logit, so that no score comes from a network that trained on the
//! subject; there must be [`FEWEST_IN_COMMON`] of them and [`FEWEST_OF_A_CLASS`] of each class. It is better when the
//! lower bound of the 95 % paired bootstrap interval of AUC(challenger) − AUC(champion) is above 0. Where nobody is
//! served, or only an untrained model, or one trained on synthetic data while the challenger was not, the lower bound
//! of the challenger's own AUC must be above 0.5. An override promotes all the same, and is recorded with its reason.

mod decisions;
mod judgement;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use decisions::{DECISIONS, Decision, Models, Named, Outcome, Signature};
pub use judgement::{FEWEST_IN_COMMON, FEWEST_OF_A_CLASS};

use super::export::METRICS;
use crate::network::manifest::is_plain_name;
use crate::network::{ModelFolder, ModelFolderError};
use crate::research::run::folder::{RunFolder, RunFolderError};
use crate::study::Sequence;
use decisions::file;
use judgement::judge;

/// Why nothing was decided. A refusal is no error but a decision.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// A model folder cannot be used.
    #[error(transparent)]
    Model(#[from] ModelFolderError),
    /// A file of the models' folder cannot be used.
    #[error("cannot use {path}: {source}; is the folder of the models writable?")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No name of a folder.
    #[error("{0:?} is no model's folder name: letters, digits, '.', '_' and '-', not \"current-…\"")]
    Name(String),
    /// A record of a model that cannot be read.
    #[error("{path}: {message}; export the model again")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A run's file cannot be used.
    #[error(transparent)]
    Run(#[from] RunFolderError),
    /// The run has no figures.
    #[error("{run} has no report yet; make it with fcdd admin report {run}")]
    NoReport {
        /// The run's folder.
        run: PathBuf,
    },
    /// The figures of one run would speak for the model of another.
    #[error(
        "{run} did not make {name}: its plan is {plan}, the model says {expected}; name the run that it was exported from"
    )]
    OtherRun {
        /// The run's folder.
        run: PathBuf,
        /// The model.
        name: String,
        /// Digest of the run's plan.
        plan: String,
        /// Digest of the plan by the model's manifest.
        expected: String,
    },
    /// It is the champion already.
    #[error("{0} is what is served already")]
    AlreadyCurrent(String),
    /// Nothing to go back to.
    #[error("no {} model was served before the current one by a recorded promotion; promote one by its name", .0.label())]
    NothingBefore(Sequence),
    /// The former model is not what it was.
    #[error("{name} is no longer the model that was served (its digest was {expected}, now {found})")]
    Changed {
        /// The folder.
        name: String,
        /// The recorded digest.
        expected: String,
        /// The digest now.
        found: String,
    },
}

impl Models {
    /// Judges the model in the folder `name` against what is served and, if it is better or `override_reason` says
    /// why, makes it the one that is served. `served` is the champion while there is no link yet; `run` is the run that
    /// made the model, where it was exported before the run's report was made.
    ///
    /// # Errors
    /// When nothing could be decided; the link is as it was.
    pub fn promote(
        &self,
        name: &str,
        served: Option<&Path>,
        run: Option<&RunFolder>,
        override_reason: Option<&str>,
        signature: &Signature,
    ) -> Result<Decision, PromoteError> {
        if !is_plain_name(name) || name.starts_with("current-") {
            return Err(PromoteError::Name(name.to_owned()));
        }
        let challenger = ModelFolder::load(&self.directory().join(name))?;
        let sequence = challenger.manifest().sequence;
        let _lock = self.lock()?;
        let champion = match self.current(sequence)? {
            Some(target) => Some((target.clone(), ModelFolder::load(&self.directory().join(target))?)),
            None => {
                served.map(|path| ModelFolder::load(path).map(|folder| (self.relative(path), folder))).transpose()?
            }
        };
        if let Some((_, champion)) = &champion
            && champion.digest() == challenger.digest()
        {
            return Err(PromoteError::AlreadyCurrent(name.to_owned()));
        }
        let metrics = match run {
            Some(run) => Some(metrics_of(run, name, &challenger)?),
            None => challenger.record(METRICS)?,
        };
        let (reasons, figures) = judge(champion.as_ref().map(|(_, folder)| folder), &challenger, metrics.as_deref())?;
        let promoted = reasons.is_empty() || override_reason.is_some();
        let decision = Decision {
            when: signature.when.clone(),
            who: signature.who.clone(),
            sequence,
            outcome: if promoted { Outcome::Promoted } else { Outcome::Refused },
            from: champion.map(|(target, folder)| named(target, &folder)),
            to: named(name.into(), &challenger),
            override_reason: override_reason.filter(|_| !reasons.is_empty()).map(str::to_owned),
            reasons,
            figures,
        };
        self.record(&decision)?;
        if promoted {
            self.point(sequence, Path::new(name))?;
        }
        Ok(decision)
    }

    /// Serves the model again that was served before the current one. The record is read as a stack: a rollback
    /// takes the last promotion back.
    ///
    /// # Errors
    /// When there is none, or it has changed since; the link is as it was.
    pub fn rollback(
        &self,
        sequence: Sequence,
        why: Option<&str>,
        signature: &Signature,
    ) -> Result<Decision, PromoteError> {
        let _lock = self.lock()?;
        let target = self.current(sequence)?.ok_or(PromoteError::NothingBefore(sequence))?;
        let mut before = Vec::new();
        for decision in self.decisions()?.into_iter().filter(|decision| decision.sequence == sequence) {
            match decision.outcome {
                Outcome::Promoted => before.push(decision.from),
                Outcome::RolledBack => drop(before.pop()),
                Outcome::Refused => {}
            }
        }
        let former = before.pop().flatten().ok_or(PromoteError::NothingBefore(sequence))?;
        let folder = ModelFolder::load(&self.directory().join(&former.folder))?;
        if folder.digest() != former.digest {
            return Err(PromoteError::Changed {
                name: former.folder.display().to_string(),
                expected: former.digest,
                found: folder.digest().to_owned(),
            });
        }
        // A current model that is damaged must not keep the former one from coming back.
        let current = ModelFolder::load(&self.directory().join(&target)).ok();
        let decision = Decision {
            when: signature.when.clone(),
            who: signature.who.clone(),
            sequence,
            outcome: Outcome::RolledBack,
            from: current.map(|folder| named(target, &folder)),
            to: former.clone(),
            reasons: Vec::new(),
            override_reason: why.map(str::to_owned),
            figures: Value::Null,
        };
        self.record(&decision)?;
        self.point(sequence, &former.folder)?;
        Ok(decision)
    }

    /// A model's folder as the link names it: relative where it lies beside the link.
    fn relative(&self, path: &Path) -> PathBuf {
        let (real, directory) = (path.canonicalize(), self.directory().canonicalize());
        match (real, directory) {
            (Ok(real), Ok(directory)) => real.strip_prefix(&directory).map(Path::to_owned).unwrap_or(real),
            _ => path.to_owned(),
        }
    }
}

fn named(folder: PathBuf, model: &ModelFolder) -> Named {
    let manifest = model.manifest();
    Named { folder, name: manifest.name.clone(), version: manifest.version.clone(), digest: model.digest().to_owned() }
}

/// The figures of a run, if it is the one that made the model.
fn metrics_of(run: &RunFolder, name: &str, challenger: &ModelFolder) -> Result<Vec<u8>, PromoteError> {
    let plan = run.plan()?.digest();
    let expected = challenger.manifest().training.as_ref().map_or("none", |training| training.plan.as_str());
    if plan != expected {
        let (run, expected) = (run.path().to_owned(), expected.to_owned());
        return Err(PromoteError::OtherRun { run, name: name.to_owned(), plan, expected });
    }
    let path = run.metrics_path();
    match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(PromoteError::NoReport { run: run.path().to_owned() }),
        read => read.map_err(file(&path)),
    }
}
