//! A small DICOM study written to disk, and an analysis of it made by hand, for the tests of the stage "report".
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::meta::FileMetaTableBuilder;
use dicom_object::{DefaultDicomObject, OpenFileOptions};
use fcdd::dicom::{Dataset, Uid};
use fcdd::study::{
    Analysis, AssembledStudy, Decision, Fused, Heatmap, Hemisphere, ImagePlane, InputDigest, ModelIdentity,
    ModelOutcome, Prior, Reason, Region, Sequence, SeriesVerdict, SliceSource, SourceVolume, Stack, Verdict,
};
use fcdd::volume::{Affine, Volume};
use ndarray::Array3;

pub const SLICES: usize = 20;
pub const ROWS: usize = 48;
pub const COLUMNS: usize = 40;
const STUDY_UID: &str = "1.2.826.0.1.3680043.8.498.1001";

/// How the slices of a synthetic series lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquisition {
    Axial,
    Sagittal,
    Oblique,
}

impl Acquisition {
    /// Directions (LPS) of increasing column, row and slice index.
    fn directions(self) -> [[f64; 3]; 3] {
        match self {
            Acquisition::Axial => [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            // Columns run to the back, rows to the feet: the slices run to the patient's right.
            Acquisition::Sagittal => [[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]],
            Acquisition::Oblique => {
                let (s, c) = 20_f64.to_radians().sin_cos();
                [[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]]
            }
        }
    }
}

const COLUMN_MM: f64 = 4.25;
const ROW_MM: f64 = 4.0;
const SLICE_MM: f64 = 8.0;

fn put(dataset: &mut Dataset, tag: Tag, vr: VR, text: &str) {
    dataset.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
}

/// One series of an ellipsoid head with a darker rim, on disk, and the stack that assembly would make of it.
pub fn write_series(
    directory: &Path,
    sequence: Sequence,
    acquisition: Acquisition,
    patient: &dyn Fn(&mut Dataset),
) -> Stack {
    let number = if sequence == Sequence::T1 { 3 } else { 5 };
    let series_uid = format!("{STUDY_UID}.{number}");
    let [column_direction, row_direction, slice_direction] = acquisition.directions();
    let scaled = |v: [f64; 3], mm: f64| v.map(|c| c * mm);
    let steps = [scaled(slice_direction, SLICE_MM), scaled(row_direction, ROW_MM), scaled(column_direction, COLUMN_MM)];
    let centre_index = [(SLICES - 1) as f64 / 2.0, (ROWS - 1) as f64 / 2.0, (COLUMNS - 1) as f64 / 2.0];
    let offset = Affine::from_axes(steps, [0.0; 3]).apply(centre_index);
    // The head's centre is off the origin, so that a sign mistake cannot hide.
    let origin = [3.5 - offset[0], 12.25 - offset[1], 30.5 - offset[2]];
    let affine = Affine::from_axes(steps, origin);
    let head = |lps: [f64; 3]| {
        let r = ((lps[0] - 3.5) / 72.0).powi(2) + ((lps[1] - 12.25) / 85.0).powi(2) + ((lps[2] - 30.5) / 72.0).powi(2);
        match r {
            r if r > 1.0 => 4.0,
            r if r > 0.82 => 700.0,
            r if r > 0.7 => 90.0,
            r => 420.0 + 160.0 * (lps[0] / 9.0).sin() * (lps[1] / 11.0).cos() - 120.0 * r,
        }
    };
    let data = Array3::from_shape_fn((SLICES, ROWS, COLUMNS), |(k, r, c)| {
        head(affine.apply([k as f64, r as f64, c as f64])) as f32
    });

    let mut slices = Vec::new();
    for k in 0..SLICES {
        let sop_uid = format!("{series_uid}.{}", k + 1);
        let position = affine.apply([k as f64, 0.0, 0.0]);
        let mut dataset = Dataset::new_empty();
        put(&mut dataset, tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100");
        put(&mut dataset, tags::PATIENT_NAME, VR::PN, "Test^Head");
        put(&mut dataset, tags::PATIENT_ID, VR::LO, "FCDD-1");
        put(&mut dataset, tags::PATIENT_BIRTH_DATE, VR::DA, "19990101");
        put(&mut dataset, tags::PATIENT_SEX, VR::CS, "O");
        put(&mut dataset, tags::STUDY_DATE, VR::DA, "20260102");
        put(&mut dataset, tags::STUDY_TIME, VR::TM, "101112");
        put(&mut dataset, tags::ACCESSION_NUMBER, VR::SH, "A17");
        put(&mut dataset, tags::STUDY_ID, VR::SH, "S4");
        put(&mut dataset, tags::REFERRING_PHYSICIAN_NAME, VR::PN, "House^G");
        patient(&mut dataset);
        put(&mut dataset, tags::STUDY_INSTANCE_UID, VR::UI, STUDY_UID);
        put(&mut dataset, tags::SERIES_INSTANCE_UID, VR::UI, &series_uid);
        put(&mut dataset, tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE);
        put(&mut dataset, tags::SOP_INSTANCE_UID, VR::UI, &sop_uid);
        put(&mut dataset, tags::MODALITY, VR::CS, "MR");
        put(&mut dataset, tags::MANUFACTURER, VR::LO, "ACME");
        put(&mut dataset, tags::SERIES_NUMBER, VR::IS, &number.to_string());
        put(&mut dataset, tags::INSTANCE_NUMBER, VR::IS, &(k + 101).to_string());
        put(&mut dataset, tags::FRAME_OF_REFERENCE_UID, VR::UI, &format!("{STUDY_UID}.9"));
        put(&mut dataset, tags::POSITION_REFERENCE_INDICATOR, VR::LO, "NASION");
        put(&mut dataset, tags::WINDOW_CENTER, VR::DS, "300");
        put(&mut dataset, tags::WINDOW_WIDTH, VR::DS, "600");
        let numbers = |values: &[f64]| values.iter().map(|v| format!("{v:.8}")).collect::<Vec<_>>().join("\\");
        put(&mut dataset, tags::IMAGE_POSITION_PATIENT, VR::DS, &numbers(&position));
        let orientation = [column_direction, row_direction].concat();
        put(&mut dataset, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &numbers(&orientation));
        put(&mut dataset, tags::PIXEL_SPACING, VR::DS, &numbers(&[ROW_MM, COLUMN_MM]));
        put(&mut dataset, tags::SLICE_THICKNESS, VR::DS, "8");
        for (tag, value) in [
            (tags::ROWS, ROWS as u16),
            (tags::COLUMNS, COLUMNS as u16),
            (tags::BITS_ALLOCATED, 16),
            (tags::BITS_STORED, 16),
            (tags::HIGH_BIT, 15),
            (tags::PIXEL_REPRESENTATION, 0),
            (tags::SAMPLES_PER_PIXEL, 1),
        ] {
            dataset.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
        }
        put(&mut dataset, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
        let pixels: Vec<u16> = data.index_axis(ndarray::Axis(0), k).iter().map(|v| *v as u16).collect();
        dataset.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())));
        let path = directory.join(format!("{sop_uid}.dcm"));
        let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
        dataset.with_meta(meta).unwrap().write_to_file(&path).unwrap();
        slices.push(SliceSource {
            path,
            sop_class_uid: Uid::parse(uids::MR_IMAGE_STORAGE).unwrap(),
            sop_instance_uid: Uid::parse(&sop_uid).unwrap(),
            frame_number: None,
            instance_number: Some(k as i64 + 101),
            plane: ImagePlane {
                position_mm: position.map(|v| format!("{v:.8}").parse().unwrap()),
                orientation: <[f64; 6]>::try_from(orientation).unwrap().map(|v| format!("{v:.8}").parse().unwrap()),
                pixel_spacing_mm: [ROW_MM, COLUMN_MM],
                slice_thickness_mm: Some(8.0),
                rows: ROWS,
                columns: COLUMNS,
            },
        });
    }
    let header = header(&slices[0].path);
    Stack {
        series_uid: Uid::parse(&series_uid).unwrap(),
        series_number: Some(number),
        description: format!("{} 3D", sequence.label()),
        index_in_series: 0,
        images: SLICES,
        sequence,
        sequence_because: "test".into(),
        verdict: SeriesVerdict::Ok,
        volume: Some(Arc::new(SourceVolume { volume: Volume { data, affine }, slices })),
        header,
    }
}

