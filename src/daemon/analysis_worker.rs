//! Takes complete studies one by one through assemble, analyze and report, and writes their outbox rows.
//!
//! One study at a time: inference uses every core already. The work runs on a blocking thread; a panic or an
//! error there fails this study, with a report that says so, and the next one goes on.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::WakeUps;
use super::model_watch::CurrentPipeline;
use crate::assemble::ONLY_OWN_RESULTS;
use crate::assemble::admission::{Admission, StudyFacts};
use crate::config::{AdmissionAction, Config};
use crate::deliver::rules::{self, Rules};
use crate::dicom::{Dataset, Uid};
use crate::ledger::studies::{FinishedAnalysis, SeriesVerdictRow, StudyRow};
use crate::ledger::{Ledger, LedgerError, StudyState};
use crate::observe::events::daemon as events;
use crate::pipeline::{Finished, Pipeline};
use crate::report;
use crate::spool::Spool;
use crate::study::{AssembledStudy, SeriesVerdict};

/// Wakes up by itself this often, should a notification ever be lost.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
const SLEEP_AFTER_TROUBLE: Duration = Duration::from_secs(2);

pub(super) struct AnalysisWorker {
    pub config: Arc<Config>,
    pub ledger: Ledger,
    pub spool: Spool,
    pub pipeline: CurrentPipeline,
    pub admission: Arc<Admission>,
    pub rules: Rules,
    pub wake_ups: WakeUps,
}

/// What became of a study on the blocking thread.
enum Outcome {
    NotForAnalysis(String),
    Finished { finished: Box<Finished>, failure: Option<String> },
}

