//! The files of one subject: which volume, sidecar and mask it has, and what is wrong with them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::sidecar::Sidecar;
use super::{ArchiveError, Finding, Group, Participant, SEQUENCES, Scan, Series, Subject, roi};
use crate::analyze::gates::{LARGEST_SPACING_MM, SPACING_TOLERANCE_MM};
use crate::study::{Reason, Sequence};
use crate::volume::{Grid, nifti};

/// A file that stands for another is a line of text; no volume is so small.
const LARGEST_POINTER_BYTES: u64 = 2048;

/// What was found of a subject.
pub(super) struct Found {
    pub subject: Option<Subject>,
    pub series: Vec<Series>,
    pub unusable: Vec<Finding>,
    pub notes: Vec<Finding>,
}

/// A series by its files.
#[derive(Default)]
struct Candidate {
    volume: Option<PathBuf>,
    sidecar: Option<PathBuf>,
}

/// A series after its sidecar and its header were read.
struct Described {
    series: Series,
    /// Where its voxels lie, also when it cannot be used.
    grid: Option<Grid>,
    outcome: Result<Scan, Reason>,
}

/// Names of the folders `sub-*`.
pub(super) fn folders(archive: &Path) -> Result<Vec<String>, ArchiveError> {
    let unreadable = |source| ArchiveError::File { path: archive.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(archive).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("sub-") && entry.path().is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Looks at a subject's folder.
pub(super) fn read(archive: &Path, participant: &Participant, group: Group) -> Found {
    let id = participant.id.as_str();
    let mut found = Found { subject: None, series: Vec::new(), unusable: Vec::new(), notes: Vec::new() };
    let folder = archive.join(id);
    if !folder.is_dir() {
        let text = format!("{} is not there; download it or take its row out of participants.tsv", folder.display());
        found.unusable.push(Finding::new(id, None, Reason::new("no_folder", text)));
        return found;
    }
    let files = anat_files(&folder);
    let mut grids = Vec::new();
    let mut scans = SEQUENCES.map(|sequence| {
        let mut described: Vec<Described> = candidates(&files, sequence)
            .iter()
            .map(|(stem, candidate)| describe(stem, candidate, sequence, participant, &mut found.notes))
            .collect();
        grids.extend(described.iter().filter_map(|d| d.grid.clone()));
        let usable = described.iter().filter(|d| d.outcome.is_ok()).count();
        let chosen = described.iter().position(|d| d.outcome.is_ok()).unwrap_or(0);
        if described.is_empty() {
            let text = format!("there is no *{}.nii.gz in {}", suffix(sequence), folder.join("anat").display());
            found.unusable.push(Finding::new(id, sequence, Reason::new("no_series", text)));
            return None;
        }
        let Described { series, outcome, .. } = described.swap_remove(chosen);
        found.series.push(series);
        match outcome {
            Ok(scan) => {
                if usable > 1 {
                    let text = format!("it has {usable} usable series; {} is used", scan.path.display());
                    found.notes.push(Finding::new(id, sequence, Reason::new("several_series", text)));
                }
                Some(scan)
            }
            Err(reason) => {
                found.unusable.push(Finding::new(id, sequence, reason));
                None
            }
        }
    });
    if scans.iter().all(Option::is_none) {
        return found;
    }
    let roi = match (group, mask(&files, &grids)) {
        (Group::Fcd, Ok(roi)) => Some(roi),
        (Group::Fcd, Err(reason)) => {
            found.notes.push(Finding::new(id, None, reason));
            None
        }
        (Group::Hc, Ok(roi)) => match roi::read(&roi) {
            Ok(mask) if mask.count_voxels() > 0 => {
                let text =
                    format!("it is a control, but {} marks a lesion; correct the one or the other", roi.display());
                found.unusable.push(Finding::new(id, None, Reason::new("mask_on_control", text)));
                return found;
            }
            _ => None,
        },
        (Group::Hc, Err(_)) => None,
    };
    let [t1, flair] = &mut scans;
    found.subject = Some(Subject {
        id: id.to_owned(),
        group,
        sex: participant.sex.clone(),
        age: participant.age,
        t1: t1.take(),
        flair: flair.take(),
        roi,
    });
    found
}

/// All files in `anat`, also below sessions, by name.
fn anat_files(subject: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path()).collect()
    };
    let mut files = entries(&subject.join("anat"));
    for session in entries(subject) {
        if name(&session).starts_with("ses-") {
            files.extend(entries(&session.join("anat")));
        }
    }
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn suffix(sequence: Sequence) -> &'static str {
    match sequence {
        Sequence::Flair => "_FLAIR",
        Sequence::T1 | Sequence::Other => "_T1w",
    }
}

