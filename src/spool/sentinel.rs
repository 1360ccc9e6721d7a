//! A file that proves that the spool's file system is mounted. Without it an unmounted share is an empty folder of the
//! system disk, in which a daemon would begin a new spool without a word.
//!
//! `fcdd prepare-spool` writes it once, into the mounted file system; with `spool.mounted = true` the daemon starts only
//! where it is. While it runs, [`Spool::is_still_there`](super::Spool::is_still_there) watches.

use std::path::{Path, PathBuf};

use super::{AtPath, SpoolError, write_durably};

/// Its name in the spool's directory.
pub const SENTINEL: &str = "fcdd-spool";

const TEXT: &str = "This is the spool of fcdd. The daemon starts only where this file is: do not copy it elsewhere.\n";

/// Writes the sentinel into a directory that is there; gives its path. An existing one stays.
pub fn prepare(directory: &Path) -> Result<PathBuf, SpoolError> {
    let path = directory.join(SENTINEL);
    if !path.try_exists().at("look for", &path)? {
        write_durably(&path, TEXT.as_bytes())?;
    }
    Ok(path)
}

/// Fails where there is no sentinel.
pub fn require(directory: &Path) -> Result<(), SpoolError> {
    let path = directory.join(SENTINEL);
    match std::fs::metadata(&path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(SpoolError::NotMounted { directory: directory.to_owned() })
        }
        Err(source) => Err(SpoolError::Io { doing: "look for", path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_sentinel_there_is_no_spool() {
        let directory = tempfile::tempdir().unwrap();
        let error = require(directory.path()).unwrap_err();
        assert!(error.to_string().contains("fcdd prepare-spool"), "{error}");
        prepare(directory.path()).unwrap();
        prepare(directory.path()).unwrap();
        require(directory.path()).unwrap();
        assert!(prepare(&directory.path().join("nowhere")).is_err());
    }
}
