//! How much room the spool has, in three steps that leave enough to finish what was begun:
//!
//! | free | new associations | objects in flight | analysis, delivery |
//! |---|---|---|---|
//! | below `warn` | accepted | stored | go on; the administrator is told |
//! | below `min` | rejected (transient) | stored | go on |
//! | below `reserve` | rejected (transient) | refused, A700H | go on: the reserve is theirs |
//!
//! Going back up takes a quarter more than going down, so that a disk at the brink does not accept and reject by turns.
//! And it is the spool that was opened that has the room: a file system that was unmounted under us has none.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

use super::{AtPath, Spool, SpoolError};
use crate::observe::events::spool::RoomChanged;

/// Where the steps are, MiB of free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Below this the administrator is told.
    pub warn_mib: u64,
    /// Below this new associations are rejected.
    pub min_mib: u64,
    /// Below this objects in flight are refused.
    pub reserve_mib: u64,
}

/// How the spool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Enough room.
    Enough,
    /// Getting scarce.
    Low,
    /// No new associations.
    Rejecting,
    /// Nothing more is stored.
    Refusing,
}

impl Level {
    const ALL: [Level; 4] = [Level::Enough, Level::Low, Level::Rejecting, Level::Refusing];

    /// The name in logs and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Level::Enough => "enough",
            Level::Low => "low",
            Level::Rejecting => "rejecting",
            Level::Refusing => "refusing",
        }
    }
}

impl Steps {
    /// The level at `free_mib`, coming from `before`.
    pub fn level(&self, free_mib: u64, before: Level) -> Level {
        // Where a level ends: lower going down than going up.
        let is_below = |step_mib: u64, level: Level| {
            let step_mib = if before >= level { step_mib.saturating_add(step_mib / 4) } else { step_mib };
            free_mib < step_mib
        };
        if is_below(self.reserve_mib, Level::Refusing) {
            Level::Refusing
        } else if is_below(self.min_mib, Level::Rejecting) {
            Level::Rejecting
        } else if is_below(self.warn_mib, Level::Low) {
            Level::Low
        } else {
            Level::Enough
        }
    }
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// How the spool stands.
    pub level: Level,
    /// Free space, MiB.
    pub free_mib: u64,
}

/// Watches the spool's room; shared by everything that looks at it.
#[derive(Debug)]
pub struct RoomWatch {
    spool: Spool,
    steps: Steps,
    /// Index into [`Level::ALL`] of the last look.
    level: AtomicU8,
}

impl RoomWatch {
    /// A watch over an open spool.
    pub fn new(spool: Spool, steps: Steps) -> RoomWatch {
        RoomWatch { spool, steps, level: AtomicU8::new(0) }
    }

    /// The steps.
    pub fn steps(&self) -> Steps {
        self.steps
    }

    /// Looks, and says so when the level is another one.
    pub fn look(&self) -> Result<Room, SpoolError> {
        self.spool.is_still_there()?;
        let free_mib = self.spool.free_mib()?;
        let before = Level::ALL.get(usize::from(self.level.load(Ordering::Relaxed))).copied().unwrap_or(Level::Enough);
        let level = self.steps.level(free_mib, before);
        // Two that look at once may both say so; none may keep silent.
        if self.level.swap(level as u8, Ordering::Relaxed) != level as u8 {
            RoomChanged {
                free_mib,
                was: before.name(),
                now: level.name(),
                is_better: level < before,
                stops_intake: level >= Level::Rejecting,
            }
            .emit();
        }
        Ok(Room { level, free_mib })
    }
}

impl Spool {
    /// Whether the spool's path still leads to the spool that was opened: fails when its file system was unmounted or
    /// the directory replaced, and what is written now would go somewhere else.
    pub fn is_still_there(&self) -> Result<(), SpoolError> {
        let path = self.directory().join(super::LOCK);
        let lost = || SpoolError::Replaced { directory: PathBuf::from(self.directory()) };
        let at_path = match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(lost()),
            other => other.at("look at", &path)?,
        };
        let opened = self.shared.lock.metadata().at("look at", &path)?;
        if (at_path.dev(), at_path.ino()) == (opened.dev(), opened.ino()) { Ok(()) } else { Err(lost()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: Steps = Steps { warn_mib: 4000, min_mib: 1000, reserve_mib: 200 };

    #[test]
    fn the_steps_come_one_after_the_other_and_go_back_later_than_they_came() {
        let mut level = Level::Enough;
        let mut at = |free_mib| {
            level = STEPS.level(free_mib, level);
            level
        };
        assert_eq!(at(4000), Level::Enough);
        assert_eq!(at(3999), Level::Low);
        assert_eq!(at(4500), Level::Low, "not before 5000");
        assert_eq!(at(999), Level::Rejecting);
        assert_eq!(at(1100), Level::Rejecting, "not before 1250");
        assert_eq!(at(199), Level::Refusing);
        assert_eq!(at(240), Level::Refusing, "not before 250");
        assert_eq!(at(250), Level::Rejecting);
        assert_eq!(at(1250), Level::Low);
        assert_eq!(at(5000), Level::Enough);
        assert_eq!(at(0), Level::Refusing);
    }

    #[test]
    fn a_spool_that_was_replaced_under_us_has_no_room() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("spool");
        let spool = Spool::open(&directory).unwrap();
        let watch = RoomWatch::new(spool, Steps { warn_mib: 0, min_mib: 0, reserve_mib: 0 });
        assert_eq!(watch.look().unwrap().level, Level::Enough);
        std::fs::rename(&directory, parent.path().join("elsewhere")).unwrap();
        assert!(matches!(watch.look(), Err(SpoolError::Replaced { .. })));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("spool.lock"), b"").unwrap();
        assert!(matches!(watch.look(), Err(SpoolError::Replaced { .. })), "another directory of that name");
    }
}