/// A file's header without its pixels, as assembly hands it over.
pub fn header(path: &Path) -> Arc<Dataset> {
    Arc::new(OpenFileOptions::new().read_until(tags::PIXEL_DATA).open_file(path).unwrap().into_inner())
}

/// A study of T1 and FLAIR.
pub fn study(directory: &Path, t1: Acquisition, flair: Acquisition) -> AssembledStudy {
    study_with(directory, t1, flair, &|_| {})
}

/// A study whose patient attributes were changed by `patient`.
pub fn study_with(
    directory: &Path,
    t1: Acquisition,
    flair: Acquisition,
    patient: &dyn Fn(&mut Dataset),
) -> AssembledStudy {
    let stacks = vec![
        write_series(directory, Sequence::T1, t1, patient),
        write_series(directory, Sequence::Flair, flair, patient),
    ];
    let inputs = stacks
        .iter()
        .flat_map(|s| &s.volume.as_ref().unwrap().slices)
        .map(|s| InputDigest { sop_instance_uid: s.sop_instance_uid.clone(), sha256: [7; 32] })
        .collect();
    AssembledStudy {
        study_uid: Uid::parse(STUDY_UID).unwrap(),
        received_at: "2026-01-02T10:20:30.5Z".parse().unwrap(),
        header: Arc::clone(&stacks[0].header),
        stacks,
        t1: Some(0),
        flair: Some(1),
        problems: Vec::new(),
        inputs,
    }
}

