//! The proof of place, as far as analysis goes: a bright ball put into a synthetic head comes back from the marker
//! network within one cell of the map, on its side of the head, whatever way the slices were laid and through
//! either sequence; a head without one is not suspected and has no region.

use fcdd::study::{Hemisphere, ModelOutcome, Sequence, Verdict};
use fcdd::volume::Volume;

use crate::analysis::{
    Acquisition, HEAD_MIDDLE, axial, engine, marker_model, oblique, sagittal, settings, study, subject,
};

/// Left (LPS x above 0) and right, mm from the head's middle.
const LEFT: [f64; 3] = [36.0, -25.0, 30.0];
const RIGHT: [f64; 3] = [-36.0, 28.0, -5.0];

#[test]
fn left_and_right_in_every_acquisition_through_t1_and_flair() {
    let models = tempfile::tempdir().unwrap();
    let folders = [Sequence::T1, Sequence::Flair].map(|s| marker_model(models.path(), s));
    let Some(engine) = engine(&settings(&folders)) else { return };

    // Each pair looks through both sequences at once, each with its own acquisition and its own side.
    let acquisitions = [axial(), sagittal(), oblique()];
    for (n, t1_acquisition) in acquisitions.into_iter().enumerate() {
        let flair_acquisition = acquisitions[(n + 1) % 3];
        for (t1_marker, flair_marker) in [(LEFT, RIGHT), (RIGHT, LEFT)] {
            let t1 = subject(t1_acquisition, Some(t1_marker));
            let flair = subject(flair_acquisition, Some(flair_marker));
            let analysis = engine.analyze(&study(Some(t1.clone()), Some(flair.clone()))).unwrap();
            assert_eq!(analysis.verdict, Verdict::Suspected, "{t1_acquisition:?} {:?}", analysis.fused);
            assert!(analysis.remarks.is_empty());
            comes_back(&analysis.outcomes[0], &t1, t1_acquisition, t1_marker);
            comes_back(&analysis.outcomes[1], &flair, flair_acquisition, flair_marker);
        }
    }

    let silent = engine.analyze(&study(Some(subject(axial(), None)), Some(subject(oblique(), None)))).unwrap();
    assert_eq!(silent.verdict, Verdict::NotSuspected, "{:?}", silent.fused);
    assert!(silent.outcomes.iter().all(|o| o.regions.is_empty()));
}

fn comes_back(outcome: &ModelOutcome, source: &Volume, acquisition: Acquisition, marker: [f64; 3]) {
    let what = format!("{} {} marker {marker:?}", outcome.sequence.label(), acquisition.name);
    let marker = [0, 1, 2].map(|a| marker[a] + HEAD_MIDDLE[a]);
    // Nearest cell: half a cell at most, and the 2 mm of the input grid.
    let near = |p: [f64; 3], what: String| {
        for axis in 0..3 {
            let allowed = outcome.model.cell_mm[axis] / 2.0 + 2.0;
            assert!((p[axis] - marker[axis]).abs() <= allowed, "{what}: {p:?} is not within a cell of {marker:?}");
        }
    };

    let region = outcome.regions.first().unwrap_or_else(|| panic!("{what}: no region"));
    near(region.peak_lps_mm, format!("{what}: the region's peak"));
    near(region.centroid_lps_mm, format!("{what}: the region's centroid"));
    assert_eq!(region.sequence, outcome.sequence);
    let side = if marker[0] > HEAD_MIDDLE[0] { Hemisphere::Left } else { Hemisphere::Right };
    assert_eq!(region.hemisphere, side, "{what}: {region:?}");

    // The source voxel that is named is the one at the peak: half a voxel away along each of its axes.
    let named = source.affine.apply(region.peak_source_index.map(|i| i as f64));
    for axis in 0..3 {
        assert!((named[axis] - region.peak_lps_mm[axis]).abs() <= 1.3, "{what}: {named:?} for {region:?}");
    }

    // The picture: its brightest voxels lie where the region does.
    let display = &outcome.heatmap.display;
    assert_eq!(display.dim(), source.data.dim());
    let bright = display.indexed_iter().filter(|(_, v)| **v >= 0.95).map(|(i, _)| i);
    let (mut sum, mut n) = ([0.0; 3], 0.0);
    for (i, j, k) in bright {
        let p = source.affine.apply([i as f64, j as f64, k as f64]);
        (0..3).for_each(|a| sum[a] += p[a]);
        n += 1.0;
    }
    assert!(n > 0.0, "{what}: nothing is bright");
    near(sum.map(|s| s / n), format!("{what}: the heatmap's brightest part"));
}
