//! The heatmap series: one Secondary Capture object per source slice, colour over grey, in the source's place.
//!
//! Viewers link the series to its source by the copied plane and frame of reference, so scrolling one scrolls the
//! other. Series that are enhanced multi-frame get single-frame objects too, one per source frame.

use std::path::{Path, PathBuf};

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use ndarray::{ArrayView2, Axis};
use rayon::prelude::*;

use super::colormap::{self, Overlay};
use super::grey::GreyWindow;
use super::modules::elements::{
    ascii, code_item, encode_file, put_code, put_numbers, put_sequence, put_text, reference_item, shortened,
};
use super::modules::series_and_sop::{put_instance, put_rgb_secondary_capture, put_series};
use super::writing::{Batch, Outgoing};
use super::{ReportError, Results, caveat};
use crate::config;
use crate::dicom::codes::{GRAD_CAM, SOURCE_IMAGE_FOR_PROCESSING};
use crate::dicom::{Dataset, Uid};
use crate::study::{ModelOutcome, ObjectKind, RenderedObject, SliceSource, SourceVolume, Stack};

/// Files are handed over in batches of about this size, so that memory stays bounded for any series and the disk has work
/// soon.
const BATCH_BYTES: usize = 16 << 20;

/// Renders one outcome's heatmap over its stack, in the order of the volume's slices, and hands the files over to be
/// written.
pub fn write_series(
    results: &Results<'_>,
    outcome: &ModelOutcome,
    stack: &Stack,
    source: &SourceVolume,
    directory: &Path,
    outgoing: &Outgoing,
) -> Result<Vec<RenderedObject>, ReportError> {
    let kind = kind_of(outcome);
    let expected = source.volume.data.dim();
    let found = outcome.heatmap.display.dim();
    if expected != found || source.slices.len() != expected.0 {
        let slices = source.slices.len();
        return Err(ReportError::HeatmapShape { series_uid: stack.series_uid.clone(), expected, found, slices });
    }
    let (_, rows, columns) = expected;
    let size = |n: usize| u16::try_from(n).map_err(|_| ReportError::TooLarge { rows, columns });
    let series = Series {
        kind,
        header: series_header(results, outcome, stack, kind, size(rows)?, size(columns)?),
        numbers: instance_numbers(&source.slices),
        window: GreyWindow::of(source.volume.data.view()),
        overlay: Overlay::new(results.report),
    };

    let per_batch = (BATCH_BYTES / (rows * columns * 3).max(1)).max(1);
    let indices: Vec<usize> = (0..source.slices.len()).collect();
    let mut objects = Vec::with_capacity(indices.len());
    for batch in indices.chunks(per_batch) {
        let files: Batch = batch
            .par_iter()
            .map_init(Vec::new, |pixels, &index| {
                let uid = results.uids.instance(kind, index);
                series
                    .render(results, outcome, source, index, &uid, pixels)
                    .map(|file| (file_path(directory, &uid), file))
            })
            .collect::<Result<_, _>>()?;
        for (&index, (path, _)) in batch.iter().zip(&files) {
            objects.push(RenderedObject {
                kind,
                sop_class_uid: Uid::parse(uids::SECONDARY_CAPTURE_IMAGE_STORAGE)?,
                sop_instance_uid: results.uids.instance(kind, index),
                series_uid: results.uids.series(kind),
                path: path.clone(),
            });
        }
        if !outgoing.hand_over(files) {
            break;
        }
    }
    Ok(objects)
}

/// The name of a result object's file.
pub fn file_path(directory: &Path, uid: &Uid) -> PathBuf {
    directory.join(format!("{uid}.dcm"))
}

/// What all slices of a series share.
struct Series {
    kind: ObjectKind,
    header: Dataset,
    numbers: Vec<i64>,
    window: GreyWindow,
    overlay: Overlay,
}

