//! The proof of place, through files: a marker in a phantom's DICOM slices comes back within one cell of the
//! map in `result.json`, in the Secondary Capture pixels, as the report's point and in the NIfTI heatmap; left
//! and right, axial, sagittal and oblique, through T1 and FLAIR.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dicom_dictionary_std::tags;
use fcdd::dicom::Dataset;
use fcdd::phantom::Plane;
use fcdd::volume::nifti;
use serde_json::Value;

use crate::support::{self, fcdd, files_below, require_onnxruntime};

/// Edge lengths of one cell (mm along left-right, front-back, up-down): the network's stride times 2 mm.
const CELL_MM: [f64; 3] = [32.0, 64.0, 64.0];
const LEFT_LPS_MM: [f64; 3] = [35.0, 0.0, 20.0];
const RIGHT_LPS_MM: [f64; 3] = [-35.0, 0.0, 20.0];

#[test]
fn axial_left_and_right() {
    proof_of_place(Plane::Axial);
}

#[test]
fn sagittal_left_and_right() {
    proof_of_place(Plane::Sagittal);
}

#[test]
fn oblique_left_and_right() {
    proof_of_place(Plane::Oblique { tilt_degrees: 20.0, turn_degrees: 15.0 });
}

fn proof_of_place(plane: Plane) {
    let Some(_) = require_onnxruntime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let models = ["t1", "flair"].map(|sequence| support::marker_model(sequence, folder.path()));
    for (side, marker) in [("left", LEFT_LPS_MM), ("right", RIGHT_LPS_MM)] {
        let study = folder.path().join(format!("study-{side}"));
        support::marker_study(21, marker, 6.0, plane, &study);
        let output_folder = folder.path().join(format!("result-{side}"));
        let output = fcdd([
            "analyze".as_ref(),
            study.as_os_str(),
            "--model".as_ref(),
            models[0].as_os_str(),
            "--model".as_ref(),
            models[1].as_os_str(),
            "--output".as_ref(),
            output_folder.as_os_str(),
            "--json".as_ref(),
        ]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["verdict"], "suspected", "{plane:?} {side}: {result}");

        regions_are_near(&result, marker, side);
        let sources = by_instance_uid(&study);
        let objects = objects_below(&output_folder.join("dicom"));
        for series in ["9101", "9102"] {
            let bright = brightest_place_of_heatmap(&objects, series);
            is_near(bright, marker, &format!("{plane:?} {side}: pixels of series {series}"));
        }
        let points = report_points(&objects, &sources);
        assert!(points.len() >= 2, "one point per sequence: {points:?}");
        for point in points {
            is_near(point, marker, &format!("{plane:?} {side}: point of the report"));
        }
        for name in ["heatmap_t1.nii.gz", "heatmap_flair.nii.gz"] {
            let heatmap = nifti::read(&output_folder.join(name)).unwrap();
            let grid = heatmap
                .data
                .indexed_iter()
                .filter(|(_, v)| **v >= 0.95)
                .map(|((i, j, k), _)| heatmap.affine.apply([i as f64, j as f64, k as f64]));
            is_near(mean(grid), marker, &format!("{plane:?} {side}: {name}"));
        }
    }
}

fn is_near(place: [f64; 3], marker: [f64; 3], what: &str) {
    for axis in 0..3 {
        let distance = (place[axis] - marker[axis]).abs();
        assert!(distance <= CELL_MM[axis], "{what}: {place:?} is not within one cell of {marker:?}");
    }
    assert!(place[0] * marker[0] > 0.0, "{what}: {place:?} lies on the other side than {marker:?}");
}

fn regions_are_near(result: &Value, marker: [f64; 3], side: &str) {
    for sequence in ["t1", "flair"] {
        let regions = result["regions"].as_array().unwrap();
        let strongest = regions
            .iter()
            .find(|r| r["sequence"] == sequence)
            .unwrap_or_else(|| panic!("no region in {sequence}: {result}"));
        for key in ["peak_lps_mm", "centroid_lps_mm"] {
            let place = [0, 1, 2].map(|axis| strongest[key][axis].as_f64().unwrap());
            is_near(place, marker, &format!("{sequence} {key}"));
        }
        assert_eq!(strongest["hemisphere"], side, "{strongest}");
    }
}

