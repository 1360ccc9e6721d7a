//! How a study leaves the spool: its folders are renamed into `incoming/` (at once, whatever their size), and deleted
//! when the ledger has let go of them. Until then they can come back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::{AtPath, INCOMING, QUARANTINE, RESULTS, STUDIES, Spool, SpoolError, sync_directory};
use crate::dicom::Uid;

/// `removed.<studies or results>.<study uid>` is what a folder in `incoming/` is called that was set aside.
const PREFIX: &str = "removed.";

/// A study's files on their way out.
#[derive(Debug)]
#[must_use = "set aside is neither there nor gone"]
pub struct SetAside {
    study_uid: Uid,
    /// Where each folder came from, and where it is now.
    folders: Vec<(PathBuf, PathBuf)>,
    /// Variants of the study's objects.
    quarantined: Vec<PathBuf>,
}

impl Spool {
    /// Sets a study's received objects, results and variants aside. What is not there is as good as set aside.
    pub fn set_aside(&self, study_uid: &Uid, quarantined: &[String]) -> Result<SetAside, SpoolError> {
        let root = self.directory();
        let mut aside = SetAside {
            study_uid: study_uid.clone(),
            folders: Vec::new(),
            quarantined: quarantined.iter().map(|relative| self.path(relative)).collect(),
        };
        for parent in [STUDIES, RESULTS] {
            let from = root.join(parent).join(study_uid.as_str());
            let to = root.join(INCOMING).join(format!("{PREFIX}{parent}.{study_uid}"));
            self.forget_directory(&from);
            match std::fs::rename(&from, &to) {
                Ok(()) => aside.folders.push((from, to)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    let failed = SpoolError::Io { doing: "set aside", path: from, source };
                    aside.put_back()?;
                    return Err(failed);
                }
            }
        }
        Ok(aside)
    }

    /// What an earlier process had set aside when it ended.
    pub fn left_aside(&self) -> Result<Vec<SetAside>, SpoolError> {
        let incoming = self.directory().join(INCOMING);
        let mut found: Vec<SetAside> = Vec::new();
        for entry in std::fs::read_dir(&incoming).at("list", &incoming)? {
            let path = entry.at("list", &incoming)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some((parent, uid)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')) else { continue };
            let (Some(parent), Ok(study_uid)) =
                ([STUDIES, RESULTS].into_iter().find(|p| *p == parent), Uid::parse(uid))
            else {
                continue;
            };
            let folder = (self.directory().join(parent).join(study_uid.as_str()), path);
            match found.iter_mut().find(|aside| aside.study_uid == study_uid) {
                Some(aside) => aside.folders.push(folder),
                None => found.push(SetAside { study_uid, folders: vec![folder], quarantined: Vec::new() }),
            }
        }
        Ok(found)
    }

    /// Forgets a directory that turned out to be gone.
    pub(super) fn forget_directory(&self, directory: &Path) {
        self.shared.durable_directories.lock().unwrap_or_else(PoisonError::into_inner).remove(directory);
    }
}

impl SetAside {
    /// The study.
    pub fn study_uid(&self) -> &Uid {
        &self.study_uid
    }

    /// The ledger still has the study: everything goes back to its place. A file that came meanwhile is not replaced.
    pub fn put_back(self) -> Result<(), SpoolError> {
        for (home, aside) in &self.folders {
            match std::fs::rename(aside, home) {
                // Its place was made anew meanwhile: file by file.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) =>
                {
                    for entry in std::fs::read_dir(aside).at("list", aside)? {
                        let file = entry.at("list", aside)?.path();
                        let place = home.join(file.file_name().unwrap_or_default());
                        if !place.exists() {
                            std::fs::rename(&file, &place).at("put back", &file)?;
                        }
                    }
                    sync_directory(home)?;
                    std::fs::remove_dir_all(aside).at("remove the directory", aside)?;
                }
                renamed => renamed.at("put back", aside)?,
            }
            sync_directory(home.parent().unwrap_or(home))?;
        }
        Ok(())
    }

    /// The ledger has let go of the study: deletes everything.
    pub fn delete(self) -> Result<(), SpoolError> {
        for (home, aside) in &self.folders {
            // Durable before anything is gone: after a power cut the folder is not back in its place half empty.
            sync_directory(home.parent().unwrap_or(home))?;
            std::fs::remove_dir_all(aside).at("remove the directory", aside)?;
        }
        for file in self.quarantined.iter().filter(|file| file.parent().is_some_and(|p| p.ends_with(QUARANTINE))) {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at("remove", file),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> Uid {
        Uid::parse(text).unwrap()
    }

    fn study(spool: &Spool, study: &str) -> (PathBuf, PathBuf) {
        let received = spool.studies_directory().join(study);
        std::fs::create_dir_all(&received).unwrap();
        std::fs::write(received.join("1.dcm"), b"slice").unwrap();
        let result = spool.results_directory(&uid(study)).unwrap().join("2.dcm");
        std::fs::write(&result, b"report").unwrap();
        (received.join("1.dcm"), result)
    }

    #[test]
    fn a_study_goes_as_a_whole_or_comes_back_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        let (slice, report) = study(&spool, "1.1");
        let variant = spool.quarantine_directory().join("3.dcm");
        std::fs::write(&variant, b"variant").unwrap();
        let aside = spool.set_aside(&uid("1.1"), &["quarantine/3.dcm".into()]).unwrap();
        assert!(!slice.exists() && !report.exists() && variant.exists());
        aside.put_back().unwrap();
        assert!(slice.exists() && report.exists() && variant.exists());
        spool.set_aside(&uid("1.1"), &["quarantine/3.dcm".into()]).unwrap().delete().unwrap();
        assert!(!slice.exists() && !report.exists() && !variant.exists());
        assert_eq!(std::fs::read_dir(directory.path().join("incoming")).unwrap().count(), 0);
        spool.set_aside(&uid("1.1"), &[]).unwrap().delete().unwrap();
    }

    #[test]
    fn what_a_killed_process_had_set_aside_is_found_and_does_not_replace_what_came_since() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        let (slice, report) = study(&spool, "1.1");
        let _ = spool.set_aside(&uid("1.1"), &[]).unwrap();
        drop(spool);
        let spool = Spool::open(directory.path()).unwrap();
        std::fs::create_dir_all(slice.parent().unwrap()).unwrap();
        std::fs::write(&slice, b"newer").unwrap();
        let mut found = spool.left_aside().unwrap();
        assert_eq!(found.len(), 1);
        let aside = found.remove(0);
        assert_eq!(aside.study_uid(), &uid("1.1"));
        aside.put_back().unwrap();
        assert_eq!(std::fs::read(&slice).unwrap(), b"newer");
        assert_eq!(std::fs::read(&report).unwrap(), b"report");
        assert!(spool.left_aside().unwrap().is_empty());
    }
}
