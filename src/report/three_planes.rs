//! Three planes through one point: axial, coronal and sagittal pictures of a volume with its heatmap, resampled to
//! square pixels along the patient's axes.
//!
//! Radiological convention: in axial and coronal planes the patient's right is on the left of the picture, and
//! letters say so; a sagittal plane looks to the left of the picture with the face.

use ndarray::Array3;
use rayon::prelude::*;

use super::ReportError;
use super::card::prevalence;
use super::colormap::Overlay;
use super::drawing::{Anchor, Picture, Svg, draw, fitted};
use super::grey::GreyWindow;
use crate::config;
use crate::dicom::Templates;
use crate::study::{Analysis, AssembledStudy, Heatmap, Sequence, SourceVolume, Standing};
use crate::volume::Affine;

/// A plane along the patient's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// Seen from the feet.
    Axial,
    /// Seen from the front.
    Coronal,
    /// Seen from the patient's left.
    Sagittal,
}

impl Plane {
    /// All three in the order of drawing.
    pub const ALL: [Plane; 3] = [Plane::Axial, Plane::Coronal, Plane::Sagittal];

    /// LPS axes that run to the right of and down the picture, and the sign of each.
    fn axes(self) -> [(usize, f64); 2] {
        match self {
            Plane::Axial => [(0, 1.0), (1, 1.0)],
            Plane::Coronal => [(0, 1.0), (2, -1.0)],
            Plane::Sagittal => [(1, 1.0), (2, -1.0)],
        }
    }

    /// Letters at the left, right, upper and lower edge.
    fn letters(self) -> [&'static str; 4] {
        match self {
            Plane::Axial => ["R", "L", "A", "P"],
            Plane::Coronal => ["R", "L", "S", "I"],
            Plane::Sagittal => ["A", "P", "S", "I"],
        }
    }
}

/// What is drawn: a volume, the heatmap over it and the point that the planes go through.
pub struct View<'a> {
    source: &'a Array3<f32>,
    heat: Option<&'a Array3<f32>>,
    to_index: Affine,
    window: GreyWindow,
    overlay: Overlay,
    /// The point, mm LPS.
    point_lps_mm: [f64; 3],
    /// Centre of the pictures, mm LPS.
    centre_lps_mm: [f64; 3],
    /// Edge length of every picture, mm.
    extent_mm: f64,
}

