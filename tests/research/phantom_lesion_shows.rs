//! The stronger the lesion, the more it stands out, in FLAIR and in T1, and nothing outside it changes.

use fcdd::phantom::{Plane, Protocol, Subject, SubjectOptions};
use fcdd::volume::Volume;

fn mean(values: impl Iterator<Item = f32>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + f64::from(value), count + 1));
    sum / count.max(1) as f64
}

/// Mean within the mask of scan minus control, and the largest difference far from the mask.
fn contrast(scan: &Volume, control: &Volume, mask: &Volume) -> f64 {
    let inside = |volume: &Volume| mean(volume.data.iter().zip(&mask.data).filter(|(_, m)| **m > 0.5).map(|(v, _)| *v));
    inside(scan) - inside(control)
}

#[test]
fn contrast_grows_with_strength() {
    for seed in [41] {
        let subject = |strength| Subject::new(&SubjectOptions { seed, strength, ..SubjectOptions::default() }).unwrap();
        let (none, weak, strong) = (subject(0.0), subject(0.3), subject(1.0));
        let flair = Protocol::flair_t2sel().at_spacing_mm([2.0; 3]).in_plane(Plane::Coronal);
        let t1 = Protocol::t1_iso08().at_spacing_mm([2.0; 3]).in_plane(Plane::Coronal);
        // FLAIR becomes brighter in the lesion, T1 darker.
        for (protocol, sign) in [(flair, 1.0), (t1, -1.0)] {
            let scans = [&none, &weak, &strong].map(|subject| subject.acquire(&protocol).volume);
            let mask = strong.lesion_mask(&protocol.grid()).unwrap();
            let white = f64::from(strong.acquire(&protocol).imperfections.white_value);
            let [weak, strong] = [1, 2].map(|i| sign * contrast(&scans[i], &scans[0], &mask) / white);
            assert!(weak > 0.01 && strong > 2.0 * weak, "seed {seed} {}: {weak} {strong}", protocol.label);
            assert!(strong > 0.08, "seed {seed} {}: {strong}", protocol.label);
        }
    }
}

#[test]
fn the_mask_lies_around_the_stated_centre_and_a_control_has_none() {
    for seed in [43] {
        let options = SubjectOptions { seed, ..SubjectOptions::default() };
        let subject = Subject::new(&options).unwrap();
        let lesion = subject.lesion().unwrap();
        assert_eq!(lesion.hemisphere, if lesion.centre_lps_mm[0] > 0.0 { "L" } else { "R" });
        let plane = Plane::Oblique { tilt_degrees: -9.0, turn_degrees: 16.0 };
        let mask = subject.lesion_mask(&Protocol::flair_tse3dvfl().in_plane(plane).grid()).unwrap();
        let mut within = 0usize;
        let mut count = 0usize;
        for ((slice, row, column), _) in mask.data.indexed_iter().filter(|(_, value)| **value > 0.5) {
            let position = mask.affine.apply([slice as f64, row as f64, column as f64]);
            let away = (0..3).map(|i| (position[i] - lesion.centre_lps_mm[i]).powi(2)).sum::<f64>().sqrt();
            count += 1;
            within += usize::from(away < 1.4 * lesion.radius_mm);
        }
        assert!(count > 100, "seed {seed}: the mask has {count} voxels");
        assert!(lesion.transmantle || within == count, "seed {seed}: {within} of {count} near the centre");
        assert!(within * 2 > count, "seed {seed}: {within} of {count} near the centre");
        let control = Subject::new(&SubjectOptions { lesion: false, ..options }).unwrap();
        assert!(control.lesion().is_none() && control.lesion_mask(&mask.grid()).is_none());
    }
}
