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

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::export::{METRICS, OUT_OF_FOLD, OutOfFold};
use super::statistics::bootstrap::RESAMPLES;
use super::statistics::{auc_interval, paired_auc_difference};
use crate::network::manifest::is_plain_name;
use crate::network::{ModelFolder, ModelFolderError};
use crate::study::Sequence;

/// The record of decisions, in the folder of the models.
pub const DECISIONS: &str = "promotions.jsonl";
/// Fewest subjects on which two models are compared.
pub const FEWEST_IN_COMMON: usize = 20;
/// Fewest patients, and fewest controls, among them.
pub const FEWEST_OF_A_CLASS: usize = 5;
/// Seed of the bootstrap: the same models give the same decision.
const SEED: u64 = 1;

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

/// A model in a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its folder: a name in the folder of the models, or a path.
    pub folder: PathBuf,
    /// Name from the manifest.
    pub name: String,
    /// Version from the manifest.
    pub version: String,
    /// Its digest.
    pub digest: String,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The challenger is served from now on.
    Promoted,
    /// It is not.
    Refused,
    /// The model before the current one is served again.
    RolledBack,
}

/// A line of [`DECISIONS`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When, UTC.
    pub when: String,
    /// Who.
    pub who: String,
    /// For which sequence.
    pub sequence: Sequence,
    /// What was decided.
    pub outcome: Outcome,
    /// What was served until then.
    pub from: Option<Named>,
    /// What it is about.
    pub to: Named,
    /// Why it was refused, or would have been.
    pub reasons: Vec<String>,
    /// Why it was promoted against the reasons, or rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_reason: Option<String>,
    /// The figures that it rests on.
    pub figures: Value,
}

/// Who decides, and when.
#[derive(Debug, Clone)]
pub struct Signature {
    /// Name of the user.
    pub who: String,
    /// RFC 3339, UTC.
    pub when: String,
}

/// The folder of the models.
#[derive(Debug, Clone)]
pub struct Models {
    directory: PathBuf,
}

