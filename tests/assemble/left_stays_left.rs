//! Laterality through every format: a phantom with an oil capsule taped to the left temple goes through DICOM,
//! NIfTI and back; the capsule and the heatmap stay on the patient's left.

use std::path::Path;

use fcdd::phantom::{self, Plane, Protocol, Size, Subject, SubjectOptions};
use fcdd::volume::{Volume, nifti};

use crate::support::{self, fcdd, require_onnxruntime, run_python};

/// Sum of the values left (LPS x > 0) and right of the head, beyond its own width.
fn brightness_beside_the_head(volume: &Volume) -> (f64, f64) {
    let (mut left, mut right) = (0.0, 0.0);
    for ((i, j, k), value) in volume.data.indexed_iter() {
        let [x, _, z] = volume.affine.apply([i as f64, j as f64, k as f64]);
        // The capsule lies at the temple's height; ears and neck are further down.
        if z > -20.0 && x.abs() > 60.0 {
            *if x > 0.0 { &mut left } else { &mut right } += f64::from(*value);
        }
    }
    (left, right)
}

fn volume_of(study: &Path, output: &Path) -> Volume {
    let run = fcdd(["volume".as_ref(), study.as_os_str(), "--output".as_ref(), output.as_os_str()]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let files = support::files_below(output);
    assert_eq!(files.len(), 1, "{files:?}");
    nifti::read(&files[0]).unwrap()
}

#[test]
fn a_capsule_at_the_left_temple_stays_there() {
    let with = Subject::new(&SubjectOptions { seed: 4, left_capsule: true, ..Default::default() }).unwrap();
    let without = Subject::new(&SubjectOptions { seed: 4, left_capsule: false, ..Default::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let planes = [Plane::Axial, Plane::Sagittal, Plane::Oblique { tilt_degrees: 15.0, turn_degrees: 20.0 }];
    for (index, plane) in planes.into_iter().enumerate() {
        let place = |name: &str| folder.path().join(format!("{name}-{index}"));
        let protocol = Protocol::t1_iso08().sized(Size::Small).in_plane(plane);
        let mut difference = [0.0; 2];
        for (subject, name, sign) in [(&with, "with", 1.0), (&without, "without", -1.0)] {
            phantom::dicom::write_study(subject, std::slice::from_ref(&protocol), &place(name)).unwrap();
            let (left, right) = brightness_beside_the_head(&volume_of(&place(name), &place(&format!("{name}-nifti"))));
            difference[0] += sign * left;
            difference[1] += sign * right;
        }
        assert!(
            difference[0] > 10.0 * difference[1].abs().max(1.0),
            "{plane:?}: the capsule adds {} on the left and {} on the right",
            difference[0],
            difference[1]
        );
    }
}

/// nibabel is an independent reader: in its RAS world the left is where x is below 0.
const SIDE_OF_HEATMAP: &str = "
import sys, nibabel, numpy
image = nibabel.load(sys.argv[1])
values = image.get_fdata()
bright = numpy.argwhere(values >= 0.95 * values.max()).mean(axis=0)
print(nibabel.affines.apply_affine(image.affine, bright)[0])
";

#[test]
fn the_heatmap_of_a_nifti_volume_stays_on_the_markers_side() {
    let Some(_) = require_onnxruntime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = support::marker_model("t1", folder.path());
    for (name, x_lps_mm) in [("left", 35.0), ("right", -35.0)] {
        let marker = Some(phantom::Marker { centre_lps_mm: [x_lps_mm, 0.0, 20.0], radius_mm: 6.0 });
        let subject = Subject::new(&SubjectOptions { seed: 9, lesion: false, marker, ..Default::default() }).unwrap();
        let scan = subject.acquire(&Protocol::t1_iso08().sized(Size::Small).in_plane(Plane::Coronal));
        let file = folder.path().join(format!("{name}.nii.gz"));
        nifti::write(&file, &scan.volume).unwrap();
        let output = folder.path().join(format!("result-{name}"));
        let run = fcdd([
            "analyze".as_ref(),
            "--t1".as_ref(),
            file.as_os_str(),
            "--model".as_ref(),
            model.as_os_str(),
            "--output".as_ref(),
            output.as_os_str(),
        ]);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let Some(x_ras_mm) = run_python(SIDE_OF_HEATMAP, &[&output.join("heatmap_t1.nii.gz")]) else { return };
        let x_ras_mm: f64 = x_ras_mm.trim().parse().unwrap();
        assert!(-x_ras_mm * x_lps_mm > 0.0, "a marker on the {name} came back at RAS x = {x_ras_mm}");
    }
}
