//! Events of the stage "report".

use crate::dicom::Uid;
use crate::observe::metrics::Counter;

static STUDIES: Counter = Counter::new("fcdd_report_studies_total", "Studies whose results were rendered.");
static OBJECTS: Counter = Counter::new("fcdd_report_objects_total", "Result objects rendered and synced to disk.");
static CONSTANT: Counter =
    Counter::new("fcdd_report_constant_heatmaps_total", "Heatmaps with one value everywhere: nothing to show.");

/// The counters that these events move.
pub const COUNTERS: &[&Counter] = &[&STUDIES, &OBJECTS, &CONSTANT];

/// All result objects of a study are on disk.
#[derive(Debug)]
pub struct StudyReported<'a> {
    /// The study.
    pub study_uid: &'a Uid,
    /// Verdict code.
    pub verdict: &'static str,
    /// Number of objects.
    pub objects: usize,
    /// How long rendering and syncing took.
    pub milliseconds: f64,
}

impl StudyReported<'_> {
    /// Logs and counts.
    pub fn emit(&self) {
        STUDIES.increment();
        OBJECTS.add(self.objects as u64);
        tracing::info!(
            study_uid = %self.study_uid, verdict = self.verdict, objects = self.objects,
            milliseconds = self.milliseconds.round(), "results rendered"
        );
    }
}

/// A model's heatmap has one value everywhere.
#[derive(Debug)]
pub struct HeatmapConstant<'a> {
    /// The study.
    pub study_uid: &'a Uid,
    /// `T1` or `FLAIR`.
    pub sequence: &'static str,
}

impl HeatmapConstant<'_> {
    /// Logs and counts. The result is still delivered and says so itself.
    pub fn emit(&self) {
        CONSTANT.increment();
        tracing::warn!(
            study_uid = %self.study_uid, sequence = self.sequence,
            "the heatmap has one value everywhere; it is delivered without colour and says so"
        );
    }
}
