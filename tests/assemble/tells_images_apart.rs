//! Constructed studies: which images become one volume, which study is refused as a whole, which series is
//! chosen, and what a decoder that misbehaves can do.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dicom_core::value::{DataSetSequence, PixelFragmentSequence};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use fcdd::assemble::{self, Assembly, DecodeLimits, VolumesWanted};
use fcdd::config::sequences::SequenceRules;
use fcdd::dicom::identity;
use fcdd::study::{AssembledStudy, Sequence, SeriesVerdict};

/// Rows and columns of every image here.
const EDGE: u16 = 4;

/// One axial image; the stored pixels are `instance`, `instance + 1`, ...
struct Image {
    series: u32,
    instance: u32,
    z_mm: f64,
    elements: Vec<(dicom_core::Tag, VR, String)>,
    syntax: &'static str,
    pixels: Option<Vec<u8>>,
}

fn image(series: u32, instance: u32, z_mm: f64) -> Image {
    Image { series, instance, z_mm, elements: Vec::new(), syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN, pixels: None }
}

impl Image {
    fn with(mut self, tag: dicom_core::Tag, vr: VR, value: impl ToString) -> Image {
        self.elements.push((tag, vr, value.to_string()));
        self
    }

    fn dataset(&self) -> InMemDicomObject {
        let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
        let short = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
        let mut dataset = InMemDicomObject::from_element_iter([
            text(tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE),
            text(tags::SOP_INSTANCE_UID, VR::UI, &format!("1.2.3.{}.{}", self.series, self.instance)),
            text(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3"),
            text(tags::SERIES_INSTANCE_UID, VR::UI, &format!("1.2.3.{}", self.series)),
            text(tags::SERIES_NUMBER, VR::IS, &self.series.to_string()),
            text(tags::INSTANCE_NUMBER, VR::IS, &self.instance.to_string()),
            text(tags::MODALITY, VR::CS, "MR"),
            text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\M"),
            text(tags::PATIENT_ID, VR::LO, "A"),
            text(tags::SERIES_DESCRIPTION, VR::LO, "t1 3d"),
            text(tags::IMAGE_POSITION_PATIENT, VR::DS, &format!("0\\0\\{}", self.z_mm)),
            text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0"),
            text(tags::PIXEL_SPACING, VR::DS, "1\\1"),
            text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
            short(tags::SAMPLES_PER_PIXEL, 1),
            short(tags::ROWS, EDGE),
            short(tags::COLUMNS, EDGE),
            short(tags::BITS_ALLOCATED, 16),
            short(tags::BITS_STORED, 16),
            short(tags::HIGH_BIT, 15),
            short(tags::PIXEL_REPRESENTATION, 0),
        ]);
        for (tag, vr, value) in &self.elements {
            dataset.put(text(*tag, *vr, value));
        }
        match &self.pixels {
            Some(fragment) => {
                let fragments = PixelFragmentSequence::new_fragments(vec![fragment.clone()]);
                dataset.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
            }
            None => {
                let values: Vec<u16> = (0..EDGE * EDGE).map(|i| i + self.instance as u16).collect();
                dataset.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(values.into())));
            }
        }
        dataset
    }

    fn write(&self, directory: &Path) -> PathBuf {
        let path = directory.join(format!("{}-{}-{}.dcm", self.series, self.instance, self.z_mm));
        let meta = FileMetaTableBuilder::new().transfer_syntax(self.syntax);
        self.dataset().with_meta(meta).unwrap().write_to_file(&path).unwrap();
        path
    }
}

fn limits() -> DecodeLimits {
    DecodeLimits { executable: Some(env!("CARGO_BIN_EXE_fcdd").into()), ..DecodeLimits::default() }
}

fn assembled_with(images: &[Image], limits: &DecodeLimits) -> Assembly {
    let directory = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = images.iter().map(|i| i.write(directory.path())).collect();
    assemble::assemble(&files, &SequenceRules::built_in(), limits)
}

fn assembled(images: &[Image]) -> AssembledStudy {
    let mut assembly = assembled_with(images, &limits());
    assert_eq!(assembly.studies.len(), 1);
    assembly.studies.remove(0)
}

fn verdicts(study: &AssembledStudy) -> Vec<SeriesVerdict> {
    study.stacks.iter().map(|s| s.verdict.clone()).collect()
}

