//! Which images of a series belong together: one stack per contrast (image type, echo, stack ID),
//! orientation and size; and, only where images would lie at the same place, per acquisition or time point
//! (some scanners count Acquisition Number per slice, so it must not split what is one volume).

use std::collections::BTreeMap;

use super::frames::{Image, SEPARATORS};
use super::geometry::{self, RegularGrid};
use super::scan::ScannedFile;
use crate::study::{ImagePlane, SeriesVerdict};

/// Echo times nearer than this (ms) are the same echo.
const SAME_ECHO_MS: f64 = 0.2;

/// An image by its place in the list of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageRef {
    pub file: usize,
    pub image: usize,
}

/// Images that belong together, before their pixels were looked at.
#[derive(Debug)]
pub struct Draft {
    pub images: Vec<ImageRef>,
    /// The grid, or why there is none.
    pub grid: Result<RegularGrid, SeriesVerdict>,
}

/// What images of one stack have in common, apart from geometry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Contrast {
    has_pixels: bool,
    has_plane: bool,
    image_type: String,
    echo_number: Option<i64>,
    echo: usize,
    stack_id: String,
    photometric: String,
}

/// Splits the images of one series into stacks, in a stable order.
pub fn stacks(files: &[ScannedFile], members: &[ImageRef]) -> Vec<Draft> {
    let image = |r: &ImageRef| &files[r.file].images[r.image];
    let echoes = echo_clusters(members.iter().filter_map(|r| image(r).echo_time_ms));
    let mut by_contrast: BTreeMap<Contrast, Vec<ImageRef>> = BTreeMap::new();
    for member in members {
        let (file, image) = (&files[member.file], image(member));
        let contrast = Contrast {
            has_pixels: file.pixels.is_some(),
            has_plane: image.plane.is_ok(),
            image_type: image.image_type.clone(),
            echo_number: image.echo_number,
            echo: image.echo_time_ms.map_or(0, |te| echoes.iter().filter(|e| te >= **e).count()),
            stack_id: image.stack_id.clone(),
            photometric: file.format.as_ref().map(|f| f.photometric.clone()).unwrap_or_default(),
        };
        by_contrast.entry(contrast).or_default().push(*member);
    }
    let mut drafts = Vec::new();
    for (contrast, group) in by_contrast {
        if !contrast.has_plane {
            let what = group.first().and_then(|r| image(r).plane.as_ref().err().cloned()).unwrap_or_default();
            drafts.push(Draft { images: group, grid: Err(SeriesVerdict::NoGeometry { what }) });
        } else {
            split_by_geometry(files, group, &mut drafts);
        }
    }
    // Series with several stacks: the order in which they were acquired is what people expect.
    drafts.sort_by_key(|d| (d.images.iter().map(|r| image(r).instance_number).min(), d.images.first().copied()));
    drafts
}

/// The smallest echo time of each group of echo times.
fn echo_clusters(times: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    let mut starts: Vec<f64> = Vec::new();
    let mut last = f64::NEG_INFINITY;
    for time in times {
        if time - last > SAME_ECHO_MS {
            starts.push(time);
        }
        last = time;
    }
    starts
}

fn plane<'a>(files: &'a [ScannedFile], r: &ImageRef) -> Option<&'a ImagePlane> {
    files[r.file].images[r.image].plane.as_ref().ok()
}

/// Groups whose first member is alike to the image, else a group of its own.
fn cluster(
    files: &[ScannedFile],
    group: Vec<ImageRef>,
    is_alike: impl Fn(&ImagePlane, &ImagePlane) -> bool,
) -> Vec<Vec<ImageRef>> {
    let mut clusters: Vec<Vec<ImageRef>> = Vec::new();
    for member in group {
        let Some(own) = plane(files, &member) else { continue };
        let found =
            clusters.iter_mut().find(|c| c.first().and_then(|f| plane(files, f)).is_some_and(|p| is_alike(p, own)));
        match found {
            Some(cluster) => cluster.push(member),
            None => clusters.push(vec![member]),
        }
    }
    clusters
}

fn split_by_geometry(files: &[ScannedFile], group: Vec<ImageRef>, drafts: &mut Vec<Draft>) {
    let by_orientation = cluster(files, group.clone(), geometry::same_orientation);
    // Several orientations with one image each are no stacks but a fan or a cross.
    if by_orientation.len() > 1 && by_orientation.iter().all(|c| c.len() == 1) {
        let orientations = by_orientation.len();
        drafts.push(Draft { images: group, grid: Err(SeriesVerdict::MixedOrientation { orientations }) });
        return;
    }
    for parallel in by_orientation {
        let by_size = cluster(files, parallel.clone(), geometry::same_size);
        if by_size.len() > 1 && by_size.iter().all(|c| c.len() == 1) {
            let size = |r: &ImageRef| {
                plane(files, r).map_or(String::new(), |p| {
                    format!("{}x{} of {}x{} mm", p.rows, p.columns, p.pixel_spacing_mm[0], p.pixel_spacing_mm[1])
                })
            };
            let sizes = parallel.iter().map(size).collect::<Vec<_>>().join(", ");
            drafts.push(Draft { images: parallel, grid: Err(SeriesVerdict::MixedSize { sizes }) });
            continue;
        }
        for stack in by_size.into_iter().flat_map(|s| split_where_duplicate(files, s)) {
            let planes: Vec<&ImagePlane> = stack.iter().filter_map(|r| plane(files, r)).collect();
            let grid = geometry::regular_grid(&planes).map_err(|verdict| name_duplicates(files, &stack, verdict));
            drafts.push(Draft { images: stack, grid });
        }
    }
}

/// Within one multi-frame object, frames at the same place are several contrasts that nothing tells apart.
fn name_duplicates(files: &[ScannedFile], stack: &[ImageRef], verdict: SeriesVerdict) -> SeriesVerdict {
    let first_file = stack.first().map(|r| r.file);
    let is_one_object =
        stack.iter().all(|r| Some(r.file) == first_file && files[r.file].images[r.image].is_multi_frame);
    match verdict {
        SeriesVerdict::DuplicatePosition { duplicates } if is_one_object => SeriesVerdict::MixedContrast {
            kinds: format!(
                "{duplicates} of {} frames lie where another one lies, and nothing tells them apart",
                stack.len()
            ),
        },
        other => other,
    }
}

/// Splits by the first attribute, or pair of attributes, that leaves no two images at the same place.
fn split_where_duplicate(files: &[ScannedFile], stack: Vec<ImageRef>) -> Vec<Vec<ImageRef>> {
    let image = |r: &ImageRef| -> &Image { &files[r.file].images[r.image] };
    let has_duplicates = |s: &[ImageRef]| {
        let planes: Vec<&ImagePlane> = s.iter().filter_map(|r| plane(files, r)).collect();
        geometry::duplicates(&planes) > 0
    };
    if !has_duplicates(&stack) {
        return vec![stack];
    }
    let singles = (0..SEPARATORS).map(|a| (a, a));
    let pairs = (0..SEPARATORS).flat_map(|a| (a + 1..SEPARATORS).map(move |b| (a, b)));
    for (a, b) in singles.chain(pairs) {
        let mut groups: BTreeMap<[Option<i64>; 2], Vec<ImageRef>> = BTreeMap::new();
        for member in &stack {
            let separators = image(member).separators;
            groups.entry([separators[a], separators[b]]).or_default().push(*member);
        }
        if groups.len() > 1 && groups.values().all(|g| !has_duplicates(g)) {
            return groups.into_values().collect();
        }
    }
    vec![stack]
}
