//! One attempt at a study on a blocking thread: assemble, see whether anything is to be done, analyze, report.
//!
//! Whatever goes wrong becomes a value: a defect of the study, which gets a report that says so, or trouble of the
//! surroundings (a full disk), after which the same study is tried again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::assemble::ONLY_OWN_RESULTS;
use crate::assemble::admission::{Admission, StudyFacts};
use crate::config::AdmissionAction;
use crate::dicom::{Dataset, Uid};
use crate::ledger::instances::InstanceFile;
use crate::ledger::revisions::History;
use crate::observe::events::daemon as events;
use crate::pipeline::{Finished, Pipeline, PipelineError};
use crate::study::{AssembledStudy, Change, Selection, Sequence, SeriesVerdict};

/// Everything that an attempt needs to know.
#[derive(Clone)]
pub(super) struct Attempt {
    pub study_uid: Uid,
    pub calling_ae: String,
    /// Root of the spool.
    pub spool: PathBuf,
    /// Where result objects go.
    pub results: PathBuf,
    pub files: Vec<InstanceFile>,
    pub history: Arc<History>,
    pub pipeline: Arc<Pipeline>,
    pub admission: Arc<Admission>,
    /// Where the attempt is, for the words about a panic.
    pub stage: Arc<Mutex<&'static str>>,
}

/// What became of a study.
pub(super) enum Outcome {
    /// The rules, or what it holds, keep it from analysis.
    NotForAnalysis(String),
    /// Nothing speaks against the last result: late images changed nothing that it is about, say.
    ResultStands(String),
    /// It has a result; after a failure, one that says so.
    Finished { finished: Box<Finished>, selection: Selection, failure: Option<String> },
}

/// Why there is no outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is the study's, or a defect of ours that this study brings out.
    Study(String),
    /// It is the disk's.
    Surroundings(String),
}

impl From<PipelineError> for Trouble {
    fn from(error: PipelineError) -> Trouble {
        if error.is_of_the_disk() {
            Trouble::Surroundings(error.to_string())
        } else {
            Trouble::Study(error.to_string())
        }
    }
}

impl Attempt {
    /// Runs the attempt, with a report about the failure where it fails.
    pub(super) async fn run(self) -> Result<Outcome, Trouble> {
        let attempt = self.clone();
        let why = match guarded(move || attempt.take_through()).await {
            Err(Trouble::Study(why)) => format!("in stage {}: {why}", self.stage_name()),
            other => return other,
        };
        // The radiologist must hear of it too: a report without an analysis.
        let attempt = self.clone();
        let reported = guarded(move || {
            let assembled = attempt.pipeline.assemble(&attempt.study_uid, &attempt.paths(&BTreeSet::new()))?;
            attempt.report_failure(assembled, &why)
        })
        .await;
        reported.map_err(|second| match second {
            Trouble::Study(second) => Trouble::Study(format!("no report could be written: {second}")),
            surroundings => surroundings,
        })
    }

    /// Reports that the study's analysis killed the process again and again, without looking at its pixels: they may
    /// be what does it.
    pub(super) async fn give_up(self, why: String) -> Result<Outcome, Trouble> {
        guarded(move || {
            let assembled = self.pipeline.assemble_headers(&self.study_uid, &self.paths(&BTreeSet::new()))?;
            self.report_failure(assembled, &why)
        })
        .await
    }

    fn report_failure(&self, assembled: AssembledStudy, why: &str) -> Result<Outcome, Trouble> {
        let selection = Selection::of(&assembled);
        let revision_of = |digest: &str| self.history.revision_of(digest);
        let finished = self.pipeline.report_failure(assembled, why, revision_of, &self.results)?;
        Ok(Outcome::Finished { finished: Box::new(finished), selection, failure: Some(why.to_owned()) })
    }

