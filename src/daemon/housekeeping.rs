//! Small regular work: noticing what another process wrote into the ledger, the metrics file, expiry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::WakeUps;
use crate::config::Config;
use crate::ledger::{Ledger, LedgerError};
use crate::observe::events::{self, daemon::StudyExpired, daemon::TaskTrouble};
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

/// Removes studies that are not for analysis once they are old enough. A study that cannot be removed does
/// not stop the others.
async fn expire(config: &Config, ledger: &Ledger, spool: &Spool) -> Result<(), LedgerError> {
    let keep = SignedDuration::from_hours(24 * i64::from(config.spool.keep_not_for_analysis_days));
    for study in ledger.expired(Timestamp::now() - keep).await? {
        // Rows first: a kill in between leaves files without rows, which the next start finds again.
        if ledger.forget_study(&study.study_uid).await? {
            match spool.remove_study(&study.study_uid) {
                Ok(()) => StudyExpired { study_uid: study.study_uid.as_str() }.emit(),
                Err(error) => TaskTrouble { task: "expiry", error: &error }.emit(),
            }
        }
    }
    Ok(())
}
