//! The writers of results, read back: whatever the source's header, the models' texts and the numbers are, each object
//! is one that PS3.5 allows, says what was found, and keeps the patient's own bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use ndarray::Array3;

use super::choices::Choices;
use super::slices::{self, Element};
use super::{Target, readback, scratch};
use crate::assemble::{DecodeLimits, Options, VolumesWanted, assemble_contents};
use crate::config;
use crate::config::sequences::SequenceRules;
use crate::dicom::{Dataset, Templates};
use crate::report::modules::elements::ascii;
use crate::report::modules::patient_and_study::{COPIED, TYPE_2};
use crate::report::writing::{Outgoing, write_beside};
use crate::report::{Results, card, heatmap, sr};
use crate::study::{
    Analysis, AssembledStudy, Decision, Fused, Heatmap, Hemisphere, ModelIdentity, ModelOutcome, Prior, Reason, Region,
    Sequence, Verdict,
};

pub(super) const TARGET: Target =
    Target { name: "report", run, seeds, must_reach: &["heatmap, card and report", "heatmap and report", "report"] };

const SLICES: u8 = 4;
/// The first byte of an input that draws the card: it takes longer than all the rest.
const WITH_CARD: u8 = 0xCA;
const MAX_PATIENT_ELEMENTS: u8 = 12;
const CHARACTER_SETS: [&str; 8] = [
    "ISO_IR 100",
    "ISO_IR 192",
    "GB18030",
    "\\ISO 2022 IR 149",
    "ISO 2022 IR 6\\ISO 2022 IR 87",
    "ISO_IR 13",
    "",
    "NO SUCH SET",
];
/// What the writers copy from the source's header beside the patient and the study.
const COPIED_FROM_SERIES: [Tag; 6] = [
    tags::SPECIFIC_CHARACTER_SET,
    tags::FRAME_OF_REFERENCE_UID,
    tags::POSITION_REFERENCE_INDICATOR,
    tags::LOSSY_IMAGE_COMPRESSION,
    tags::LOSSY_IMAGE_COMPRESSION_RATIO,
    tags::LOSSY_IMAGE_COMPRESSION_METHOD,
];

fn run(bytes: &[u8]) -> &'static str {
    let mut choices = Choices::new(bytes);
    let with_card = choices.byte() == WITH_CARD;
    let patient = patient_elements(&mut choices);
    let folder = folder();
    let Some(study) = study(&patient, &folder) else { return "no study" };
    let analysis = analysis(&study, &mut choices);
    static TEMPLATES: OnceLock<Templates> = OnceLock::new();
    let templates = TEMPLATES.get_or_init(Templates::built_in);
    let config = config::Report::default();
    let revision = crate::study::Revision::first();
    let results = Results::new(&study, &analysis, templates, &config, &revision);

    let (.., report) = sr::report_object(&results).unwrap_or_else(|e| panic!("the report: {e}"));
    let read = readback::read(&report, is_copied);
    keeps_patient(&report, &patient, study.t1.is_some());
    says(&read, &analysis, templates);
    if with_card {
        let (.., card) = card::card_object(&results).unwrap_or_else(|e| panic!("the card: {e}"));
        readback::read(&card, is_copied);
        keeps_patient(&card, &patient, study.t1.is_some());
    }
    let mut has_heatmap = false;
    for outcome in &analysis.outcomes {
        let Some(stack) = study.chosen(outcome.sequence) else { continue };
        let Some(source) = stack.volume.as_ref() else { continue };
        let make = |outgoing: &Outgoing| heatmap::write_series(&results, outcome, stack, source, &folder, outgoing);
        let (written, _) = write_beside(make).unwrap_or_else(|e| panic!("the heatmap: {e}"));
        for object in written {
            let bytes = std::fs::read(&object.path).unwrap_or_else(|e| panic!("{}: {e}", object.path.display()));
            readback::read(&bytes, is_copied);
            keeps_patient(&bytes, &patient, true);
            let _ = std::fs::remove_file(&object.path);
            has_heatmap = true;
        }
    }
    match (has_heatmap, with_card) {
        (true, true) => "heatmap, card and report",
        (true, false) => "heatmap and report",
        (false, _) => "report",
    }
}

fn folder() -> PathBuf {
    let folder = scratch::folder("report");
    std::fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    folder
}

fn is_copied(tag: Tag) -> bool {
    COPIED_FROM_SERIES.contains(&tag) || TYPE_2.iter().chain(&COPIED).any(|(copied, _)| *copied == tag)
}