#[test]
fn an_acquisition_number_that_counts_slices_splits_nothing() {
    // Instance numbers run against the positions, as they may.
    let images: Vec<Image> =
        (0..20).map(|i| image(1, 20 - i, f64::from(i) * 2.0).with(tags::ACQUISITION_NUMBER, VR::IS, i)).collect();
    let study = assembled(&images);
    assert_eq!(verdicts(&study), [SeriesVerdict::Ok]);
    let source = study.stacks[0].volume.as_ref().unwrap();
    assert_eq!(source.volume.affine.spacing_mm(), [2.0, 1.0, 1.0]);
    // Slice 0 lies lowest: it is instance 20.
    assert_eq!((source.slices[0].instance_number, source.volume.data[[0, 0, 0]]), (Some(20), 20.0));
    assert_eq!(source.volume.data[[19, 3, 3]], 16.0);
}

#[test]
fn repeated_passes_and_echoes_are_stacks_of_their_own() {
    let pass = |n: u32, tag, vr| (0..16).map(move |i| image(1, n * 100 + i, f64::from(i)).with(tag, vr, n));
    for (tag, vr) in
        [(tags::ACQUISITION_NUMBER, VR::IS), (tags::ECHO_NUMBERS, VR::IS), (tags::TEMPORAL_POSITION_IDENTIFIER, VR::IS)]
    {
        let images: Vec<Image> = pass(1, tag, vr).chain(pass(2, tag, vr)).collect();
        let study = assembled(&images);
        assert_eq!(verdicts(&study), [SeriesVerdict::Ok, SeriesVerdict::Ok], "{tag}");
        let first_voxel = |s: usize| study.stacks[s].volume.as_ref().unwrap().volume.data[[0, 0, 0]];
        assert_eq!((first_voxel(0), first_voxel(1)), (100.0, 200.0), "{tag}");
    }
    let images: Vec<Image> =
        pass(1, tags::IMAGE_COMMENTS, VR::LT).chain(pass(2, tags::IMAGE_COMMENTS, VR::LT)).collect();
    assert_eq!(verdicts(&assembled(&images)), [SeriesVerdict::DuplicatePosition { duplicates: 16 }]);
}

#[test]
fn three_crossed_planes_are_no_stack() {
    let orientations = ["1\\0\\0\\0\\1\\0", "0\\1\\0\\0\\0\\-1", "1\\0\\0\\0\\0\\-1"];
    let images: Vec<Image> = (0..3)
        .map(|i| image(1, i, 0.0).with(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, orientations[i as usize]))
        .collect();
    assert_eq!(verdicts(&assembled(&images)), [SeriesVerdict::MixedOrientation { orientations: 3 }]);
}

#[test]
fn rescale_applies_per_slice() {
    let images: Vec<Image> = (0..16)
        .map(|i| {
            let scaled = image(1, i, f64::from(i)).with(tags::RESCALE_SLOPE, VR::DS, f64::from(i) + 0.5);
            scaled.with(tags::RESCALE_INTERCEPT, VR::DS, -1)
        })
        .collect();
    let study = assembled(&images);
    let data = &study.stacks[0].volume.as_ref().unwrap().volume.data;
    for i in 0..16 {
        // The first stored pixel of instance i is i.
        assert_eq!(data[[i, 0, 0]], i as f32 * (i as f32 + 0.5) - 1.0);
    }
}

#[test]
fn a_scale_that_no_scanner_writes_makes_no_volume() {
    let table: [(&str, Option<&str>, Option<&str>); 6] = [
        ("15 of 16 images have a Rescale Slope", None, Some("-1")),
        ("15 of 16 images have a Rescale Intercept", Some("2"), None),
        ("Rescale Slope is -2", Some("-2"), Some("-1")),
        ("Rescale Slope is 0", Some("0"), Some("-1")),
        ("Rescale Slope is 1000000000000", Some("1e12"), Some("-1")),
        ("Rescale Intercept is 1000000000000", Some("2"), Some("1e12")),
    ];
    for (due, slope, intercept) in table {
        // The image in the middle has another scale than the others.
        let scale = |i: u32| if i == 8 { (slope, intercept) } else { (Some("2"), Some("-1")) };
        let scaled = |i: u32| {
            let with = |image: Image, tag, value: Option<&str>| match value {
                Some(value) => image.with(tag, VR::DS, value),
                None => image,
            };
            let (slope, intercept) = scale(i);
            let image = with(image(1, i, f64::from(i)), tags::RESCALE_SLOPE, slope);
            with(image, tags::RESCALE_INTERCEPT, intercept)
        };
        let study = assembled(&(0..16).map(scaled).collect::<Vec<_>>());
        let SeriesVerdict::Unreadable { why } = &study.stacks[0].verdict else { panic!("not found: {due}") };
        assert!(why.contains(due), "{why}, not {due}");
    }
}

