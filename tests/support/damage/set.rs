//! A reference set in memory, with the volumes that its undamaged files make.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dicom_object::DefaultDicomObject;
use fcdd::assemble::{self, DecodeLimits};
use fcdd::config::sequences::SequenceRules;
use fcdd::study::{Sequence, SourceVolume};

use super::element;
use crate::support;

/// Of a set with more files only so many from the middle get their elements damaged: what is said of an element does
/// not depend on how many files there are.
pub const MOST_FILES: usize = 40;
const PART: usize = 20;
/// Sets of single odd files, which make no series together: each is a set of its own.
const ODD_FILES: [&str; 2] = ["broken-pydicom-a", "charset-pydicom-a"];

/// Files that are assembled together, and what they make while nothing is damaged.
pub struct Set {
    pub name: String,
    /// Name, bytes, and what a parser makes of them, where it can.
    pub files: Vec<(PathBuf, Vec<u8>, Option<DefaultDicomObject>)>,
    /// Every volume that the pixels make, also of series that are refused for what they are.
    pub volumes: Vec<Due>,
    /// Number of volumes under the rules that fcdd comes with.
    pub accepted: usize,
    /// Slope and intercept of every frame, as the headers say.
    pub rescale: BTreeMap<Place, [f64; 2]>,
    /// The recipes of the set's `expected.json`.
    pub recipes: serde_json::Value,
    /// Whether this is a part of a set whose other variants another entry makes.
    pub is_part: bool,
}

/// A volume of the undamaged files.
pub struct Due {
    pub source: Arc<SourceVolume>,
    pub sequence: Sequence,
    pub slices: Vec<Place>,
}

/// A slice's file, by its place in [`Set::files`], and its frame there (from 1).
pub type Place = (usize, u32);

/// The rules that fcdd comes with, but for the number of slices: most sets are small.
pub fn rules() -> &'static SequenceRules {
    static RULES: OnceLock<SequenceRules> = OnceLock::new();
    RULES.get_or_init(|| SequenceRules { minimum_slices: 2, ..SequenceRules::built_in() })
}

pub fn limits() -> DecodeLimits {
    DecodeLimits {
        executable: Some(env!("CARGO_BIN_EXE_fcdd").into()),
        timeout: Duration::from_secs(20),
        ..DecodeLimits::default()
    }
}

/// Every set of the reference data, some in several entries; nothing after a skip.
pub fn sets() -> Option<Vec<Set>> {
    let root = support::reference_root()?;
    let mut names: Vec<String> = std::fs::read_dir(&root)
        .expect("the folder can be read")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|set| set.join("expected.json").exists())
        .filter(|set| set.join("dicom").is_dir() || set.join("dicom.tar.xz").exists())
        .filter_map(|set| Some(set.file_name()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Some(names.iter().flat_map(|name| entries(name)).collect())
}

fn entries(name: &str) -> Vec<Set> {
    let folder = support::reference_data(name).expect("the reference data are here");
    let files = support::files_below(&folder);
    let recipes = support::reference_expectations(name).expect("the reference data are here")["recipes"].clone();
    if ODD_FILES.contains(&name) {
        let name_of = |file: &Path| format!("{name}/{}", file.file_name().unwrap_or_default().to_string_lossy());
        return files.iter().map(|file| Set::read(name_of(file), std::slice::from_ref(file), false)).collect();
    }
    let whole = Set { recipes, ..Set::read(name.to_owned(), &files, false) };
    if files.len() <= MOST_FILES {
        return vec![whole];
    }
    let from = files.len() / 2 - PART / 2;
    let part = Set::read(format!("{name}, {PART} files"), &files[from..from + PART], true);
    vec![whole, part]
}

impl Set {
    fn read(name: String, paths: &[PathBuf], is_part: bool) -> Set {
        // Nothing is refused for what it is, so that its pixels can be compared once damage hides what it is.
        let open = SequenceRules { rules: Vec::new(), accept_lossy: true, ..rules().clone() };
        let place = |path: &Path| paths.iter().position(|p| p == path).expect("a slice is of a given file");
        let assembled = assemble::assemble(paths, rules(), &limits());
        let sequences = |uid: &fcdd::dicom::Uid, index: usize| {
            let mut stacks = assembled.studies.iter().flat_map(|study| &study.stacks);
            stacks.find(|s| s.series_uid == *uid && s.index_in_series == index).map(|s| s.sequence)
        };
        let volumes = assemble::assemble(paths, &open, &limits())
            .studies
            .iter()
            .flat_map(|study| &study.stacks)
            .filter_map(|stack| {
                let source = stack.volume.clone()?;
                let slices = source.slices.iter().map(|s| (place(&s.path), s.frame_number.unwrap_or(1))).collect();
                let sequence = sequences(&stack.series_uid, stack.index_in_series).unwrap_or(Sequence::Other);
                Some(Due { source, sequence, slices })
            })
            .collect();
        let accepted = assembled.studies.iter().flat_map(|s| &s.stacks).filter(|s| s.volume.is_some()).count();
        let files: Vec<_> = paths
            .iter()
            .map(|path| {
                let bytes = std::fs::read(path).expect("the reference data can be read");
                let parsed = dicom_object::from_reader(bytes.as_slice()).ok();
                (path.clone(), bytes, parsed)
            })
            .collect();
        let of_file = |(index, (_, _, parsed)): (usize, &(PathBuf, Vec<u8>, Option<DefaultDicomObject>))| {
            parsed.as_ref().map(|object| element::rescale(index, object)).unwrap_or_default()
        };
        let rescale = files.iter().enumerate().flat_map(of_file).collect();
        Set { name, files, volumes, accepted, rescale, recipes: serde_json::Value::Null, is_part }
    }
}