fn objects_below(folder: &Path) -> Vec<Dataset> {
    let open = |path: &PathBuf| dicom_object::open_file(path).ok().map(|object| object.into_inner());
    files_below(folder).iter().filter_map(open).collect()
}

fn by_instance_uid(folder: &Path) -> BTreeMap<String, Dataset> {
    objects_below(folder).into_iter().map(|o| (text(&o, tags::SOP_INSTANCE_UID), o)).collect()
}

fn text(object: &Dataset, tag: dicom_core::Tag) -> String {
    object.element(tag).unwrap().to_str().unwrap().trim_end_matches(['\0', ' ']).to_owned()
}

fn numbers(object: &Dataset, tag: dicom_core::Tag) -> Vec<f64> {
    object.element(tag).unwrap().to_multi_float64().unwrap()
}

/// LPS mm of a pixel (column and row from 0, pixel centres at integers).
fn pixel_lps_mm(slice: &Dataset, column: f64, row: f64) -> [f64; 3] {
    let position = numbers(slice, tags::IMAGE_POSITION_PATIENT);
    let orientation = numbers(slice, tags::IMAGE_ORIENTATION_PATIENT);
    let spacing = numbers(slice, tags::PIXEL_SPACING);
    [0, 1, 2]
        .map(|axis| position[axis] + orientation[axis] * spacing[1] * column + orientation[3 + axis] * spacing[0] * row)
}

/// Mean place of the pixels that are coloured most strongly in a heatmap series.
fn brightest_place_of_heatmap(objects: &[Dataset], series_number: &str) -> [f64; 3] {
    let mut coloured: Vec<(i32, [f64; 3])> = Vec::new();
    let slices = objects.iter().filter(|o| text(o, tags::SERIES_NUMBER) == series_number);
    for slice in slices {
        let columns: usize = slice.element(tags::COLUMNS).unwrap().to_int().unwrap();
        let pixels = slice.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap();
        for (index, rgb) in pixels.chunks_exact(3).enumerate() {
            let warmth = i32::from(rgb[0]) - i32::from(rgb[2]);
            if warmth > 60 {
                coloured.push((warmth, pixel_lps_mm(slice, (index % columns) as f64, (index / columns) as f64)));
            }
        }
    }
    let most = coloured.iter().map(|(warmth, _)| *warmth).max().expect("something is coloured");
    mean(coloured.into_iter().filter(|(warmth, _)| *warmth >= most * 9 / 10).map(|(_, place)| place))
}

fn mean(places: impl Iterator<Item = [f64; 3]>) -> [f64; 3] {
    let (mut sum, mut count) = ([0.0; 3], 0.0);
    for place in places {
        (0..3).for_each(|axis| sum[axis] += place[axis]);
        count += 1.0;
    }
    assert!(count > 0.0, "nothing to average");
    sum.map(|s| s / count)
}

/// LPS mm of every POINT in the structured reports, by the geometry of the *source* slice that it was selected from.
fn report_points(objects: &[Dataset], sources: &BTreeMap<String, Dataset>) -> Vec<[f64; 3]> {
    let mut points = Vec::new();
    for report in objects.iter().filter(|o| text(o, tags::MODALITY) == "SR") {
        collect_points(report, sources, &mut points);
    }
    points
}

fn collect_points(item: &Dataset, sources: &BTreeMap<String, Dataset>, points: &mut Vec<[f64; 3]>) {
    let children = |item: &Dataset| -> Vec<Dataset> {
        let sequence = item.element_opt(tags::CONTENT_SEQUENCE).unwrap();
        sequence.and_then(|s| s.items().map(<[_]>::to_vec)).unwrap_or_default()
    };
    if item.element_opt(tags::GRAPHIC_TYPE).unwrap().is_some() {
        assert_eq!(text(item, tags::GRAPHIC_TYPE), "POINT");
        let at = numbers(item, tags::GRAPHIC_DATA);
        let image = &children(item)[0];
        let reference = &image.element(tags::REFERENCED_SOP_SEQUENCE).unwrap().items().unwrap()[0];
        let source = &sources[&text(reference, tags::REFERENCED_SOP_INSTANCE_UID)];
        // SCOORD counts from the corner of the first pixel (PS3.3 C.18.6.1.1).
        points.push(pixel_lps_mm(source, at[0] - 0.5, at[1] - 0.5));
    }
    for child in children(item) {
        collect_points(&child, sources, points);
    }
}
