//! What is served, and how it came to be: the links to the models that are served, and the record of decisions.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::PromoteError;
use crate::network::{ModelFolder, ModelFolderError};
use crate::study::Sequence;

/// The record of decisions, in the folder of the models.
pub const DECISIONS: &str = "promotions.jsonl";

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

    /// One decision at a time; released when dropped.
    pub(super) fn lock(&self) -> Result<File, PromoteError> {
        let path = self.directory.join(DECISIONS);
        let open = || -> io::Result<File> {
            let file = File::options().create(true).read(true).append(true).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        open().map_err(file(&path))
    }

    /// Appends a decision, durably.
    pub(super) fn record(&self, decision: &Decision) -> Result<(), PromoteError> {
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

    /// Moves the link of a sequence to a model folder, durably.
    pub(super) fn point(&self, sequence: Sequence, target: &Path) -> Result<(), PromoteError> {
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

/// An error of this file or folder.
pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> PromoteError + '_ {
    move |source| PromoteError::File { path: path.to_owned(), source }
}
