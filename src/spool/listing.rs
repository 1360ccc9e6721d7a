//! What lies in the spool: the files themselves, whatever the ledger knows.

use std::path::{Path, PathBuf};

use super::{AtPath, QUARANTINE, RESULTS, STUDIES, Spool, SpoolError, is_temporary};

/// The name of a received object's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedName {
    /// Path relative to the spool.
    pub relative: String,
    /// Another object was first under its UID.
    pub in_quarantine: bool,
}

impl ReceivedName {
    /// The UID that the file of an object outside the quarantine is named after.
    pub fn sop_instance_uid(&self) -> &str {
        Path::new(&self.relative).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }
}

impl Spool {
    /// Every received object, also in quarantine, by name: none is opened.
    pub fn received_files(&self) -> Result<Vec<ReceivedName>, SpoolError> {
        let mut files = Vec::new();
        for (folder, depth, in_quarantine) in [(STUDIES, 2, false), (QUARANTINE, 1, true)] {
            for path in self.files_below(folder, depth)? {
                let relative = path.strip_prefix(self.directory()).ok().and_then(Path::to_str);
                if let Some(relative) = relative.filter(|name| name.ends_with(".dcm")) {
                    files.push(ReceivedName { relative: relative.to_owned(), in_quarantine });
                }
            }
        }
        Ok(files)
    }

    /// At start-up: removes what a killed process left half-written below `results/`; gives the other files there.
    pub fn sweep_results(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let (leftovers, files): (Vec<_>, Vec<_>) =
            self.files_below(RESULTS, 2)?.into_iter().partition(|path| is_temporary(path));
        for leftover in leftovers {
            std::fs::remove_file(&leftover).at("remove the leftover", &leftover)?;
        }
        Ok(files)
    }

    /// The files that lie so many folders below one of the spool's own (1: in it).
    fn files_below(&self, folder: &str, depth: usize) -> Result<Vec<PathBuf>, SpoolError> {
        let directory = self.directory().join(folder);
        let mut files = Vec::new();
        for entry in walkdir::WalkDir::new(&directory).min_depth(depth).max_depth(depth) {
            let entry = entry.map_err(|error| SpoolError::Io {
                doing: "list",
                path: error.path().unwrap_or(&directory).to_owned(),
                source: error.into(),
            })?;
            if entry.file_type().is_file() {
                files.push(entry.into_path());
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::Uid;

    #[test]
    fn what_a_killed_process_left_among_the_results_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        let results = spool.results_directory(&Uid::parse("1.2").unwrap()).unwrap();
        for name in ["2.25.1.dcm", "2.25.2.dcm.tmp4711", "revision-1.json", "revision-2.json.tmp12"] {
            std::fs::write(results.join(name), b"bytes").unwrap();
        }
        let mut kept = spool.sweep_results().unwrap();
        kept.sort();
        assert_eq!(kept, ["2.25.1.dcm", "revision-1.json"].map(|name| results.join(name)));
        assert_eq!(std::fs::read_dir(&results).unwrap().count(), 2);
    }

    #[test]
    fn received_objects_are_listed_where_they_belong_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        std::fs::create_dir(spool.path("studies/1.5")).unwrap();
        for name in ["studies/1.5/1.2.dcm", "studies/1.5/notes.txt", "studies/1.3.dcm", "quarantine/1.4.00ff.dcm"] {
            std::fs::write(spool.path(name), b"bytes").unwrap();
        }
        let listed: Vec<_> =
            spool.received_files().unwrap().into_iter().map(|f| (f.relative, f.in_quarantine)).collect();
        assert_eq!(listed, [("studies/1.5/1.2.dcm".into(), false), ("quarantine/1.4.00ff.dcm".into(), true)]);
    }
}
