//! Small regular work: noticing what another process wrote into the ledger, the metrics file, expiry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::WakeUps;
use crate::config::Config;
use crate::dicom::Uid;
use crate::ledger::removal::{Due, RemovalError};
use crate::ledger::{Ledger, LedgerError};
use crate::observe::events::{self, daemon::StudyRemoved, daemon::TaskTrouble};
use crate::observe::metrics;
use crate::spool::Spool;

/// The only regular wake-up of an idle daemon.
const TICK: Duration = Duration::from_secs(1);
const METRICS_EVERY: Duration = Duration::from_secs(15);
const EXPIRY_EVERY: Duration = Duration::from_secs(600);

pub(super) async fn run(config: Arc<Config>, ledger: Ledger, spool: Spool, wake_ups: WakeUps, stop: CancellationToken) {
    let mut metrics_written: Option<Instant> = None;
    let mut expired: Option<Instant> = None;
    let mut ledger_version = None;
    let is_due = |last: Option<Instant>, every: Duration| last.is_none_or(|at| at.elapsed() >= every);
    loop {
        match ledger.data_version().await {
            Ok(version) => {
                // `fcdd studies retry` writes from another process: its studies are complete, its objects waiting.
                if ledger_version.replace(version).is_some_and(|before| before != version) {
                    wake_ups.study_complete.notify_one();
                    wake_ups.objects_rendered.notify_one();
                }
            }
            Err(error) => TaskTrouble { task: "ledger watch", error: &error }.emit(),
        }
        if is_due(metrics_written, METRICS_EVERY) {
            metrics_written = Some(Instant::now());
            let path = config.spool.directory.join("metrics.prom");
            let text = metrics::render(&events::counters());
            // Written aside and renamed, so that a collector never reads half a file; it need not survive a power cut.
            let aside = path.with_extension("prom.new");
            if let Err(error) = std::fs::write(&aside, text).and_then(|()| std::fs::rename(&aside, &path)) {
                TaskTrouble { task: "metrics file", error: &error }.emit();
            }
        }
        if is_due(expired, EXPIRY_EVERY) {
            expired = Some(Instant::now());
            if let Err(error) = expire(&config, &ledger, &spool).await {
                TaskTrouble { task: "expiry", error: &error }.emit();
            }
        }
        tokio::select! {
            _ = stop.cancelled() => return,
            _ = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Removes what is old enough: studies that are not for analysis, and delivered ones; the oldest first. A study that
/// cannot be removed does not stop the others.
async fn expire(config: &Config, ledger: &Ledger, spool: &Spool) -> Result<(), LedgerError> {
    let before = |days: u32| Timestamp::now() - SignedDuration::from_hours(24 * i64::from(days));
    for due in [
        Due::NotForAnalysis(before(config.spool.keep_not_for_analysis_days)),
        Due::Delivered(before(config.spool.keep_delivered_days)),
    ] {
        for study in ledger.due_for_removal(due).await? {
            match remove(ledger, spool, &study.study_uid, due).await {
                Ok(true) => StudyRemoved { study_uid: study.study_uid.as_str(), was: study.state.name() }.emit(),
                Ok(false) => {}
                Err(error) => {
                    let error = format!("study {} cannot be removed: {error}", study.study_uid);
                    TaskTrouble { task: "expiry", error: &error }.emit();
                }
            }
        }
    }
    Ok(())
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
