//! Example studies and what an analysis could have found in them: between them they bring out everything that the
//! writers can write. Nobody was scanned and no model ran; only which attributes are there, and where their values
//! come from, is looked at.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use ndarray::Array3;

use crate::dicom::codes::Concept;
use crate::dicom::templates::{ReportClass, SeriesText};
use crate::dicom::{Dataset, InvalidUid, Templates, Uid};
use crate::report::modules::elements::{code_item, decimal_string};
use crate::report::modules::patient_and_study;
use crate::study::{
    Analysis, AssembledStudy, Decision, Fused, Heatmap, Hemisphere, ImagePlane, InputDigest, ModelIdentity,
    ModelOutcome, Prior, Reason, Region, ReportReference, Revision, Sequence, SeriesVerdict, SliceSource, SourceVolume,
    Stack, Verdict,
};
use crate::volume::{Affine, Volume};

/// One study with its analysis and the templates to write it with.
pub(super) struct Example {
    pub(super) study: AssembledStudy,
    pub(super) analysis: Analysis,
    pub(super) templates: Templates,
    /// Which of the study's results it is.
    pub(super) revision: Revision,
    /// The headers of the source's slices, by SOP Instance UID.
    pub(super) sources: BTreeMap<String, Dataset>,
    /// Which of the roles it plays.
    pub(super) role: Role,
}

/// What an example is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Everything is there; written with the site's templates.
    Full,
    /// The same study and analysis, other templates: what differs comes from them.
    OtherTemplates,
    /// Another study, analysis or time.
    Other,
}

/// How much a source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Every attribute that can be copied, in one of two versions.
    Full(u8),
    /// What an object cannot do without.
    Lean,
}

impl Source {
    /// Slices, rows, columns. Each version has its own, so that what is copied can be told from what is fixed.
    fn shape(self) -> [usize; 3] {
        if self == Source::Full(2) { [3, 14, 11] } else { [3, 12, 10] }
    }

    /// Directions of increasing column and row index, LPS: axial, or coronal.
    fn orientation(self) -> [[f64; 3]; 2] {
        let rows = if self == Source::Full(2) { [0.0, 0.0, -1.0] } else { [0.0, 1.0, 0.0] };
        [[1.0, 0.0, 0.0], rows]
    }

    /// Distance between pixels, mm.
    fn spacing_mm(self) -> f64 {
        if self == Source::Full(2) { 2.0 } else { 1.0 }
    }
}

/// All examples.
pub(super) fn examples(templates: &Templates) -> Result<Vec<Example>, InvalidUid> {
    let both = [Sequence::T1, Sequence::Flair];
    let example = |role, (study, sources): (AssembledStudy, _), analysis: Analysis| Example {
        study,
        analysis,
        templates: if role == Role::OtherTemplates { other_templates(templates) } else { templates.clone() },
        revision: Revision::first(),
        sources,
        role,
    };
    let training = Prior::Training { prevalence: 0.5 };
    let site = Prior::Site { prevalence: 0.05, training_prevalence: 0.5 };
    let suspected = |source, sequences: &[Sequence], prior| {
        analysis(sequences.iter().map(|s| outcome(source, *s, prior, 5)).collect(), Verdict::Suspected)
    };
    let mut lean = outcome(Source::Lean, Sequence::T1, Prior::Unstated, 1);
    let lean_suspected = analysis(vec![lean.clone()], Verdict::Suspected);
    lean.regions.clear();
    let mut constant = outcome(Source::Full(2), Sequence::Flair, training, 1);
    (constant.heatmap.constant, constant.model.trained) = (true, false);
    constant.regions.clear();
    let reasons = vec![Reason::new("example", "An example of a reason.")];
    let unassessable = Verdict::Unassessable { reasons };

    let (mut framed, framed_sources) = study(Source::Full(2), &[Sequence::Flair])?;
    number_frames(&mut framed)?;
    let mut without_volumes = study(Source::Full(1), &both)?;
    drop_volumes(&mut without_volumes.0, false);
    let mut without_images = study(Source::Lean, &both)?;
    drop_volumes(&mut without_images.0, true);
    // Two, so that what they replace is seen to be no fixed value.
    let mut revised = Vec::new();
    for (number, source) in [(2, Source::Lean), (3, Source::Full(2))] {
        let uid = |part: &str| Uid::parse(&format!("1.2.3.9.{number}.{part}"));
        let sop_class_uid = Uid::parse(uids::COMPREHENSIVE3_DSR_STORAGE)?;
        let before = ReportReference { series_uid: uid("1")?, sop_class_uid, sop_instance_uid: uid("2")? };
        let analysis = suspected(source, &[Sequence::T1], training);
        revised.push(Example {
            revision: Revision { number, predecessor: Some(before) },
            ..example(Role::Other, study(source, &[Sequence::T1])?, analysis)
        });
    }
    let first = vec![
        example(Role::Full, study(Source::Full(1), &both)?, suspected(Source::Full(1), &both, training)),
        example(Role::OtherTemplates, study(Source::Full(1), &both)?, suspected(Source::Full(1), &both, training)),
        example(Role::Other, study(Source::Full(2), &both)?, suspected(Source::Full(2), &both, site)),
        example(Role::Other, study(Source::Lean, &[Sequence::T1])?, analysis(vec![lean], Verdict::NotSuspected)),
        example(Role::Other, study(Source::Lean, &[Sequence::T1])?, lean_suspected),
        example(Role::Other, (framed, framed_sources), analysis(vec![constant], unassessable.clone())),
        example(Role::Other, without_volumes, analysis(Vec::new(), unassessable.clone())),
        example(Role::Other, without_images, analysis(Vec::new(), unassessable)),
    ];
    Ok(first.into_iter().chain(revised).collect())
}