impl<'a> View<'a> {
    /// A view through a point; `None` when the volume has no usable geometry.
    pub fn new(
        source: &'a SourceVolume,
        heatmap: Option<&'a Heatmap>,
        point_lps_mm: [f64; 3],
        report: &config::Report,
    ) -> Option<View<'a>> {
        let data = &source.volume.data;
        let window = GreyWindow::of(data.view());
        let bounds = bright_bounds(data, &source.volume.affine, &window, point_lps_mm);
        let heat = heatmap.filter(|h| !h.constant && h.display.dim() == data.dim()).map(|h| &*h.display);
        Some(View {
            source: data,
            heat,
            to_index: source.volume.affine.inverse().ok()?,
            window,
            overlay: Overlay::new(report),
            point_lps_mm,
            centre_lps_mm: bounds.map(|[low, high]| (low + high) / 2.0),
            extent_mm: bounds.map(|[low, high]| high - low).into_iter().fold(1.0, f64::max),
        })
    }

    /// One plane as a square picture.
    pub fn picture(&self, plane: Plane, pixels: u32) -> Picture {
        let n = pixels as usize;
        let mut rgb = vec![0_u8; n * n * 3];
        rgb.par_chunks_exact_mut(n * 3).enumerate().for_each(|(row, line)| {
            for (column, pixel) in line.chunks_exact_mut(3).enumerate() {
                let position = self.position(plane, n, [column as f64 + 0.5, row as f64 + 0.5]);
                let index = self.to_index.apply(position);
                let grey = sample(self.source, index).map_or(0.0, |value| self.window.grey(value));
                let heat = self.heat.and_then(|heat| sample(heat, index)).unwrap_or(0.0);
                pixel.copy_from_slice(&self.overlay.blend(grey, heat));
            }
        });
        Picture { width: pixels, height: pixels, rgb }
    }

    /// Where in a plane's picture the point lies, in pixels from the upper left corner.
    pub fn point_in_picture(&self, plane: Plane, pixels: u32) -> [f64; 2] {
        let per_mm = f64::from(pixels) / self.extent_mm;
        plane.axes().map(|(axis, sign)| {
            f64::from(pixels) / 2.0 + sign * (self.point_lps_mm[axis] - self.centre_lps_mm[axis]) * per_mm
        })
    }

    fn position(&self, plane: Plane, pixels: usize, at: [f64; 2]) -> [f64; 3] {
        let mm = self.extent_mm / pixels as f64;
        let mut position = self.point_lps_mm;
        for ((axis, sign), at) in plane.axes().into_iter().zip(at) {
            position[axis] = self.centre_lps_mm[axis] + sign * (at - pixels as f64 / 2.0) * mm;
        }
        position
    }

    /// Adds one plane with its letters and a cross at the point to a drawing.
    pub fn put_tile(&self, svg: &mut Svg, plane: Plane, [x, y]: [f64; 2], pixels: u32) -> Result<(), ReportError> {
        let size = f64::from(pixels);
        svg.element(&self.picture(plane, pixels).svg_image(x, y)?);
        let [px, py] = self.point_in_picture(plane, pixels);
        // The cross leaves the point itself free.
        const GAP: f64 = 16.0;
        for [x1, y1, x2, y2] in
            [[0.0, py, px - GAP, py], [px + GAP, py, size, py], [px, 0.0, px, py - GAP], [px, py + GAP, px, size]]
        {
            if x2 > x1 || y2 > y1 {
                svg.line([x + x1, y + y1, x + x2, y + y2], "rgba(120,205,255,0.55)", 1.0);
            }
        }
        let [left, right, up, down] = plane.letters();
        let middle = y + size / 2.0 + 6.0;
        for (position, letter) in [
            ([x + 13.0, middle], left),
            ([x + size - 13.0, middle], right),
            ([x + size / 2.0, y + 20.0], up),
            ([x + size / 2.0, y + size - 8.0], down),
        ] {
            // A dark edge keeps the letter legible on bright tissue.
            svg.text([position[0] + 1.0, position[1] + 1.0], 16.0, "bold", "#000000", Anchor::Middle, letter);
            svg.text(position, 16.0, "bold", "#e8f4ff", Anchor::Middle, letter);
        }
        Ok(())
    }
}

/// The box around what is brighter than the background, with a margin, as `[low, high]` per LPS axis.
fn bright_bounds(data: &Array3<f32>, affine: &Affine, window: &GreyWindow, point: [f64; 3]) -> [[f64; 2]; 3] {
    const MARGIN_MM: f64 = 8.0;
    let (a, b, c) = data.dim();
    let step = |n: usize| (n / 64).max(1);
    let mut coordinates: [Vec<f64>; 3] = Default::default();
    for i in (0..a).step_by(step(a)) {
        for j in (0..b).step_by(step(b)) {
            for k in (0..c).step_by(step(c)) {
                if window.grey(data[[i, j, k]]) > 40.0 {
                    let position = affine.apply([i as f64, j as f64, k as f64]);
                    for (list, value) in coordinates.iter_mut().zip(position) {
                        list.push(value);
                    }
                }
            }
        }
    }
    let corners: Vec<[f64; 3]> = (0..8)
        .map(|n| {
            affine.apply(
                [(n & 1) * (a.max(1) - 1), (n >> 1 & 1) * (b.max(1) - 1), (n >> 2) * (c.max(1) - 1)].map(|i| i as f64),
            )
        })
        .collect();
    [0, 1, 2].map(|axis| {
        let list = &mut coordinates[axis];
        if list.is_empty() {
            list.extend(corners.iter().map(|corner| corner[axis]));
        }
        list.sort_unstable_by(f64::total_cmp);
        // The outermost thousandths are noise in the air.
        let cut = list.len() / 1000;
        let (low, high) = (list[cut] - MARGIN_MM, list[list.len() - 1 - cut] + MARGIN_MM);
        [low.min(point[axis] - MARGIN_MM), high.max(point[axis] + MARGIN_MM)]
    })
}

