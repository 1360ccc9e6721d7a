//! From stored bytes to rescaled values (PS3.3 C.7.6.3 Image Pixel, C.11.1 Modality LUT, C.7.6.16.2.9 Pixel
//! Value Transformation).
//!
//! Stored samples are cut out of their cells by Bits Stored and High Bit and sign-extended; then slope and
//! intercept apply, per slice. MONOCHROME1 shows small values bright: its stored values are mirrored within
//! the stored range first, so that more is always brighter. Private scaling (Philips) is not applied.

/// How samples are stored.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelFormat {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Number of frames in the object.
    pub frames: usize,
    /// Bits Allocated: 8, 16 or 32.
    pub bits_allocated: u32,
    /// Bits Stored.
    pub bits_stored: u32,
    /// High Bit.
    pub high_bit: u32,
    /// Pixel Representation: 0 for unsigned, 1 for two's complement; anything else is no image.
    pub representation: Option<i64>,
    /// Samples per Pixel.
    pub samples: u16,
    /// Photometric Interpretation.
    pub photometric: String,
    /// Big endian pixel cells.
    pub big_endian: bool,
}

impl PixelFormat {
    /// Pixels of one frame.
    pub fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    /// Bytes of one frame as stored uncompressed.
    pub fn frame_bytes(&self) -> usize {
        self.pixels() * usize::from(self.samples) * (self.bits_allocated as usize / 8)
    }

    /// True when one sample per pixel is a grey value.
    pub fn is_grey(&self) -> bool {
        self.samples == 1 && matches!(self.photometric.as_str(), "MONOCHROME1" | "MONOCHROME2")
    }

    /// True when samples have a sign.
    fn is_signed(&self) -> bool {
        self.representation == Some(1)
    }

    /// What cannot be unpacked, if anything.
    pub fn problem(&self) -> Option<String> {
        let bits = format!(
            "BitsAllocated {}, BitsStored {}, HighBit {}",
            self.bits_allocated, self.bits_stored, self.high_bit
        );
        if !matches!(self.bits_allocated, 8 | 16 | 32) {
            return Some(format!("{bits}: only 8, 16 and 32 bits can be unpacked"));
        }
        // High Bit is one less than Bits Stored. Whoever writes something else has one of the two wrong, and which one
        // cannot be told.
        let fits = self.bits_stored >= 1 && self.bits_stored <= self.bits_allocated;
        if !fits || self.high_bit.checked_add(1) != Some(self.bits_stored) {
            return Some(format!("{bits} contradict each other"));
        }
        // Without it, half of the values could be others.
        let found = self.representation.map_or("missing".to_owned(), |n| n.to_string());
        (!matches!(self.representation, Some(0 | 1))).then(|| format!("Pixel Representation is {found}, not 0 or 1"))
    }

    /// How a sample is stored, in words: what all images of one volume have in common.
    pub fn storage(&self) -> String {
        let sign = if self.is_signed() { "signed" } else { "unsigned" };
        format!("{sign}, {} of {} bits", self.bits_stored, self.bits_allocated)
    }

    /// Unpacks one frame into `out`, which has [`pixels`](Self::pixels) values.
    pub fn unpack(&self, stored: &[u8], slope: f64, intercept: f64, out: &mut [f32]) -> Result<(), String> {
        if stored.len() < self.frame_bytes() || out.len() != self.pixels() {
            return Err(format!("{} bytes of pixels are there, {} are due", stored.len(), self.frame_bytes()));
        }
        if let Some(problem) = self.problem() {
            return Err(problem);
        }
        // To the top of the cell and down again: masks what lies above (overlays, in old files) and extends the sign.
        let to_top = self.bits_allocated - 1 - self.high_bit;
        let down = self.bits_allocated - self.bits_stored;
        let is_plain = slope == 1.0 && intercept == 0.0;
        // Loops without a choice in them: several samples go through at once.
        macro_rules! unpack {
            ($cell:ty, $signed:ty, $wide:ty, $from:ident) => {{
                // `sum - sample` in two's complement; without a mirror nothing changes.
                let [flip, base] = self.mirror_sum().map_or([0, 0], |sum| [-1, sum as $wide + 1]);
                let grey = |sample: $wide| (sample ^ flip) + base;
                let signed = |cell| grey(<$wide>::from((<$cell>::$from(cell) << to_top) as $signed >> down));
                let unsigned = |cell| grey(<$wide>::from((<$cell>::$from(cell) << to_top) >> down));
                let rescaled = |grey: $wide| (grey as f64 * slope + intercept) as f32;
                match (self.is_signed(), is_plain) {
                    (true, true) => each_cell(stored, out, |cell| signed(cell) as f32),
                    (true, false) => each_cell(stored, out, |cell| rescaled(signed(cell))),
                    (false, true) => each_cell(stored, out, |cell| unsigned(cell) as f32),
                    (false, false) => each_cell(stored, out, |cell| rescaled(unsigned(cell))),
                }
            }};
        }
        match (self.bits_allocated, self.big_endian) {
            (8, _) => unpack!(u8, i8, i32, from_le_bytes),
            (16, false) => unpack!(u16, i16, i32, from_le_bytes),
            (16, true) => unpack!(u16, i16, i32, from_be_bytes),
            (_, false) => unpack!(u32, i32, i64, from_le_bytes),
            (_, true) => unpack!(u32, i32, i64, from_be_bytes),
        }
        // All of them, without a way out: several at once here too.
        if !is_plain && !out.iter().fold(true, |all, value| all & value.is_finite()) {
            return Err(format!("Rescale Slope {slope} and Intercept {intercept} make values that are no numbers"));
        }
        Ok(())
    }

