//! Report: writes what analysis found as DICOM objects, pictures and JSON.
//!
//! One file per kind of object: [`heatmap`] (a Secondary Capture series per sequence), [`card`] (one overview
//! picture), [`sr`] (the structured report); [`result_json`](fn@result_json) and [`three_planes`] serve the command line. All
//! objects share the modules of [`modules`] and the deterministic UIDs of [`uids`]; [`writing`] brings them to the disk.
//!
//! What holds: the same study, analysis, templates and configuration give the same bytes under the same UIDs;
//! patient and study attributes are the source's own bytes; an object is on stable storage before [`render`]
//! returns it; every DICOM study gets a card and a structured report, also when nothing could be assessed.

pub mod card;
pub mod colormap;
pub mod drawing;
pub mod grey;
pub mod heatmap;
pub mod modules;
pub mod result_json;
pub mod sr;
pub mod three_planes;
pub mod uids;
pub mod writing;

pub use result_json::result_json;
pub use three_planes::overview_png;
pub use uids::content_digest;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::config;
use crate::dicom::templates::Texts;
use crate::dicom::{Dataset, InvalidUid, Templates, Uid};
use crate::observe::events::report as events;
use crate::spool::SpoolError;
use crate::study::{Analysis, AssembledStudy, ObjectKind, RenderedObject, Revision, Standing};
use modules::ContentTime;
use uids::ResultUids;
use writing::{Batch, Outgoing, write_beside};

/// What must be said of every result of a model with that standing; nothing of one that learned from people.
fn caveat(texts: &Texts, standing: Standing) -> Option<&String> {
    match standing {
        Standing::Untrained => Some(&texts.untrained),
        Standing::SyntheticOnly => Some(&texts.synthetic),
        Standing::Trained => None,
    }
}

/// Why results could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The heatmap does not lie on its source's grid.
    #[error(
        "the heatmap for series {series_uid} has shape {found:?}, its source {expected:?} with {slices} slices; this is a bug in fcdd, please report it"
    )]
    HeatmapShape {
        /// The source series.
        series_uid: Uid,
        /// Shape of the source volume.
        expected: (usize, usize, usize),
        /// Shape of the heatmap.
        found: (usize, usize, usize),
        /// Number of source slices.
        slices: usize,
    },
    /// DICOM's Rows and Columns have 16 bits.
    #[error("a source slice of {rows} x {columns} pixels is larger than a DICOM image can be")]
    TooLarge {
        /// Pixel rows.
        rows: usize,
        /// Pixel columns.
        columns: usize,
    },
    /// The object could not be encoded.
    #[error("cannot encode result object {sop_instance_uid}: {reason}")]
    Encode {
        /// The object.
        sop_instance_uid: Uid,
        /// The encoder's reason.
        reason: String,
    },
    /// A picture could not be drawn.
    #[error("cannot draw {what}: {reason}")]
    Draw {
        /// Which picture.
        what: &'static str,
        /// The renderer's reason.
        reason: String,
    },
    /// A UID of ours is not one: a bug.
    #[error(transparent)]
    Uid(#[from] InvalidUid),
    /// The disk refused.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// What the writers of all kinds share.
pub struct Results<'a> {
    /// The study.
    pub study: &'a AssembledStudy,
    /// What was found in it.
    pub analysis: &'a Analysis,
    /// Site texts and codes.
    pub templates: &'a Templates,
    /// The effective configuration.
    pub report: &'a config::Report,
    /// Which of the study's results this is.
    pub revision: &'a Revision,
    /// The objects' own time.
    pub content: ContentTime,
    /// The objects' UIDs.
    pub uids: ResultUids,
    /// Patient, study and equipment: the start of every object.
    pub common: Dataset,
}

impl<'a> Results<'a> {
    /// Prepares what all objects share.
    pub fn new(
        study: &'a AssembledStudy,
        analysis: &'a Analysis,
        templates: &'a Templates,
        report: &'a config::Report,
        revision: &'a Revision,
    ) -> Results<'a> {
        let content = ContentTime::local(study.received_at);
        let uids = ResultUids::new(study, analysis, templates, report, &content, revision);
        let mut common = modules::patient_and_study::patient_and_study(study);
        modules::general_equipment::put_equipment(&mut common, analysis, templates, &content);
        Results { study, analysis, templates, report, revision, content, uids, common }
    }
}