/// Trilinear value at a continuous index; nothing more than half a voxel outside the grid.
fn sample(data: &Array3<f32>, index: [f64; 3]) -> Option<f32> {
    let shape = [data.dim().0, data.dim().1, data.dim().2];
    let mut base = [0_usize; 3];
    let mut weight = [0_f32; 3];
    for axis in 0..3 {
        let last = shape[axis].checked_sub(1)? as f64;
        if !(index[axis] >= -0.5 && index[axis] <= last + 0.5) {
            return None;
        }
        let clamped = index[axis].clamp(0.0, last);
        base[axis] = (clamped as usize).min(shape[axis].saturating_sub(2));
        weight[axis] = (clamped - base[axis] as f64) as f32;
    }
    let mut value = 0.0;
    for corner in 0..8 {
        let mut product = 1.0;
        let mut at = base;
        for axis in 0..3 {
            if corner >> axis & 1 == 1 {
                product *= weight[axis];
                at[axis] += 1;
            } else {
                product *= 1.0 - weight[axis];
            }
        }
        if product > 0.0 {
            value += product * data[at];
        }
    }
    Some(value)
}

/// The sequence and the place that pictures go through: the strongest region's peak; without regions the strongest
/// value of the most probable model's map; without a map the centre of the T1 (or FLAIR) volume.
pub fn focus(study: &AssembledStudy, analysis: &Analysis) -> Option<(Sequence, [f64; 3])> {
    let regions = analysis.outcomes.iter().flat_map(|o| &o.regions);
    if let Some(region) = regions.max_by(|a, b| a.peak_logit.total_cmp(&b.peak_logit)) {
        return Some((region.sequence, region.peak_lps_mm));
    }
    let mut outcomes: Vec<_> = analysis.outcomes.iter().collect();
    outcomes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    for outcome in outcomes {
        if let Some(point) = place_of(study, analysis, outcome.sequence) {
            return Some((outcome.sequence, point));
        }
    }
    [Sequence::T1, Sequence::Flair].into_iter().find_map(|s| Some((s, place_of(study, analysis, s)?)))
}

/// The place that one sequence's pictures go through, as in [`focus`].
fn place_of(study: &AssembledStudy, analysis: &Analysis, sequence: Sequence) -> Option<[f64; 3]> {
    let volume = study.chosen(sequence)?.volume.as_ref()?;
    let outcome = analysis.outcome(sequence);
    if let Some(region) = outcome.and_then(|o| o.regions.first()) {
        return Some(region.peak_lps_mm);
    }
    let map = outcome.filter(|o| !o.heatmap.constant).map(|o| &o.heatmap.display);
    let strongest = map.and_then(|map| map.indexed_iter().max_by(|a, b| a.1.total_cmp(b.1)));
    match strongest {
        Some(((i, j, k), _)) => Some(volume.volume.affine.apply([i as f64, j as f64, k as f64])),
        None => Some(volume.volume.grid().centre_lps_mm()),
    }
}

/// Edge length of one plane in the overview, pixels.
const TILE: u32 = 380;

