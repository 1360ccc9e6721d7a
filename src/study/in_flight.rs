//! Which studies open associations are sending objects for: a study is not complete while one is.
//!
//! The receiving side registers a study before it answers the first object of it; the completion watcher
//! asks. Dropping an association's guard takes its studies out, on every way an association can end.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::dicom::Uid;

/// The registry; cheap to clone, all clones are the same registry.
#[derive(Debug, Clone)]
pub struct InFlight {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Open associations per study.
    open: Mutex<HashMap<Uid, usize>>,
    /// Counts changes; watchers wake by it.
    changes: watch::Sender<u64>,
}

impl InFlight {
    /// A registry with no open study.
    pub fn new() -> InFlight {
        InFlight { shared: Arc::new(Shared { open: Mutex::default(), changes: watch::Sender::new(0) }) }
    }

    /// Whether an association is open that has sent objects of this study.
    pub fn is_open(&self, study_uid: &Uid) -> bool {
        self.shared.open().contains_key(study_uid)
    }

    /// How many studies are open.
    pub fn open_studies(&self) -> usize {
        self.shared.open().len()
    }

    /// Wakes (`changed().await`) whenever a study was opened or an association let go of its studies.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// The guard of one association; it holds no study yet.
    pub fn association(&self) -> AssociationStudies {
        AssociationStudies { shared: self.shared.clone(), studies: HashSet::new() }
    }
}

impl Default for InFlight {
    fn default() -> Self {
        InFlight::new()
    }
}

impl Shared {
    /// The map is never left half-changed, so a panic elsewhere does not make it wrong.
    fn open(&self) -> MutexGuard<'_, HashMap<Uid, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The studies of one association; dropping it closes them.
#[derive(Debug)]
pub struct AssociationStudies {
    shared: Arc<Shared>,
    studies: HashSet<Uid>,
}

impl AssociationStudies {
    /// Notes that this association sends objects of a study.
    pub fn register(&mut self, study_uid: &Uid) {
        if self.studies.contains(study_uid) {
            return;
        }
        self.studies.insert(study_uid.clone());
        *self.shared.open().entry(study_uid.clone()).or_insert(0) += 1;
        self.shared.changes.send_modify(|n| *n += 1);
    }
}

impl Drop for AssociationStudies {
    fn drop(&mut self) {
        if self.studies.is_empty() {
            return;
        }
        let mut open = self.shared.open();
        for study_uid in &self.studies {
            if let Some(associations) = open.get_mut(study_uid) {
                *associations -= 1;
                if *associations == 0 {
                    open.remove(study_uid);
                }
            }
        }
        drop(open);
        self.shared.changes.send_modify(|n| *n += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_study_is_open_until_its_last_association_ends() {
        let registry = InFlight::new();
        let mut changes = registry.changes();
        let study = Uid::parse("1.2.3").unwrap();
        let (mut first, mut second) = (registry.association(), registry.association());
        first.register(&study);
        first.register(&study);
        second.register(&study);
        assert!(registry.is_open(&study));
        drop(first);
        assert!(registry.is_open(&study));
        changes.mark_unchanged();
        drop(second);
        assert!(!registry.is_open(&study));
        changes.changed().await.unwrap();
        assert_eq!(registry.open_studies(), 0);
    }
}
