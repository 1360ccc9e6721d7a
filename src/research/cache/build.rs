//! Fills the cache: every scan of a modality preprocessed once, a few at a time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::file::{self, CachedScan, Description};
use super::{Cache, CacheError, CachedSubject};
use crate::analyze::preprocess::{self, InputSpec};
use crate::research::archive::examine::{self, Examined};
use crate::research::archive::fingerprint::{hexadecimal, sha256};
use crate::research::archive::{Archive, Finding, Scan, Subject, roi, same_scan};
use crate::research::few_at_once;
use crate::research::run::folder::{RunFolderError, write_durably};
use crate::study::{Reason, Sequence};
use crate::volume::Grid;

/// What one subject came to.
enum Outcome {
    Cached(Box<(CachedSubject, CachedScan)>),
    Excluded(Reason),
    /// Another subject met an error that stops all.
    NotTried,
}

impl Cache {
    /// Preprocesses every scan of `sequence` that is not in `folder` yet and opens all of them. `progress` hears of
    /// each subject. Several processes may use one folder: they take turns.
    ///
    /// # Errors
    /// When the folder cannot be used or the disk is full; no half file is left then. A subject that cannot be
    /// preprocessed is no error: see [`Cache::excluded`].
    pub fn build(
        archive: &Archive,
        sequence: Sequence,
        spec: &InputSpec,
        folder: &Path,
        progress: &(dyn Fn() + Sync),
    ) -> Result<Cache, CacheError> {
        let folder = prepare_folder(folder)?;
        let _turn = take_turn(&folder)?;
        let subjects = archive.scans(sequence);
        let digests = few_at_once::map(&subjects, |(_, scan)| sha256(&scan.path));
        let same = same_scan::find(&subjects, &digests);
        let of_subjects: Vec<_> = subjects.iter().zip(digests).zip(same).collect();
        let is_stopped = AtomicBool::new(false);
        let outcomes = few_at_once::map(&of_subjects, |(((subject, scan), digest), same)| {
            if is_stopped.load(Ordering::Relaxed) {
                return Ok(Outcome::NotTried);
            }
            let outcome = match (same, digest) {
                (Some(reason), _) => Ok(Outcome::Excluded(reason.clone())),
                (None, Err(e)) => Ok(Outcome::Excluded(unreadable(&scan.path, e))),
                (None, Ok(digest)) => cached(subject, scan, digest, spec, &folder),
            };
            is_stopped.fetch_or(outcome.is_err(), Ordering::Relaxed);
            progress();
            outcome
        });
        let mut cache = Cache::empty(sequence, *spec);
        cache.excluded = archive
            .unusable
            .iter()
            .filter(|finding| finding.sequence.is_none_or(|of| of == sequence))
            .cloned()
            .collect();
        for ((subject, _), outcome) in subjects.into_iter().zip(outcomes) {
            match outcome? {
                Outcome::Cached(cached) => cache.push(cached.0, cached.1),
                Outcome::Excluded(reason) => cache.excluded.push(Finding::new(&subject.id, sequence, reason)),
                Outcome::NotTried => {}
            }
        }
        cache.excluded.sort_by(|a, b| a.subject.cmp(&b.subject));
        Ok(cache)
    }
}

fn unreadable(path: &Path, e: &io::Error) -> Reason {
    Reason::new("unreadable", format!("cannot read {}: {e}", path.display()))
}

/// What a cached scan depends on: SHA-256 (hexadecimal) over the contents of scan and mask, what the gates read of the
/// sidecar, the preprocessing's name and its settings.
pub(super) fn key(scan: &Scan, scan_sha256: &str, roi_sha256: Option<&str>, spec: &InputSpec) -> String {
    let text = serde_json::json!({
        "format": 1,
        "preprocessing": preprocess::NAME,
        "shape": spec.shape,
        "spacing_mm": spec.spacing_mm.to_bits(),
        "background": spec.background.to_bits(),
        "sequence": scan.sequence,
        "sidecar": scan.sidecar,
        "scan": scan_sha256,
        "roi": roi_sha256,
    });
    hexadecimal(&Sha256::digest(text.to_string()))
}

