//! Pictures like the paper's Figure 2: the source slice, the heatmap over it, and the lesion's contour.
//!
//! Axial slices of the network's input grid (RAS) through the lesion's largest cross-section, in radiological view:
//! the patient's right is on the left, anterior is up.

use ndarray::{Array2, Array3, ArrayView3, Axis};

use super::ReportError;
use crate::report::colormap::colour;
use crate::report::drawing::Picture;
use crate::report::grey::GreyWindow;

/// Pixels per voxel.
const SCALE: usize = 3;

/// Pixels between source and overlay.
const GAP: usize = 6;

/// Colour of the lesion's contour: neither grey nor one of the heatmap's.
const CONTOUR: [u8; 3] = [80, 220, 255];

/// Heatmap values below this share of the maximum are not drawn.
const SHOWN_ABOVE: f32 = 0.3;

/// A patient's picture.
#[derive(Debug)]
pub struct Tile {
    /// e.g. `best: sub-00012, Heat-Score 4.1`.
    pub caption: String,
    png: Vec<u8>,
}

impl Tile {
    /// Draws source (left) and source with heatmap and contour (right); volume and masks are voxels of the map's shape in
    /// C order. None where they have another length.
    ///
    /// # Errors
    /// When the picture cannot be encoded.
    pub fn new(
        caption: String,
        source: &[f32],
        head: &[u8],
        map: &Array3<f32>,
        lesion: &[u8],
    ) -> Result<Option<Tile>, ReportError> {
        let mask = |bytes| ArrayView3::from_shape(map.dim(), bytes).ok();
        let (Ok(source), Some(head), Some(lesion)) =
            (ArrayView3::from_shape(map.dim(), source), mask(head), mask(lesion))
        else {
            return Ok(None);
        };
        let picture = picture(source, head, map, lesion);
        Ok(Some(Tile { caption, png: picture.png()? }))
    }

    /// The picture as a PNG file.
    pub fn png(&self) -> &[u8] {
        &self.png
    }

    /// As a `data:` address.
    pub(super) fn address(&self) -> String {
        use base64::Engine;
        format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(&self.png))
    }
}

fn picture(
    source: ArrayView3<'_, f32>,
    head: ArrayView3<'_, u8>,
    map: &Array3<f32>,
    lesion: ArrayView3<'_, u8>,
) -> Picture {
    let slice = largest_slice(lesion);
    let window = GreyWindow::of(source);
    let lesion = lesion.index_axis(Axis(2), slice).mapv(|v| v != 0);
    let peak = map.iter().fold(0.0_f32, |a, b| a.max(*b));
    let (across, down, _) = source.dim();
    let [half, height] = [across * SCALE, down * SCALE];
    let width = 2 * half + GAP;
    let mut rgb = vec![255; width * height * 3];
    for (row, line) in rgb.chunks_exact_mut(width * 3).enumerate() {
        let h = down - 1 - row / SCALE;
        for (column, pixel) in line.chunks_exact_mut(3).enumerate() {
            let overlaid = column >= half + GAP;
            if column >= half && !overlaid {
                continue;
            }
            let column = if overlaid { column - half - GAP } else { column };
            let d = across - 1 - column / SCALE;
            let at = [d, h, slice];
            // Outside the head there is no image, only the network's background value.
            let is_head = head.get(at).is_some_and(|inside| *inside != 0);
            let grey = source.get(at).filter(|_| is_head).map_or(0.0, |value| window.grey(*value));
            let share = map.get(at).map_or(0.0, |value| if peak > 0.0 { value / peak } else { 0.0 });
            let shown = if overlaid && on_contour(&lesion, [d, h], [column % SCALE, row % SCALE]) {
                CONTOUR
            } else if overlaid && share > SHOWN_ABOVE {
                colour(f64::from(share)).map(|c| (0.5 * f32::from(c) + 0.5 * grey) as u8)
            } else {
                [grey as u8; 3]
            };
            pixel.copy_from_slice(&shown);
        }
    }
    Picture { width: width as u32, height: height as u32, rgb }
}