/// The overview as a PNG: one row of three planes per sequence. For `fcdd analyze` and `fcdd demo`; it shows no
/// patient data but the head itself.
pub fn overview_png(
    study: &AssembledStudy,
    analysis: &Analysis,
    templates: &Templates,
    report: &config::Report,
) -> Result<Vec<u8>, ReportError> {
    const MARGIN: f64 = 20.0;
    const HEADER: f64 = 64.0;
    const CAPTION: f64 = 40.0;
    let tile = f64::from(TILE);
    let rows: Vec<_> = [Sequence::T1, Sequence::Flair]
        .into_iter()
        .filter_map(|sequence| {
            let volume = study.chosen(sequence)?.volume.as_deref()?;
            let outcome = analysis.outcome(sequence);
            let point = place_of(study, analysis, sequence)?;
            Some((sequence, outcome, View::new(volume, outcome.map(|o| &o.heatmap), point, report)?))
        })
        .collect();
    let width = (3.0 * tile + 4.0 * MARGIN) as u32;
    let height = (HEADER + rows.len().max(1) as f64 * (tile + CAPTION) + MARGIN) as u32;
    let card = &templates.card;
    let (title, bar) = match analysis.standing() {
        Standing::Untrained => (&card.untrained, "#a3221c"),
        Standing::SyntheticOnly => (&card.synthetic, "#a3221c"),
        Standing::Trained => (&card.title, "#1a222c"),
    };

    let mut svg = Svg::new(width, height, "#0f1419");
    svg.rectangle([0.0, 0.0, f64::from(width), HEADER - 8.0], bar, 0.0);
    svg.text([MARGIN, 36.0], 22.0, "bold", "#ffffff", Anchor::Start, &fitted(title, 44));
    svg.text([f64::from(width) - MARGIN, 35.0], 15.0, "bold", "#ffd27a", Anchor::End, &card.notice);
    if rows.is_empty() {
        svg.text([MARGIN, HEADER + 40.0], 18.0, "normal", "#c8d2dc", Anchor::Start, &card.no_picture);
    }
    let mut y = HEADER;
    for (sequence, outcome, view) in &rows {
        let mut caption = sequence.label().to_owned();
        if let Some(outcome) = outcome {
            let model = &outcome.model;
            caption.push_str(&format!(
                "  ·  {} {}  ·  {} {:.1} %  ·  {}",
                model.name,
                model.version,
                card.probability,
                outcome.probability * 100.0,
                prevalence(outcome.prior, templates)
            ));
            if outcome.heatmap.constant {
                caption.push_str(&format!("  ·  {}", card.constant_heatmap));
            }
        }
        svg.text([MARGIN, y + 25.0], 17.0, "bold", "#dbe4ec", Anchor::Start, &fitted(&caption, 100));
        for (i, plane) in Plane::ALL.into_iter().enumerate() {
            let x = MARGIN + i as f64 * (tile + MARGIN);
            view.put_tile(&mut svg, plane, [x, y + CAPTION], TILE)?;
        }
        y += tile + CAPTION;
    }
    draw(&svg.finish(), width, height, "the overview")?.png()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Volume;

    fn asymmetric() -> SourceVolume {
        // An axial stack of 40 mm: grey in air, and a very bright block at the patient's left, front, top.
        let mut data = Array3::zeros((20, 40, 40));
        data.slice_mut(ndarray::s![1..19, 1..39, 1..39]).fill(100.0);
        data.slice_mut(ndarray::s![13..18, 3..12, 27..36]).fill(400.0);
        let axes = [[0.0, 0.0, 2.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]];
        SourceVolume { volume: Volume { data, affine: Affine::from_axes(axes, [-20.0, -20.0, -20.0]) }, slices: vec![] }
    }

    /// Mean place (column, row) of the white pixels.
    fn white(picture: &Picture) -> [f64; 2] {
        let n = picture.width as usize;
        let places: Vec<_> =
            (0..n * n).filter(|i| picture.rgb[i * 3] > 200).map(|i| [(i % n) as f64, (i / n) as f64]).collect();
        assert!(!places.is_empty());
        [0, 1].map(|c| places.iter().map(|p| p[c]).sum::<f64>() / places.len() as f64)
    }

    #[test]
    fn left_is_right_in_the_picture_front_is_up_and_the_face_looks_left() {
        let source = asymmetric();
        let point = [11.0, -13.0, 10.0];
        let view = View::new(&source, None, point, &config::Report::default()).unwrap();
        let [x, y] = white(&view.picture(Plane::Axial, 100));
        assert!(x > 60.0 && y < 40.0, "axial {x} {y}");
        let [x, y] = white(&view.picture(Plane::Coronal, 100));
        assert!(x > 60.0 && y < 40.0, "coronal {x} {y}");
        let [x, y] = white(&view.picture(Plane::Sagittal, 100));
        assert!(x < 40.0 && y < 40.0, "sagittal {x} {y}");
    }

    #[test]
    fn the_cross_lies_on_the_point() {
        let source = asymmetric();
        let view = View::new(&source, None, [11.0, -13.0, 10.0], &config::Report::default()).unwrap();
        for plane in Plane::ALL {
            let [x, y] = view.point_in_picture(plane, 100);
            let [wx, wy] = white(&view.picture(plane, 100));
            assert!((x - wx).abs() < 4.0 && (y - wy).abs() < 4.0, "{plane:?}: {x} {y} against {wx} {wy}");
        }
    }

    #[test]
    fn outside_the_grid_there_is_nothing() {
        let data = Array3::from_shape_fn((2, 2, 2), |(i, j, k)| (4 * i + 2 * j + k) as f32);
        assert_eq!(sample(&data, [0.5, 0.5, 0.5]), Some(3.5));
        assert_eq!(sample(&data, [-0.4, 0.0, 0.0]), Some(0.0));
        assert_eq!(sample(&data, [0.0, 0.0, 1.6]), None);
        assert_eq!(sample(&data, [f64::NAN, 0.0, 0.0]), None);
    }
}
