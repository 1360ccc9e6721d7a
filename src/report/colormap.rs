//! The heatmap's colours: grey below, a warm colour on top, the more opaque the stronger.
//!
//! The colormap runs from a dark red over red to orange, interpolated in the OKLab colour space (B. Ottosson, "A
//! perceptual color space for image processing", 2020), so that equal steps of the value look like equal steps. It
//! ends before yellow: every colour keeps red well above green and blue, also when blended with grey, so that warm
//! means heatmap and nothing else.

use std::sync::LazyLock;

use crate::config;

/// Number of colours; finer than eight bits can show.
const STEPS: usize = 256;

/// Control colours (sRGB) at equal distances: dark red, red, orange.
const CONTROL: [[u8; 3]; 3] = [[150, 10, 26], [240, 60, 24], [255, 170, 50]];

/// Name for Derivation Description.
pub const NAME: &str = "fcdd-ember (dark red, red, orange; even in OKLab)";

static COLOURS: LazyLock<[[u8; 3]; STEPS]> = LazyLock::new(|| {
    let control = CONTROL.map(oklab_of_srgb);
    std::array::from_fn(|i| {
        let position = i as f64 / (STEPS - 1) as f64 * (control.len() - 1) as f64;
        let segment = (position as usize).min(control.len() - 2);
        let t = position - segment as f64;
        let (a, b) = (control[segment], control[segment + 1]);
        srgb_of_oklab([0, 1, 2].map(|c| a[c] + t * (b[c] - a[c])))
    })
});

/// The colour of a value in 0..1.
pub fn colour(value: f64) -> [u8; 3] {
    COLOURS[((value.clamp(0.0, 1.0) * (STEPS - 1) as f64).round() as usize).min(STEPS - 1)]
}

/// How display values are laid over grey.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// Premultiplied colour (0..255) and what is left of the grey (0..1), by quantised display value.
    table: Vec<([f32; 3], f32)>,
}

impl Overlay {
    /// An overlay with the configured opacity and threshold. The opacity rises from 0 at the threshold with the
    /// square root of the excess: no hard edge, and yet visible soon.
    pub fn new(report: &config::Report) -> Overlay {
        let threshold = report.heatmap_threshold.clamp(0.0, 0.999);
        let table = (0..=1023)
            .map(|i| {
                let value = i as f64 / 1023.0;
                let excess = ((value - threshold) / (1.0 - threshold)).max(0.0);
                // A value of zero is never coloured, also where the threshold is zero.
                let alpha = if i == 0 { 0.0 } else { report.heatmap_alpha.clamp(0.0, 1.0) * excess.sqrt() };
                (colour(value).map(|c| (f64::from(c) * alpha) as f32), (1.0 - alpha) as f32)
            })
            .collect();
        Overlay { table }
    }

    /// The pixel for a grey level (0..255) under a display value (0..1).
    pub fn blend(&self, grey: f32, value: f32) -> [u8; 3] {
        // A float-to-integer cast saturates, and NaN becomes 0: no colour.
        let index = ((value * 1023.0 + 0.5) as usize).min(self.table.len() - 1);
        let (colour, rest) = self.table[index];
        colour.map(|c| (c + rest * grey + 0.5) as u8)
    }
}

fn linear(channel: u8) -> f64 {
    let c = f64::from(channel) / 255.0;
    if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
}

fn gamma(linear: f64) -> u8 {
    let c = if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
    (c * 255.0).round().clamp(0.0, 255.0) as u8
}

fn oklab_of_srgb(rgb: [u8; 3]) -> [f64; 3] {
    let [r, g, b] = rgb.map(linear);
    let l = (0.412_221_470_8 * r + 0.536_332_536_3 * g + 0.051_445_992_9 * b).cbrt();
    let m = (0.211_903_498_2 * r + 0.680_699_545_1 * g + 0.107_396_956_6 * b).cbrt();
    let s = (0.088_302_461_9 * r + 0.281_718_837_6 * g + 0.629_978_700_5 * b).cbrt();
    [
        0.210_454_255_3 * l + 0.793_617_785_0 * m - 0.004_072_046_8 * s,
        1.977_998_495_1 * l - 2.428_592_205_0 * m + 0.450_593_709_9 * s,
        0.025_904_037_1 * l + 0.782_771_766_2 * m - 0.808_675_766_0 * s,
    ]
}

fn srgb_of_oklab([lightness, a, b]: [f64; 3]) -> [u8; 3] {
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    [
        gamma(4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s),
        gamma(-1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s),
        gamma(-0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_and_the_middle_are_the_control_colours() {
        assert_eq!(colour(0.0), CONTROL[0]);
        assert_eq!(colour(1.0), CONTROL[2]);
        let middle = colour(0.5);
        assert!(middle.iter().zip(CONTROL[1]).all(|(a, b)| a.abs_diff(b) <= 3), "{middle:?}");
    }

    #[test]
    fn lightness_rises_all_the_way() {
        let lightness: Vec<f64> = COLOURS.iter().map(|c| oklab_of_srgb(*c)[0]).collect();
        assert!(lightness.windows(2).all(|w| w[1] > w[0] - 0.003), "{lightness:?}");
    }

    #[test]
    fn strong_values_are_warm_on_any_grey_and_weak_ones_leave_it_alone() {
        let overlay = Overlay::new(&config::Report::default());
        for grey in [0.0, 80.0, 160.0, 255.0] {
            for value in [0.6, 0.8, 1.0] {
                let [r, g, b] = overlay.blend(grey, value).map(i32::from);
                assert!(r - g > 40 && r - b > 40, "grey {grey} value {value}: {r} {g} {b}");
            }
            for value in [0.0, 0.1, 0.19, f32::NAN] {
                assert_eq!(overlay.blend(grey, value), [grey as u8; 3]);
            }
        }
    }
}
