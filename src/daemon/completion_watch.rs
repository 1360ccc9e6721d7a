//! Moves studies to "complete" when their time has come: from "receiving", and from where they ended when images came
//! late.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::WakeUps;
use super::arrival_times::ArrivalTimes;
use crate::assemble::completion::{Completion, completion};
use crate::config::Config;
use crate::ledger::{Ledger, LedgerError, StudyState, now_ms};
use crate::observe::events::daemon as events;
use crate::study::InFlight;

/// With nothing receiving there is nothing to wait for but a wake-up; this only bounds the damage of a lost one.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
const SLEEP_AFTER_TROUBLE: Duration = Duration::from_secs(2);

pub(super) async fn run(
    config: Arc<Config>,
    ledger: Ledger,
    in_flight: InFlight,
    wake_ups: WakeUps,
    stop: CancellationToken,
) {
    let mut changes = in_flight.changes();
    let mut times = ArrivalTimes::default();
    loop {
        // Marked before looking, so that a change between the look and the sleep still wakes us.
        changes.mark_unchanged();
        let sleep = match complete_what_is_due(&config, &ledger, &in_flight, &mut times, &wake_ups).await {
            Ok(sleep) => sleep,
            Err(error) => {
                events::TaskTrouble { task: "completion watch", error: &error }.emit();
                SLEEP_AFTER_TROUBLE
            }
        };
        tokio::select! {
            _ = stop.cancelled() => return,
            _ = changes.changed() => {}
            _ = tokio::time::sleep(sleep) => {}
        }
    }
}

/// Completes every study whose time has come; returns how long the next one may be left alone.
async fn complete_what_is_due(
    config: &Config,
    ledger: &Ledger,
    in_flight: &InFlight,
    times: &mut ArrivalTimes,
    wake_ups: &WakeUps,
) -> Result<Duration, LedgerError> {
    let mut sleep = LONGEST_SLEEP;
    times.look(now_ms(), Instant::now());
    for study in ledger.studies_in(StudyState::Receiving).await? {
        let (first, last) = (study.first_received_at, study.last_received_at);
        let arrivals = times.of(&study.study_uid, first, last, in_flight.is_open(&study.study_uid));
        let waited_enough = match completion(arrivals, &config.assemble) {
            Completion::NotWithin(wait) => {
                sleep = sleep.min(wait);
                continue;
            }
            Completion::Quiet => false,
            Completion::WaitedEnough => true,
        };
        let reason = if waited_enough { "the maximum wait is over" } else { "" };
        ledger.move_study(&study.study_uid, StudyState::Complete, reason).await?;
        events::StudyComplete { study_uid: study.study_uid.as_str(), waited_enough }.emit();
        wake_ups.study_complete.notify_one();
    }
    for (study, late_since) in ledger.studies_with_late_images().await? {
        let last = study.last_received_at;
        let arrivals = times.of(&study.study_uid, late_since, last, in_flight.is_open(&study.study_uid));
        if let Completion::NotWithin(wait) = completion(arrivals, &config.assemble) {
            sleep = sleep.min(wait);
            continue;
        }
        ledger.reopen_study(&study.study_uid).await?;
        events::StudyReopened { study_uid: study.study_uid.as_str(), state: study.state.name() }.emit();
        wake_ups.study_complete.notify_one();
    }
    times.forget_the_others();
    // Never zero: a task must not spin.
    Ok(sleep.max(Duration::from_millis(1)))
}