impl Models {
    /// The models in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Models { directory: directory.into() }
    }

    /// The folder itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The link that says which model is served.
    pub fn pointer(&self, sequence: Sequence) -> PathBuf {
        self.directory.join(format!("current-{}", sequence.label().to_lowercase()))
    }

    /// Every model folder, by name; links are left out.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<BTreeMap<String, Result<ModelFolder, ModelFolderError>>, PromoteError> {
        let mut models = BTreeMap::new();
        for entry in fs::read_dir(&self.directory).map_err(file(&self.directory))? {
            let entry = entry.map_err(file(&self.directory))?;
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if !is_link && entry.path().join(crate::network::model_folder::MANIFEST).exists() {
                models.insert(entry.file_name().to_string_lossy().into_owned(), ModelFolder::load(&entry.path()));
            }
        }
        Ok(models)
    }

    /// What the link of a sequence points to; none before the first promotion.
    ///
    /// # Errors
    /// When the link cannot be read.
    pub fn current(&self, sequence: Sequence) -> Result<Option<PathBuf>, PromoteError> {
        let pointer = self.pointer(sequence);
        match fs::read_link(&pointer) {
            Ok(target) => Ok(Some(target)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PromoteError::File { path: pointer, source }),
        }
    }

    /// Every decision so far, the oldest first. A line that a kill cut short decided nothing and is passed over.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn decisions(&self) -> Result<Vec<Decision>, PromoteError> {
        let path = self.directory.join(DECISIONS);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(PromoteError::File { path, source }),
        }
    }

    /// Judges the model in the folder `name` against what is served and, if it is better or `override_reason` says
    /// why, makes it the one that is served. `served` is the champion while there is no link yet; `metrics` is the
    /// run's `metrics.json`, where the model was exported before its report was made.
    ///
    /// # Errors
    /// When nothing could be decided; the link is as it was.
    pub fn promote(
        &self,
        name: &str,
        served: Option<&Path>,
        metrics: Option<&Path>,
        override_reason: Option<&str>,
        signature: &Signature,
    ) -> Result<Decision, PromoteError> {
        if !is_plain_name(name) || name.starts_with("current-") {
            return Err(PromoteError::Name(name.to_owned()));
        }
        let challenger = ModelFolder::load(&self.directory.join(name))?;
        let sequence = challenger.manifest().sequence;
        let _lock = self.lock()?;
        let champion = match self.current(sequence)? {
            Some(target) => Some((target.clone(), ModelFolder::load(&self.directory.join(target))?)),
            None => {
                served.map(|path| ModelFolder::load(path).map(|folder| (self.relative(path), folder))).transpose()?
            }
        };
        if let Some((_, champion)) = &champion
            && champion.digest() == challenger.digest()
        {
            return Err(PromoteError::AlreadyCurrent(name.to_owned()));
        }
        let metrics = match metrics {
            Some(path) => Some(fs::read(path).map_err(file(path))?),
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
        let folder = ModelFolder::load(&self.directory.join(&former.folder))?;
        if folder.digest() != former.digest {
            return Err(PromoteError::Changed {
                name: former.folder.display().to_string(),
                expected: former.digest,
                found: folder.digest().to_owned(),
            });
        }
        // A current model that is damaged must not keep the former one from coming back.
        let current = ModelFolder::load(&self.directory.join(&target)).ok();
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
        let (real, directory) = (path.canonicalize(), self.directory.canonicalize());
        match (real, directory) {
            (Ok(real), Ok(directory)) => real.strip_prefix(&directory).map(Path::to_owned).unwrap_or(real),
            _ => path.to_owned(),
        }
    }

    /// One decision at a time; released when dropped.
    fn lock(&self) -> Result<File, PromoteError> {
        let path = self.directory.join(DECISIONS);
        let open = || -> io::Result<File> {
            let file = File::options().create(true).read(true).append(true).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        open().map_err(file(&path))
    }

    fn record(&self, decision: &Decision) -> Result<(), PromoteError> {
        let path = self.directory.join(DECISIONS);
        let line = serde_json::to_string(decision)
            .map_err(|e| PromoteError::Record { path: path.clone(), message: e.to_string() })?;
        let append = || -> io::Result<()> {
            let mut record = File::options().create(true).read(true).append(true).open(&path)?;
            // A line that a kill cut short must not swallow this one.
            let mut last = [b'\n'];
            if record.seek(SeekFrom::End(0))? > 0 {
                record.seek(SeekFrom::End(-1))?;
                record.read_exact(&mut last)?;
            }
            let begin = if last == *b"\n" { "" } else { "\n" };
            record.write_all(format!("{begin}{line}\n").as_bytes())?;
            record.sync_all()?;
            File::open(&self.directory)?.sync_all()
        };
        append().map_err(file(&path))
    }

    fn point(&self, sequence: Sequence, target: &Path) -> Result<(), PromoteError> {
        let pointer = self.pointer(sequence);
        let aside = pointer.with_extension("new");
        let swap = || -> io::Result<()> {
            match fs::remove_file(&aside) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            std::os::unix::fs::symlink(target, &aside)?;
            fs::rename(&aside, &pointer)?;
            File::open(&self.directory)?.sync_all()
        };
        swap().map_err(file(&pointer))
    }
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> PromoteError + '_ {
    move |source| PromoteError::File { path: path.to_owned(), source }
}

fn named(folder: PathBuf, model: &ModelFolder) -> Named {
    let manifest = model.manifest();
    Named { folder, name: manifest.name.clone(), version: manifest.version.clone(), digest: model.digest().to_owned() }
}

/// What speaks against the challenger, and the figures.
fn judge(
    champion: Option<&ModelFolder>,
    challenger: &ModelFolder,
    metrics: Option<&[u8]>,
) -> Result<(Vec<String>, Value), PromoteError> {
    let mut reasons = Vec::new();
    let mut figures = json!({ "confounds_passed": confounds_passed(metrics) });
    match confounds_passed(metrics) {
        Some(true) => {}
        Some(false) => reasons.push("the confound report of its run failed".to_owned()),
        None => reasons.push(
            "its run has no confound report (no `confounds.passed` in metrics.json): make the report, then export \
             again or name the run with --run"
                .to_owned(),
        ),
    }
    let ours = out_of_fold(challenger)?;
    if !challenger.manifest().trained || ours.is_empty() {
        reasons.push("it has no out-of-fold logits to be judged by: it is not from `fcdd admin export`".to_owned());
        return Ok((reasons, figures));
    }
    let synthetic = challenger.manifest().is_synthetic();
    let rival = champion.filter(|model| model.manifest().trained);
    if synthetic && rival.is_some_and(|model| !model.manifest().is_synthetic()) {
        reasons.push("it was trained on synthetic data only, and what is served on scans of people".to_owned());
    }
    match rival.filter(|model| synthetic || !model.manifest().is_synthetic()) {
        Some(champion) => compare(&out_of_fold(champion)?, &ours, &mut reasons, &mut figures),
        None => alone(&ours, &mut reasons, &mut figures),
    }
    Ok((reasons, figures))
}

fn confounds_passed(metrics: Option<&[u8]>) -> Option<bool> {
    let metrics: Value = serde_json::from_slice(metrics?).ok()?;
    metrics.get("confounds")?.get("passed")?.as_bool()
}

fn out_of_fold(model: &ModelFolder) -> Result<BTreeMap<String, OutOfFold>, PromoteError> {
    let Some(bytes) = model.record(OUT_OF_FOLD)? else { return Ok(BTreeMap::new()) };
    csv::Reader::from_reader(bytes.as_slice())
        .deserialize::<OutOfFold>()
        .map(|row| row.map(|row| (row.subject.clone(), row)))
        .collect::<Result<_, _>>()
        .map_err(|e| PromoteError::Record { path: model.path().join(OUT_OF_FOLD), message: e.to_string() })
}

fn compare(
    champion: &BTreeMap<String, OutOfFold>,
    challenger: &BTreeMap<String, OutOfFold>,
    reasons: &mut Vec<String>,
    figures: &mut Value,
) {
    let both: Vec<(&OutOfFold, &OutOfFold)> =
        challenger.values().filter_map(|new| Some((new, champion.get(&new.subject)?))).collect();
    let labels: Vec<bool> = both.iter().map(|(new, _)| new.fcd).collect();
    let patients = labels.iter().filter(|fcd| **fcd).count();
    let controls = labels.len() - patients;
    figures["compared_on"] = json!({ "patients": patients, "controls": controls });
    if both.len() < FEWEST_IN_COMMON || patients.min(controls) < FEWEST_OF_A_CLASS {
        reasons.push(format!(
            "it is not comparable with what is served: {patients} patients and {controls} controls have an \
             out-of-fold logit of both; {FEWEST_IN_COMMON} subjects, {FEWEST_OF_A_CLASS} of each class, are needed"
        ));
        return;
    }
    let logits = |pick: fn(&(&OutOfFold, &OutOfFold)) -> f64| both.iter().map(pick).collect::<Vec<f64>>();
    let (new, old) = (logits(|(new, _)| new.logit), logits(|(_, old)| old.logit));
    // Scores of different networks are not ranked against each other: pairs are within a fold of both models.
    let folds: Vec<usize> = both.iter().map(|(new, old)| new.fold * 1000 + old.fold).collect();
    let difference = paired_auc_difference(&labels, &new, &old, &folds, RESAMPLES, SEED);
    figures["auc_difference"] = json!(difference);
    figures["auc_challenger"] = json!(auc_interval(&labels, &new, &folds, RESAMPLES, SEED));
    figures["auc_champion"] = json!(auc_interval(&labels, &old, &folds, RESAMPLES, SEED));
    match difference {
        Some(difference) if difference.lower > 0.0 => {}
        Some(difference) => reasons.push(format!(
            "it is not better: AUC(challenger) - AUC(champion) is {:+.3}, 95 % interval {:+.3} to {:+.3}, whose lower \
             bound must be above 0",
            difference.estimate, difference.lower, difference.upper
        )),
        None => reasons.push("it is not comparable: no fold holds patients and controls of both".to_owned()),
    }
}

/// Nobody worth comparing with is served.
fn alone(challenger: &BTreeMap<String, OutOfFold>, reasons: &mut Vec<String>, figures: &mut Value) {
    let labels: Vec<bool> = challenger.values().map(|row| row.fcd).collect();
    let logits: Vec<f64> = challenger.values().map(|row| row.logit).collect();
    let folds: Vec<usize> = challenger.values().map(|row| row.fold).collect();
    let auc = auc_interval(&labels, &logits, &folds, RESAMPLES, SEED);
    figures["auc_challenger"] = json!(auc);
    match auc {
        Some(auc) if auc.lower > 0.5 => {}
        Some(auc) => reasons.push(format!(
            "it is not better than chance: AUC {:.3}, 95 % interval {:.3} to {:.3}, whose lower bound must be above 0.5",
            auc.estimate, auc.lower, auc.upper
        )),
        None => reasons.push("its AUC is undefined: no fold tested patients and controls".to_owned()),
    }
}
