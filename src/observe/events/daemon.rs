//! Events of the supervisor: start, stop, a study's way between the stages.

use std::net::SocketAddr;

use crate::observe::metrics::Counter;

static STUDIES_COMPLETE: Counter = Counter::new("fcdd_studies_complete_total", "Studies whose images were all there.");
static STUDIES_ANALYZED: Counter = Counter::new("fcdd_studies_analyzed_total", "Studies that got a result.");
static STUDIES_FAILED: Counter = Counter::new("fcdd_studies_failed_total", "Studies that a stage could not finish.");
static STUDIES_IGNORED: Counter =
    Counter::new("fcdd_studies_not_for_analysis_total", "Studies that the rules keep from analysis.");
static STUDIES_EXPIRED: Counter =
    Counter::new("fcdd_studies_expired_total", "Studies, delivered or not for analysis, whose files left the spool.");
static MODELS_TAKEN_OVER: Counter =
    Counter::new("fcdd_models_taken_over_total", "Times that other models were taken over without a restart.");
static MODELS_KEPT: Counter =
    Counter::new("fcdd_models_kept_total", "Times that changed models did not load and the running ones were kept.");

/// The counters that these events move.
pub const COUNTERS: &[&Counter] = &[
    &STUDIES_COMPLETE,
    &STUDIES_ANALYZED,
    &STUDIES_FAILED,
    &STUDIES_IGNORED,
    &STUDIES_EXPIRED,
    &MODELS_TAKEN_OVER,
    &MODELS_KEPT,
];

/// Other models are loaded: the next study goes through them.
pub struct ModelsTakenOver<'a> {
    /// All models now, in words.
    pub models: &'a str,
}

impl ModelsTakenOver<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        MODELS_TAKEN_OVER.increment();
        tracing::info!(models = self.models, "models taken over");
    }
}

/// Another process (an operator's command) wrote into the ledger; everybody looks again.
pub struct LedgerWritten;

impl LedgerWritten {
    /// Logs it.
    pub fn emit(&self) {
        tracing::debug!("another process wrote into the ledger");
    }
}

/// The models that the configuration names have changed and do not load; an operator must look.
pub struct ModelsKept<'a> {
    /// Why they do not load.
    pub why: &'a str,
}

impl ModelsKept<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        MODELS_KEPT.increment();
        tracing::error!(why = self.why, "changed models do not load; the running ones are kept");
    }
}

/// The models that the configuration names do not load; studies are received and wait.
pub struct NoModels<'a> {
    /// Why they do not load.
    pub why: &'a str,
}

impl NoModels<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::error!(
            why = self.why,
            "no models: studies are received and wait until the models load; they are tried again by themselves"
        );
    }
}

/// The system does not tell about changed models.
pub struct ModelsNotWatched<'a> {
    /// Why not.
    pub why: &'a str,
}

impl ModelsNotWatched<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!(why = self.why, "cannot watch the models: a promoted one is served after a restart");
    }
}

/// The daemon accepts associations.
pub struct Ready<'a> {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its AE title.
    pub ae_title: &'a str,
    /// Models that are loaded, in words.
    pub models: &'a str,
}

impl Ready<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(address = %self.address, ae_title = self.ae_title, models = self.models, "ready");
    }
}

/// A stop was asked for.
pub struct Draining {
    /// The bound on what may still take time.
    pub seconds: f64,
}

impl Draining {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(bound_s = self.seconds, "stopping: letting work in flight reach a safe state");
    }
}

/// The daemon is about to exit.
pub struct Stopped {
    /// False when the drain's bound was over before everything had ended.
    pub in_time: bool,
}

impl Stopped {
    /// Logs it.
    pub fn emit(&self) {
        if self.in_time {
            tracing::info!("stopped");
        } else {
            tracing::warn!("stopped at the drain's bound; unfinished work goes on at the next start");
        }
    }
}

/// What the last run left and this start took up again.
pub struct TakenUp {
    /// Studies whose analysis was interrupted.
    pub analyses: u64,
    /// Objects in the spool that the ledger did not know.
    pub objects: u64,
    /// Results in the spool that the ledger did not know.
    pub results: u64,
    /// Associations that were open when the process ended.
    pub associations: u64,
}

impl TakenUp {
    /// Logs it, if there was anything.
    pub fn emit(&self) {
        if self.analyses + self.objects + self.results + self.associations > 0 {
            tracing::warn!(
                interrupted_analyses = self.analyses,
                objects_missing_in_ledger = self.objects,
                results_missing_in_ledger = self.results,
                associations_lost = self.associations,
                "took up what the last run left"
            );
        }
    }
}

/// A file of the spool that cannot be read at start-up.
pub struct UnreadableInSpool<'a> {
    /// The file.
    pub path: &'a std::path::Path,
    /// Why.
    pub why: &'a str,
}