fn candidates(files: &[PathBuf], sequence: Sequence) -> BTreeMap<String, Candidate> {
    let mut found: BTreeMap<String, Candidate> = BTreeMap::new();
    for path in files {
        let name = name(path);
        let stem_of = |end: &str| name.strip_suffix(end).filter(|stem| stem.ends_with(suffix(sequence)));
        if let Some(stem) = stem_of(".nii.gz").or_else(|| stem_of(".nii")) {
            found.entry(stem.to_owned()).or_default().volume = Some(path.clone());
        } else if let Some(stem) = stem_of(".json") {
            found.entry(stem.to_owned()).or_default().sidecar = Some(path.clone());
        }
    }
    found
}

/// The value of an entity (`acq`, `ce`) of a BIDS name.
fn entity(stem: &str, key: &str) -> Option<String> {
    stem.split('_').find_map(|part| part.strip_prefix(key)?.strip_prefix('-')).map(str::to_owned)
}

fn describe(
    stem: &str,
    candidate: &Candidate,
    sequence: Sequence,
    participant: &Participant,
    notes: &mut Vec<Finding>,
) -> Described {
    let mut sidecar = match candidate.sidecar.as_deref().map(Sidecar::read) {
        Some(Ok(sidecar)) => sidecar,
        Some(Err(why)) => {
            let text = format!("the sidecar {stem}.json cannot be read ({why}); its scanner and protocol are unknown");
            notes.push(Finding::new(&participant.id, sequence, Reason::new("sidecar_unreadable", text)));
            Sidecar::default()
        }
        None => Sidecar::default(),
    };
    if let Some(agent) = entity(stem, "ce") {
        sidecar.contrast_agent.get_or_insert(agent);
    }
    let scanner = sidecar.scanner.clone().or_else(|| participant.scanner.clone());
    let acquisition = entity(stem, "acq");
    let series = Series {
        subject: participant.id.clone(),
        sequence,
        acquisition: acquisition.clone(),
        scanner: scanner.clone(),
    };
    let place = match &candidate.volume {
        Some(path) => place(path).map(|grid| (path, grid)),
        None => Err(Reason::new(
            "volume_missing",
            format!("{stem}.json is there, but not {stem}.nii.gz; download it or restore it"),
        )),
    };
    let grid = place.as_ref().ok().map(|(_, grid)| grid.clone());
    // What the sidecar says holds whether or not the volume was downloaded.
    let outcome = match thick_or_2d(sequence, &sidecar, grid.as_ref()) {
        Some(reason) => Err(reason),
        None => place.map(|(path, grid)| Scan {
            path: path.clone(),
            sequence,
            acquisition,
            scanner,
            spacing_mm: grid.affine.spacing_mm(),
            shape: grid.shape,
            is_3d: sidecar.is_3d(),
            grid,
            sidecar,
        }),
    };
    Described { series, grid, outcome }
}

