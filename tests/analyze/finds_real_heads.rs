//! Preprocessing and gates on real scans: two patients' heads pass, a fruit is flagged, thick slices are said.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use dicom_dictionary_std::tags;
use fcdd::analyze::gates::{self, GateInput};
use fcdd::analyze::preprocess::{InputSpec, Prepared, prepare};
use fcdd::dicom::Dataset;
use fcdd::study::Sequence;
use fcdd::volume::{Affine, Volume};
use ndarray::Array3;

use crate::support::reference_root;

const SPEC: InputSpec = InputSpec { shape: [80, 96, 80], spacing_mm: 2.0, background: 0.0 };

/// The series of one packed reference study, by description; `None` after a skip without the data.
fn series_of(name: &str) -> Option<BTreeMap<String, (Dataset, Volume)>> {
    let root = reference_root()?;
    let directory = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar")
        .args(["xf".as_ref(), root.join(name).join("dicom.tar.xz").as_os_str()])
        .current_dir(directory.path())
        .status()
        .unwrap();
    assert!(unpacked.success());
    let mut series: BTreeMap<String, Vec<Dataset>> = BTreeMap::new();
    for entry in walkdir::WalkDir::new(directory.path()).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() {
            let object = open(entry.path());
            series.entry(text(&object, tags::SERIES_DESCRIPTION)).or_default().push(object);
        }
    }
    Some(series.into_iter().map(|(name, slices)| (name, stack(slices))).collect())
}

fn open(path: &Path) -> Dataset {
    dicom_object::open_file(path).unwrap().into_inner()
}

fn text(object: &Dataset, tag: dicom_core::Tag) -> String {
    object.element(tag).map(|e| e.to_str().unwrap().trim().to_owned()).unwrap_or_default()
}

fn numbers<const N: usize>(object: &Dataset, tag: dicom_core::Tag) -> [f64; N] {
    object.element(tag).unwrap().to_multi_float64().unwrap().try_into().unwrap()
}

/// Uncompressed single-frame slices as a volume, without rescaling; assembly proper is another stage's.
fn stack(mut slices: Vec<Dataset>) -> (Dataset, Volume) {
    let [rx, ry, rz, cx, cy, cz] = numbers(&slices[0], tags::IMAGE_ORIENTATION_PATIENT);
    let normal = [ry * cz - rz * cy, rz * cx - rx * cz, rx * cy - ry * cx];
    let position = |s: &Dataset| numbers::<3>(s, tags::IMAGE_POSITION_PATIENT);
    let along = |s: &Dataset| position(s).iter().zip(normal).map(|(p, n)| p * n).sum::<f64>();
    slices.sort_by(|a, b| along(a).total_cmp(&along(b)));
    let [between_rows, between_columns] = numbers(&slices[0], tags::PIXEL_SPACING);
    let (first, last) = (position(&slices[0]), position(&slices[slices.len() - 1]));
    let step = [0, 1, 2].map(|a| (last[a] - first[a]) / (slices.len() - 1) as f64);
    let axes = [step, [cx, cy, cz].map(|c| c * between_rows), [rx, ry, rz].map(|c| c * between_columns)];
    let size = |tag| usize::from(slices[0].element(tag).unwrap().to_int::<u16>().unwrap());
    let (rows, columns) = (size(tags::ROWS), size(tags::COLUMNS));
    let mut values = Vec::with_capacity(slices.len() * rows * columns);
    for slice in &slices {
        let pixels = slice.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap();
        values.extend(pixels.chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]]))));
    }
    let data = Array3::from_shape_vec((slices.len(), rows, columns), values).unwrap();
    (slices.swap_remove(0), Volume { data, affine: Affine::from_axes(axes, first) })
}

fn examine(sequence: Sequence, header: &Dataset, volume: &Volume) -> (Prepared, Vec<String>) {
    let prepared = prepare(volume, &SPEC).unwrap();
    let input = GateInput { sequence, header, grid: &volume.grid(), head: &prepared.measures };
    let shut = gates::check(&input);
    eprintln!("{} {:?}\n  {:?}", sequence.label(), prepared.measures, shut);
    (prepared, shut.into_iter().map(|r| r.code).collect())
}

#[test]
fn a_childs_head_from_a_sagittal_scan_passes_every_gate() {
    let Some(series) = series_of("t1-siemens-skyra-mprage-sag") else { return };
    let (header, volume) = series.values().next().unwrap();
    let (prepared, shut) = examine(Sequence::T1, header, volume);
    assert!(shut.is_empty(), "{shut:?}");
    let head_ml = prepared.view.head.iter().filter(|h| **h).count() as f64 * 0.008;
    assert!((1800.0..3200.0).contains(&head_ml), "{head_ml} ml of head in the field of view");
    // The vertex stays: air above it at the top of the grid, and head a little below.
    let level = |k: usize| prepared.view.head.index_axis(ndarray::Axis(2), k).iter().filter(|h| **h).count();
    assert_eq!(level(79), 0);
    assert!(level(72) > 500, "{}", level(72));
    // The brain stem is in the middle: left and right halves of the head weigh about the same.
    let left = prepared.view.head.slice(ndarray::s![40.., .., ..]).iter().filter(|h| **h).count() as f64 * 0.008;
    assert!((left / head_ml - 0.5).abs() < 0.03, "{left} of {head_ml}");
}

#[test]
fn thick_slices_of_a_real_head_are_prepared_and_said() {
    let Some(series) = series_of("study-openms-p12-t1-flair") else { return };
    for (description, sequence) in [("T1W", Sequence::T1), ("FLAIR", Sequence::Flair)] {
        let (header, volume) = &series[description];
        let (prepared, shut) = examine(sequence, header, volume);
        assert_eq!(shut, ["slices_too_thick", "crown_not_covered"], "{description}");
        let head_ml = prepared.view.head.iter().filter(|h| **h).count() as f64 * 0.008;
        assert!((2000.0..3500.0).contains(&head_ml), "{description}: {head_ml} ml");
    }
}

#[test]
fn a_watermelon_is_no_head() {
    let Some(series) = series_of("t1-ge-signa-irspgr-phantom") else { return };
    let (header, volume) = series.values().next().unwrap();
    let (_, shut) = examine(Sequence::T1, header, volume);
    assert_eq!(shut, ["implausible_head_shape"]);
}
