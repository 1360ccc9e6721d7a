//! The spool: where objects are safe. Its invariants come before its code.
//!
//! On-disk format, below one directory (mode 0700, files 0600):
//!
//! ```text
//! incoming/                              objects under way, and folders on their way out; swept at start-up
//! studies/<study uid>/<sop uid>.dcm      received objects: file meta + the dataset bytes exactly as they came
//! quarantine/<sop uid>.<digest>.dcm      same UID, other bytes; never looked at by analysis
//! results/<study uid>/<sop uid>.dcm      rendered result objects, immutable
//! results/<study uid>/revision-<n>.json  what the n-th analysis left in the ledger (ledger::result_record)
//! ledger.sqlite                          the ledger (see crate::ledger)
//! fcdd-spool                             proves that the file system is mounted (sentinel; where it was asked for)
//! ```
//!
//! 1. A name outside `incoming/` appears only by rename, after the file's data was synced; then the directory is synced.
//! 2. A file outside `incoming/` is never changed and never overwritten.
//! 3. Only checked UIDs become names.
//! 4. One process uses a spool at a time; a lock on `spool.lock` says so.

pub mod incoming;
pub mod listing;
pub mod received_file;
pub mod room;
pub mod sentinel;
pub mod set_aside;

pub use incoming::{Commit, Committed, IncomingFile, RenameCommit};

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::dicom::Uid;

/// What can go wrong on the way to the disk.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file operation failed.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was being done, e.g. `sync`.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process uses the spool.
    #[error("the spool {directory} is in use by another process; is fcdd already running?")]
    InUse {
        /// The spool's directory.
        directory: PathBuf,
    },
    /// The file system of the spool is not mounted.
    #[error(
        "the spool {directory} is not mounted: it has no file fcdd-spool (spool.mounted is set); mount it, or, if this is a new spool, run `fcdd prepare-spool` once it is mounted"
    )]
    NotMounted {
        /// The spool's directory.
        directory: PathBuf,
    },
    /// What is at the spool's path is not the spool that was opened.
    #[error(
        "the spool {directory} is not the one that was opened: its file system was unmounted or the directory replaced; bring it back, or restart fcdd"
    )]
    Replaced {
        /// The spool's directory.
        directory: PathBuf,
    },
    /// A file of the spool that is not as we wrote it.
    #[error("{path} is not a file that fcdd received: {reason}")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

pub(crate) trait AtPath<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, SpoolError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, SpoolError> {
        self.map_err(|source| SpoolError::Io { doing, path: path.to_owned(), source })
    }
}

/// Writes a file so that it is either whole and on stable storage or not there at all: temporary file,
/// data sync, rename over `path`, directory sync. The directory must exist.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), SpoolError> {
    write_and_rename(path, bytes)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// What the name of a file under way ends in, before the process's number.
const TEMPORARY: &str = ".tmp";

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.rsplit_once(TEMPORARY).is_some_and(|(_, process)| process.bytes().all(|b| b.is_ascii_digit()))
}

/// [`write_durably`] without the directory sync: after a power cut the name may be missing, never the data behind it.
fn write_and_rename(path: &Path, bytes: &[u8]) -> Result<(), SpoolError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut temporary_name = path.file_name().unwrap_or_default().to_owned();
    temporary_name.push(format!("{TEMPORARY}{}", std::process::id()));
    let temporary = directory.join(temporary_name);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .at("create", &temporary)?;
        file.write_all(bytes).at("write", &temporary)?;
        file.sync_data().at("sync", &temporary)?;
        std::fs::rename(&temporary, path).at("rename into place", path)
    })();
    if written.is_err() {
        // Best effort: the error that matters is the one above.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Makes names that were created, renamed or removed in a directory durable.
pub fn sync_directory(directory: &Path) -> Result<(), SpoolError> {
    File::open(directory).and_then(|d| d.sync_all()).at("sync the directory", directory)
}

/// How many files [`write_all_durably`] has under way at once: syncs that wait together share the disk's work.
const WRITERS: usize = 16;

/// Writes many files, each as [`write_durably`] does, but with the data syncs side by side and one sync of each
/// directory at the end. When it fails, files that were already renamed stay; writing again replaces them.
pub fn write_all_durably(files: &[(PathBuf, Vec<u8>)]) -> Result<(), SpoolError> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let write_until_done = || loop {
        let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let Some((path, bytes)) = files.get(index) else { return Ok(()) };
        if let Err(error) = write_and_rename(path, bytes) {
            // The other writers find nothing left to do.
            next.store(files.len(), std::sync::atomic::Ordering::Relaxed);
            return Err(error);
        }
    };
    let written: Result<(), SpoolError> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS.min(files.len())).map(|_| scope.spawn(write_until_done)).collect();
        writers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    written?;
    let directories: std::collections::BTreeSet<&Path> = files.iter().filter_map(|(path, _)| path.parent()).collect();
    directories.into_iter().try_for_each(sync_directory)
}

