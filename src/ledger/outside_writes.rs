//! Noticing that another process (an operator's `fcdd studies retry`) wrote into the ledger, at next to no cost while
//! nobody does.
//!
//! Every commit goes into the file `…-wal` beside the ledger, so a look at that file's size and time of change tells
//! whether anything happened at all: one system call, where a query wakes SQLite's thread, which wakes ours. Only when
//! it changed is SQLite asked whose write it was ([`Ledger::data_version`]).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Ledger, LedgerError};

/// Size and time of change of the log file; `None` while there is none.
type Stamp = Option<(u64, i64, i64)>;

/// Compares the ledger with what it was at the last look.
#[derive(Debug)]
pub struct OutsideWrites {
    log: PathBuf,
    stamp: Stamp,
    version: Option<i64>,
    /// Two writes within one tick of the file system's clock have the same stamp: what was seen to change is looked at
    /// once more.
    look_again: bool,
}

impl OutsideWrites {
    /// Watches the ledger in the file `ledger`. The first look only takes stock.
    pub fn new(ledger: &Path) -> OutsideWrites {
        let mut log = ledger.as_os_str().to_owned();
        log.push("-wal");
        OutsideWrites { log: log.into(), stamp: None, version: None, look_again: true }
    }

    /// Whether somebody else wrote since the last look.
    ///
    /// # Errors
    /// The ledger cannot be asked; the next look asks again.
    pub async fn look(&mut self, ledger: &Ledger) -> Result<bool, LedgerError> {
        let stamp = std::fs::metadata(&self.log).ok().map(|m| (m.len(), m.mtime(), m.mtime_nsec()));
        let changed = self.stamp != stamp;
        if !changed && !self.look_again {
            return Ok(false);
        }
        // Only an answer ends the asking.
        self.look_again = true;
        let version = ledger.data_version().await?;
        self.stamp = stamp;
        self.look_again = changed;
        Ok(self.version.replace(version).is_some_and(|before| before != version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_from_outside_is_seen_once_and_our_own_never() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        let ours = Ledger::open(&path).await.unwrap();
        let theirs = Ledger::open_existing(&path).await.unwrap();
        let mut watch = OutsideWrites::new(&path);
        assert!(!watch.look(&ours).await.unwrap(), "the first look takes stock");
        ours.enter_trouble("a task", "of ours").await.unwrap();
        assert!(!watch.look(&ours).await.unwrap());
        for round in 0..20 {
            theirs.enter_trouble("a task", &format!("of theirs, {round}")).await.unwrap();
            assert!(watch.look(&ours).await.unwrap(), "round {round}");
            // At once, within the same tick of the file system's clock.
            theirs.enter_trouble("a task", &format!("of theirs, {round}, again")).await.unwrap();
            assert!(watch.look(&ours).await.unwrap(), "round {round}, again");
            assert!(!watch.look(&ours).await.unwrap(), "round {round}: said once");
            assert!(!watch.look(&ours).await.unwrap() && !watch.look_again, "round {round}: the ledger is left alone");
        }
        ours.close().await;
        theirs.close().await;
    }
}
