//! Drawing: SVG to pixels with the font that is compiled in, and pixels to PNG. The system's fonts are never used,
//! so a card looks the same on every machine.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use resvg::{tiny_skia, usvg};

use super::ReportError;

/// An opaque picture, three bytes per pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// RGB, row by row.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// The picture as a PNG file.
    pub fn png(&self) -> Result<Vec<u8>, ReportError> {
        let failed = |e: png::EncodingError| ReportError::Draw { what: "a PNG", reason: e.to_string() };
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        encoder.write_header().and_then(|mut writer| writer.write_image_data(&self.rgb)).map_err(failed)?;
        Ok(bytes)
    }

    /// An SVG element that shows the picture with its own pixels at a place.
    pub fn svg_image(&self, x: f64, y: f64) -> Result<String, ReportError> {
        let data = base64::engine::general_purpose::STANDARD.encode(self.png()?);
        Ok(format!(
            r#"<image x="{x}" y="{y}" width="{}" height="{}" href="data:image/png;base64,{data}"/>"#,
            self.width, self.height
        ))
    }
}

static FONTS: LazyLock<Arc<usvg::fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = usvg::fontdb::Database::new();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.load_font_data(dejavu::sans::bold().to_vec());
    Arc::new(fonts)
});

/// Draws an SVG document of this size; `what` names the picture in an error.
pub fn draw(svg: &str, width: u32, height: u32, what: &'static str) -> Result<Picture, ReportError> {
    let failed = |reason: String| ReportError::Draw { what, reason };
    let options = usvg::Options { fontdb: Arc::clone(&FONTS), font_family: FONT.into(), ..Default::default() };
    let tree = usvg::Tree::from_str(svg, &options).map_err(|e| failed(e.to_string()))?;
    let mut pixmap = tiny_skia::Pixmap::new(width, height).ok_or_else(|| failed("no such size".into()))?;
    pixmap.fill(tiny_skia::Color::BLACK);
    resvg::render(&tree, tiny_skia::Transform::identity(), &mut pixmap.as_mut());
    // The background is opaque, so premultiplied and plain colours are the same.
    let rgb = pixmap.data().chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
    Ok(Picture { width, height, rgb })
}

const FONT: &str = "DejaVu Sans";

/// An SVG document under construction.
#[derive(Debug)]
pub struct Svg {
    text: String,
}

/// Where a text stands relative to its x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Begins there.
    Start,
    /// Is centred there.
    Middle,
    /// Ends there.
    End,
}

impl Svg {
    /// An empty document with a background colour.
    pub fn new(width: u32, height: u32, background: &str) -> Svg {
        let mut svg = Svg {
            text: format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="{FONT}">"#
            ),
        };
        svg.rectangle([0.0, 0.0, f64::from(width), f64::from(height)], background, 0.0);
        svg
    }

    /// A filled rectangle `[x, y, width, height]` with rounded corners.
    pub fn rectangle(&mut self, [x, y, width, height]: [f64; 4], fill: &str, radius: f64) {
        // Writing to a String cannot fail, here and below.
        let _ = write!(
            self.text,
            r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" rx="{radius}" fill="{fill}"/>"#
        );
    }

    /// A straight line `[x1, y1, x2, y2]`.
    pub fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], colour: &str, width: f64) {
        let _ = write!(
            self.text,
            r#"<line x1="{x1:.2}" y1="{y1:.2}" x2="{x2:.2}" y2="{y2:.2}" stroke="{colour}" stroke-width="{width}"/>"#
        );
    }

    /// A line of text with its baseline at `y`.
    pub fn text(&mut self, [x, y]: [f64; 2], size: f64, weight: &str, colour: &str, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = write!(
            self.text,
            r#"<text x="{x:.2}" y="{y:.2}" font-size="{size}" font-weight="{weight}" fill="{colour}" text-anchor="{anchor}">{}</text>"#,
            escaped(text)
        );
    }

    /// A horizontal bar `[x, y, width, height]` of the heatmap's colours.
    pub fn colour_bar(&mut self, [x, y, width, height]: [f64; 4]) {
        // Whole pixels for a bar of 120: no seams.
        const STEPS: usize = 40;
        let step = width / STEPS as f64;
        for i in 0..STEPS {
            let [r, g, b] = super::colormap::colour((i as f64 + 0.5) / STEPS as f64);
            self.rectangle([x + i as f64 * step, y, step, height], &format!("rgb({r},{g},{b})"), 0.0);
        }
    }

    /// Any other element.
    pub fn element(&mut self, element: &str) {
        self.text.push_str(element);
    }

    /// The finished document.
    pub fn finish(mut self) -> String {
        self.text.push_str("</svg>");
        self.text
    }
}

fn escaped(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .flat_map(|c| match c {
            '&' => "&amp;".chars().collect::<Vec<_>>(),
            '<' => "&lt;".chars().collect(),
            '>' => "&gt;".chars().collect(),
            '"' => "&quot;".chars().collect(),
            other => vec![other],
        })
        .collect()
}

/// At most `longest` characters, the last one an ellipsis when something was cut.
pub fn fitted(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest.saturating_sub(1)).chain(['…']).collect()
}

/// Lines of at most `longest` characters, broken between words.
pub fn wrapped(text: &str, longest: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= longest => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(fitted(word, longest)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_is_ours_and_draws() {
        let mut svg = Svg::new(200, 60, "#000");
        svg.text([10.0, 40.0], 32.0, "bold", "#fff", Anchor::Start, "FCD <&> é");
        let picture = draw(&svg.finish(), 200, 60, "a test").unwrap();
        let white = picture.rgb.chunks(3).filter(|p| p[0] > 200).count();
        assert!(white > 300, "{white} white pixels: no text was drawn");
        assert!(picture.png().unwrap().starts_with(&[0x89, b'P', b'N', b'G']));
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij", 5), ["abcd…"]);
    }
}
