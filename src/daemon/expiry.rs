//! What leaves the spool when its time is over: studies that are not for analysis, and delivered ones.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::config;
use crate::dicom::Uid;
use crate::ledger::removal::{Due, Place, RemovalError};
use crate::ledger::{Ledger, LedgerError};
use crate::observe::events::daemon::{StudyRemoved, TaskTrouble};
use crate::spool::Spool;

/// Studies that are removed before others get their turn.
const AT_ONCE: u32 = 100;

/// Removals that fail in a row before the rest waits for the next time: then it is perhaps not the studies that are bad,
/// and intake stands still for as long as each of them tries.
const MAX_FAILURES_IN_A_ROW: u32 = 5;

/// How long a study that could not be removed is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(3600);

/// How far a pass came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// What could be removed is.
    WhatWasDue,
    /// There may be more.
    AsManyAsAtOnce,
}

/// Removes what is old enough, the oldest first. A study that cannot be removed does not stop the others.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// What could not be removed, and when it was tried.
    bad: HashMap<Uid, Instant>,
}

impl Expiry {
    /// One pass over what is due.
    pub(super) async fn pass(
        &mut self,
        config: &config::Spool,
        ledger: &Ledger,
        spool: &Spool,
    ) -> Result<Removed, LedgerError> {
        self.bad.retain(|_, tried| tried.elapsed() < LEFT_ALONE);
        let (mut removed, mut failures_in_a_row) = (0, 0);
        let before = |days: u32| Timestamp::now() - SignedDuration::from_hours(24 * i64::from(days));
        for due in [
            Due::NotForAnalysis(before(config.keep_not_for_analysis_days)),
            Due::Delivered(before(config.keep_delivered_days)),
        ] {
            let mut studies = ledger.due_for_removal(due, Place::BEFORE_THE_FIRST).await?;
            while let Some((_, last)) = studies.last().cloned() {
                for (study, _) in studies {
                    if self.bad.contains_key(&study.study_uid) {
                        continue;
                    }
                    match remove(ledger, spool, &study.study_uid, due).await {
                        Ok(true) => {
                            removed += 1;
                            failures_in_a_row = 0;
                            StudyRemoved { study_uid: study.study_uid.as_str(), was: study.state.name() }.emit();
                        }
                        Ok(false) => {}
                        Err(error) => {
                            let error = format!("study {} cannot be removed: {error}", study.study_uid);
                            TaskTrouble { task: "expiry", error: &error }.emit();
                            self.bad.insert(study.study_uid.clone(), Instant::now());
                            failures_in_a_row += 1;
                        }
                    }
                    if failures_in_a_row == MAX_FAILURES_IN_A_ROW {
                        return Ok(Removed::WhatWasDue);
                    }
                    if removed == AT_ONCE {
                        return Ok(Removed::AsManyAsAtOnce);
                    }
                }
                studies = ledger.due_for_removal(due, last).await?;
            }
        }
        Ok(Removed::WhatWasDue)
    }
}

/// Files and rows of a study go together, and no object of it is between its commit and its row meanwhile.
async fn remove(ledger: &Ledger, spool: &Spool, study_uid: &Uid, due: Due) -> Result<bool, RemovalError> {
    let mut aside = None;
    let removed = {
        let _no_object_is_half_way = spool.no_commit().await;
        let set_aside = |quarantined: &[String]| {
            aside = Some(spool.set_aside(study_uid, quarantined)?);
            Ok(())
        };
        let removed = ledger.remove_study(study_uid, due, set_aside).await;
        if removed.is_err()
            && let Some(aside) = aside.take()
        {
            aside.put_back()?;
        }
        removed?
    };
    // Outside the guard: deleting thousands of files may take a while.
    if let Some(aside) = aside {
        tokio::task::spawn_blocking(move || aside.delete()).await.unwrap_or(Ok(()))?;
    }
    Ok(removed)
}

/// At start-up: what the last run had set aside goes, or comes back where the ledger still has it.
pub(super) async fn decide_what_is_aside(ledger: &Ledger, spool: &Spool) -> Result<(), RemovalError> {
    for aside in spool.left_aside()? {
        if ledger.has_instances(aside.study_uid()).await? { aside.put_back()? } else { aside.delete()? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Studies that are not for analysis, the first the oldest, with a file each.
    async fn studies(count: usize) -> (tempfile::TempDir, Ledger, Spool, Vec<Uid>) {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let ledger = Ledger::open(&spool.ledger_path()).await.unwrap();
        let mut uids = Vec::new();
        for number in 0..count {
            let uid = format!("1.2.{number}");
            std::fs::create_dir(spool.studies_directory().join(&uid)).unwrap();
            std::fs::write(spool.studies_directory().join(&uid).join("1.dcm"), b"slice").unwrap();
            // Several at the same time: their order must be one all the same.
            let insert = format!(
                "INSERT INTO studies (study_uid, state, first_received_at, last_received_at, state_since)
                 VALUES ('{uid}', 'not_for_analysis', 1, {0}, 1)",
                number / 4
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(&ledger.writer).await.unwrap();
            uids.push(Uid::parse(&uid).unwrap());
        }
        (folder, ledger, spool, uids)
    }

    async fn left(ledger: &Ledger) -> usize {
        ledger.list_studies(1000, None).await.unwrap().len()
    }

    #[tokio::test]
    async fn the_oldest_go_first_and_all_go() {
        let (_folder, ledger, spool, uids) = studies(130).await;
        let mut expiry = Expiry::default();
        let config = config::Spool { keep_not_for_analysis_days: 0, ..config::Spool::default() };
        assert_eq!(expiry.pass(&config, &ledger, &spool).await.unwrap(), Removed::AsManyAsAtOnce);
        assert_eq!(left(&ledger).await, 30);
        assert!(ledger.study(&uids[0]).await.is_err() && ledger.study(&uids[129]).await.is_ok());
        assert_eq!(expiry.pass(&config, &ledger, &spool).await.unwrap(), Removed::WhatWasDue);
        assert_eq!(left(&ledger).await, 0);
        assert_eq!(std::fs::read_dir(spool.studies_directory()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn however_many_of_the_oldest_cannot_be_removed_the_others_are() {
        let (_folder, ledger, spool, uids) = studies(60).await;
        let bad = 40;
        for uid in &uids[..bad] {
            // Its way out is taken.
            let taken = spool.directory().join("incoming").join(format!("removed.studies.{uid}"));
            std::fs::create_dir(&taken).unwrap();
            std::fs::write(taken.join("1.dcm"), b"in the way").unwrap();
        }
        let mut expiry = Expiry::default();
        let config = config::Spool { keep_not_for_analysis_days: 0, ..config::Spool::default() };
        let passes = bad / MAX_FAILURES_IN_A_ROW as usize;
        for pass in 0..passes {
            assert_eq!(left(&ledger).await, 60, "pass {pass}");
            assert_eq!(expiry.pass(&config, &ledger, &spool).await.unwrap(), Removed::WhatWasDue);
        }
        assert_eq!(expiry.pass(&config, &ledger, &spool).await.unwrap(), Removed::WhatWasDue);
        assert_eq!(left(&ledger).await, bad);
        assert!(ledger.study(&uids[bad]).await.is_err() && ledger.study(&uids[bad - 1]).await.is_ok());
        assert!(spool.studies_directory().join(uids[0].as_str()).join("1.dcm").exists(), "nothing of it is gone");
    }
}
