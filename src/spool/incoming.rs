//! One object on its way to the disk: streamed to a temporary file, committed or gone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::received_file::ReceivedHeader;
use super::{AtPath, INCOMING, Spool, SpoolError, sync_directory};
use crate::dicom::Uid;

/// What a commit found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// The file has its name now, durably.
    New,
    /// Another file has that name already; it was not touched, and the temporary file is still there.
    NameTaken,
}

/// How a file that was written becomes durable under its name. A seam: an append log could stand behind it
/// where one disk flush costs milliseconds.
pub trait Commit: Send + Sync + std::fmt::Debug {
    /// Syncs the data of `file`, gives it the name `to` without ever replacing a file, and makes the name durable.
    fn commit(&self, file: &File, temporary: &Path, to: &Path) -> Result<Committed, SpoolError>;
}

/// The plain way: fdatasync, rename that refuses to replace, fsync of the directory.
#[derive(Debug, Clone, Copy)]
pub struct RenameCommit;

impl Commit for RenameCommit {
    fn commit(&self, file: &File, temporary: &Path, to: &Path) -> Result<Committed, SpoolError> {
        file.sync_data().at("sync", temporary)?;
        let directory = to.parent().unwrap_or(Path::new("."));
        let committed = rename_without_replacing(temporary, to).at("rename into place", to)?;
        // Also when the name is taken: whoever took it may not have synced the directory yet, and we are
        // about to tell a sender that this object is safe.
        sync_directory(directory)?;
        Ok(committed)
    }
}

fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<Committed> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Committed::New),
        Err(Errno::EXIST) => Ok(Committed::NameTaken),
        // File systems without the flag (NFS among them): a hard link refuses to replace as well.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match std::fs::hard_link(from, to) {
            Ok(()) => std::fs::remove_file(from).map(|()| Committed::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Committed::NameTaken),
            Err(error) => Err(error),
        },
        Err(error) => Err(error.into()),
    }
}

/// A temporary file in `incoming/`. Dropped without having been committed, it is removed.
#[derive(Debug)]
pub struct IncomingFile {
    spool: Spool,
    file: File,
    path: PathBuf,
    committed: bool,
}

impl Spool {
    /// Begins an object: makes the temporary file and writes its preamble and file meta group.
    pub fn begin(&self, header: &ReceivedHeader) -> Result<IncomingFile, SpoolError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}.part", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let path = self.shared.directory.join(INCOMING).join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).at("create", &path)?;
        let mut incoming = IncomingFile { spool: self.clone(), file, path, committed: false };
        incoming.file.write_all(&header.encode()).at("write", &incoming.path)?;
        Ok(incoming)
    }
}

impl IncomingFile {
    /// Appends dataset bytes, as they came.
    pub fn append(&mut self, dataset: &[u8]) -> Result<(), SpoolError> {
        self.file.write_all(dataset).at("write", &self.path)
    }

    /// Makes the object durable at its place in `studies/`. Where the name is taken, nothing changes.
    pub fn commit_instance(&mut self, study_uid: &Uid, sop_instance_uid: &Uid) -> Result<Committed, SpoolError> {
        let to = self.spool.path(&Spool::instance_path(study_uid, sop_instance_uid));
        let directory = to.parent().unwrap_or(Path::new(".")).to_owned();
        self.spool.ensure_durable_directory(&directory)?;
        match self.commit_to(&to) {
            // The directory was removed since (an expired study): make it again, once.
            Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.spool.forget_directory(&directory);
                self.spool.ensure_durable_directory(&directory)?;
                self.commit_to(&to)
            }
            outcome => outcome,
        }
    }

    /// Makes the object durable in `quarantine/` and gives its path relative to the spool. The same variant
    /// of the same object needs to be there only once.
    pub fn commit_quarantine(
        mut self,
        sop_instance_uid: &Uid,
        dataset_sha256: &[u8; 32],
    ) -> Result<String, SpoolError> {
        let relative = Spool::quarantine_path(sop_instance_uid, dataset_sha256);
        self.commit_to(&self.spool.path(&relative))?;
        Ok(relative)
    }

    fn commit_to(&mut self, to: &Path) -> Result<Committed, SpoolError> {
        let committed = self.spool.shared.commit.commit(&self.file, &self.path, to)?;
        self.committed = committed == Committed::New;
        Ok(committed)
    }
}

impl Drop for IncomingFile {
    fn drop(&mut self) {
        if !self.committed {
            // Best effort; what stays is swept at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Spool {
    /// Moves an object that was committed into the quarantine; gives the new path relative to the spool.
    pub fn move_to_quarantine(
        &self,
        relative: &str,
        sop_instance_uid: &Uid,
        dataset_sha256: &[u8; 32],
    ) -> Result<String, SpoolError> {
        let from = self.path(relative);
        let quarantined = Spool::quarantine_path(sop_instance_uid, dataset_sha256);
        let to = self.path(&quarantined);
        if rename_without_replacing(&from, &to).at("rename into the quarantine", &from)? == Committed::NameTaken {
            std::fs::remove_file(&from).at("remove what is already in quarantine", &from)?;
        }
        sync_directory(&self.quarantine_directory())?;
        sync_directory(from.parent().unwrap_or(Path::new(".")))?;
        Ok(quarantined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> Uid {
        Uid::parse(text).unwrap()
    }

    fn header() -> ReceivedHeader {
        ReceivedHeader {
            sop_class_uid: uid("1.2.3"),
            sop_instance_uid: uid("1.2.3.4"),
            transfer_syntax: "1.2.840.10008.1.2.1".into(),
            source_ae: "MR1".into(),
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_stays_in_incoming() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        let (study, instance) = (uid("9.1"), uid("1.2.3.4"));
        let mut first = spool.begin(&header()).unwrap();
        first.append(b"first").unwrap();
        assert_eq!(first.commit_instance(&study, &instance).unwrap(), Committed::New);
        drop(first);
        for _ in 0..2 {
            let mut second = spool.begin(&header()).unwrap();
            second.append(b"second").unwrap();
            assert_eq!(second.commit_instance(&study, &instance).unwrap(), Committed::NameTaken);
            let quarantined = second.commit_quarantine(&instance, &[7; 32]).unwrap();
            assert!(spool.path(&quarantined).exists());
        }
        let stored = std::fs::read(spool.path(&Spool::instance_path(&study, &instance))).unwrap();
        assert!(stored.ends_with(b"first"));
        assert_eq!(names(&spool.quarantine_directory()).len(), 1);
        drop(spool.begin(&header()).unwrap());
        assert!(names(&directory.path().join("incoming")).is_empty());
    }

    #[test]
    fn a_study_directory_that_was_removed_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        for instance in ["1.1", "1.2"] {
            let mut file = spool.begin(&header()).unwrap();
            assert_eq!(file.commit_instance(&uid("9.1"), &uid(instance)).unwrap(), Committed::New);
            std::fs::remove_dir_all(spool.studies_directory().join("9.1")).unwrap();
        }
    }
}
