//! Small archives for the scenarios that read one: heads of a few millimetres per voxel, computed by hand, in the
//! layout of ds004199.

use std::fs;
use std::path::{Path, PathBuf};

use fcdd::volume::{Affine, Volume, nifti};
use ndarray::Array3;

/// Distance between voxel centres; thin enough for every gate.
pub const SPACING_MM: f64 = 1.5;

/// An ellipsoid head that passes every gate, with a bright ball on the patient's left; `seed` varies its brightness.
pub fn head(seed: usize) -> Volume {
    let s = SPACING_MM;
    let affine = Affine::from_axes([[0.0, 0.0, s], [0.0, s, 0.0], [s, 0.0, 0.0]], [-90.0, -100.5, -120.0]);
    let data = Array3::from_shape_fn((140, 135, 121), |(i, j, k)| {
        let [x, y, z] = affine.apply([i as f64, j as f64, k as f64]);
        let skull = (x / 70.0).powi(2) + (y / 88.0).powi(2) + (z / 78.0).powi(2) < 1.0;
        let neck = z < 0.0 && z > -110.0 && (x / 50.0).powi(2) + ((y - 20.0) / 50.0).powi(2) < 1.0;
        let texture = ((i * 7 + j * 13 + k * 29 + seed * 31) % 17) as f32;
        let ball = if is_lesion([x, y, z]) { 150.0 } else { 0.0 };
        if skull || neck { 300.0 + seed as f32 + texture + ball } else { texture }
    });
    Volume { data, affine }
}

/// A ball of 12 mm at LPS (30, -20, 25): 7.2 ml.
pub fn is_lesion([x, y, z]: [f64; 3]) -> bool {
    (x - 30.0).powi(2) + (y + 20.0).powi(2) + (z - 25.0).powi(2) < 144.0
}

/// The lesion's mask on a volume's grid.
pub fn mask(volume: &Volume) -> Volume {
    let affine = volume.affine;
    let data = Array3::from_shape_fn(volume.data.dim(), |(i, j, k)| {
        f32::from(u8::from(is_lesion(affine.apply([i as f64, j as f64, k as f64]))))
    });
    Volume { data, affine }
}

/// Writes `participants.tsv` with a byte order mark and CRLF; a row is id, group, sex, age_scan.
pub fn write_participants(folder: &Path, rows: &[[&str; 4]]) {
    let mut text = "\u{feff}participant_id\tgroup\tsex\tage_scan\r\n".to_owned();
    for row in rows {
        text.push_str(&(row.join("\t") + "\r\n"));
    }
    fs::write(folder.join("participants.tsv"), text).unwrap();
}

/// `DIR/sub-…/anat`, made.
pub fn anat(folder: &Path, id: &str) -> PathBuf {
    let anat = folder.join(id).join("anat");
    fs::create_dir_all(&anat).unwrap();
    anat
}

/// A FLAIR with its sidecar; returns the volume's path.
pub fn write_flair(folder: &Path, id: &str, scanner: &str, volume: &Volume) -> PathBuf {
    let anat = anat(folder, id);
    let path = anat.join(format!("{id}_acq-T2sel_FLAIR.nii.gz"));
    nifti::write(&path, volume).unwrap();
    let sidecar = format!(
        r#"{{"DeviceSerialNumber": "{scanner}", "MRAcquisitionType": "3D", "SliceThickness": 1,
            "RepetitionTime": 5, "InversionTime": 1.8}}"#
    );
    fs::write(anat.join(format!("{id}_acq-T2sel_FLAIR.json")), sidecar).unwrap();
    path
}

/// The same FLAIR and sidecar for another subject; returns the volume's path.
pub fn copy_flair(folder: &Path, from: &str, to: &str) -> PathBuf {
    let (source, target) = (anat(folder, from), anat(folder, to));
    for end in [".json", ".nii.gz"] {
        let name = |id: &str| format!("{id}_acq-T2sel_FLAIR{end}");
        fs::copy(source.join(name(from)), target.join(name(to))).unwrap();
    }
    let path = target.join(format!("{to}_acq-T2sel_FLAIR.nii.gz"));
    // The time in the gzip header, which nobody reads: the very same file under two names would be left out.
    let mut bytes = fs::read(&path).unwrap();
    let digest = to.bytes().fold(1_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    bytes[4..8].copy_from_slice(&digest.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    path
}

/// A subject's FLAIR once more as its T1, with a T1's sidecar.
pub fn flair_as_t1(folder: &Path, id: &str, scanner: &str) {
    let name = |end: &str| anat(folder, id).join(format!("{id}_acq-{end}"));
    fs::copy(name("T2sel_FLAIR.nii.gz"), name("iso08_T1w.nii.gz")).unwrap();
    let sidecar = format!(r#"{{"DeviceSerialNumber": "{scanner}", "MRAcquisitionType": "3D", "SliceThickness": 1}}"#);
    fs::write(name("iso08_T1w.json"), sidecar).unwrap();
}

/// An archive of so many subjects with a FLAIR each, every second one a patient; their ids. There are two heads only,
/// so that little has to be computed.
pub fn write_archive(folder: &Path, count: usize) -> Vec<String> {
    fs::create_dir_all(folder).unwrap();
    let ids: Vec<String> = (1..=count).map(|number| format!("sub-{number}")).collect();
    let group = |index: usize| if index.is_multiple_of(2) { "fcd" } else { "hc" };
    let rows: Vec<[&str; 4]> =
        ids.iter().enumerate().map(|(index, id)| [id.as_str(), group(index), "F", "30"]).collect();
    write_participants(folder, &rows);
    for first in [0, 1] {
        write_flair(folder, &ids[first], "35083", &head(first * 40));
        for later in (first + 2..count).step_by(2) {
            copy_flair(folder, &ids[first], &ids[later]);
        }
    }
    ids
}
