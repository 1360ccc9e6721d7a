//! Colour, cross and point lie where the analysis put them: left stays left, in axial, sagittal and oblique series.

use std::sync::Arc;

use dicom_dictionary_std::{tags, uids};
use fcdd::config;
use fcdd::dicom::{Dataset, Templates, Uid};
use fcdd::report::render;
use fcdd::study::{ObjectKind, Sequence, SourceVolume};

use crate::report_fixture::{Acquisition, COLUMNS, LESION_LPS_MM, item, items, open, study, suspected, text};

/// Numbers of a Decimal String element.
fn numbers(dataset: &Dataset, tag: dicom_core::Tag) -> Vec<f64> {
    text(dataset, tag).split('\\').map(|t| t.trim().parse().unwrap()).collect()
}

/// LPS position of a pixel of an object, from the object's own plane (PS3.3 equation C.7.6.2.1-1).
fn position(dataset: &Dataset, row: f64, column: f64) -> [f64; 3] {
    let origin = numbers(dataset, tags::IMAGE_POSITION_PATIENT);
    let orientation = numbers(dataset, tags::IMAGE_ORIENTATION_PATIENT);
    let spacing = numbers(dataset, tags::PIXEL_SPACING);
    [0, 1, 2].map(|i| origin[i] + orientation[i] * spacing[1] * column + orientation[i + 3] * spacing[0] * row)
}

#[test]
fn colour_and_point_lie_at_the_lesion() {
    for acquisition in [Acquisition::Axial, Acquisition::Sagittal, Acquisition::Oblique] {
        let directory = tempfile::tempdir().unwrap();
        let study = study(directory.path(), acquisition, Acquisition::Axial);
        let analysis = suspected(&study);
        let (templates, report) = (Templates::built_in(), config::Report::default());
        let objects =
            render(&study, &analysis, &templates, &report, &fcdd::study::Revision::first(), directory.path()).unwrap();
        let slices = &study.chosen(Sequence::T1).unwrap().volume.as_ref().unwrap().slices;

        // The warm pixels' centre of gravity in space.
        let (mut sum, mut count) = ([0.0; 3], 0.0);
        let heatmaps: Vec<_> = objects.iter().filter(|o| o.kind == ObjectKind::HeatmapT1).collect();
        assert_eq!(heatmaps.len(), slices.len());
        for (object, slice) in heatmaps.iter().zip(slices) {
            let file = open(&object.path);
            let source = open(&slice.path);
            for tag in [
                tags::IMAGE_POSITION_PATIENT,
                tags::IMAGE_ORIENTATION_PATIENT,
                tags::PIXEL_SPACING,
                tags::SLICE_THICKNESS,
            ] {
                assert_eq!(numbers(&file, tag), numbers(&source, tag), "{acquisition:?} {tag}");
            }
            for tag in [tags::FRAME_OF_REFERENCE_UID, tags::POSITION_REFERENCE_INDICATOR, tags::INSTANCE_NUMBER] {
                assert_eq!(text(&file, tag), text(&source, tag));
            }
            let reference = item(&file, tags::SOURCE_IMAGE_SEQUENCE);
            assert_eq!(text(reference, tags::REFERENCED_SOP_INSTANCE_UID), text(&source, tags::SOP_INSTANCE_UID));
            let purpose = item(reference, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE);
            assert_eq!(text(purpose, tags::CODE_VALUE), "121322");
            assert_eq!(text(item(&file, tags::DERIVATION_CODE_SEQUENCE), tags::CODE_VALUE), "130403");
            assert_eq!(text(&file, tags::PHOTOMETRIC_INTERPRETATION), "RGB");
            let pixels = file.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap();
            for (i, pixel) in pixels.chunks_exact(3).enumerate() {
                let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(i32::from);
                if r - g > 40 && r - b > 40 {
                    let at = position(&file, (i / COLUMNS) as f64, (i % COLUMNS) as f64);
                    (0..3).for_each(|axis| sum[axis] += at[axis]);
                    count += 1.0;
                }
            }
        }
        assert!(count > 20.0, "{acquisition:?}: {count} warm pixels");
        let centre = sum.map(|s| s / count);
        let distance = (0..3).map(|i| (centre[i] - LESION_LPS_MM[i]).powi(2)).sum::<f64>().sqrt();
        assert!(distance < 6.0, "{acquisition:?}: colour at {centre:?}, lesion at {LESION_LPS_MM:?}");

        let report = open(&objects.last().unwrap().path);
        let (column, row, sop_uid, frame) = point(&report, "T1 region 1");
        assert_eq!(frame, "", "a single-frame image has no frame number");
        let slice = slices.iter().find(|s| s.sop_instance_uid.as_str() == sop_uid).unwrap();
        let at = position(&open(&slice.path), f64::from(row) - 0.5, f64::from(column) - 0.5);
        let peak = analysis.outcomes[0].regions[0].peak_lps_mm;
        let distance = (0..3).map(|i| (at[i] - peak[i]).powi(2)).sum::<f64>().sqrt();
        assert!(distance < 0.01, "{acquisition:?}: point at {at:?}, peak at {peak:?}");
    }
}

