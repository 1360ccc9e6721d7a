//! ROC, calibration and learning curves as SVG, to be set into HTML.

use plotters::prelude::*;

use super::ReportError;
use crate::research::run::folder::Epoch;
use crate::research::statistics::probability_scores::ReliabilityBin;
use crate::research::statistics::roc::RocPoint;

const SIZE: (u32, u32) = (420, 320);
const BLUE: RGBColor = RGBColor(31, 88, 160);
const ORANGE: RGBColor = RGBColor(208, 95, 20);
const GREY: RGBColor = RGBColor(150, 150, 150);

/// A line of a chart.
struct Line {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
    dots: bool,
}

fn chart(
    what: &'static str,
    [x_name, y_name]: [&str; 2],
    [x_range, y_range]: [(f64, f64); 2],
    lines: &[Line],
) -> Result<String, ReportError> {
    let mut svg = String::new();
    {
        let failed = |e: &dyn std::fmt::Display| ReportError::Draw { what, reason: e.to_string() };
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(|e| failed(&e))?;
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(16)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .build_cartesian_2d(x_range.0..x_range.1, y_range.0..y_range.1)
            .map_err(|e| failed(&e))?;
        // Epochs are counted, shares are not.
        let label = |x: &f64| match x {
            x if x_range.1 <= 1.0 => format!("{x:.1}"),
            x if x.fract() == 0.0 => format!("{x:.0}"),
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .x_desc(x_name)
            .y_desc(y_name)
            .x_label_formatter(&label)
            .max_light_lines(0)
            .bold_line_style(GREY.mix(0.3))
            .draw()
            .map_err(|e| failed(&e))?;
        for line in lines {
            let colour = line.colour;
            let drawn = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2));
            let annotation = chart.draw_series(drawn).map_err(|e| failed(&e))?;
            if !line.name.is_empty() {
                annotation
                    .label(line.name.clone())
                    .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2)));
            }
            if line.dots {
                let dots = line.points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
                chart.draw_series(dots).map_err(|e| failed(&e))?;
            }
        }
        if lines.iter().any(|line| !line.name.is_empty()) {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerRight)
                .background_style(WHITE.mix(0.8))
                .border_style(GREY)
                .draw()
                .map_err(|e| failed(&e))?;
        }
        area.present().map_err(|e| failed(&e))?;
    }
    // Inside HTML the namespace goes without saying; a page that refers to nothing is easily checked.
    Ok(svg.replace(" xmlns=\"http://www.w3.org/2000/svg\"", ""))
}

fn diagonal() -> Line {
    Line { name: String::new(), colour: GREY, points: vec![(0.0, 0.0), (1.0, 1.0)], dots: false }
}

/// The pooled ROC curve.
pub(super) fn roc(points: &[RocPoint]) -> Result<String, ReportError> {
    let curve = points.iter().map(|p| (p.false_positive_rate, p.true_positive_rate)).collect();
    let curve = Line { name: "all subjects".to_owned(), colour: BLUE, points: curve, dots: false };
    chart("the ROC curve", ["1 − specificity", "sensitivity"], [(0.0, 1.0); 2], &[diagonal(), curve])
}

/// The pooled calibration curve: share of patients against mean probability of each bin that holds subjects.
pub(super) fn reliability(bins: &[ReliabilityBin]) -> Result<String, ReportError> {
    let points = bins.iter().filter_map(|bin| Some((bin.mean_probability?, bin.share_fcd?))).collect();
    let curve = Line { name: "all subjects".to_owned(), colour: BLUE, points, dots: true };
    let names = ["calibrated probability", "share of patients"];
    chart("the calibration curve", names, [(0.0, 1.0); 2], &[diagonal(), curve])
}

/// Training and validation loss of every fold, a line each.
pub(super) fn learning(histories: &[(usize, Vec<Epoch>)]) -> Result<String, ReportError> {
    let epochs = histories.iter().map(|(_, epochs)| epochs.len()).max().unwrap_or(1).max(2) as f64;
    let losses = histories.iter().flat_map(|(_, epochs)| epochs.iter().flat_map(|e| [e.train_loss, e.validation_loss]));
    let highest = losses.filter(|loss| loss.is_finite()).fold(0.1, f64::max).min(3.0);
    let mut lines = Vec::new();
    for (index, (_, history)) in histories.iter().enumerate() {
        // A line through one point cannot be seen.
        let is_one = history.len() == 1;
        let name = |text: &str| if index == 0 { text.to_owned() } else { String::new() };
        let points = |loss: fn(&Epoch) -> f64| {
            history.iter().map(|e| (e.epoch as f64, loss(e).min(highest))).filter(|(_, y)| y.is_finite()).collect()
        };
        lines.push(Line { name: name("training"), colour: BLUE, points: points(|e| e.train_loss), dots: is_one });
        lines.push(Line {
            name: name("validation"),
            colour: ORANGE,
            points: points(|e| e.validation_loss),
            dots: is_one,
        });
    }
    chart("the learning curves", ["epoch", "cross-entropy"], [(1.0, epochs), (0.0, highest)], &lines)
}