/// Writes every DICOM object of a study's results into `directory`, which must exist, and returns them in the
/// order of delivery: heatmaps, card, report. A study that did not come as DICOM has none.
pub fn render(
    study: &AssembledStudy,
    analysis: &Analysis,
    templates: &Templates,
    report: &config::Report,
    revision: &Revision,
    directory: &Path,
) -> Result<Vec<RenderedObject>, ReportError> {
    render_timed(study, analysis, templates, report, revision, directory, &mut Timings::default())
}

/// Milliseconds per part of rendering: `report_paint_t1` and `report_paint_flair` for the heatmap series,
/// `report_documents` for card and structured report, and `report_write`, which happens beside them.
pub type Timings = BTreeMap<String, f64>;

/// [`render`], and how long each part took.
///
/// # Errors
/// As [`render`].
pub fn render_timed(
    study: &AssembledStudy,
    analysis: &Analysis,
    templates: &Templates,
    report: &config::Report,
    revision: &Revision,
    directory: &Path,
    timings_ms: &mut Timings,
) -> Result<Vec<RenderedObject>, ReportError> {
    if !is_dicom(study) {
        return Ok(Vec::new());
    }
    let started = Instant::now();
    let results = Results::new(study, analysis, templates, report, revision);
    let (mut objects, writing) = write_beside(|outgoing| make(&results, directory, outgoing, timings_ms))?;
    timings_ms.insert("report_write".to_owned(), writing.as_secs_f64() * 1e3);
    objects.sort_by_key(|o| ObjectKind::ALL.iter().position(|k| *k == o.kind));
    events::StudyReported {
        study_uid: &study.study_uid,
        verdict: analysis.verdict.code(),
        objects: objects.len(),
        milliseconds: started.elapsed().as_secs_f64() * 1e3,
    }
    .emit();
    Ok(objects)
}

/// Makes every object and hands its file over to be written.
fn make(
    results: &Results<'_>,
    directory: &Path,
    outgoing: &Outgoing,
    timings_ms: &mut Timings,
) -> Result<Vec<RenderedObject>, ReportError> {
    let study = results.study;
    let mut took = |what: &str, begun: Instant| {
        timings_ms.insert(format!("report_{what}"), begun.elapsed().as_secs_f64() * 1e3);
    };
    let mut objects = Vec::new();
    for outcome in &results.analysis.outcomes {
        let Some(stack) = study.chosen(outcome.sequence) else { continue };
        let Some(source) = stack.volume.as_ref() else { continue };
        if outcome.heatmap.constant {
            events::HeatmapConstant { study_uid: &study.study_uid, sequence: outcome.sequence.label() }.emit();
        }
        let begun = Instant::now();
        objects.extend(heatmap::write_series(results, outcome, stack, source, directory, outgoing)?);
        took(&format!("paint_{}", outcome.sequence.label().to_lowercase()), begun);
    }
    let begun = Instant::now();
    let mut files = Batch::new();
    for (kind, sop_class_uid, uid, bytes) in [card::card_object(results)?, sr::report_object(results)?] {
        let path = heatmap::file_path(directory, &uid);
        let series_uid = results.uids.series(kind);
        objects.push(RenderedObject { kind, sop_class_uid, sop_instance_uid: uid, series_uid, path: path.clone() });
        files.push((path, bytes));
    }
    took("documents", begun);
    // Whether they can be written, the writer says.
    let _ = outgoing.hand_over(files);
    Ok(objects)
}

/// True for a study that came as DICOM; volumes from NIfTI files have an empty header.
pub fn is_dicom(study: &AssembledStudy) -> bool {
    study.header.element(dicom_dictionary_std::tags::SOP_INSTANCE_UID).is_ok()
}

/// A finished object before it is written: kind, SOP class, SOP instance and the file's bytes.
pub type ObjectBytes = (ObjectKind, Uid, Uid, Vec<u8>);
