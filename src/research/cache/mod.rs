//! Preprocessed scans, made once and mapped into memory: an epoch reads no NIfTI.
//!
//! A cached scan is a file of its own ([`file`](mod@file)), named after everything that it depends on: the contents of scan and
//! mask, the preprocessing and its settings. So runs share scans, a changed archive makes only what changed, and a
//! file that is damaged or was made otherwise is made anew. Which scans make a run stands in its index,
//! `RUN/cache.json`, from which the trainer opens them in a process of its own.

mod build;
pub mod file;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ndarray::{Array3, ArrayView3};
use serde::{Deserialize, Serialize};

use self::file::CachedScan;
use crate::analyze::preprocess::{self, FieldOfView, InputSpec};
use crate::research::archive::{Finding, Group};
use crate::research::run::folder::{RunFolderError, write_durably};
use crate::study::{Reason, Sequence};
use crate::volume::{Affine, Grid};

/// Index format that this program reads and writes.
const FORMAT: u32 = 1;

/// A cache that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file or folder cannot be read or written.
    #[error(
        "cannot use {path} of the cache: {source}; check that it is writable and the disk is not full, or give another --cache"
    )]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{path} of the cache is damaged: {message}; start the run again, it makes the file anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The index is none, or another program's.
    #[error("{path} is no index of a cache: {message}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// A subject whose scan is in the cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CachedSubject {
    /// `sub-…`
    pub id: String,
    /// Patient or control.
    #[serde(with = "group_by_name")]
    pub group: Group,
    /// As in the archive.
    pub sex: Option<String>,
    /// As in the archive: years, or the number of a bin.
    pub age: Option<f64>,
    /// Serial number of the scanner.
    pub scanner: Option<String>,
    /// The `acq-` label: the protocol.
    pub acquisition: Option<String>,
    /// Distance between the scan's voxel centres along `[slice, row, column]`, mm.
    pub source_spacing_mm: [f64; 3],
    /// The scan's NIfTI file.
    pub source: PathBuf,
    /// SHA-256 of its content, hexadecimal.
    pub source_sha256: String,
    /// Reasons for which serving would withhold a verdict; empty: it would not.
    pub gates: Vec<Reason>,
    /// Whether there is a lesion mask on the input grid.
    pub has_roi: bool,
    /// Why there is none, although the archive has one.
    pub roi_problem: Option<Reason>,
    /// Index `[D, H, W]` of the tensor to LPS mm, rows as in [`Affine`].
    pub affine: [[f64; 4]; 3],
    /// LPS x of the head's mid-plane, mm.
    pub middle_x_mm: f64,
    /// The cached scan.
    pub file: PathBuf,
    /// SHA-256 of its content, hexadecimal.
    pub file_sha256: String,
}

/// Scans of one modality on one input grid, by id.
#[derive(Debug)]
pub struct Cache {
    sequence: Sequence,
    spec: InputSpec,
    subjects: Vec<CachedSubject>,
    scans: Vec<CachedScan>,
    places: HashMap<String, usize>,
    excluded: Vec<Finding>,
}

/// `RUN/cache.json`
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    format: u32,
    preprocessing: String,
    sequence: Sequence,
    shape: [usize; 3],
    spacing_mm: f64,
    background: f32,
    subjects: Vec<CachedSubject>,
    excluded: Vec<Finding>,
}

impl Index {
    fn read(path: &Path) -> Result<Index, CacheError> {
        let text = fs::read(path).map_err(|source| CacheError::File { path: path.to_owned(), source })?;
        serde_json::from_slice(&text).map_err(|e| CacheError::Index { path: path.to_owned(), message: e.to_string() })
    }
}

impl Cache {
    fn empty(sequence: Sequence, spec: InputSpec) -> Cache {
        let (subjects, scans, places, excluded) = Default::default();
        Cache { sequence, spec, subjects, scans, places, excluded }
    }

    fn push(&mut self, subject: CachedSubject, scan: CachedScan) {
        self.places.insert(subject.id.clone(), self.subjects.len());
        self.subjects.push(subject);
        self.scans.push(scan);
    }

    /// Writes the index from which [`Cache::open_index`] opens the same scans.
    ///
    /// # Errors
    /// When it cannot be written; an old index is still there.
    pub fn write_index(&self, path: &Path) -> Result<(), CacheError> {
        let index = Index {
            format: FORMAT,
            preprocessing: preprocess::NAME.to_owned(),
            sequence: self.sequence,
            shape: self.spec.shape,
            spacing_mm: self.spec.spacing_mm,
            background: self.spec.background,
            subjects: self.subjects.clone(),
            excluded: self.excluded.clone(),
        };
        let wrong = |message: String| CacheError::Index { path: path.to_owned(), message };
        let text = serde_json::to_vec_pretty(&index).map_err(|e| wrong(e.to_string()))?;
        write_durably(path, &text).map_err(|error| match error {
            RunFolderError::File { path, source } => CacheError::File { path, source },
            other => wrong(other.to_string()),
        })
    }