impl AnalysisWorker {
    pub(super) async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let sleep = match self.ledger.next_complete().await {
                Ok(Some(study)) => match self.take_through(&study).await {
                    Ok(()) => continue,
                    Err(error) => {
                        events::TaskTrouble { task: "analysis worker", error: &error }.emit();
                        SLEEP_AFTER_TROUBLE
                    }
                },
                Ok(None) => LONGEST_SLEEP,
                Err(error) => {
                    events::TaskTrouble { task: "analysis worker", error: &error }.emit();
                    SLEEP_AFTER_TROUBLE
                }
            };
            tokio::select! {
                _ = stop.cancelled() => return,
                _ = self.wake_ups.study_complete.notified() => {}
                _ = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// One study from "analyzing" to "reported", "not for analysis" or "failed".
    async fn take_through(&self, study: &StudyRow) -> Result<(), LedgerError> {
        let begun = Instant::now();
        // One pipeline for the whole study, whatever is promoted meanwhile.
        let pipeline = self.pipeline.get();
        let uid = &study.study_uid;
        if study.attempts > self.config.analyze.max_attempts {
            let why = format!(
                "its analysis was begun {} times and never ended (the process was killed or died each time)",
                study.attempts - 1
            );
            return self.fail(uid, &why).await;
        }
        let files: Vec<PathBuf> =
            self.ledger.instance_paths(uid).await?.iter().map(|relative| self.spool.path(relative)).collect();
        let results = match self.spool.results_directory(uid) {
            Ok(directory) => directory,
            Err(error) => return self.fail(uid, &error.to_string()).await,
        };

        let stage = Arc::new(Mutex::new("assemble"));
        let attempt = {
            let (pipeline, admission, stage) = (pipeline.clone(), self.admission.clone(), stage.clone());
            let uid = uid.clone();
            let (calling_ae, files, results) = (study.calling_ae.clone(), files.clone(), results.clone());
            guarded(move || {
                let begun = Instant::now();
                let assembled = pipeline.assemble(&uid, &files).map_err(|e| e.to_string())?;
                let assemble_ms = begun.elapsed().as_secs_f64() * 1000.0;
                if let Some(because) = not_for_analysis(&assembled, &admission, &calling_ae) {
                    return Ok(Outcome::NotForAnalysis(because));
                }
                enter(&stage, "analyze and report");
                let (mut finished, failure) =
                    pipeline.analyze_and_report(assembled, &results).map_err(|e| e.to_string())?;
                finished.analysis.timings_ms.insert("assemble".to_owned(), assemble_ms);
                Ok(Outcome::Finished { finished: Box::new(finished), failure: failure.map(|e| e.to_string()) })
            })
            .await
        };
        let outcome = match attempt {
            Ok(outcome) => outcome,
            Err(why) => {
                let why = format!("in stage {}: {why}", entered(&stage));
                // The radiologist must hear of it too: a report without an analysis.
                let pipeline = pipeline.clone();
                let (study_uid, reason) = (uid.clone(), why.clone());
                let reported = guarded(move || {
                    let assembled = pipeline.assemble(&study_uid, &files).map_err(|e| e.to_string())?;
                    pipeline.report_failure(assembled, &reason, &results).map_err(|e| e.to_string())
                })
                .await;
                match reported {
                    Ok(finished) => Outcome::Finished { finished: Box::new(finished), failure: Some(why) },
                    Err(second) => {
                        let why = format!("{why}; and no report could be written: {second}");
                        return self.fail(&study.study_uid, &why).await;
                    }
                }
            }
        };
        match outcome {
            Outcome::NotForAnalysis(because) => {
                self.ledger.move_study(uid, StudyState::NotForAnalysis, &because).await?;
                events::StudyIgnored { study_uid: uid.as_str(), because: &because }.emit();
            }
            Outcome::Finished { finished, failure } => {
                self.record(study, &finished, failure.as_deref(), &pipeline).await?;
                self.wake_ups.objects_rendered.notify_one();
                if let Some(why) = failure {
                    events::StudyFailed { study_uid: uid.as_str(), why: &why }.emit();
                } else {
                    events::StudyReported {
                        study_uid: uid.as_str(),
                        verdict: finished.analysis.verdict.code(),
                        probability: finished.analysis.fused.as_ref().map(|f| f.probability),
                        objects: finished.objects.len(),
                        seconds: begun.elapsed().as_secs_f64(),
                    }
                    .emit();
                }
            }
        }
        Ok(())
    }

    /// Everything that a finished study leaves in the ledger, in one transaction.
    async fn record(
        &self,
        study: &StudyRow,
        finished: &Finished,
        failure: Option<&str>,
        pipeline: &Pipeline,
    ) -> Result<(), LedgerError> {
        let facts = rules::StudyFacts {
            study_uid: study.study_uid.to_string(),
            calling_ae: study.calling_ae.clone(),
            study_description: text(&finished.study.header, dicom_dictionary_std::tags::STUDY_DESCRIPTION),
            untrained: rules::is_untrained(&finished.analysis),
        };
        self.ledger
            .finish_analysis(FinishedAnalysis {
                study_uid: &study.study_uid,
                failure,
                verdict: &finished.analysis.verdict,
                probability: finished.analysis.fused.as_ref().map(|f| f.probability),
                result_json: &report::result_json(&finished.study, &finished.analysis, pipeline.templates())
                    .to_string(),
                series: &SeriesVerdictRow::of(&finished.study),
                objects: &finished.objects,
                outbox: &self.rules.outbox(&facts, &finished.objects),
                spool: self.spool.directory(),
            })
            .await?;
        Ok(())
    }

    async fn fail(&self, study_uid: &Uid, why: &str) -> Result<(), LedgerError> {
        self.ledger.fail_study(study_uid, why).await?;
        events::StudyFailed { study_uid: study_uid.as_str(), why }.emit();
        Ok(())
    }
}

/// Why an assembled study is not analyzed at all; `None` when it is.
fn not_for_analysis(study: &AssembledStudy, admission: &Admission, calling_ae: &str) -> Option<String> {
    if study.problems.iter().any(|p| p.code == ONLY_OWN_RESULTS) {
        return Some("it holds only our own results".to_owned());
    }
    let no_mr = |v: &SeriesVerdict| {
        matches!(v, SeriesVerdict::NotMr { .. } | SeriesVerdict::NoPixels | SeriesVerdict::Colour { .. })
    };
    if !study.stacks.is_empty() && study.stacks.iter().all(|s| no_mr(&s.verdict)) {
        return Some("it holds no MR image".to_owned());
    }
    let facts = StudyFacts {
        calling_ae: calling_ae.to_owned(),
        study_description: text(&study.header, dicom_dictionary_std::tags::STUDY_DESCRIPTION),
        protocols: study.stacks.iter().map(|s| text(&s.header, dicom_dictionary_std::tags::PROTOCOL_NAME)).collect(),
        series_descriptions: study.stacks.iter().map(|s| s.description.clone()).collect(),
    };
    let admitted = admission.decide(&facts);
    (admitted.action == AdmissionAction::Ignore).then_some(admitted.because)
}

fn text(dataset: &Dataset, tag: dicom_core::Tag) -> String {
    let element = dataset.element(tag).ok();
    element.and_then(|e| e.to_str().ok()).map(|t| t.trim().to_owned()).unwrap_or_default()
}

fn enter(stage: &Mutex<&'static str>, name: &'static str) {
    if let Ok(mut current) = stage.lock() {
        *current = name;
    }
}

fn entered(stage: &Mutex<&'static str>) -> &'static str {
    stage.lock().map(|s| *s).unwrap_or("unknown")
}

/// Runs blocking work on its own thread and turns a panic into a sentence.
async fn guarded<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            let payload = error.into_panic();
            let message = payload
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            Err(format!("a defect in fcdd (panic): {message}"))
        }
        Err(_) => Err("the work was cancelled".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[tokio::test]
    async fn a_panic_becomes_a_sentence_and_the_caller_lives_on() {
        let broken = guarded::<()>(|| panic!("index out of bounds: {}", 7)).await;
        assert!(broken.unwrap_err().contains("index out of bounds: 7"));
        assert_eq!(guarded(|| Ok(1)).await, Ok(1));
    }
}
