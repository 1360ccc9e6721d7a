//! From files to volumes: the series of a study, each as a volume with its geometry or with the verdict that
//! it deserves, and the T1 and FLAIR that will be analyzed.
//!
//! ```text
//! files → scan (headers, digests) → stacks (what belongs together) → geometry → classify → volumes → select
//! ```
//!
//! Invariants:
//! 1. Every file given is accounted for: in a stack, as one of our own results, or as a [`Leftover`] with its reason.
//! 2. A volume exists only where positions, sizes and every pixel were checked; otherwise there is a
//!    [`SeriesVerdict`] with its numbers. One damaged file of a series takes all stacks of that series with it.
//! 3. Decoders run in child processes only; whatever they do, the verdict is at worst `Unreadable`.
//! 4. The result depends on the files' contents, not on their names' order (times of arrival only set `received_at`).
//!
//! [`TooFewSlices`] is the one verdict beside `Ok` that comes with a volume: the geometry is good
//! and `fcdd volume` writes it, but it is never analyzed.
//!
//! [`SeriesVerdict`]: crate::study::SeriesVerdict
//! [`TooFewSlices`]: crate::study::SeriesVerdict::TooFewSlices

pub mod admission;
mod agreement;
mod classify;
pub mod completion;
pub mod decode_child;
mod encapsulated;
mod file_structure;
mod frames;
mod from_nifti;
mod geometry;
mod pixels;
mod scan;
mod select;
mod stacks;
mod study;
mod volumes;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use decode_child::DecodeLimits;
pub(crate) use file_structure::dataset_start;
pub use from_nifti::from_nifti;
pub use scan::Leftover;

use crate::config::sequences::SequenceRules;
use crate::dicom::Uid;
use crate::observe::events::assemble::FileLeftOut;
use crate::study::AssembledStudy;

/// Code of the [`problem`](AssembledStudy::problems) of a study with several Patient IDs.
pub const SEVERAL_PATIENTS: &str = "several_patients";
/// Code of the problem of a study that holds nothing but results that fcdd rendered: it must trigger nothing.
pub const ONLY_OWN_RESULTS: &str = "only_own_results";
/// Code of the problem of a study without a T1 or FLAIR volume that can be analyzed.
pub const NO_USABLE_SERIES: &str = "no_usable_series";

/// Which stacks get a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumesWanted {
    /// Every stack that deserves one.
    All,
    /// Only the T1 and the FLAIR that are chosen: other pixels are never decoded.
    Chosen,
    /// None, and nothing is chosen: no pixel is looked at.
    None,
}

/// How to assemble.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Rules that classify series.
    pub rules: &'a SequenceRules,
    /// Bounds for decoding.
    pub decode: &'a DecodeLimits,
    /// Which stacks get a volume.
    pub volumes: VolumesWanted,
    /// Whether to compute [`AssembledStudy::inputs`]; without, it stays empty.
    pub digests: bool,
    /// Called after each file was read, from any thread.
    pub on_file: Option<&'a (dyn Fn() + Sync)>,
}

/// What a list of files became.
#[derive(Debug, Default)]
pub struct Assembly {
    /// The studies, by Study Instance UID.
    pub studies: Vec<AssembledStudy>,
    /// Files that belong to no study or repeat an object, with their reasons, by path.
    pub leftovers: Vec<Leftover>,
}

/// Nothing can be assembled.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// None of the files belongs to the study.
    #[error(
        "none of the {files} files belongs to study {study_uid}{}",
        first_reason.as_ref().map(|r| format!(" (the first: {r})")).unwrap_or_default()
    )]
    NoSuchStudy {
        /// The study asked for.
        study_uid: Uid,
        /// Number of files given.
        files: usize,
        /// Why the first of them is left over.
        first_reason: Option<String>,
    },
    /// A NIfTI volume cannot be used.
    #[error(transparent)]
    Nifti(#[from] crate::volume::nifti::NiftiError),
}

/// Assembles all studies among the files, with every volume and digest.
pub fn assemble(files: &[PathBuf], rules: &SequenceRules, decode: &DecodeLimits) -> Assembly {
    assemble_with(files, Options { rules, decode, volumes: VolumesWanted::All, digests: true, on_file: None })
}

/// Assembles all studies among the files.
pub fn assemble_with(files: &[PathBuf], options: Options<'_>) -> Assembly {
    assemble_scan(scan::scan(files, options.digests, options.on_file), options)
}

/// Assembles all studies among files whose bytes are at hand already; for the fuzz target, which has no files.
pub(crate) fn assemble_contents(contents: Vec<(PathBuf, Vec<u8>)>, options: Options<'_>) -> Assembly {
    assemble_scan(scan::scan_contents(contents, options.digests), options)
}

fn assemble_scan(scan: scan::Scan, options: Options<'_>) -> Assembly {
    let mut assembly = Assembly { studies: Vec::new(), leftovers: scan.leftovers };
    let mut by_study: BTreeMap<Uid, Vec<scan::ScannedFile>> = BTreeMap::new();
    for file in scan.files {
        by_study.entry(file.study_uid.clone()).or_default().push(file);
    }
    for (study_uid, files) in by_study {
        assembly.studies.push(study::assemble(study_uid, files, options, &mut assembly.leftovers));
    }
    assembly.leftovers.sort_by(|a, b| a.path.cmp(&b.path));
    for leftover in &assembly.leftovers {
        FileLeftOut { path: &leftover.path, why: &leftover.why }.emit();
    }
    assembly
}

/// Assembles one study from its files, with their digests. Files of other studies are ignored; files that cannot be
/// read come back as leftovers.
pub fn assemble_study(
    study_uid: &Uid,
    files: &[PathBuf],
    rules: &SequenceRules,
    decode: &DecodeLimits,
    volumes: VolumesWanted,
) -> Result<(AssembledStudy, Vec<Leftover>), AssembleError> {
    let options = Options { rules, decode, volumes, digests: true, on_file: None };
    let assembly = assemble_with(files, options);
    let first_reason = assembly.leftovers.first().map(|l| format!("{}: {}", l.path.display(), l.why));
    let found = assembly.studies.into_iter().find(|s| s.study_uid == *study_uid);
    let study = found.ok_or_else(|| AssembleError::NoSuchStudy {
        study_uid: study_uid.clone(),
        files: files.len(),
        first_reason,
    })?;
    Ok((study, assembly.leftovers))
}