/// A study with one series per sequence.
fn study(source: Source, sequences: &[Sequence]) -> Result<(AssembledStudy, BTreeMap<String, Dataset>), InvalidUid> {
    let study_uid = match source {
        Source::Full(version) => format!("1.2.3.{version}"),
        Source::Lean => "1.2.3.9".to_owned(),
    };
    let mut sources = BTreeMap::new();
    let mut stacks = Vec::new();
    for (number, sequence) in (1..).zip(sequences) {
        stacks.push(stack(source, &study_uid, number, *sequence, &mut sources)?);
    }
    let header = stacks.first().map_or_else(|| Arc::new(Dataset::new_empty()), |stack| Arc::clone(&stack.header));
    let index = |wanted| sequences.iter().position(|sequence| *sequence == wanted);
    let mut inputs = Vec::new();
    for uid in sources.keys() {
        inputs.push(InputDigest { sop_instance_uid: Uid::parse(uid)?, sha256: [0; 32] });
    }
    let second = if source == Source::Full(1) { 1 } else { 2 };
    let study = AssembledStudy {
        study_uid: Uid::parse(&study_uid)?,
        received_at: jiff::Timestamp::from_second(second * 100_000).unwrap_or_default(),
        t1: index(Sequence::T1),
        flair: index(Sequence::Flair),
        stacks,
        problems: Vec::new(),
        header,
        inputs,
    };
    Ok((study, sources))
}

fn stack(
    source: Source,
    study_uid: &str,
    number: i64,
    sequence: Sequence,
    sources: &mut BTreeMap<String, Dataset>,
) -> Result<Stack, InvalidUid> {
    let series_uid = format!("{study_uid}.{number}");
    let [slices, rows, columns] = source.shape();
    let spacing_mm = source.spacing_mm();
    let [along_row, along_column] = source.orientation();
    let scaled = |direction: [f64; 3]| direction.map(|part| part * spacing_mm);
    let affine = Affine::from_axes([[0.5, 3.0, 4.0], scaled(along_column), scaled(along_row)], [-5.0, -6.0, 7.0]);
    let mut first = None;
    let mut of_slices = Vec::new();
    for index in 0..slices {
        let sop_instance_uid = format!("{series_uid}.{}", index + 1);
        let plane = ImagePlane {
            position_mm: affine.apply([index as f64, 0.0, 0.0]),
            orientation: [along_row[0], along_row[1], along_row[2], along_column[0], along_column[1], along_column[2]],
            pixel_spacing_mm: [spacing_mm; 2],
            slice_thickness_mm: (source != Source::Lean).then_some(2.0 + spacing_mm),
            rows,
            columns,
        };
        let instance_number = (source != Source::Lean).then_some(index as i64 + 11);
        let mut header = header(source, study_uid, &series_uid, &sop_instance_uid);
        put_plane(&mut header, &plane);
        if let Some(number) = instance_number {
            put(&mut header, tags::INSTANCE_NUMBER, VR::IS, &number.to_string());
        }
        sources.insert(sop_instance_uid.clone(), header.clone());
        first.get_or_insert_with(|| Arc::new(header));
        of_slices.push(SliceSource {
            path: PathBuf::new(),
            sop_class_uid: Uid::parse(uids::MR_IMAGE_STORAGE)?,
            sop_instance_uid: Uid::parse(&sop_instance_uid)?,
            frame_number: None,
            instance_number,
            plane,
        });
    }
    let data = Array3::from_shape_fn((slices, rows, columns), |(k, r, c)| (100 * k + 10 * r + c) as f32);
    Ok(Stack {
        series_uid: Uid::parse(&series_uid)?,
        series_number: Some(number),
        description: String::new(),
        index_in_series: 0,
        images: slices,
        sequence,
        sequence_because: String::new(),
        verdict: SeriesVerdict::Ok,
        volume: Some(Arc::new(SourceVolume { volume: Volume { data, affine }, slices: of_slices })),
        header: first.unwrap_or_else(|| Arc::new(Dataset::new_empty())),
    })
}

