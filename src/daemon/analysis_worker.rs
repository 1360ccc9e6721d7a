//! Takes complete studies one by one through assemble, analyze and report, and writes their outbox rows.
//!
//! One study at a time: inference uses every core already. The work runs on a blocking thread
//! ([`analysis_attempt`](super::analysis_attempt)); a panic or an error there fails this study, with a report that says
//! so, and the next one goes on. Trouble of the disk or the ledger fails no study: it is given back and tried again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::analysis_attempt::{Attempt, Outcome, Trouble, text};
use super::model_watch::CurrentPipeline;
use super::{DaemonError, WakeUps};
use crate::assemble::admission::Admission;
use crate::config::Config;
use crate::deliver::rules::{self, Rules};
use crate::dicom::Uid;
use crate::ledger::outbox::OutboxRow;
use crate::ledger::result_record::{DeliveryFacts, ResultObject, ResultRecord};
use crate::ledger::studies::{SeriesVerdictRow, StudyRow};
use crate::ledger::{Ledger, LedgerError, StudyState, now_ms};
use crate::observe::events::daemon as events;
use crate::pipeline::{Finished, Pipeline};
use crate::report;
use crate::spool::{Spool, SpoolError};
use crate::study::Selection;

/// Wakes up by itself this often, should a notification ever be lost.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The worker's name in the log and among the ledger's troubles.
const TASK: &str = "analysis";

/// After trouble of the disk or the ledger: doubled with each failure in a row.
const FIRST_SLEEP_AFTER_TROUBLE: Duration = Duration::from_secs(1);

pub(super) struct AnalysisWorker {
    pub config: Arc<Config>,
    pub ledger: Ledger,
    pub spool: Spool,
    pub pipeline: CurrentPipeline,
    pub admission: Arc<Admission>,
    pub rules: Rules,
    pub wake_ups: WakeUps,
}

/// What keeps the worker from its work; no study is to blame.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("{0}")]
    Surroundings(String),
}