    /// Opens the scans of an index. Form, length and the stated digest of each are checked, not every byte: that was
    /// done when the index was made.
    ///
    /// # Errors
    /// When the index is none, or a scan is gone or another one than then.
    pub fn open_index(path: &Path) -> Result<Cache, CacheError> {
        let index = Index::read(path)?;
        let wrong = |message: String| CacheError::Index { path: path.to_owned(), message };
        if index.format != FORMAT || index.preprocessing != preprocess::NAME {
            let (format, name) = (index.format, &index.preprocessing);
            return Err(wrong(format!("format {format}, {name}; expected {FORMAT}, {}", preprocess::NAME)));
        }
        let Index { sequence, shape, spacing_mm, background, .. } = index;
        let mut cache = Cache::empty(sequence, InputSpec { shape, spacing_mm, background });
        cache.excluded = index.excluded;
        for subject in index.subjects {
            let damaged = |message: String| CacheError::Damaged { path: subject.file.clone(), message };
            let scan = CachedScan::open(&subject.file, false).map_err(damaged)?;
            if scan.digest() != subject.file_sha256 || scan.description().shape != shape {
                return Err(damaged("it is another scan than the one in the index".to_owned()));
            }
            cache.push(subject, scan);
        }
        Ok(cache)
    }

    /// The subjects of an index, whether or not their scans are still in the cache.
    ///
    /// # Errors
    /// When the index cannot be read, or is none.
    pub fn subjects_of_index(path: &Path) -> Result<Vec<CachedSubject>, CacheError> {
        Ok(Index::read(path)?.subjects)
    }

    /// Number of subjects.
    pub fn len(&self) -> usize {
        self.subjects.len()
    }

    /// True when nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    /// T1 or FLAIR.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Input grid and background of every scan.
    pub fn spec(&self) -> &InputSpec {
        &self.spec
    }

    /// `[D, H, W]` of every scan.
    pub fn shape(&self) -> [usize; 3] {
        self.spec.shape
    }

    /// All subjects, by id.
    pub fn subjects(&self) -> &[CachedSubject] {
        &self.subjects
    }

    /// Who is not in it, and why: what the archive already left out for this modality, and what could not be
    /// preprocessed.
    pub fn excluded(&self) -> &[Finding] {
        &self.excluded
    }

    /// The place of a subject.
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// A subject.
    ///
    /// # Panics
    /// When `index` is not below [`Cache::len`]; so do the functions below.
    pub fn subject(&self, index: usize) -> &CachedSubject {
        &self.subjects[index]
    }

    /// z-scored intensities, `[D, H, W]` in C order, mapped from disk.
    pub fn volume(&self, index: usize) -> &[f32] {
        self.scans[index].tensor()
    }

    /// The same as a view.
    ///
    /// # Panics
    /// For an index that is not below [`Cache::len`].
    #[expect(clippy::expect_used, reason = "opening a scan compares its shape and length")]
    pub fn tensor(&self, index: usize) -> ArrayView3<'_, f32> {
        ArrayView3::from_shape(self.spec.shape, self.volume(index))
            .expect("opening a scan compares its shape and length")
    }

    /// 1 inside the head, `[D, H, W]` in C order.
    pub fn head_mask(&self, index: usize) -> &[u8] {
        self.scans[index].head()
    }

    /// 1 inside the lesion, `[D, H, W]` in C order; never empty.
    pub fn roi(&self, index: usize) -> Option<&[u8]> {
        self.scans[index].roi()
    }

    /// Where the tensor lies: index `[D, H, W]` to LPS mm.
    pub fn grid(&self, index: usize) -> Grid {
        Grid { shape: self.spec.shape, affine: Affine { rows: self.subjects[index].affine } }
    }

    /// Grid and head as serving's Grad-CAM wants them.
    pub fn view(&self, index: usize) -> FieldOfView {
        let inside = self.head_mask(index);
        let mut head = Array3::from_elem(self.spec.shape, false);
        head.iter_mut().zip(inside).for_each(|(voxel, inside)| *voxel = *inside == 1);
        FieldOfView { grid: self.grid(index), head }
    }
}

/// `$XDG_CACHE_HOME/fcdd`, else `~/.cache/fcdd`; none where neither variable is set.
pub fn default_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(caches.join("fcdd"))
}

mod group_by_name {
    //! `fcd` or `hc`.

    use serde::{Deserialize, Deserializer, Serializer};

    use super::Group;

    pub fn serialize<S: Serializer>(group: &Group, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(group.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Group, D::Error> {
        let name = String::deserialize(deserializer)?;
        let group = [Group::Fcd, Group::Hc].into_iter().find(|group| group.name() == name);
        group.ok_or_else(|| serde::de::Error::custom(format!("`{name}` is no group, expected fcd or hc")))
    }
}