/// A slice's header. What can be copied is taken from the very table by which it is copied.
fn header(source: Source, study_uid: &str, series_uid: &str, sop_instance_uid: &str) -> Dataset {
    let mut header = Dataset::new_empty();
    if let Source::Full(version) = source {
        put(&mut header, tags::SPECIFIC_CHARACTER_SET, VR::CS, &format!("ISO_IR 10{}", version - 1));
        for (tag, vr) in patient_and_study::TYPE_2.into_iter().chain(patient_and_study::COPIED) {
            match vr {
                VR::SQ => put_codes(&mut header, tag, version),
                _ => put(&mut header, tag, vr, &value(vr, version)),
            }
        }
        put(&mut header, tags::FRAME_OF_REFERENCE_UID, VR::UI, &format!("{study_uid}.77"));
        put(&mut header, tags::POSITION_REFERENCE_INDICATOR, VR::LO, &value(VR::LO, version));
        put(&mut header, tags::LOSSY_IMAGE_COMPRESSION, VR::CS, &format!("0{}", version - 1));
        put(&mut header, tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, &value(VR::DS, version));
        put(&mut header, tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, &value(VR::CS, version));
        put(&mut header, tags::RECOGNIZABLE_VISUAL_FEATURES, VR::CS, if version == 1 { "YES" } else { "NO" });
    }
    put(&mut header, tags::STUDY_INSTANCE_UID, VR::UI, study_uid);
    put(&mut header, tags::SERIES_INSTANCE_UID, VR::UI, series_uid);
    put(&mut header, tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE);
    put(&mut header, tags::SOP_INSTANCE_UID, VR::UI, sop_instance_uid);
    header
}

fn put_plane(header: &mut Dataset, plane: &ImagePlane) {
    let numbers = |values: &[f64]| values.iter().map(|v| decimal_string(*v)).collect::<Vec<_>>().join("\\");
    put(header, tags::IMAGE_POSITION_PATIENT, VR::DS, &numbers(&plane.position_mm));
    put(header, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &numbers(&plane.orientation));
    put(header, tags::PIXEL_SPACING, VR::DS, &numbers(&plane.pixel_spacing_mm));
    if let Some(thickness) = plane.slice_thickness_mm {
        put(header, tags::SLICE_THICKNESS, VR::DS, &decimal_string(thickness));
    }
    for (tag, size) in [(tags::ROWS, plane.rows), (tags::COLUMNS, plane.columns)] {
        let size = u16::try_from(size).unwrap_or(u16::MAX);
        header.put(DataElement::new(tag, VR::US, PrimitiveValue::from(size)));
    }
}

fn put(dataset: &mut Dataset, tag: Tag, vr: VR, text: &str) {
    dataset.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
}

fn put_codes(dataset: &mut Dataset, tag: Tag, version: u8) {
    let value = format!("{version}").into();
    let item = code_item(&Concept { value, scheme: "L".into(), meaning: "example".into() });
    dataset.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(vec![item])));
}

/// A value that is legal for its VR and another in each version.
fn value(vr: VR, version: u8) -> String {
    match vr {
        VR::DA => format!("2020010{version}"),
        VR::TM => format!("10000{version}"),
        VR::AS => format!("03{version}Y"),
        VR::DS | VR::IS => format!("{version}"),
        VR::CS => if version == 1 { "ONE" } else { "TWO" }.to_owned(),
        _ => format!("example {version}"),
    }
}

