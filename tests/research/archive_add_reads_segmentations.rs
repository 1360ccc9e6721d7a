//! Segmentation objects that highdicom wrote come back as masks in the right place, whatever the plane: left stays left.

use std::path::{Path, PathBuf};

use fcdd::phantom::{self, Plane, Protocol, Size, Subject, SubjectOptions};
use fcdd::volume::{Volume, nifti};

use crate::archive_fixture::Site;
use crate::support;

/// Arguments: mask as NIfTI, folder of the series' files, output folder. Writes binary (empty frames left out),
/// fractional and two-segment objects, and one in a foreign frame of reference.
const WRITE: &str = r#"
import sys, glob, numpy, nibabel, pydicom, highdicom as hd
from pydicom.sr.codedict import codes
image = nibabel.load(sys.argv[1])
sources = [pydicom.dcmread(f) for f in glob.glob(sys.argv[2] + '/*')]
lps = numpy.diag([-1, -1, 1, 1]) @ image.affine
back = numpy.linalg.inv(lps)
values = numpy.asarray(image.dataobj)
rows, columns = sources[0].Rows, sources[0].Columns
frames = numpy.zeros((len(sources), rows, columns), numpy.uint8)
# Each frame by DICOM's own equation (PS3.3 C.7.6.2.1.1), independent of the order of files and of array axes.
for n, s in enumerate(sources):
    o = numpy.array(s.ImageOrientationPatient, float); p = numpy.array(s.ImagePositionPatient, float)
    dr, dc = map(float, s.PixelSpacing)
    r, c = numpy.mgrid[0:rows, 0:columns]
    xyz = p[:, None, None] + o[:3, None, None] * (c * dc) + o[3:, None, None] * (r * dr)
    ijk = numpy.rint(numpy.tensordot(back[:3, :3], xyz, 1) + back[:3, 3, None, None]).astype(int)
    inside = numpy.all([(ijk[a] >= 0) & (ijk[a] < values.shape[a]) for a in range(3)], axis=0)
    frames[n][inside] = values[tuple(ijk[:, inside])] > 0.5
def segment(number, label):
    return hd.seg.SegmentDescription(number, label, codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion,
                                     hd.seg.SegmentAlgorithmTypeValues.MANUAL)
def write(name, pixels, kind, segments, sources=sources, **more):
    hd.seg.Segmentation(sources, pixels, kind, segments, hd.UID(), 100, hd.UID(), 1, 'maker', 'model', '1', 'serial',
                        **more).save_as(sys.argv[3] + '/' + name + '.dcm')
kinds = hd.seg.SegmentationTypeValues
write('binary', frames, kinds.BINARY, [segment(1, 'FCD')])
write('all-frames', frames, kinds.BINARY, [segment(1, 'FCD')], omit_empty_frames=False)
write('fractional', frames * 0.9 + (1 - frames) * 0.2, kinds.FRACTIONAL, [segment(1, 'FCD')], max_fractional_value=100)
brain = numpy.roll(frames, 3, axis=2)
write('two', numpy.stack([brain, frames], axis=-1), kinds.BINARY, [segment(1, 'vessel'), segment(2, 'FCD')])
for s in sources: s.FrameOfReferenceUID = '1.2.3.4.5'
write('foreign', frames, kinds.BINARY, [segment(1, 'FCD')])
"#;

fn assert_same_place(found: &Volume, truth: &Volume, what: &str) {
    let marked = |v: &Volume| v.data.iter().filter(|x| **x > 0.5).count();
    assert_eq!(marked(found), marked(truth), "{what}");
    let back = truth.affine.inverse().unwrap();
    for ((i, j, k), _) in found.data.indexed_iter().filter(|(_, v)| **v > 0.5) {
        let [a, b, c] = back.apply(found.affine.apply([i, j, k].map(|n| n as f64))).map(|x| x.round() as usize);
        assert!(truth.data[[a, b, c]] > 0.5, "{what}: voxel {i} {j} {k} lies elsewhere");
    }
}

fn in_plane(plane: Plane, objects: &[(&str, &[&str])], refused: &[(&str, &str)]) {
    let scratch = tempfile::tempdir().unwrap();
    let subject = Subject::new(&SubjectOptions { seed: 5, ..Default::default() }).unwrap();
    let protocol = Protocol::flair_t2sel().sized(Size::Small).in_plane(plane);
    let study =
        phantom::dicom::write_study(&subject, std::slice::from_ref(&protocol), &scratch.path().join("s")).unwrap();
    let truth = subject.lesion_mask(&protocol.grid()).unwrap();
    let mask = scratch.path().join("truth.nii.gz");
    nifti::write(&mask, &truth).unwrap();
    let arguments: [&Path; 3] = [&mask, &study.series[0].folder, scratch.path()];
    let Some(_) = support::run_python(WRITE, &arguments) else { return };
    let files: Vec<PathBuf> = study.files().map(PathBuf::from).collect();
    for (name, more) in objects {
        let site = Site::new();
        site.receive(&files);
        let seg = scratch.path().join(format!("{name}.dcm"));
        let arguments = [&["--label", "fcd", "--roi", seg.to_str().unwrap()], *more].concat();
        let added = site.added(study.study_uid.as_str(), &arguments);
        let id = added["participant_id"].as_str().unwrap();
        let found = nifti::read(&site.archive().join(id).join(format!("anat/{id}_FLAIR_roi.nii.gz"))).unwrap();
        assert_same_place(&found, &truth, &format!("{name} in {plane:?}"));
    }
    let site = Site::new();
    if !refused.is_empty() {
        site.receive(&files);
    }
    for (name, because) in refused {
        let seg = scratch.path().join(format!("{name}.dcm"));
        let said = site.refused(study.study_uid.as_str(), &["--label", "fcd", "--roi", seg.to_str().unwrap()]);
        assert!(said.contains(because), "{name}: {said}");
        assert!(!site.archive().join("participants.tsv").exists(), "{name} left something");
    }
}

#[test]
fn every_kind_of_segmentation_in_a_sagittal_scan() {
    in_plane(
        Plane::Sagittal,
        &[("binary", &[]), ("all-frames", &[]), ("fractional", &[]), ("two", &["--segment", "2"])],
        &[("two", "1 (vessel), 2 (FCD)"), ("foreign", "frame of reference")],
    );
}

#[test]
fn an_oblique_scan() {
    in_plane(Plane::Oblique { tilt_degrees: 15.0, turn_degrees: 20.0 }, &[("binary", &[])], &[]);
}

#[test]
fn an_axial_scan() {
    in_plane(Plane::Axial, &[("binary", &[])], &[]);
}
