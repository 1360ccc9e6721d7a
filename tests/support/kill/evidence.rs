//! Where a kill hit: read from a copy of the ledger as the killed process left it. The ledger itself is not opened, so
//! that recovering it stays the next start's work.

use std::path::Path;

use fcdd::dicom::Uid;
use fcdd::ledger::outbox::OutboxStatus;
use fcdd::ledger::{Ledger, LedgerError, StudyState};

/// What a study was in when the kill came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Its association was open, and not everything was answered.
    Receive,
    /// Its analysis had begun and not ended.
    Analysis,
    /// Some of its results were delivered and some were not.
    Delivery,
}

impl Stage {
    pub const ALL: [Stage; 3] = [Stage::Receive, Stage::Analysis, Stage::Delivery];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Analysis => "analysis",
            Stage::Delivery => "delivery",
        }
    }
}

/// The ledger of a process that is gone.
#[derive(Debug)]
pub struct Evidence {
    /// Associations without an end.
    pub open_associations: u64,
    /// Studies whose analysis had begun and not ended.
    pub analyzing: usize,
    /// Studies with results that are delivered and results that wait.
    pub partly_delivered: usize,
    /// State of the study that was asked for; `None` when the ledger does not know it yet.
    pub state: Option<StudyState>,
}

impl Evidence {
    /// What a spool's ledger says, above all of one study.
    pub fn read(spool: &Path, study_uid: &str) -> Evidence {
        with_copy(spool, async |ledger| {
            let open_associations = ledger.overview().await.expect("the ledger can be read").open_associations;
            let state = match ledger.study(&Uid::parse(study_uid).expect("a UID")).await {
                Ok(study) => Some(study.state),
                Err(LedgerError::UnknownStudy { .. }) => None,
                Err(error) => panic!("{error}"),
            };
            let in_state = async |state| ledger.studies_in(state).await.expect("the ledger can be read");
            let analyzing = in_state(StudyState::Analyzing).await.len();
            let mut partly_delivered = 0;
            for study in in_state(StudyState::Reported).await {
                let details = ledger.show_study(&study.study_uid).await.expect("the ledger can be read");
                let deliveries: Vec<_> = details.objects.iter().flat_map(|o| &o.deliveries).collect();
                let any = |status| deliveries.iter().any(|d| d.status == status);
                partly_delivered += usize::from(any(OutboxStatus::Delivered) && any(OutboxStatus::Waiting));
            }
            Evidence { open_associations, analyzing, partly_delivered, state }
        })
    }
}

/// Opens a copy of a spool's ledger, with what its write-ahead log holds.
pub fn with_copy<T>(spool: &Path, look: impl AsyncFnOnce(Ledger) -> T) -> T {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    for name in ["ledger.sqlite", "ledger.sqlite-wal"] {
        let from = spool.join(name);
        if from.exists() {
            std::fs::copy(&from, folder.path().join(name)).expect("the ledger can be copied");
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let ledger = Ledger::open_existing(&folder.path().join("ledger.sqlite")).await.expect("the copy can be opened");
        let answer = look(ledger.clone()).await;
        ledger.close().await;
        answer
    })
}