/// Where a volume lies, or why it is none.
fn place(path: &Path) -> Result<Grid, Reason> {
    if is_pointer(path) {
        let text = format!(
            "{} was never downloaded: it is a git-annex pointer; run `datalad get` or `git annex get` on it",
            path.display()
        );
        return Err(Reason::new("not_downloaded", text));
    }
    let grid = nifti::read_grid(path).map_err(|e| Reason::new("unreadable", e.to_string()))?;
    if grid.is_empty() {
        let text = format!("{} has no voxels ({:?})", path.display(), grid.shape);
        return Err(Reason::new("unreadable", text));
    }
    Ok(grid)
}

/// A link to nowhere, or the text that git-annex leaves where a file's content should be.
fn is_pointer(path: &Path) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return path.is_symlink() };
    if metadata.len() > LARGEST_POINTER_BYTES {
        return false;
    }
    fs::read_to_string(path).is_ok_and(|text| text.contains("annex/objects"))
}

/// Why a series is no 3D acquisition in thin slices: the models would only withhold a verdict on it.
fn thick_or_2d(sequence: Sequence, sidecar: &Sidecar, grid: Option<&Grid>) -> Option<Reason> {
    let label = sequence.label();
    let spacing_mm = grid.map(|grid| grid.affine.spacing_mm().into_iter().fold(0.0, f64::max));
    let widest_mm = spacing_mm.into_iter().chain(sidecar.slice_thickness_mm).fold(0.0, f64::max);
    if sidecar.is_3d() == Some(false) {
        let text = format!("{label} was acquired in 2D ({widest_mm} mm slices); only 3D is used");
        return Some(Reason::new("not_3d", text));
    }
    (widest_mm > LARGEST_SPACING_MM + SPACING_TOLERANCE_MM).then(|| {
        let text = format!("{label} has slices of {widest_mm:.2} mm; at most {LARGEST_SPACING_MM} mm are used");
        Reason::new("slices_too_thick", text)
    })
}

/// The lesion mask that lies on one of the subject's images. It may be named after another acquisition than they
/// (sub-00048 of ds004199): any `*_roi.nii.gz` counts, `*_FLAIR_roi.nii.gz` before others.
fn mask(files: &[PathBuf], grids: &[Grid]) -> Result<PathBuf, Reason> {
    let ending = |end: &str| -> Vec<&PathBuf> {
        let ends = [format!("{end}.nii.gz"), format!("{end}.nii")];
        files.iter().filter(|path| ends.iter().any(|e| name(path).ends_with(e.as_str()))).collect()
    };
    let flair = ending("_FLAIR_roi");
    let masks = if flair.is_empty() { ending("_roi") } else { flair };
    let path = match masks.as_slice() {
        [] => {
            let text = "there is no *_roi.nii.gz: it can be trained on, but gets no Heat-Score";
            return Err(Reason::new("no_mask", text));
        }
        [one] => *one,
        several => {
            let text = format!("it has {} masks, keep one: none is used, so it gets no Heat-Score", several.len());
            return Err(Reason::new("several_masks", text));
        }
    };
    let grid = place(path).map_err(|why| {
        let text = format!("the mask cannot be used, so it gets no Heat-Score: {}", why.text);
        Reason::new("mask_unreadable", text)
    })?;
    if !grids.iter().any(|image| roi::is_same_grid(image, &grid)) {
        let sizes: Vec<String> = grids.iter().map(|g| format!("{:?} at {}", g.shape, spacing(g))).collect();
        let text = format!(
            "the mask {} lies on another grid ({:?} at {}) than the images ({}): it is not used, so there is no \
             Heat-Score; resample it onto its image",
            path.display(),
            grid.shape,
            spacing(&grid),
            sizes.join("; ")
        );
        return Err(Reason::new("mask_on_another_grid", text));
    }
    Ok(path.clone())
}

fn spacing(grid: &Grid) -> String {
    let [a, b, c] = grid.affine.spacing_mm();
    let [x, y, z] = grid.affine.origin_mm();
    format!("{a:.2} x {b:.2} x {c:.2} mm from LPS {x:.1} {y:.1} {z:.1}")
}