const LOCK: &str = "spool.lock";
const INCOMING: &str = "incoming";
const STUDIES: &str = "studies";
const QUARANTINE: &str = "quarantine";
const RESULTS: &str = "results";

/// Study directories that are remembered as durable; beyond this many the memory starts afresh.
const MAX_REMEMBERED_DIRECTORIES: usize = 4096;

/// The spool of this process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    commit: Box<dyn Commit>,
    /// Study directories whose own entry in `studies/` is known to be on stable storage.
    durable_directories: Mutex<HashSet<PathBuf>>,
    /// Held for reading from an object's commit to its row, for writing while a study is removed.
    removal: tokio::sync::RwLock<()>,
    /// Held for as long as the spool is open; also tells whether the spool's path still leads here.
    lock: File,
}

impl Spool {
    /// Opens the spool for the daemon: makes what is missing, takes the lock, removes what an earlier process left
    /// in `incoming/`.
    pub fn open(directory: &Path) -> Result<Spool, SpoolError> {
        Spool::open_with(directory, Box::new(RenameCommit))
    }

    /// The same with another way to make files durable.
    pub fn open_with(directory: &Path, commit: Box<dyn Commit>) -> Result<Spool, SpoolError> {
        let is_new = |ancestor: &&Path| !ancestor.as_os_str().is_empty() && !ancestor.exists();
        let new: Vec<&Path> = directory.ancestors().take_while(is_new).collect();
        make_directory(directory, true)?;
        // What is promised within a directory is only as safe as the directory's own name.
        for new in new {
            let parent = new.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_directory(parent.unwrap_or(Path::new(".")))?;
        }
        let lock_path = directory.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .at("open", &lock_path)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
            |error| match error {
                rustix::io::Errno::WOULDBLOCK => SpoolError::InUse { directory: directory.to_owned() },
                other => SpoolError::Io { doing: "lock", path: lock_path.clone(), source: other.into() },
            },
        )?;
        for name in [INCOMING, STUDIES, QUARANTINE, RESULTS] {
            make_directory(&directory.join(name), false)?;
        }
        sync_directory(directory)?;
        let incoming = directory.join(INCOMING);
        for entry in std::fs::read_dir(&incoming).at("list", &incoming)? {
            let entry = entry.at("list", &incoming)?;
            let path = entry.path();
            // Folders were set aside: whether they go or come back is the ledger's to say.
            if !entry.file_type().at("look at", &path)?.is_dir() {
                std::fs::remove_file(&path).at("remove the leftover", &path)?;
            }
        }
        Ok(Spool {
            shared: Arc::new(Shared {
                directory: directory.to_owned(),
                commit,
                durable_directories: Mutex::default(),
                removal: tokio::sync::RwLock::default(),
                lock,
            }),
        })
    }

    /// The spool's directory.
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// The ledger's file.
    pub fn ledger_path(&self) -> PathBuf {
        self.shared.directory.join("ledger.sqlite")
    }

    /// The full path of a file that the ledger names relative to the spool.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.shared.directory.join(relative)
    }

    /// Where received objects lie, a directory per study.
    pub fn studies_directory(&self) -> PathBuf {
        self.shared.directory.join(STUDIES)
    }

    /// Where variants of received objects lie.
    pub fn quarantine_directory(&self) -> PathBuf {
        self.shared.directory.join(QUARANTINE)
    }

    /// Where a study's rendered results lie; made, durably, if it is not there.
    pub fn results_directory(&self, study_uid: &Uid) -> Result<PathBuf, SpoolError> {
        let directory = self.shared.directory.join(RESULTS).join(study_uid.as_str());
        self.ensure_durable_directory(&directory)?;
        Ok(directory)
    }

    /// Path of a received object, relative to the spool.
    pub fn instance_path(study_uid: &Uid, sop_instance_uid: &Uid) -> String {
        format!("{STUDIES}/{study_uid}/{sop_instance_uid}.dcm")
    }

    /// Path of a quarantined variant, relative to the spool; the digest tells variants apart.
    pub fn quarantine_path(sop_instance_uid: &Uid, dataset_sha256: &[u8; 32]) -> String {
        let digest: String = dataset_sha256.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{QUARANTINE}/{sop_instance_uid}.{digest}.dcm")
    }

    /// While this is held no study is removed. From an object's commit to its row: a study that is removed in between
    /// would take the object with it, and its sender would be told that it is safe.
    pub async fn no_removal(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.shared.removal.read().await
    }

    /// While this is held no object is between its commit and its row.
    pub async fn no_commit(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.shared.removal.write().await
    }

    /// Space left for us on the spool's file system, MiB.
    pub fn free_mib(&self) -> Result<u64, SpoolError> {
        let directory = &self.shared.directory;
        let space =
            rustix::fs::statvfs(directory).map_err(io::Error::from).at("measure the free space of", directory)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize) >> 20)
    }

    /// Makes a directory below the spool and its entry in the parent durable; remembers that it did.
    fn ensure_durable_directory(&self, directory: &Path) -> Result<(), SpoolError> {
        let remembered = || self.shared.durable_directories.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered().contains(directory) {
            return Ok(());
        }
        make_directory(directory, false)?;
        sync_directory(directory.parent().unwrap_or(directory))?;
        let mut durable = remembered();
        if durable.len() >= MAX_REMEMBERED_DIRECTORIES {
            durable.clear();
        }
        durable.insert(directory.to_owned());
        Ok(())
    }
}