/// The axial slice with most of the lesion; the middle one without a lesion.
fn largest_slice(lesion: ArrayView3<'_, u8>) -> usize {
    let area = |slice: usize| lesion.index_axis(Axis(2), slice).iter().filter(|v| **v != 0).count();
    let middle = lesion.dim().2 / 2;
    (0..lesion.dim().2).max_by_key(|&slice| (area(slice), slice == middle)).unwrap_or(middle)
}

/// Whether a pixel lies on the rim of a lesion voxel whose neighbour on that side is no lesion.
fn on_contour(lesion: &Array2<bool>, [d, h]: [usize; 2], [x, y]: [usize; 2]) -> bool {
    let is = |d: Option<usize>, h: Option<usize>| d.zip(h).and_then(|at| lesion.get(at)).copied().unwrap_or(false);
    is(Some(d), Some(h))
        && ((x == 0 && !is(Some(d + 1), Some(h)))
            || (x == SCALE - 1 && !is(d.checked_sub(1), Some(h)))
            || (y == 0 && !is(Some(d), Some(h + 1)))
            || (y == SCALE - 1 && !is(Some(d), h.checked_sub(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 8 × 10 × 3 voxels; the lesion, 2 × 2 voxels in the last slice, is on the patient's right and in front, the heat
    /// on his left and behind; outside the head is bright, which is no image.
    #[test]
    fn the_patients_right_is_on_the_left_and_anterior_is_up() {
        let shape = (8, 10, 3);
        let source = Array3::from_shape_fn(shape, |(d, h, _)| (d + h) as f32);
        let head = Array3::from_shape_fn(shape, |(d, ..)| u8::from(d > 0));
        let lesion =
            Array3::from_shape_fn(shape, |(d, h, w)| u8::from((5..7).contains(&d) && (7..9).contains(&h) && w == 2));
        let map = Array3::from_shape_fn(shape, |(d, h, w)| if (d, h, w) == (2, 1, 2) { 4.0 } else { 0.0 });
        let drawn = picture(source.view(), head.view(), &map, lesion.view());
        let [half, height] = [8 * SCALE, 10 * SCALE];
        assert_eq!((drawn.width as usize, drawn.height as usize), (2 * half + GAP, height));
        let pixel = |column: usize, row: usize| &drawn.rgb[(row * (2 * half + GAP) + column) * 3..][..3];
        let of = |colour: &dyn Fn(&[u8]) -> bool| -> Vec<(usize, usize)> {
            let all = (0..height).flat_map(|row| (0..2 * half + GAP).map(move |column| (column, row)));
            all.filter(|(column, row)| colour(pixel(*column, *row))).collect()
        };
        let contour = of(&|pixel| pixel == CONTOUR);
        // The rim of a square of 6 × 6 pixels: d 5..7 is column 1..3, h 7..9 is row 1..3, of the right half.
        assert_eq!(contour.len(), 20);
        for (column, row) in &contour {
            let column = column - half - GAP;
            assert!((SCALE..3 * SCALE).contains(&column) && (SCALE..3 * SCALE).contains(row), "{column} {row}");
        }
        let heat = of(&|pixel| pixel[0] > pixel[2].saturating_add(40));
        assert_eq!(heat.len(), SCALE * SCALE);
        assert_eq!(heat[0], (half + GAP + 5 * SCALE, 8 * SCALE));
        // d = 0 is the last column of either half, and no head.
        assert_eq!((pixel(half - 1, 0), pixel(half, 0)), (&[0, 0, 0][..], &[255, 255, 255][..]));
        assert!(pixel(0, 0)[0] > 200 && Tile::new(String::new(), &[0.0; 3], &[1; 3], &map, &[1; 3]).unwrap().is_none());
    }
}