/// What one model could have found: regions on both sides and on the midline.
fn outcome(source: Source, sequence: Sequence, prior: Prior, folds: usize) -> ModelOutcome {
    let region = |hemisphere, index: [usize; 3]| Region {
        sequence,
        centroid_lps_mm: [0.0; 3],
        peak_lps_mm: [0.0; 3],
        peak_source_index: index,
        peak_logit: 1.0,
        volume_mm3: 1000.0,
        hemisphere,
    };
    let [slices, rows, columns] = source.shape();
    ModelOutcome {
        sequence,
        model: ModelIdentity {
            name: "example".into(),
            version: format!("{folds}.0.0"),
            digest: String::new(),
            trained: true,
            synthetic: folds == 1,
            data_source: String::new(),
            architecture: "resnet18".into(),
            folds,
            provider: "CPU".into(),
            precision: "fp32".into(),
            cell_mm: [8.0; 3],
        },
        probability: 0.6,
        fold_probabilities: vec![0.6; folds],
        threshold: 0.5,
        prior,
        logit: 0.4,
        decision: Decision { probability: 0.6, threshold: 0.5 },
        heatmap: Heatmap {
            display: Arc::new(Array3::from_elem((slices, rows, columns), 0.5)),
            range_logit: [0.0, 1.0],
            constant: false,
        },
        regions: vec![
            region(Hemisphere::Left, [0, 2, 3]),
            region(Hemisphere::Right, [1, 4, 5]),
            region(Hemisphere::Midline, [2, 6, 7]),
        ],
    }
}

fn analysis(outcomes: Vec<ModelOutcome>, verdict: Verdict) -> Analysis {
    let fused = outcomes.first().map(|first| Fused {
        probability: first.probability,
        threshold: first.threshold,
        prior: first.prior,
        logit: first.logit,
        calibration: [1.0, 0.0],
        decision: first.decision,
        sequences: outcomes.iter().map(|outcome| outcome.sequence).collect(),
    });
    Analysis { outcomes, fused, verdict, remarks: Vec::new(), timings_ms: BTreeMap::new() }
}

/// Makes the slices frames of multi-frame objects.
fn number_frames(study: &mut AssembledStudy) -> Result<(), InvalidUid> {
    let class = Uid::parse(uids::ENHANCED_MR_IMAGE_STORAGE)?;
    for volume in study.stacks.iter_mut().filter_map(|stack| stack.volume.as_mut()) {
        let volume = Arc::make_mut(volume);
        for (number, slice) in (1..).zip(&mut volume.slices) {
            (slice.frame_number, slice.sop_class_uid) = (Some(number), class.clone());
        }
    }
    Ok(())
}

/// No series is a volume; and, if so wished, none has an image.
fn drop_volumes(study: &mut AssembledStudy, images_too: bool) {
    for stack in &mut study.stacks {
        (stack.volume, stack.verdict) = (None, SeriesVerdict::SingleSlice);
        if images_too {
            let header = Arc::make_mut(&mut stack.header);
            header.remove_element(tags::ROWS);
        }
    }
    (study.t1, study.flair) = (None, None);
}

/// The site's templates with every text, number and code changed.
fn other_templates(templates: &Templates) -> Templates {
    let mut other = templates.clone();
    let another = |text: &mut String| text.insert(0, 'X');
    let change = |series: &mut SeriesText| {
        series.number += 1_000_000;
        another(&mut series.description);
    };
    for series in [&mut other.heatmap_t1, &mut other.heatmap_flair, &mut other.card_series, &mut other.report_series] {
        change(series);
    }
    other.report_class = match templates.report_class {
        ReportClass::Enhanced => ReportClass::Comprehensive,
        _ => ReportClass::Enhanced,
    };
    for text in [&mut other.device.name, &mut other.device.serial_number, &mut other.texts.notice] {
        another(text);
    }
    let concepts = &mut other.concepts;
    for concept in [&mut concepts.procedure, &mut concepts.finding] {
        concept.value = format!("X{}", concept.value).into();
        concept.meaning = format!("X{}", concept.meaning).into();
    }
    concepts.finding.scheme = "99OTHER".into();
    other
}