/// The source's own attributes of the patient and the study, each once, as the fuzzer wants them.
fn patient_elements(choices: &mut Choices) -> Vec<Element> {
    let mut elements = vec![slices::text((0x0008, 0x0005), b"CS", choices.one_of::<&str>(&CHARACTER_SETS))];
    let copied: Vec<(Tag, VR)> = TYPE_2.into_iter().chain(COPIED).filter(|(_, vr)| *vr != VR::SQ).collect();
    for _ in 0..choices.byte() % MAX_PATIENT_ELEMENTS {
        let (Tag(group, number), vr) = *choices.one_of(&copied);
        let mut value = choices.counted().to_vec();
        if value.len() % 2 == 1 {
            value.push(b' ');
        }
        if !elements.iter().any(|element: &Element| element.tag == (group, number)) {
            elements.push(Element { tag: (group, number), vr: vr.to_bytes(), value, claimed: None });
        }
    }
    elements
}

/// A T1 of a few slices with these attributes, through the real assembly, its files on disk; `None` where the header
/// is one that nobody can read.
fn study(patient: &[Element], folder: &Path) -> Option<AssembledStudy> {
    let contents = (0..SLICES).map(|index| {
        let mut slice = slices::slice(1, index);
        slice.elements.retain(|own| !patient.iter().any(|element| element.tag == own.tag));
        slice.elements.extend_from_slice(patient);
        slice.elements.sort_by_key(|element| element.tag);
        let (path, bytes) = (folder.join(format!("{index}.dcm")), slice.file());
        std::fs::write(&path, &bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path, bytes)
    });
    static RULES: OnceLock<SequenceRules> = OnceLock::new();
    let options = Options {
        rules: RULES.get_or_init(|| SequenceRules { minimum_slices: 2, ..SequenceRules::built_in() }),
        decode: &DecodeLimits::default(),
        volumes: VolumesWanted::Chosen,
        digests: true,
        on_file: None,
    };
    assemble_contents(contents.collect(), options).studies.into_iter().next()
}

fn analysis(study: &AssembledStudy, choices: &mut Choices) -> Analysis {
    let reasons: Vec<Reason> = (0..choices.byte() % 3).map(|_| Reason::new(&choices.text(), choices.text())).collect();
    let Some(stack) = study.chosen(Sequence::T1).filter(|_| !choices.is_over()) else {
        let reasons = if reasons.is_empty() { study.problems.clone() } else { reasons };
        return Analysis {
            outcomes: Vec::new(),
            fused: None,
            verdict: Verdict::Unassessable { reasons },
            remarks: Vec::new(),
            timings_ms: BTreeMap::new(),
        };
    };
    let shape = stack.volume.as_ref().map_or((0, 0, 0), |source| source.volume.data.dim());
    let outcome = outcome(shape, choices);
    let fused = Fused {
        probability: choices.share(),
        threshold: outcome.threshold,
        prior: outcome.prior,
        logit: outcome.logit,
        calibration: [f64::from(choices.byte()) + 1.0, number(choices)],
        decision: outcome.decision,
        sequences: vec![Sequence::T1],
    };
    Analysis {
        verdict: match choices.byte() % 3 {
            0 => Verdict::Suspected,
            1 => Verdict::NotSuspected,
            _ => Verdict::Unassessable { reasons: reasons.clone() },
        },
        outcomes: vec![outcome],
        fused: Some(fused),
        remarks: reasons,
        timings_ms: BTreeMap::new(),
    }
}

/// Any finite number, of any size.
fn number(choices: &mut Choices) -> f64 {
    let bits = u64::from(choices.long()) << 32 | u64::from(choices.long());
    Some(f64::from_bits(bits)).filter(|number| number.is_finite()).unwrap_or(-1.5)
}

fn outcome(shape: (usize, usize, usize), choices: &mut Choices) -> ModelOutcome {
    let prior = match choices.byte() % 3 {
        0 => Prior::Training { prevalence: choices.share() },
        1 => Prior::Site { prevalence: choices.share(), training_prevalence: choices.share() },
        _ => Prior::Unstated,
    };
    let probability = choices.share();
    let folds = usize::from(choices.byte() % 6);
    let constant = choices.byte().is_multiple_of(4);
    let display = Array3::from_shape_fn(shape, |(k, r, c)| if constant { 0.0 } else { (k + r + c) as f32 / 100.0 });
    let regions = (0..choices.byte() % 3).map(|_| Region {
        sequence: Sequence::T1,
        centroid_lps_mm: [number(choices), 0.0, 1.0],
        peak_lps_mm: [number(choices), 2.0, 3.0],
        peak_source_index: [choices.index(shape.0), choices.index(shape.1), choices.index(shape.2)],
        peak_logit: number(choices),
        volume_mm3: number(choices).abs(),
        hemisphere: *choices.one_of(&[Hemisphere::Left, Hemisphere::Right, Hemisphere::Midline]),
    });
    let regions = regions.collect();
    ModelOutcome {
        sequence: Sequence::T1,
        model: ModelIdentity {
            name: choices.text(),
            version: choices.text(),
            digest: "ab".repeat(32),
            trained: choices.byte().is_multiple_of(2),
            synthetic: choices.byte().is_multiple_of(2),
            data_source: choices.text(),
            architecture: "resnet18".to_owned(),
            folds,
            provider: choices.text(),
            precision: "fp32".to_owned(),
            cell_mm: [8.0; 3],
        },
        probability,
        fold_probabilities: (0..folds).map(|_| choices.share()).collect(),
        threshold: choices.share(),
        prior,
        logit: number(choices),
        decision: Decision { probability, threshold: choices.share() },
        heatmap: Heatmap { display: Arc::new(display), range_logit: [0.0, number(choices) as f32], constant },
        regions,
    }
}

