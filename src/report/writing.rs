//! Writes result files durably on a thread of its own while the next ones are being made: a sync waits for the disk, and
//! meanwhile the processor has slices to paint.

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::ReportError;
use crate::spool::{self, SpoolError};

/// Files that are written together: their paths and bytes.
pub type Batch = Vec<(PathBuf, Vec<u8>)>;

/// Batches that may wait while one is being written. With the one that is being made, three are in memory at most.
const WAITING: usize = 1;

/// Where finished files are handed over.
#[derive(Debug)]
pub struct Outgoing {
    batches: SyncSender<Batch>,
}

impl Outgoing {
    /// Hands files over to be written; waits while there are too many. False when writing has failed: then nothing more
    /// need be made, and [`write_beside`] has the reason.
    #[must_use]
    pub fn hand_over(&self, batch: Batch) -> bool {
        self.batches.send(batch).is_ok()
    }
}

/// Runs `make` and writes what it hands over, in that order, beside it. When this returns, all of it is on stable storage.
/// Gives what `make` gave, and how long writing took.
///
/// # Errors
/// The disk's error where there was one, otherwise what `make` returned.
pub fn write_beside<T>(make: impl FnOnce(&Outgoing) -> Result<T, ReportError>) -> Result<(T, Duration), ReportError> {
    std::thread::scope(|scope| {
        let (batches, due) = sync_channel::<Batch>(WAITING);
        let writer = scope.spawn(move || -> Result<Duration, SpoolError> {
            let mut took = Duration::ZERO;
            for batch in due {
                let begun = Instant::now();
                spool::write_all_durably(&batch)?;
                took += begun.elapsed();
            }
            Ok(took)
        });
        let outgoing = Outgoing { batches };
        let made = make(&outgoing);
        // The writer ends with the last batch.
        drop(outgoing);
        let took = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((made?, took))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_on_disk_when_it_returns() {
        let folder = tempfile::tempdir().unwrap();
        let path = |n: usize| folder.path().join(n.to_string());
        let (made, _) = write_beside(|outgoing| {
            Ok((0..20).filter(|n| outgoing.hand_over(vec![(path(*n), vec![*n as u8; 1000])])).count())
        })
        .unwrap();
        assert_eq!(made, 20);
        for n in 0..20 {
            assert_eq!(std::fs::read(path(n)).unwrap(), vec![n as u8; 1000]);
        }
    }

    #[test]
    fn the_disks_error_stops_the_making_and_is_what_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut made = 0;
        let result = write_beside(|outgoing| {
            // Nobody makes the folder, so no file can be written.
            while outgoing.hand_over(vec![(folder.path().join("nowhere/file"), vec![0])]) {
                made += 1;
            }
            Ok(())
        });
        assert!(matches!(result, Err(ReportError::Spool(_))), "{result:?}");
        assert!(made <= 3, "{made} batches were made for a disk that took none");
    }

    #[test]
    fn what_cannot_be_made_is_said_after_the_rest_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first");
        let result: Result<((), Duration), ReportError> = write_beside(|outgoing| {
            assert!(outgoing.hand_over(vec![(path.clone(), vec![7])]));
            Err(ReportError::TooLarge { rows: 1, columns: 70_000 })
        });
        assert!(matches!(result, Err(ReportError::TooLarge { .. })), "{result:?}");
        assert_eq!(std::fs::read(path).unwrap(), [7]);
    }
}