/// Makes a directory that only we may enter; from an existing one everybody else is shut out.
fn make_directory(directory: &Path, with_parents: bool) -> Result<(), SpoolError> {
    match DirBuilder::new().mode(0o700).recursive(with_parents).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !directory.is_dir() => {
            return Err(error).at("make the directory", directory);
        }
        _ => {}
    }
    let permissions = std::fs::metadata(directory).at("look at", directory)?.permissions();
    if permissions.mode() & 0o077 != 0 {
        let private = Permissions::from_mode(permissions.mode() & 0o700);
        std::fs::set_permissions(directory, private).at("close to others", directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_is_used_by_one_process_at_a_time_and_swept_when_opened() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        assert!(matches!(Spool::open(directory.path()), Err(SpoolError::InUse { .. })));
        std::fs::write(directory.path().join("incoming/left.part"), b"half an object").unwrap();
        drop(spool);
        let spool = Spool::open(directory.path()).unwrap();
        assert_eq!(std::fs::read_dir(directory.path().join("incoming")).unwrap().count(), 0);
        assert!(spool.free_mib().unwrap() > 0);
    }

    #[test]
    fn a_spool_that_others_could_enter_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let studies = directory.path().join("studies");
        std::fs::create_dir(&studies).unwrap();
        for open in [directory.path(), &studies] {
            std::fs::set_permissions(open, Permissions::from_mode(0o755)).unwrap();
        }
        let _spool = Spool::open(directory.path()).unwrap();
        for closed in [directory.path(), &studies] {
            assert_eq!(std::fs::metadata(closed).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_durable_write_leaves_no_temporary_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        write_durably(&path, b"one").unwrap();
        write_durably(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_batch_writes_every_file_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let files: Vec<_> =
            (0..50_u8).map(|i| (directory.path().join(format!("{i}.dcm")), vec![i; 1000 + usize::from(i)])).collect();
        write_all_durably(&files).unwrap();
        for (path, bytes) in &files {
            assert_eq!(&std::fs::read(path).unwrap(), bytes);
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 50);
    }

    #[test]
    fn a_batch_into_a_missing_directory_fails_with_its_path() {
        let files = vec![(PathBuf::from("/nonexistent/a.dcm"), vec![0])];
        assert!(write_all_durably(&files).unwrap_err().to_string().contains("/nonexistent/a.dcm"));
    }
}