impl UnreadableInSpool<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::error!(path = %self.path.display(), why = self.why, "cannot take up a file of the spool; it is left where it is");
    }
}

/// A study is complete.
pub struct StudyComplete<'a> {
    /// The study.
    pub study_uid: &'a str,
    /// True when the maximum wait ended although images may still come.
    pub waited_enough: bool,
}

impl StudyComplete<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        STUDIES_COMPLETE.increment();
        if self.waited_enough {
            tracing::warn!(study = self.study_uid, "complete because the maximum wait is over; it may lack images");
        } else {
            tracing::info!(study = self.study_uid, "complete");
        }
    }
}

/// A study is kept but not analyzed.
pub struct StudyIgnored<'a> {
    /// The study.
    pub study_uid: &'a str,
    /// The rule.
    pub because: &'a str,
}

impl StudyIgnored<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        STUDIES_IGNORED.increment();
        tracing::info!(study = self.study_uid, because = self.because, "not for analysis");
    }
}

/// A study has its result objects on disk.
pub struct StudyReported<'a> {
    /// The study.
    pub study_uid: &'a str,
    /// Number of this result among the study's results.
    pub revision: u32,
    /// The verdict's code.
    pub verdict: &'a str,
    /// The fused probability, if there is one.
    pub probability: Option<f64>,
    /// Number of result objects.
    pub objects: usize,
    /// From the claim to the last file on disk.
    pub seconds: f64,
}

impl StudyReported<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        STUDIES_ANALYZED.increment();
        tracing::info!(
            study = self.study_uid,
            revision = self.revision,
            verdict = self.verdict,
            probability = self.probability,
            objects = self.objects,
            seconds = format_args!("{:.2}", self.seconds),
            "reported"
        );
    }
}

/// Images that came late changed nothing that the study's last result is about.
pub struct ResultStands<'a> {
    /// The study.
    pub study_uid: &'a str,
    /// Why it stands.
    pub because: &'a str,
}

impl ResultStands<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(study = self.study_uid, because = self.because, "the result stands");
    }
}

/// A derived series that came late would displace the original series that the last result is about.
pub struct DerivedSeriesLeftOut<'a> {
    /// The study.
    pub study_uid: &'a str,
    /// The derived series.
    pub series_uid: &'a str,
}

impl DerivedSeriesLeftOut<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(
            study = self.study_uid,
            series = self.series_uid,
            "a derived series that came late is left out: it displaces no original one"
        );
    }
}

/// Late images have come to rest; analysis looks at them.
pub struct StudyReopened<'a> {
    /// The study.
    pub study_uid: &'a str,
    /// Where it stood.
    pub state: &'a str,
}

impl StudyReopened<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(study = self.study_uid, was = self.state, "images came late: the study is looked at again");
    }
}

/// A stage could not finish a study; an operator must look.
pub struct StudyFailed<'a> {
    /// The study.
    pub study_uid: &'a str,
    /// What went wrong.
    pub why: &'a str,
}

impl StudyFailed<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        STUDIES_FAILED.increment();
        tracing::error!(
            study = self.study_uid,
            why = self.why,
            "failed; its images are kept: see `fcdd studies show`, then `fcdd studies retry`"
        );
    }
}

/// A study that is not for analysis, or was delivered, left the spool.
pub struct StudyRemoved<'a> {
    /// The study.
    pub study_uid: &'a str,
    /// Its state.
    pub was: &'a str,
}

impl StudyRemoved<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        STUDIES_EXPIRED.increment();
        tracing::info!(study = self.study_uid, was = self.was, "old enough: its files left the spool");
    }
}

/// The wall clock was set.
pub struct ClockJumped {
    /// By how much, forward (positive) or back.
    pub seconds: i64,
}

impl ClockJumped {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!(seconds = self.seconds, "the clock was set; if it went forward, no study is removed for a day");
    }
}

/// The ledger's file was damaged; a new one is rebuilt from the spool.
pub struct LedgerSetAside<'a> {
    /// Where the damaged file is now.
    pub path: &'a std::path::Path,
    /// What is wrong with it.
    pub why: &'a str,
}

impl LedgerSetAside<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::error!(
            path = %self.path.display(),
            why = self.why,
            "the ledger was damaged and is rebuilt from the spool: results are delivered again under the same UIDs, \
             receipts and the memory of removed studies are lost. Is the disk sound?"
        );
    }
}

/// A background task met an error and will try again.
pub struct TaskTrouble<'a> {
    /// The task.
    pub task: &'static str,
    /// What went wrong.
    pub error: &'a dyn std::fmt::Display,
}

impl TaskTrouble<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::error!(task = self.task, error = %self.error, "will try again");
    }
}