#[test]
fn several_patients_and_our_own_results() {
    let own = |i: u32| {
        let result = image(9, i, f64::from(i)).with(tags::MANUFACTURER, VR::LO, identity::MANUFACTURER);
        result.with(tags::MANUFACTURER_MODEL_NAME, VR::LO, identity::MODEL_NAME)
    };
    let head = || (0..16).map(|i| image(1, i, f64::from(i)));

    let study = assembled(&head().chain((0..3).map(own)).collect::<Vec<_>>());
    assert_eq!((study.stacks.len(), study.t1, study.problems.len(), study.inputs.len()), (1, Some(0), 0, 16));

    let study = assembled(&(0..3).map(own).collect::<Vec<_>>());
    assert!(study.stacks.is_empty());
    assert_eq!(study.problems[0].code, assemble::ONLY_OWN_RESULTS);

    let other = (16..20).map(|i| image(1, i, f64::from(i)).with(tags::PATIENT_ID, VR::LO, "SECRET"));
    let study = assembled(&head().chain(other).collect::<Vec<_>>());
    assert_eq!(study.problems[0].code, assemble::SEVERAL_PATIENTS);
    assert!(!study.problems[0].text.contains("SECRET"));
}

#[test]
fn the_better_series_is_chosen_and_the_other_learns_why() {
    let series = |n: u32, spacing: f64, kind: &'static str, description: &'static str| {
        (0..16).map(move |i| {
            let one = image(n, i, f64::from(i) * spacing).with(tags::MR_ACQUISITION_TYPE, VR::CS, kind);
            one.with(tags::SERIES_DESCRIPTION, VR::LO, description)
        })
    };
    let images: Vec<Image> = series(1, 5.0, "2D", "t1 tra")
        .chain(series(2, 1.0, "3D", "t1 mprage"))
        .chain(series(3, 1.0, "3D", "t1 mprage +km"))
        .chain(series(4, 4.0, "2D", "t2 flair"))
        .collect();
    let study = assembled(&images);
    assert_eq!((study.t1, study.flair), (Some(1), Some(3)));
    assert!(study.stacks[0].sequence_because.contains("not chosen: series 2"), "{}", study.stacks[0].sequence_because);
    assert_eq!(study.stacks[2].sequence, Sequence::Other, "{}", study.stacks[2].sequence_because);
    // For analysis only the chosen pixels are decoded, and the choice is the same.
    let directory = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = images.iter().map(|i| i.write(directory.path())).collect();
    let rules = SequenceRules::built_in();
    let (again, leftovers) =
        assemble::assemble_study(&study.study_uid, &files, &rules, &limits(), VolumesWanted::Chosen).unwrap();
    assert_eq!((again.t1, again.flair, leftovers.len()), (study.t1, study.flair, 0));
    let has_volume: Vec<bool> = again.stacks.iter().map(|s| s.volume.is_some()).collect();
    assert_eq!(has_volume, [false, true, false, true]);
    assert_eq!(again.inputs, study.inputs);
}

/// An RLE frame of zeros, 16 bits each: two segments of runs, 128 bytes at most.
fn rle_zeros(pixels: usize) -> Vec<u8> {
    let mut segment = vec![];
    for run in (0..pixels).step_by(128).map(|at| (pixels - at).min(128)) {
        segment.extend([(257 - run) as u8, 0]);
    }
    let mut frame = [2u32, 64, 64 + segment.len() as u32].map(u32::to_le_bytes).concat();
    frame.resize(64, 0);
    [frame, segment.clone(), segment].concat()
}

fn rle_series() -> Vec<Image> {
    (0..16)
        .map(|i| Image { syntax: uids::RLE_LOSSLESS, pixels: Some(rle_zeros(16)), ..image(1, i, f64::from(i)) })
        .collect()
}