/// A heatmap with one blob of about 12 mm around a place, and its peak's index.
pub fn blob(stack: &Stack, at_lps_mm: [f64; 3]) -> (Heatmap, [usize; 3]) {
    let volume = &stack.volume.as_ref().unwrap().volume;
    let mut display = Array3::from_shape_fn(volume.data.dim(), |(k, r, c)| {
        let p = volume.affine.apply([k as f64, r as f64, c as f64]);
        let d2: f64 = (0..3).map(|i| (p[i] - at_lps_mm[i]).powi(2)).sum();
        (-d2 / (2.0 * 12.0_f64.powi(2))).exp() as f32
    });
    let (peak, top) =
        display.indexed_iter().fold(((0, 0, 0), 0.0_f32), |best, (i, v)| if *v > best.1 { (i, *v) } else { best });
    display /= top;
    let heatmap = Heatmap { display: Arc::new(display), range_logit: [0.0, 3.25], constant: false };
    (heatmap, [peak.0, peak.1, peak.2])
}

/// What a model found around a place.
pub fn outcome(study: &AssembledStudy, sequence: Sequence, probability: f64, at_lps_mm: [f64; 3]) -> ModelOutcome {
    let stack = study.chosen(sequence).unwrap();
    let (heatmap, peak) = blob(stack, at_lps_mm);
    let affine = &stack.volume.as_ref().unwrap().volume.affine;
    let name = if sequence == Sequence::T1 { "fcd-t1" } else { "fcd-flair" };
    ModelOutcome {
        sequence,
        model: ModelIdentity {
            name: name.into(),
            version: "1.2.0".into(),
            digest: "ab".repeat(32),
            trained: true,
            synthetic: false,
            data_source: "made up for a test".into(),
            architecture: "resnet18".into(),
            folds: 5,
            provider: "CPU".into(),
            precision: "fp32".into(),
            cell_mm: [8.0; 3],
        },
        probability,
        fold_probabilities: [-0.04, -0.01, 0.0, 0.02, 0.035].map(|d| probability + d).to_vec(),
        threshold: 0.5,
        prior: Prior::Training { prevalence: 0.5 },
        logit: (probability / (1.0 - probability)).ln(),
        decision: Decision { probability, threshold: 0.5 },
        heatmap,
        regions: vec![Region {
            sequence,
            centroid_lps_mm: at_lps_mm,
            peak_lps_mm: affine.apply(peak.map(|i| i as f64)),
            peak_source_index: peak,
            peak_logit: 3.25,
            volume_mm3: 2345.6,
            hemisphere: if at_lps_mm[0] > 3.5 { Hemisphere::Left } else { Hemisphere::Right },
        }],
    }
}

/// The place of the made-up lesion: left, front, up.
pub const LESION_LPS_MM: [f64; 3] = [38.0, -18.0, 52.0];

/// Both models suspect the same place.
pub fn suspected(study: &AssembledStudy) -> Analysis {
    let outcomes = vec![
        outcome(study, Sequence::T1, 0.8123, LESION_LPS_MM),
        outcome(study, Sequence::Flair, 0.9012, LESION_LPS_MM),
    ];
    Analysis {
        outcomes,
        fused: Some(Fused {
            probability: 0.873_012_345,
            threshold: 0.5,
            prior: Prior::Training { prevalence: 0.5 },
            logit: 1.93,
            calibration: [1.0, 0.0],
            decision: Decision { probability: 0.873_012_345, threshold: 0.5 },
            sequences: vec![Sequence::T1, Sequence::Flair],
        }),
        verdict: Verdict::Suspected,
        remarks: Vec::new(),
        timings_ms: BTreeMap::from([("inference_t1".to_owned(), 123.4)]),
    }
}

