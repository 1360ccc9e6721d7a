//! A marker in the left hemisphere is found at its LPS position in the volume, in the DICOM files and in what
//! dcm2niix makes of them, in every plane; so is one in the right hemisphere.

use std::path::Path;
use std::process::Command;

use dicom_dictionary_std::tags;
use dicom_object::open_file;
use fcdd::phantom::dicom::{WrittenSeries, write_study};
use fcdd::phantom::{Marker, Plane, Protocol, Scanner, Size, Subject, SubjectOptions};
use fcdd::volume::Affine;
use nifti::{IntoNdArray, NiftiObject, ReaderOptions};

use crate::support;

const PLANES: [Plane; 4] =
    [Plane::Axial, Plane::Sagittal, Plane::Coronal, Plane::Oblique { tilt_degrees: 19.0, turn_degrees: -14.0 }];

/// Centre of what is brighter than any tissue: weighted mean of the positions above 60 % of the maximum.
fn bright_centre(values: impl Iterator<Item = ([f64; 3], f64)> + Clone) -> [f64; 3] {
    let most = values.clone().map(|(_, value)| value).fold(0.0, f64::max);
    let (mut sum, mut total) = ([0.0; 3], 0.0);
    for (position, value) in values.filter(|(_, value)| *value > 0.6 * most) {
        total += value;
        for (sum, coordinate) in sum.iter_mut().zip(position) {
            *sum += value * coordinate;
        }
    }
    sum.map(|s| s / total)
}

fn assert_near(found: [f64; 3], expected: [f64; 3], what: &str) {
    let away = (0..3).map(|i| (found[i] - expected[i]).powi(2)).sum::<f64>().sqrt();
    assert!(away < 0.8, "{what}: the marker at {expected:?} was found at {found:?}");
}

/// The marker's position from the files alone: Image Position, Image Orientation and Pixel Spacing.
fn centre_in_dicom(series: &WrittenSeries) -> [f64; 3] {
    let mut values = Vec::new();
    for path in &series.files {
        let file = open_file(path).unwrap();
        let numbers = |tag| file.element(tag).unwrap().to_multi_float64().unwrap();
        let (position, direction) = (numbers(tags::IMAGE_POSITION_PATIENT), numbers(tags::IMAGE_ORIENTATION_PATIENT));
        let spacing = numbers(tags::PIXEL_SPACING);
        let columns = file.element(tags::COLUMNS).unwrap().to_int::<usize>().unwrap();
        let pixels = file.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap();
        for (index, value) in pixels.into_iter().enumerate() {
            let along_row = (index % columns) as f64 * spacing[1];
            let along_column = (index / columns) as f64 * spacing[0];
            let place = |i: usize| position[i] + along_row * direction[i] + along_column * direction[3 + i];
            values.push(([place(0), place(1), place(2)], f64::from(value)));
        }
    }
    bright_centre(values.into_iter())
}

/// The marker's position in a NIfTI file, LPS mm.
fn centre_in_nifti(path: &Path) -> [f64; 3] {
    let object = ReaderOptions::new().read_file(path).unwrap();
    let header = object.header();
    assert!(header.sform_code > 0);
    let ras = [header.srow_x, header.srow_y, header.srow_z].map(|row| row.map(f64::from));
    let affine = Affine::from_ras(ras);
    let dimensions = header.dim;
    assert_eq!(dimensions[0], 3, "one volume, not several");
    let data = object.into_volume().into_ndarray::<f32>().unwrap();
    let values: Vec<_> = data
        .indexed_iter()
        .map(|(index, &value)| (affine.apply([index[0], index[1], index[2]].map(|i| i as f64)), f64::from(value)))
        .collect();
    bright_centre(values.into_iter())
}

fn marker_comes_back(centre_lps_mm: [f64; 3], seed: u64) {
    let marker = Some(Marker { centre_lps_mm, radius_mm: 9.0 });
    let subject = Subject::new(&SubjectOptions { seed, marker, left_capsule: true, ..Default::default() }).unwrap();
    let dcm2niix = support::require_peer("dcm2niix");
    for plane in PLANES {
        let protocols = Protocol::pair(Scanner::ChannelsThirtyTwo, Size::Small)
            .map(|p| p.at_spacing_mm([3.0, 2.5, 2.5]).in_plane(plane));
        for protocol in &protocols {
            let volume = subject.acquire(protocol).volume;
            let values = volume.data.indexed_iter().map(|((slice, row, column), &value)| {
                (volume.affine.apply([slice as f64, row as f64, column as f64]), f64::from(value))
            });
            assert_near(bright_centre(values), centre_lps_mm, &format!("{plane:?} {}, volume", protocol.label));
        }
        let folder = tempfile::tempdir().unwrap();
        let study = write_study(&subject, &protocols, folder.path()).unwrap();
        for series in &study.series {
            assert_near(centre_in_dicom(series), centre_lps_mm, &format!("{plane:?} {}, DICOM", series.label));
            if let Some(dcm2niix) = &dcm2niix {
                let output = tempfile::tempdir().unwrap();
                let run =
                    Command::new(dcm2niix).args(["-f", "volume", "-o"]).arg(output.path()).arg(&series.folder).output();
                assert!(run.unwrap().status.success());
                let made = support::files_below(output.path());
                let volumes: Vec<_> = made.iter().filter(|p| p.extension().is_some_and(|e| e == "nii")).collect();
                assert_eq!(volumes.len(), 1, "dcm2niix made {made:?}");
                assert_near(centre_in_nifti(volumes[0]), centre_lps_mm, &format!("{plane:?} {}, NIfTI", series.label));
            }
        }
    }
}

#[test]
fn a_marker_on_the_left_is_found_on_the_left() {
    marker_comes_back([35.0, 0.0, 20.0], 31);
}

#[test]
fn a_marker_on_the_right_is_found_on_the_right() {
    marker_comes_back([-35.0, -25.0, 15.0], 32);
}

/// Without a marker: the oil capsule on the left temple is the one place where the two sides differ outside the skin.
#[test]
fn the_capsule_lies_on_the_left() {
    let protocol = Protocol::t1_sag111().at_spacing_mm([3.0; 3]).in_plane(Plane::Axial);
    let scan = |left_capsule| {
        let options = SubjectOptions { seed: 33, left_capsule, ..SubjectOptions::default() };
        Subject::new(&options).unwrap().acquire(&protocol).volume
    };
    let (with, without) = (scan(true), scan(false));
    let values = with.data.indexed_iter().zip(without.data.iter()).map(|(((slice, row, column), a), b)| {
        (with.affine.apply([slice as f64, row as f64, column as f64]), f64::from((a - b).max(0.0)))
    });
    let centre = bright_centre(values);
    assert!(centre[0] > 65.0, "the capsule was found at {centre:?}");
}
