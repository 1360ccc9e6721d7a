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
    /// Draws source (left) and source with heatmap and contour (right); source and lesion are voxels of `shape` in C
    /// order. None where they have another length.
    ///
    /// # Errors
    /// When the picture cannot be encoded.
    pub fn new(
        caption: String,
        shape: [usize; 3],
        source: &[f32],
        map: &Array3<f32>,
        lesion: Option<&[u8]>,
    ) -> Result<Option<Tile>, ReportError> {
        let source = ArrayView3::from_shape(shape, source).ok();
        let lesion = lesion.and_then(|lesion| ArrayView3::from_shape(shape, lesion).ok());
        let Some((source, lesion)) = source.zip(lesion) else { return Ok(None) };
        let slice = largest_slice(lesion);
        let window = GreyWindow::of(source);
        let source = source.index_axis(Axis(2), slice);
        let lesion = lesion.index_axis(Axis(2), slice).mapv(|v| v != 0);
        let heat = map.index_axis(Axis(2), slice);
        let peak = map.iter().fold(0.0_f32, |a, b| a.max(*b));
        let [width, height] = [source.dim().0 * SCALE, source.dim().1 * SCALE];
        let mut rgb = vec![0; width * 2 * height * 3];
        for (row, line) in rgb.chunks_exact_mut(width * 2 * 3).enumerate() {
            let h = source.dim().1 - 1 - row / SCALE;
            for (column, pixel) in line.chunks_exact_mut(3).enumerate() {
                let (overlaid, column) = (column >= width, column % width);
                let d = source.dim().0 - 1 - column / SCALE;
                let grey = source.get((d, h)).map_or(0.0, |value| window.grey(*value));
                let share = heat.get((d, h)).map_or(0.0, |value| if peak > 0.0 { value / peak } else { 0.0 });
                let shown = if overlaid && on_contour(&lesion, [d, h], [column % SCALE, row % SCALE]) {
                    [80, 220, 255]
                } else if overlaid && share > SHOWN_ABOVE {
                    colour(f64::from(share)).map(|c| (0.5 * f32::from(c) + 0.5 * grey) as u8)
                } else {
                    [grey as u8; 3]
                };
                pixel.copy_from_slice(&shown);
            }
        }
        let picture = Picture { width: 2 * width as u32, height: height as u32, rgb };
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