/// The same study at a site where one patient in a hundred has FCD: odds are divided by 99, verdicts stay.
pub fn suspected_at_a_site(study: &AssembledStudy) -> Analysis {
    let mut analysis = suspected(study);
    let prior = Prior::Site { prevalence: 0.01, training_prevalence: 0.5 };
    let moved = |p: f64| p / (p + 99.0 * (1.0 - p));
    for outcome in &mut analysis.outcomes {
        outcome.prior = prior;
        outcome.probability = moved(outcome.probability);
        outcome.threshold = moved(outcome.threshold);
        outcome.fold_probabilities.iter_mut().for_each(|p| *p = moved(*p));
    }
    let fused = analysis.fused.as_mut().unwrap();
    (fused.prior, fused.probability, fused.threshold) = (prior, moved(fused.probability), moved(fused.threshold));
    analysis
}

/// Both models say no; regions are empty as the contract wants.
pub fn not_suspected(study: &AssembledStudy) -> Analysis {
    let mut analysis = suspected(study);
    for outcome in &mut analysis.outcomes {
        (outcome.probability, outcome.decision.probability) = (0.12, 0.12);
        outcome.regions.clear();
    }
    let fused = analysis.fused.as_mut().unwrap();
    (fused.probability, fused.decision.probability) = (0.12, 0.12);
    analysis.verdict = Verdict::NotSuspected;
    analysis
}

/// What the demonstration models give.
pub fn untrained(study: &AssembledStudy) -> Analysis {
    let mut analysis = not_suspected(study);
    for outcome in &mut analysis.outcomes {
        outcome.model.trained = false;
        outcome.model.name = format!("demo-{}", outcome.sequence.label().to_lowercase());
        outcome.model.folds = 1;
        outcome.fold_probabilities.truncate(1);
        outcome.probability = 0.51;
    }
    analysis.outcomes[1].heatmap = Heatmap {
        display: Arc::new(Array3::zeros(analysis.outcomes[1].heatmap.display.dim())),
        range_logit: [0.0, 0.0],
        constant: true,
    };
    let text = "untrained demonstration model: its random weights allow no statement about this patient";
    analysis.verdict = Verdict::Unassessable { reasons: vec![Reason::new("untrained_model", text)] };
    analysis
}

/// A study without any volume and what is left of its analysis.
pub fn unassessable(mut study: AssembledStudy) -> (AssembledStudy, Analysis) {
    for stack in &mut study.stacks {
        stack.volume = None;
        stack.verdict = SeriesVerdict::MissingSlice { after: 7, missing: 2, gap_mm: 24.0, spacing_mm: 8.0 };
    }
    (study.t1, study.flair) = (None, None);
    let reasons = vec![Reason::new("no_usable_series", "No series of this study is a complete T1 or FLAIR volume.")];
    study.problems = reasons.clone();
    let analysis = Analysis {
        outcomes: Vec::new(),
        fused: None,
        verdict: Verdict::Unassessable { reasons },
        remarks: Vec::new(),
        timings_ms: BTreeMap::new(),
    };
    (study, analysis)
}

/// Opens an object of ours.
pub fn open(path: &Path) -> DefaultDicomObject {
    dicom_object::open_file(path).unwrap()
}

/// An element's text without padding, empty when it is missing.
pub fn text(dataset: &Dataset, tag: Tag) -> String {
    dataset.element(tag).ok().and_then(|e| e.to_str().ok().map(|s| s.trim().to_owned())).unwrap_or_default()
}

/// The first item of a sequence.
pub fn item(dataset: &Dataset, tag: Tag) -> &Dataset {
    items(dataset, tag).first().unwrap_or_else(|| panic!("no item in {tag}"))
}

/// The items of a sequence; none when it is missing.
pub fn items(dataset: &Dataset, tag: Tag) -> &[Dataset] {
    dataset.element(tag).ok().and_then(|e| e.items()).unwrap_or_default()
}

/// Runs a program; `None` after a skip when it is not installed.
pub fn peer(program: &str, arguments: &[&str]) -> Option<(i32, String)> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
            Some((output.status.code().unwrap_or(-1), text))
        }
        Err(error) => {
            crate::support::skip(&format!("{program} cannot be run ({error})"));
            None
        }
    }
}

/// The Python of the project's set-up.
pub fn python() -> PathBuf {
    std::env::var_os("FCDD_PYTHON").map_or_else(|| PathBuf::from(".setup/venv/bin/python"), PathBuf::from)
}