#[test]
fn a_decoder_that_hangs_or_has_no_memory_costs_its_series_and_nothing_else() {
    let study = &assembled_with(&rle_series(), &limits()).studies[0];
    assert_eq!(verdicts(study), [SeriesVerdict::Ok]);

    let directory = tempfile::tempdir().unwrap();
    let (text, sleeper) = (directory.path().join("sleeper.sh"), directory.path().join("sleeper"));
    std::fs::write(&text, "#!/bin/sh\nexec sleep 600\n").unwrap();
    // Written by another process: a child of a neighbour could hold what we write open, and it would be busy.
    let installed = std::process::Command::new("install").args(["-m", "755"]).args([&text, &sleeper]).status().unwrap();
    assert!(installed.success());
    let hanging = DecodeLimits { executable: Some(sleeper), timeout: Duration::from_millis(300), ..limits() };
    let begun = Instant::now();
    let study = &assembled_with(&rle_series(), &hanging).studies[0];
    let SeriesVerdict::Unreadable { why } = &study.stacks[0].verdict else { panic!("{}", study.stacks[0].verdict) };
    assert!(why.contains("took longer"), "{why}");
    assert!(begun.elapsed() < Duration::from_secs(60));

    // 8 MiB per frame do not fit into a child of 1 MiB.
    let large = |i: u32| {
        let pixels = Some(rle_zeros(2048 * 2048));
        let image = Image { syntax: uids::RLE_LOSSLESS, pixels, ..image(1, i, f64::from(i)) };
        image.with(tags::ROWS, VR::IS, 2048).with(tags::COLUMNS, VR::IS, 2048)
    };
    for (memory_mib, is_read) in [(1024, true), (1, false)] {
        let limits = DecodeLimits { memory_mib, ..limits() };
        let study = &assembled_with(&[large(0), large(1)], &limits).studies[0];
        let verdict = &study.stacks[0].verdict;
        assert_eq!(matches!(verdict, SeriesVerdict::TooFewSlices { .. }), is_read, "{memory_mib} MiB: {verdict}");
        assert_eq!(matches!(verdict, SeriesVerdict::Unreadable { .. }), !is_read, "{memory_mib} MiB: {verdict}");
    }
}

#[test]
fn frames_of_one_object_are_sorted_and_told_apart_by_their_functional_groups() {
    let item = |elements: Vec<(dicom_core::Tag, VR, String)>| {
        InMemDicomObject::from_element_iter(
            elements.into_iter().map(|(t, v, s)| DataElement::new(t, v, PrimitiveValue::from(s))),
        )
    };
    let sequence = |tag, item: InMemDicomObject| DataElement::new(tag, VR::SQ, DataSetSequence::from(vec![item]));
    // Two stacks of 16 frames, interleaved, from the top down; the second has a slope of its own.
    let frames: Vec<InMemDicomObject> = (0..32)
        .map(|f: u32| {
            let (stack, z) = (f % 2, 100.0 - f64::from(f / 2));
            let slope = if stack == 0 { 1 } else { 10 };
            InMemDicomObject::from_element_iter([
                sequence(
                    tags::PLANE_POSITION_SEQUENCE,
                    item(vec![(tags::IMAGE_POSITION_PATIENT, VR::DS, format!("0\\0\\{z}"))]),
                ),
                sequence(tags::FRAME_CONTENT_SEQUENCE, item(vec![(tags::STACK_ID, VR::SH, stack.to_string())])),
                sequence(
                    tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
                    item(vec![
                        (tags::RESCALE_SLOPE, VR::DS, slope.to_string()),
                        (tags::RESCALE_INTERCEPT, VR::DS, "0".into()),
                    ]),
                ),
            ])
        })
        .collect();
    let mut dataset = image(1, 1, 0.0).dataset();
    dataset.remove_element(tags::IMAGE_POSITION_PATIENT);
    dataset.put(DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, "32"));
    dataset.put(DataElement::new(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, VR::SQ, DataSetSequence::from(frames)));
    let values: Vec<u16> = (0..32).flat_map(|f| vec![f; usize::from(EDGE * EDGE)]).collect();
    dataset.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(values.into())));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("enhanced.dcm");
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    dataset.with_meta(meta).unwrap().write_to_file(&path).unwrap();

    let assembly = assemble::assemble(&[path], &SequenceRules::built_in(), &limits());
    let study = &assembly.studies[0];
    assert_eq!(verdicts(study), [SeriesVerdict::Ok, SeriesVerdict::Ok]);
    let [first, second] = [0, 1].map(|s| study.stacks[s].volume.as_ref().unwrap());
    // The lowest slice of each stack is its last frame.
    assert_eq!((first.slices[0].frame_number, first.volume.data[[0, 0, 0]]), (Some(31), 30.0));
    assert_eq!((second.slices[0].frame_number, second.volume.data[[0, 0, 0]]), (Some(32), 310.0));
    assert_eq!(first.volume.affine.origin_mm()[2], 85.0);
}

#[test]
fn big_endian_and_implicit_files_hold_the_same_values() {
    let series = |syntax: &'static str| -> Vec<Image> {
        (0..16).map(|i| Image { syntax, ..image(1, 1000 + i, f64::from(i)) }).collect()
    };
    let data = |syntax| assembled(&series(syntax)).stacks[0].volume.clone().unwrap().volume.data.clone();
    let due = data(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    assert_eq!(due[[0, 0, 1]], 1001.0);
    assert_eq!(data(uids::IMPLICIT_VR_LITTLE_ENDIAN), due);
    assert_eq!(data("1.2.840.10008.1.2.2"), due);
}