impl AnalysisWorker {
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut troubles_in_a_row = 0;
        // A study that could not even be given back, because the ledger was what failed.
        let mut unfinished: Option<Uid> = None;
        while !stop.is_cancelled() {
            let sleep = match self.next(&mut unfinished).await {
                Ok(took_one) => {
                    if std::mem::take(&mut troubles_in_a_row) > 0
                        && let Err(error) = self.ledger.end_trouble(TASK).await
                    {
                        events::TaskTrouble { task: TASK, error: &error }.emit();
                    }
                    if took_one {
                        continue;
                    }
                    LONGEST_SLEEP
                }
                Err(error) => {
                    events::TaskTrouble { task: TASK, error: &error }.emit();
                    // Where the ledger is the trouble this fails too; the log has it.
                    let _ = self.ledger.enter_trouble(TASK, &error.to_string()).await;
                    let sleep = FIRST_SLEEP_AFTER_TROUBLE * 2_u32.saturating_pow(troubles_in_a_row);
                    troubles_in_a_row += 1;
                    sleep.min(LONGEST_SLEEP)
                }
            };
            let woken = async {
                // After trouble another study's arrival is no reason to hurry.
                if troubles_in_a_row == 0 {
                    self.wake_ups.study_complete.notified().await
                } else {
                    std::future::pending().await
                }
            };
            tokio::select! {
                _ = stop.cancelled() => return,
                () = woken => {}
                _ = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Takes the next complete study through; false when there is none.
    async fn next(&self, unfinished: &mut Option<Uid>) -> Result<bool, WorkerError> {
        if let Some(study_uid) = unfinished.as_ref() {
            self.ledger.give_back(study_uid, "given back: its analysis could not be recorded").await?;
            *unfinished = None;
        }
        let Some(pipeline) = self.pipeline.get() else { return Ok(false) };
        let Some(study) = self.ledger.next_complete().await? else { return Ok(false) };
        *unfinished = Some(study.study_uid.clone());
        let done = self.take_through(&study, pipeline).await;
        if let Err(error) = &done {
            let reason = format!("waits for another attempt: {error}");
            self.ledger.give_back(&study.study_uid, &reason).await?;
        }
        *unfinished = None;
        done.map(|()| true)
    }

    /// One study from "analyzing" to "reported", "not for analysis" or "failed".
    ///
    /// One pipeline for the whole study, whatever is promoted meanwhile.
    async fn take_through(&self, study: &StudyRow, pipeline: Arc<Pipeline>) -> Result<(), WorkerError> {
        let begun = Instant::now();
        let looked_at_ms = now_ms();
        let uid = &study.study_uid;
        let attempt = Attempt {
            study_uid: uid.clone(),
            calling_ae: study.calling_ae.clone(),
            spool: self.spool.directory().to_owned(),
            results: self.spool.results_directory(uid)?,
            files: self.ledger.instance_files(uid).await?,
            history: Arc::new(self.ledger.history(uid).await?),
            pipeline: pipeline.clone(),
            admission: self.admission.clone(),
            stage: Arc::new(Mutex::new("assemble")),
        };
        let outcome = match study.attempts.checked_sub(self.config.analyze.max_attempts) {
            None | Some(0) => attempt.run().await,
            Some(over) => {
                let why = format!(
                    "its analysis was begun {} times and never ended (the process was killed or died each time)",
                    self.config.analyze.max_attempts
                );
                // If even that report kills the process, it is not begun for ever either.
                if over == 1 { attempt.give_up(why).await } else { Err(Trouble::Study(why)) }
            }
        };
        match outcome {
            Err(Trouble::Surroundings(why)) => return Err(WorkerError::Surroundings(why)),
            Err(Trouble::Study(why)) => {
                self.ledger.fail_study(uid, &why).await?;
                events::StudyFailed { study_uid: uid.as_str(), why: &why }.emit();
            }
            Ok(Outcome::NotForAnalysis(because)) => {
                self.ledger.move_study(uid, StudyState::NotForAnalysis, &because).await?;
                events::StudyIgnored { study_uid: uid.as_str(), because: &because }.emit();
            }
            Ok(Outcome::ResultStands(because)) => {
                self.ledger.keep_result(uid, &because).await?;
                events::ResultStands { study_uid: uid.as_str(), because: &because }.emit();
            }
            Ok(Outcome::Finished { finished, selection, failure }) => {
                let record = Arc::new(self.record(study, looked_at_ms, &finished, selection, failure, &pipeline));
                self.enter(&record, &finished).await?;
                self.wake_ups.objects_rendered.notify_one();
                if let Some(why) = &record.failure {
                    events::StudyFailed { study_uid: uid.as_str(), why }.emit();
                } else {
                    events::StudyReported {
                        study_uid: uid.as_str(),
                        revision: record.revision,
                        verdict: finished.analysis.verdict.code(),
                        probability: record.probability,
                        objects: finished.objects.len(),
                        seconds: begun.elapsed().as_secs_f64(),
                    }
                    .emit();
                }
            }
        }
        Ok(())
    }

    /// The record first, durably, then the ledger, in one transaction.
    async fn enter(&self, record: &Arc<ResultRecord>, finished: &Finished) -> Result<(), WorkerError> {
        let directory = self.spool.results_directory(&record.study_uid)?;
        let outbox = outbox(&self.rules, record, finished.objects.as_slice());
        let written = {
            let record = record.clone();
            tokio::task::spawn_blocking(move || record.write(&directory)).await
        };
        written.map_err(|error| WorkerError::Surroundings(format!("a writing task ended early: {error}")))??;
        self.ledger.finish_analysis(record, &outbox).await?;
        Ok(())
    }

    fn record(
        &self,
        study: &StudyRow,
        looked_at_ms: i64,
        finished: &Finished,
        selection: Selection,
        failure: Option<String>,
        pipeline: &Pipeline,
    ) -> ResultRecord {
        let mut result = report::result_json(&finished.study, &finished.analysis, pipeline.templates());
        if let Some(fields) = result.as_object_mut() {
            fields.insert("revision".to_owned(), finished.revision.number.into());
        }
        ResultRecord {
            format: ResultRecord::FORMAT,
            study_uid: study.study_uid.clone(),
            revision: finished.revision.number,
            looked_at_ms,
            failure,
            verdict: finished.analysis.verdict.code().to_owned(),
            probability: finished.analysis.fused.as_ref().map(|fused| fused.probability),
            selection,
            content_digest: finished.content_digest.clone(),
            result,
            series: SeriesVerdictRow::of(&finished.study),
            objects: ResultObject::of(&finished.objects, self.spool.directory()),
            facts: DeliveryFacts {
                calling_ae: study.calling_ae.clone(),
                study_description: text(&finished.study.header, dicom_dictionary_std::tags::STUDY_DESCRIPTION),
                untrained: rules::is_untrained(&finished.analysis),
            },
        }
    }
}

/// The deliveries that the rules ask for.
fn outbox(rules: &Rules, record: &ResultRecord, objects: &[crate::study::RenderedObject]) -> Vec<OutboxRow> {
    let facts = rules::StudyFacts {
        study_uid: record.study_uid.to_string(),
        calling_ae: record.facts.calling_ae.clone(),
        study_description: record.facts.study_description.clone(),
        untrained: record.facts.untrained,
    };
    rules.outbox(&facts, objects)
}

/// At start-up: results that are on disk and not in the ledger (which was lost, or the process was killed between the
/// two) are entered. Gives how many, and the records that cannot be read.
pub(super) async fn restore_results(
    spool: &Spool,
    ledger: &Ledger,
    rules: &Rules,
) -> Result<(u64, Vec<(PathBuf, String)>), DaemonError> {
    let files = {
        let spool = spool.clone();
        tokio::task::spawn_blocking(move || spool.sweep_results()).await.map_err(DaemonError::StartUp)??
    };
    let mut found: Vec<(Uid, u32, PathBuf)> = files
        .into_iter()
        .filter_map(|path| ResultRecord::of_path(&path).map(|(study_uid, revision)| (study_uid, revision, path)))
        .collect();
    found.sort();
    let (mut restored, mut unreadable) = (0, Vec::new());
    for (study_uid, revision, path) in found {
        if ledger.last_revision(&study_uid).await?.is_none_or(|last| last >= revision) {
            continue;
        }
        match ResultRecord::read(&path) {
            Ok(record) => {
                let outbox = outbox(rules, &record, &record.rendered(spool.directory()));
                restored += u64::from(ledger.restore_result(&record, &outbox).await?);
            }
            Err(why) => unreadable.push((path, why)),
        }
    }
    Ok((restored, unreadable))
}
