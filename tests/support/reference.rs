//! The reference studies with known answers, found through `FCDD_REFERENCE_DATA`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::prerequisites::skip;

/// The folder with the DICOM files of a set (such as `t1-siemens-skyra-mprage-sag`), or `None` after a skip.
/// A packed set is unpacked once, below Cargo's folder for test files, and found there by later runs.
pub fn reference_data(set: &str) -> Option<PathBuf> {
    let folder = set_folder(set)?;
    let archive = folder.join("dicom.tar.xz");
    if !archive.exists() {
        let dicom = folder.join("dicom");
        return Some(if dicom.is_dir() { dicom } else { folder });
    }

    // The size in the name tells a changed archive from the one that was unpacked before.
    let bytes = std::fs::metadata(&archive).expect("the archive can be read").len();
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reference").join(format!("{set}-{bytes}"));
    if !unpacked.is_dir() {
        let parent = unpacked.parent().expect("it was joined from two parts");
        std::fs::create_dir_all(parent).expect("Cargo's folder for test files is writable");
        let scratch = tempfile::tempdir_in(parent).expect("Cargo's folder for test files is writable");
        let status = Command::new("tar").arg("-xJf").arg(&archive).arg("-C").arg(scratch.path()).status();
        assert!(status.is_ok_and(|s| s.success()), "tar cannot unpack {}", archive.display());
        // Another test process may have been quicker: then its folder is as good, and ours is removed.
        let _ = std::fs::rename(scratch.path(), &unpacked);
    }
    let dicom = unpacked.join("dicom");
    Some(if dicom.is_dir() { dicom } else { unpacked })
}

/// The `expected.json` of a set, or `None` after a skip.
pub fn reference_expectations(set: &str) -> Option<serde_json::Value> {
    let path = set_folder(set)?.join("expected.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

/// The folder with all sets, or `None` after a skip.
pub fn reference_root() -> Option<PathBuf> {
    let root = std::env::var_os("FCDD_REFERENCE_DATA").filter(|root| !root.is_empty());
    if root.is_none() {
        skip("the reference data are not here (FCDD_REFERENCE_DATA)");
    }
    root.map(PathBuf::from)
}

fn set_folder(set: &str) -> Option<PathBuf> {
    let folder = reference_root()?.join(set);
    assert!(folder.is_dir(), "FCDD_REFERENCE_DATA has no folder {set}");
    Some(folder)
}

/// Every regular file below `folder`, sorted by path.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect();
    files.sort();
    files
}