impl Series {
    /// One object's file; `pixels` is a buffer that is used again for the next.
    fn render(
        &self,
        results: &Results<'_>,
        outcome: &ModelOutcome,
        source: &SourceVolume,
        index: usize,
        uid: &Uid,
        pixels: &mut Vec<u8>,
    ) -> Result<Vec<u8>, ReportError> {
        debug_assert_eq!(self.kind, kind_of(outcome));
        let slice = &source.slices[index];
        let mut dataset = self.header.clone();
        let sop_class = uids::SECONDARY_CAPTURE_IMAGE_STORAGE;
        put_instance(&mut dataset, sop_class, uid, self.numbers[index], &results.content);
        put_plane(&mut dataset, slice);
        put_source_image(&mut dataset, slice);
        let grey = source.volume.data.index_axis(Axis(0), index);
        let heat = outcome.heatmap.display.index_axis(Axis(0), index);
        self.paint(grey, heat, pixels);
        encode_file(&dataset, sop_class, uid, Some(pixels))
    }

    fn paint(&self, grey: ArrayView2<'_, f32>, heat: ArrayView2<'_, f32>, pixels: &mut Vec<u8>) {
        pixels.clear();
        pixels.reserve(grey.len() * 3);
        for (value, heat) in grey.iter().zip(heat) {
            pixels.extend_from_slice(&self.overlay.blend(self.window.grey(*value), *heat));
        }
    }
}

fn kind_of(outcome: &ModelOutcome) -> ObjectKind {
    match outcome.sequence {
        crate::study::Sequence::Flair => ObjectKind::HeatmapFlair,
        _ => ObjectKind::HeatmapT1,
    }
}

fn series_header(
    results: &Results<'_>,
    outcome: &ModelOutcome,
    stack: &Stack,
    kind: ObjectKind,
    rows: u16,
    columns: u16,
) -> Dataset {
    let mut dataset = results.common.clone();
    let text = match kind {
        ObjectKind::HeatmapFlair => &results.templates.heatmap_flair,
        _ => &results.templates.heatmap_t1,
    };
    put_series(&mut dataset, "MR", &results.uids.series(kind), text, &results.content, results.revision);
    put_rgb_secondary_capture(&mut dataset, rows, columns);
    put_texts_of_image_type(&mut dataset);
    copy_frame_of_reference(&mut dataset, &stack.header);
    copy_lossy_compression(&mut dataset, &stack.header);
    put_sequence(&mut dataset, tags::DERIVATION_CODE_SEQUENCE, vec![code_item(&GRAD_CAM)]);
    put_text(&mut dataset, tags::DERIVATION_DESCRIPTION, VR::ST, &derivation(results, outcome));
    put_text(&mut dataset, tags::IMAGE_COMMENTS, VR::LT, &image_comments(results, Some(outcome)));
    put_text(&mut dataset, tags::BURNED_IN_ANNOTATION, VR::CS, "NO");
    put_text(&mut dataset, tags::RECOGNIZABLE_VISUAL_FEATURES, VR::CS, recognizable(&stack.header));
    dataset
}

/// Image Type of everything that we draw.
pub fn put_texts_of_image_type(dataset: &mut Dataset) {
    let values = ["DERIVED", "SECONDARY", "OTHER"].map(str::to_owned);
    super::modules::elements::put_texts(dataset, tags::IMAGE_TYPE, VR::CS, &values);
}

/// A head shows a face, unless the source says that it was removed.
pub fn recognizable(header: &Dataset) -> &'static str {
    let stated = header.get(tags::RECOGNIZABLE_VISUAL_FEATURES).and_then(|e| e.to_str().ok());
    if stated.is_some_and(|s| s.trim() == "NO") { "NO" } else { "YES" }
}

/// The notice and, for every model concerned, name, version and whether it was trained.
pub fn image_comments(results: &Results<'_>, outcome: Option<&ModelOutcome>) -> String {
    let texts = &results.templates.texts;
    let mut comments = vec![texts.notice.clone()];
    let outcomes = results.analysis.outcomes.iter().filter(|o| outcome.is_none_or(|only| only.sequence == o.sequence));
    for outcome in outcomes {
        comments.push(format!("{} {}", ascii(&outcome.model.name), ascii(&outcome.model.version)));
        comments.extend(caveat(texts, outcome.model.standing()).cloned());
        if outcome.heatmap.constant {
            comments.push(texts.constant_heatmap.clone());
        }
    }
    comments.join("; ")
}