fn prepare_folder(folder: &Path) -> Result<PathBuf, CacheError> {
    let unusable = |source| CacheError::File { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(unusable)?;
    // The index of a run must hold wherever the trainer is started.
    folder.canonicalize().map_err(unusable)
}

/// Waits until no other process fills this folder. The lock goes with the file.
fn take_turn(folder: &Path) -> Result<File, CacheError> {
    let path = folder.join("lock");
    let unusable = |source| CacheError::File { path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(unusable)?;
    match file.lock() {
        // A file system without locks: two processes would do the same work twice, each write is still whole.
        Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(source) => Err(unusable(source)),
        Ok(()) => Ok(file),
    }
}

fn cached(
    subject: &Subject,
    scan: &Scan,
    scan_sha256: &str,
    spec: &InputSpec,
    folder: &Path,
) -> Result<Outcome, CacheError> {
    // A mask that cannot be read costs the Heat-Score, not the subject; `place_roi` says why.
    let roi_sha256 = subject.roi.as_deref().and_then(|path| sha256(path).ok());
    let key = key(scan, scan_sha256, roi_sha256.as_deref(), spec);
    let path = folder.join(format!("{key}.vol"));
    let there = CachedScan::open(&path, true).ok().filter(|there| there.description().key == key);
    let cached = match there {
        Some(cached) => cached,
        None => {
            let examined = match examine::examine(scan, spec) {
                Ok(examined) => examined,
                Err(reason) => return Ok(Outcome::Excluded(reason)),
            };
            write(&path, key, subject, examined)?;
            CachedScan::open(&path, true).map_err(|message| CacheError::Damaged { path: path.clone(), message })?
        }
    };
    let description = cached.description();
    let subject = CachedSubject {
        id: subject.id.clone(),
        group: subject.group,
        sex: subject.sex.clone(),
        age: subject.age,
        scanner: scan.scanner.clone(),
        acquisition: scan.acquisition.clone(),
        source_spacing_mm: scan.spacing_mm,
        source: scan.path.clone(),
        source_sha256: scan_sha256.to_owned(),
        gates: description.gates.clone(),
        has_roi: description.has_roi,
        roi_problem: description.roi_problem.clone(),
        affine: description.affine,
        middle_x_mm: description.middle_x_mm,
        file: path,
        file_sha256: cached.digest().to_owned(),
    };
    Ok(Outcome::Cached(Box::new((subject, cached))))
}

fn write(path: &Path, key: String, subject: &Subject, examined: Examined) -> Result<(), CacheError> {
    let Examined { prepared, gates } = examined;
    let (roi, roi_problem) = match subject.roi.as_deref().map(|mask| place_roi(mask, &prepared.view.grid)) {
        None => (None, None),
        Some(Ok(mask)) => (Some(mask), None),
        Some(Err(reason)) => (None, Some(reason)),
    };
    let description = Description {
        key,
        shape: prepared.view.grid.shape,
        affine: prepared.view.grid.affine.rows,
        middle_x_mm: prepared.measures.middle_x_mm,
        mean: prepared.mean,
        standard_deviation: prepared.standard_deviation,
        gates,
        has_roi: roi.is_some(),
        roi_problem,
    };
    let tensor = prepared.tensor.as_standard_layout();
    let head: Vec<u8> = prepared.view.head.iter().map(|inside| u8::from(*inside)).collect();
    let bytes = file::encode(&description, tensor.as_slice().unwrap_or_default(), &head, roi.as_deref());
    write_durably(path, &bytes).map_err(|error| match error {
        RunFolderError::File { path, source } => CacheError::File { path, source },
        other => CacheError::Damaged { path: path.to_owned(), message: other.to_string() },
    })
}

/// The lesion on the input grid.
fn place_roi(path: &Path, grid: &Grid) -> Result<Vec<u8>, Reason> {
    let unreadable = |why: String| Reason::new("mask_unreadable", why);
    let mask = roi::read(path).map_err(|e| unreadable(e.to_string()))?;
    if mask.count_voxels() == 0 {
        return Err(Reason::new("mask_empty", format!("{} is empty", path.display())));
    }
    let placed = mask.on_grid(grid).map_err(|e| unreadable(e.to_string()))?;
    if !placed.iter().any(|inside| *inside) {
        let text = format!("the lesion of {} has no voxel on the network's input grid", path.display());
        return Err(Reason::new("mask_outside_input", text));
    }
    Ok(placed.iter().map(|inside| u8::from(*inside)).collect())
}