    /// Smallest plus largest storable value, where the grey scale is upside down.
    fn mirror_sum(&self) -> Option<i64> {
        let is_inverted = self.photometric == "MONOCHROME1";
        is_inverted.then_some(if self.is_signed() { -1 } else { (1i64 << self.bits_stored) - 1 })
    }
}

/// Fills `out` with the values of stored cells of `N` bytes each.
fn each_cell<const N: usize>(stored: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    let (cells, _) = stored.as_chunks();
    out.iter_mut().zip(cells).for_each(|(out, cell)| *out = value(*cell));
}

/// Widens samples that a decoder gave as bytes into cells of `bits_allocated` (codestreams of up to 8 bits in
/// objects that say 16).
pub fn widen(decoded: &[u8], decoded_bits: u32, format: &PixelFormat, out: &mut Vec<u8>) {
    out.clear();
    let (from, to) = (decoded_bits as usize / 8, format.bits_allocated as usize / 8);
    let is_negative = |cell: &[u8]| format.is_signed() && cell.last().is_some_and(|b| b & 0x80 != 0);
    for cell in decoded.chunks_exact(from.max(1)) {
        out.extend(&cell[..from.min(to)]);
        let fill = if is_negative(cell) { 0xFF } else { 0 };
        out.extend(std::iter::repeat_n(fill, to.saturating_sub(from)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(bits_allocated: u32, bits_stored: u32, high_bit: u32, signed: bool) -> PixelFormat {
        PixelFormat {
            rows: 1,
            columns: 2,
            frames: 1,
            bits_allocated,
            bits_stored,
            high_bit,
            representation: Some(i64::from(signed)),
            samples: 1,
            photometric: "MONOCHROME2".into(),
            big_endian: false,
        }
    }

    fn unpacked(format: &PixelFormat, bytes: &[u8], slope: f64, intercept: f64) -> Vec<f32> {
        let mut out = vec![f32::NAN; 2];
        format.unpack(bytes, slope, intercept, &mut out).unwrap();
        out
    }

    #[test]
    fn bits_outside_the_stored_ones_are_masked_and_the_sign_extended() {
        // 12 bits with an overlay bit above: 0xF801 is 0x801 = 2049, or -2047 when signed.
        let bytes = [0x01, 0xF8, 0xFF, 0x07];
        assert_eq!(unpacked(&format(16, 12, 11, false), &bytes, 1.0, 0.0), [2049.0, 2047.0]);
        assert_eq!(unpacked(&format(16, 12, 11, true), &bytes, 1.0, 0.0), [-2047.0, 2047.0]);
    }

    #[test]
    fn every_width_and_byte_order() {
        assert_eq!(unpacked(&format(8, 8, 7, true), &[0xFF, 5], 2.0, 1.0), [-1.0, 11.0]);
        assert_eq!(unpacked(&format(32, 32, 31, false), &[0, 0, 0, 0x80, 1, 0, 0, 0], 1.0, 0.0), [2147483648.0, 1.0]);
        let big = PixelFormat { big_endian: true, ..format(16, 16, 15, true) };
        assert_eq!(unpacked(&big, &[0xFF, 0xFE, 0x01, 0x00], 1.0, 0.0), [-2.0, 256.0]);
    }

    #[test]
    fn monochrome1_is_turned_so_that_more_is_brighter() {
        let inverted = PixelFormat { photometric: "MONOCHROME1".into(), ..format(16, 12, 11, false) };
        assert_eq!(unpacked(&inverted, &[0, 0, 0xFF, 0x0F], 1.0, 0.0), [4095.0, 0.0]);
        let signed = PixelFormat { representation: Some(1), ..inverted };
        assert_eq!(unpacked(&signed, &[0, 0, 0xFF, 0x0F], 1.0, 0.0), [-1.0, 0.0]);
        let widest = PixelFormat { photometric: "MONOCHROME1".into(), ..format(32, 32, 31, false) };
        assert_eq!(unpacked(&widest, &[0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF], 2.0, 0.0), [8_589_934_592.0, 0.0]);
        let narrow = PixelFormat { photometric: "MONOCHROME1".into(), ..format(8, 8, 7, true) };
        assert_eq!(unpacked(&narrow, &[0x80, 0x7F], 1.0, 0.0), [127.0, -128.0]);
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let refused = |format: &PixelFormat, bytes: &[u8], slope: f64| {
            format.unpack(bytes, slope, 0.0, &mut [0.0; 2]).unwrap_err()
        };
        assert!(refused(&format(16, 12, 11, false), &[0; 3], 1.0).contains("3 bytes"));
        for (bits_stored, high_bit) in [(12, 16), (12, 15), (1, 11), (0, 11), (17, 16)] {
            let why = refused(&format(16, bits_stored, high_bit, false), &[0; 4], 1.0);
            assert!(why.contains("contradict"), "{bits_stored} {high_bit}: {why}");
        }
        for representation in [None, Some(2), Some(65_535)] {
            let why = refused(&PixelFormat { representation, ..format(16, 12, 11, false) }, &[0; 4], 1.0);
            assert!(why.contains("Pixel Representation"), "{why}");
        }
        assert!(refused(&format(16, 12, 11, false), &[9, 0, 9, 0], 1e300).contains("no numbers"));
        assert!(!PixelFormat { photometric: "MONOCHROME".into(), ..format(16, 12, 11, false) }.is_grey());
    }

    #[test]
    fn bytes_widen_with_their_sign() {
        let mut out = Vec::new();
        widen(&[0xFE, 2], 8, &format(16, 8, 7, true), &mut out);
        assert_eq!(out, [0xFE, 0xFF, 2, 0]);
    }
}