    fn take_through(&self) -> Result<Outcome, Trouble> {
        let begun = Instant::now();
        let assembled = self.assemble()?;
        let assemble_ms = begun.elapsed().as_secs_f64() * 1000.0;
        if let Some(because) = not_for_analysis(&assembled, &self.admission, &self.calling_ae) {
            // A study that has a result does not become one that is forgotten after two days, deliveries and all.
            return Ok(match &self.history.selection {
                Some(_) => Outcome::ResultStands(format!("it would not be analyzed any more: {because}")),
                None => Outcome::NotForAnalysis(because),
            });
        }
        let selection = Selection::of(&assembled);
        if let (true, Some(before)) = (self.history.only_late, &self.history.selection) {
            match before.change_to(&selection, self.history.files_were_removed) {
                Change::Changed => {}
                Change::None => {
                    return Ok(Outcome::ResultStands("images came late and changed no selected volume".to_owned()));
                }
                Change::Less(what) => {
                    let why = format!(
                        "after its files had left the spool only {what} came again: the result stands; let the PACS \
                         send the whole study if it is to be analyzed anew"
                    );
                    return Ok(Outcome::ResultStands(why));
                }
            }
        }
        self.enter("analyze and report");
        let revision_of = |digest: &str| self.history.revision_of(digest);
        let (mut finished, failure) = self.pipeline.analyze_and_report(assembled, revision_of, &self.results)?;
        finished.analysis.timings_ms.insert("assemble".to_owned(), assemble_ms);
        let failure = failure.map(|error| error.to_string());
        Ok(Outcome::Finished { finished: Box::new(finished), selection, failure })
    }

    /// Assembles the study. A derived series that came late as a whole does not displace the original that the last
    /// result is about: other programs' products, routed to us, open no revision.
    fn assemble(&self) -> Result<AssembledStudy, Trouble> {
        let mut without = BTreeSet::new();
        loop {
            let assembled = self.pipeline.assemble(&self.study_uid, &self.paths(&without))?;
            let displacing = [Sequence::T1, Sequence::Flair].into_iter().find_map(|s| self.displacing(&assembled, s));
            match displacing {
                Some(series_uid) if without.insert(series_uid.clone()) => {
                    events::DerivedSeriesLeftOut {
                        study_uid: self.study_uid.as_str(),
                        series_uid: series_uid.as_str(),
                    }
                    .emit();
                }
                _ => return Ok(assembled),
            }
        }
    }

    /// The series that is chosen now instead of the one before, if it is derived and came late as a whole.
    fn displacing(&self, assembled: &AssembledStudy, sequence: Sequence) -> Option<Uid> {
        let before = self.history.selection.as_ref()?.volume(sequence)?;
        let now = assembled.chosen(sequence)?;
        let mut of_series = self.files.iter().filter(|file| file.series_uid == now.series_uid);
        let is_late = of_series.all(|file| file.late);
        let image_type = text(&now.header, dicom_dictionary_std::tags::IMAGE_TYPE);
        let is_derived = image_type.split('\\').next().is_some_and(|value| value.trim() == "DERIVED");
        (now.series_uid != before.series_uid && is_late && is_derived).then(|| now.series_uid.clone())
    }

    fn paths(&self, without_series: &BTreeSet<Uid>) -> Vec<PathBuf> {
        let files = self.files.iter().filter(|file| !without_series.contains(&file.series_uid));
        files.map(|file| self.spool.join(Path::new(&file.path))).collect()
    }

    fn enter(&self, name: &'static str) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    fn stage_name(&self) -> &'static str {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A text of a header, leniently; empty where there is none.
pub(super) fn text(dataset: &Dataset, tag: dicom_core::Tag) -> String {
    let element = dataset.element(tag).ok();
    element.and_then(|e| e.to_str().ok()).map(|t| t.trim().to_owned()).unwrap_or_default()
}

/// Runs blocking work on its own thread and turns a panic into a sentence.
async fn guarded<T: Send + 'static>(work: impl FnOnce() -> Result<T, Trouble> + Send + 'static) -> Result<T, Trouble> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            let payload = error.into_panic();
            let message = payload
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            Err(Trouble::Study(format!("a defect in fcdd (panic): {message}")))
        }
        Err(_) => Err(Trouble::Surroundings("the work was cancelled".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_sentence_and_the_caller_lives_on() {
        let broken = guarded::<()>(|| panic!("index out of bounds: {}", 7)).await;
        assert!(matches!(broken, Err(Trouble::Study(why)) if why.contains("index out of bounds: 7")));
        assert_eq!(guarded(|| Ok(1)).await, Ok(1));
    }
}