/// The object has the source's bytes, where the source was a file at hand.
fn keeps_patient(object: &[u8], patient: &[Element], has_file: bool) {
    if !has_file {
        return;
    }
    let written: BTreeMap<Tag, Vec<u8>> = readback::raw_values(object).into_iter().collect();
    let measures = [tags::PATIENT_AGE, tags::PATIENT_SIZE, tags::PATIENT_WEIGHT];
    for element in patient {
        let tag = Tag(element.tag.0, element.tag.1);
        // A malformed measure is left out, and the character set goes through the parser.
        if measures.contains(&tag) || tag == tags::SPECIFIC_CHARACTER_SET {
            continue;
        }
        let unpadded = |bytes: &[u8]| -> Vec<u8> {
            let end = bytes.iter().rposition(|b| !matches!(b, b' ' | 0)).map_or(0, |last| last + 1);
            bytes[..end].to_vec()
        };
        let found = written.get(&tag).map(|bytes| unpadded(bytes));
        assert_eq!(found, Some(unpadded(&element.value)), "{tag} is not the source's");
    }
}

/// The report says the notice, every remark and every reason.
fn says(report: &Dataset, analysis: &Analysis, templates: &Templates) {
    let mut texts = Vec::new();
    collect_texts(report, &mut texts);
    let has = |wanted: &str| texts.iter().any(|text| text.trim_end() == wanted.trim_end());
    assert!(has(&templates.texts.notice), "no notice");
    for reason in analysis.verdict.reasons().iter().chain(&analysis.remarks) {
        let sentence = ascii(&format!("{} [{}]", reason.text, reason.code));
        assert!(has(&sentence), "{sentence:?} is not in the report");
    }
}

fn collect_texts(dataset: &Dataset, texts: &mut Vec<String>) {
    for element in dataset.iter() {
        if let Some(items) = element.items() {
            items.iter().for_each(|item| collect_texts(item, texts));
        } else if element.header().tag == tags::TEXT_VALUE {
            texts.extend(element.to_str().map(|text| text.into_owned()));
        }
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    // Of the patient: two elements, Patient's Name (fifth of the list) and Study Description (twelfth).
    let patient =
        [2, 4, 11, b'D', b'o', b'e', b'^', b'J', b'\xFC', b'r', b'g', b' ', b'A', b' ', 11, 4, b'h', b'e', b'a', b'd'];
    let analysis = [
        &[1, 4, b'c', b'o', b'd', b'e', 6, b'r', b'e', b'm', b'a', b'r', b'k'][..], // one remark
        &[0, 0, 0x40, 0x99, 0x99, 5, 1, 1],                                         // prior, probability, folds, map
        &[0; 24],
    ]
    .concat();
    let input = |head: &[u8], patient: &[u8], analysis: &[u8]| [head, patient, analysis].concat();
    [
        ("plain", input(&[0, 0], &[0], &[0, 1])),
        ("with-card", input(&[WITH_CARD, 0], &patient, &analysis)),
        ("latin-1", input(&[0, 0], &patient, &analysis)),
        ("utf-8", input(&[0, 1], &patient, &analysis)),
        ("chinese", input(&[0, 2], &[1, 4, 8, b'W', b'a', b'n', b'g', b'^', 0x81, 0x5C, b' '], &analysis)),
        ("korean", input(&[0, 3], &[1, 4, 10, 0x1B, b'$', b')', b'C', 0xFB, 0xF3, b'^', b'X', b'=', b' '], &analysis)),
        ("without-analysis", input(&[0, 0], &patient, &[])),
        ("without-analysis-with-card", input(&[WITH_CARD, 0], &patient, &[])),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}
