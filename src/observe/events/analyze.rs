//! Events of the stage "analyze".

use crate::observe::metrics::Counter;

static MODELS_READY: Counter =
    Counter::new("fcdd_analyze_models_ready_total", "Models whose sessions were opened and warmed.");
static PROVIDERS_REFUSED: Counter = Counter::new(
    "fcdd_analyze_providers_refused_total",
    "Execution providers that were tried for a model and do not run it.",
);
static PROVIDERS_FAILED: Counter = Counter::new(
    "fcdd_analyze_providers_failed_total",
    "Times that an execution provider failed while a study was analyzed.",
);
static SITE_PREVALENCE_IGNORED: Counter = Counter::new(
    "fcdd_analyze_site_prevalence_ignored_total",
    "Models that were loaded with a site prevalence and state no training prevalence to move from.",
);
static SERIES_REFUSED: Counter =
    Counter::new("fcdd_analyze_series_refused_total", "Series that preprocessing could not make ready for a network.");
static SUSPECTED: Counter = Counter::new("fcdd_analyze_suspected_total", "Studies with the verdict suspected.");
static NOT_SUSPECTED: Counter =
    Counter::new("fcdd_analyze_not_suspected_total", "Studies with the verdict not suspected.");
static UNASSESSABLE: Counter =
    Counter::new("fcdd_analyze_unassessable_total", "Studies with the verdict unassessable.");

/// The counters that these events move.
pub const COUNTERS: &[&Counter] = &[
    &MODELS_READY,
    &PROVIDERS_REFUSED,
    &PROVIDERS_FAILED,
    &SITE_PREVALENCE_IGNORED,
    &SERIES_REFUSED,
    &SUSPECTED,
    &NOT_SUSPECTED,
    &UNASSESSABLE,
];

/// An execution provider was tried for a model and does not run it. Ordinary where no GPU is.
#[derive(Debug)]
pub struct ProviderRefused<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The provider.
    pub provider: &'a str,
    /// Why not.
    pub because: &'a str,
}

impl ProviderRefused<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        PROVIDERS_REFUSED.increment();
        tracing::info!(
            model = self.model,
            provider = self.provider,
            because = self.because,
            "execution provider refused"
        );
    }
}

/// A provider that ran a model failed while a study was analyzed; an operator must look.
#[derive(Debug)]
pub struct ProviderFailed<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The provider.
    pub provider: &'a str,
    /// What went wrong.
    pub why: &'a str,
    /// Whether the model goes on with the next provider.
    pub goes_on: bool,
}

impl ProviderFailed<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        PROVIDERS_FAILED.increment();
        let what = if self.goes_on { "the model goes on with the next provider" } else { "the study fails" };
        tracing::error!(
            model = self.model,
            provider = self.provider,
            why = self.why,
            "provider failed in mid-run: {what}"
        );
    }
}

/// A model's sessions are open and warm.
#[derive(Debug)]
pub struct ModelReady<'a> {
    /// The model's name.
    pub model: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its digest.
    pub digest: &'a str,
    /// Number of folds.
    pub folds: usize,
    /// Where it runs.
    pub provider: &'a str,
    /// In which arithmetic.
    pub precision: &'a str,
    /// False for a demonstration model.
    pub trained: bool,
    /// How long opening and warming took, ms.
    pub took_ms: f64,
}

impl ModelReady<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        MODELS_READY.increment();
        tracing::info!(
            model = self.model,
            version = self.version,
            digest = self.digest,
            folds = self.folds,
            provider = self.provider,
            precision = self.precision,
            trained = self.trained,
            took_ms = self.took_ms,
            "model ready"
        );
    }
}

/// `analyze.site_prevalence` is set, and a model's manifest states no training prevalence to move from.
#[derive(Debug)]
pub struct SitePrevalenceIgnored<'a> {
    /// The model's name.
    pub model: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The setting.
    pub site_prevalence: f64,
}

impl SitePrevalenceIgnored<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        SITE_PREVALENCE_IGNORED.increment();
        tracing::warn!(
            model = self.model,
            version = self.version,
            site_prevalence = self.site_prevalence,
            "site prevalence ignored: the model states no training prevalence between 0 and 1 to move from"
        );
    }
}

/// A series could not be made ready for its network; the verdict on the study is withheld.
#[derive(Debug)]
pub struct SeriesRefused<'a> {
    /// Study Instance UID.
    pub study_uid: &'a str,
    /// Series Instance UID.
    pub series_uid: &'a str,
    /// The reason's code.
    pub code: &'a str,
    /// The reason's sentence.
    pub text: &'a str,
}

impl SeriesRefused<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        SERIES_REFUSED.increment();
        tracing::warn!(
            study = self.study_uid,
            series = self.series_uid,
            code = self.code,
            because = self.text,
            "series refused"
        );
    }
}

/// A study has its verdict.
#[derive(Debug)]
pub struct StudyAnalyzed<'a> {
    /// Study Instance UID.
    pub study_uid: &'a str,
    /// `suspected`, `not_suspected` or `unassessable`.
    pub verdict: &'a str,
    /// Codes of the reasons, separated by commas.
    pub reasons: &'a str,
    /// Number of models that ran.
    pub models: usize,
    /// How long it took, ms.
    pub took_ms: f64,
}

impl StudyAnalyzed<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        match self.verdict {
            "suspected" => SUSPECTED.increment(),
            "not_suspected" => NOT_SUSPECTED.increment(),
            _ => UNASSESSABLE.increment(),
        }
        tracing::info!(
            study = self.study_uid,
            verdict = self.verdict,
            reasons = self.reasons,
            models = self.models,
            took_ms = self.took_ms,
            "study analyzed"
        );
    }
}