fn derivation(results: &Results<'_>, outcome: &ModelOutcome) -> String {
    let config::Report { heatmap_alpha, heatmap_threshold, .. } = results.report;
    let [low, high] = outcome.heatmap.range_logit;
    let mut text = format!(
        "Grad-CAM of class FCD at the last convolutional layer (before global pooling) of {} {} ({}), after ReLU, \
         resampled to the source grid; values {low:.4} to {high:.4} (logit) shown as 0 to 1; colormap {}, \
         alpha up to {heatmap_alpha}, uncoloured below {heatmap_threshold}",
        ascii(&outcome.model.name),
        ascii(&outcome.model.version),
        ascii(&outcome.model.architecture),
        colormap::NAME,
    );
    if outcome.heatmap.constant {
        text.push_str("; ");
        text.push_str(&results.templates.texts.constant_heatmap);
    }
    if let Some(caveat) = caveat(&results.templates.texts, outcome.model.standing()) {
        text.push_str("; ");
        text.push_str(caveat);
    }
    shortened(&text, 1024)
}

/// Image Plane module (PS3.3 C.7.6.2) as the source has it; Spacing Between Slices is left out on purpose.
fn put_plane(dataset: &mut Dataset, slice: &SliceSource) {
    let plane = &slice.plane;
    put_numbers(dataset, tags::IMAGE_POSITION_PATIENT, &plane.position_mm);
    put_numbers(dataset, tags::IMAGE_ORIENTATION_PATIENT, &plane.orientation);
    put_numbers(dataset, tags::PIXEL_SPACING, &plane.pixel_spacing_mm);
    match plane.slice_thickness_mm {
        Some(thickness) => put_numbers(dataset, tags::SLICE_THICKNESS, &[thickness]),
        None => put_text(dataset, tags::SLICE_THICKNESS, VR::DS, ""),
    }
}

fn put_source_image(dataset: &mut Dataset, slice: &SliceSource) {
    let mut item = reference_item(&slice.sop_class_uid, &slice.sop_instance_uid, slice.frame_number);
    put_code(&mut item, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &SOURCE_IMAGE_FOR_PROCESSING);
    put_text(&mut item, tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES");
    put_sequence(dataset, tags::SOURCE_IMAGE_SEQUENCE, vec![item]);
}

/// Frame of Reference module (PS3.3 C.7.4.1); without the UID there is nothing to link by, and nothing is invented.
fn copy_frame_of_reference(dataset: &mut Dataset, header: &Dataset) {
    let Some(frame_of_reference) = header.get(tags::FRAME_OF_REFERENCE_UID) else { return };
    dataset.put(frame_of_reference.clone());
    match header.get(tags::POSITION_REFERENCE_INDICATOR) {
        Some(indicator) => {
            dataset.put(indicator.clone());
        }
        None => put_text(dataset, tags::POSITION_REFERENCE_INDICATOR, VR::LO, ""),
    }
}

/// Pixels that were once compressed with loss stay marked so (PS3.3 C.7.6.1.1.5).
fn copy_lossy_compression(dataset: &mut Dataset, header: &Dataset) {
    for tag in
        [tags::LOSSY_IMAGE_COMPRESSION, tags::LOSSY_IMAGE_COMPRESSION_RATIO, tags::LOSSY_IMAGE_COMPRESSION_METHOD]
    {
        if let Some(element) = header.get(tag) {
            dataset.put(element.clone());
        }
    }
}

/// The source's own instance (or frame) numbers where every slice has one of its own; their order otherwise.
fn instance_numbers(slices: &[SliceSource]) -> Vec<i64> {
    let own: Vec<Option<i64>> = slices
        .iter()
        .map(|slice| {
            slice.frame_number.map(i64::from).or(slice.instance_number).filter(|n| (0..=2_147_483_647).contains(n))
        })
        .collect();
    let distinct: std::collections::BTreeSet<i64> = own.iter().flatten().copied().collect();
    if distinct.len() == slices.len() {
        own.into_iter().flatten().collect()
    } else {
        (1..).take(slices.len()).collect()
    }
}