#[test]
fn frames_of_a_multi_frame_source_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut study = study(directory.path(), Acquisition::Axial, Acquisition::Axial);
    // The same slices as frames of one enhanced object, in reverse order.
    let mut volume = SourceVolume::clone(study.stacks[0].volume.as_ref().unwrap());
    let frames = volume.slices.len() as u32;
    for (slice, frame) in volume.slices.iter_mut().zip((1..=frames).rev()) {
        slice.sop_instance_uid = Uid::parse("1.2.3.4").unwrap();
        slice.sop_class_uid = Uid::parse(uids::ENHANCED_MR_IMAGE_STORAGE).unwrap();
        slice.frame_number = Some(frame);
    }
    study.stacks[0].volume = Some(Arc::new(volume));
    let analysis = suspected(&study);
    let (templates, report) = (Templates::built_in(), config::Report::default());
    let objects =
        render(&study, &analysis, &templates, &report, &fcdd::study::Revision::first(), directory.path()).unwrap();
    let first = open(&objects[0].path);
    let source = item(&first, tags::SOURCE_IMAGE_SEQUENCE);
    assert_eq!(text(source, tags::REFERENCED_FRAME_NUMBER), frames.to_string());
    assert_eq!(text(&first, tags::INSTANCE_NUMBER), frames.to_string());
    assert!(first.element(tags::NUMBER_OF_FRAMES).is_err());

    let report = open(&objects.last().unwrap().path);
    let (_, _, sop_uid, frame) = point(&report, "T1 region 1");
    assert_eq!(sop_uid, "1.2.3.4");
    assert_eq!(frame, (frames as usize - analysis.outcomes[0].regions[0].peak_source_index[0]).to_string());
    let study_item = item(&report, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE);
    let references: usize = items(study_item, tags::REFERENCED_SERIES_SEQUENCE)
        .iter()
        .map(|series| items(series, tags::REFERENCED_SOP_SEQUENCE).len())
        .sum();
    assert_eq!(references, 1 + frames as usize, "one multi-frame T1 and every FLAIR slice");
}

/// Column, row, SOP instance and frame of the point in the group with this tracking identifier.
fn point(report: &Dataset, tracking: &str) -> (f32, f32, String, String) {
    let named = |items: &'_ [Dataset], code: &str| -> Vec<usize> {
        let is = |d: &Dataset| items_of_name(d).first().is_some_and(|name| text(name, tags::CODE_VALUE) == code);
        items.iter().enumerate().filter(|(_, d)| is(d)).map(|(i, _)| i).collect()
    };
    let root = items(report, tags::CONTENT_SEQUENCE);
    let measurements = &root[named(root, "126010")[0]];
    for group in items(measurements, tags::CONTENT_SEQUENCE) {
        let content = items(group, tags::CONTENT_SEQUENCE);
        if text(&content[named(content, "112039")[0]], tags::TEXT_VALUE) != tracking {
            continue;
        }
        let region = &content[named(content, "111030")[0]];
        let data = region.element(tags::GRAPHIC_DATA).unwrap().to_multi_float32().unwrap();
        let image = item(item(region, tags::CONTENT_SEQUENCE), tags::REFERENCED_SOP_SEQUENCE);
        let frame = text(image, tags::REFERENCED_FRAME_NUMBER);
        return (data[0], data[1], text(image, tags::REFERENCED_SOP_INSTANCE_UID), frame);
    }
    panic!("no group {tracking:?}");
}

fn items_of_name(dataset: &Dataset) -> &[Dataset] {
    items(dataset, tags::CONCEPT_NAME_CODE_SEQUENCE)
}
