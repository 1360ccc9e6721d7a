//! Events of the stage "assemble".

use std::path::Path;

use crate::dicom::Uid;
use crate::observe::metrics::Counter;
use crate::study::{Sequence, SeriesVerdict};

static STUDIES: Counter = Counter::new("fcdd_assembled_studies_total", "Studies whose series were assembled.");
static STACKS_REFUSED: Counter =
    Counter::new("fcdd_refused_stacks_total", "Stacks of images that did not become a usable volume.");
static FILES_LEFT_OUT: Counter =
    Counter::new("fcdd_left_out_files_total", "Files that belong to no series or repeat an object that is there.");

/// The counters that these events move.
pub const COUNTERS: &[&Counter] = &[&STUDIES, &STACKS_REFUSED, &FILES_LEFT_OUT];

/// All series of a study were looked at.
#[derive(Debug)]
pub struct StudyAssembled<'a> {
    /// The study.
    pub study_uid: &'a Uid,
    /// Number of stacks.
    pub stacks: usize,
    /// Whether a T1 was chosen.
    pub has_t1: bool,
    /// Whether a FLAIR was chosen.
    pub has_flair: bool,
    /// How long it took, ms.
    pub took_ms: f64,
}

impl StudyAssembled<'_> {
    /// Writes the log line and moves the counter.
    pub fn emit(&self) {
        STUDIES.increment();
        tracing::info!(
            study = %self.study_uid,
            stacks = self.stacks,
            t1 = self.has_t1,
            flair = self.has_flair,
            took_ms = self.took_ms,
            "study assembled"
        );
    }
}

/// A stack is no usable volume.
#[derive(Debug)]
pub struct StackRefused<'a> {
    /// The series.
    pub series_uid: &'a Uid,
    /// What the series was classified as.
    pub sequence: Sequence,
    /// Why.
    pub verdict: &'a SeriesVerdict,
}

impl StackRefused<'_> {
    /// Writes the log line and moves the counter. A T1 or FLAIR that cannot be used is a warning.
    pub fn emit(&self) {
        STACKS_REFUSED.increment();
        if self.sequence == Sequence::Other {
            tracing::debug!(series = %self.series_uid, verdict = %self.verdict, "series is no usable volume");
        } else {
            let sequence = self.sequence.label();
            tracing::warn!(series = %self.series_uid, sequence, verdict = %self.verdict, "series is no usable volume");
        }
    }
}

/// A file was left out.
#[derive(Debug)]
pub struct FileLeftOut<'a> {
    /// The file.
    pub path: &'a Path,
    /// Why.
    pub why: &'a str,
}

impl FileLeftOut<'_> {
    /// Writes the log line and moves the counter.
    pub fn emit(&self) {
        FILES_LEFT_OUT.increment();
        tracing::debug!(path = %self.path.display(), why = self.why, "file left out");
    }
}
