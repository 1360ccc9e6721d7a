//! A phantom is its seed: the same files at any number of threads, and a lesion of strength 0 is no lesion.

use std::collections::BTreeMap;
use std::path::Path;

use fcdd::phantom::dicom::write_study;
use fcdd::phantom::{Marker, Plane, Protocol, Scanner, Size, Subject, SubjectOptions};

/// Coarse, so that the test is quick, and tilted, so that it is not too simple.
fn protocols() -> [Protocol; 2] {
    let plane = Plane::Oblique { tilt_degrees: 12.0, turn_degrees: -7.0 };
    Protocol::pair(Scanner::ChannelsEight, Size::Small).map(|p| p.at_spacing_mm([4.0, 3.0, 3.0]).in_plane(plane))
}

/// Name and bytes of every file of a study, made with this many threads.
fn study(options: &SubjectOptions, threads: usize) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let written = pool.install(|| {
        let subject = Subject::new(options).unwrap();
        write_study(&subject, &protocols(), folder.path()).unwrap()
    });
    let name = |path: &Path| path.strip_prefix(folder.path()).unwrap().display().to_string();
    written.files().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

#[test]
fn the_same_seed_gives_the_same_files_at_any_number_of_threads() {
    let options = SubjectOptions { seed: 21, ..SubjectOptions::default() };
    let one = study(&options, 1);
    assert!(one.len() > 50);
    assert!(one == study(&options, 5), "five threads made other files than one");
}

#[test]
fn a_lesion_of_strength_zero_is_the_control_of_the_same_seed() {
    let patient = SubjectOptions { seed: 22, strength: 0.0, ..SubjectOptions::default() };
    let control = SubjectOptions { lesion: false, strength: 1.0, ..patient.clone() };
    let control = study(&control, 2);
    assert!(study(&patient, 2) == control, "strength 0 differs from the control");
    // The comparison can fail: the least strength that is not 0 shows in pixels and UIDs.
    let weak = study(&SubjectOptions { strength: 0.3, ..patient }, 2);
    assert!(weak.iter().all(|(name, bytes)| control[name] != *bytes));
}

#[test]
fn seed_and_marker_change_the_study() {
    let plain = SubjectOptions { seed: 23, ..SubjectOptions::default() };
    let marker = Some(Marker { centre_lps_mm: [35.0, 0.0, 20.0], radius_mm: 8.0 });
    let first = study(&plain, 2);
    for other in [SubjectOptions { seed: 24, ..plain.clone() }, SubjectOptions { marker, ..plain.clone() }] {
        let other = study(&other, 2);
        assert!(first.iter().all(|(name, bytes)| other[name] != *bytes));
    }
}
