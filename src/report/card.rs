//! The card: one Secondary Capture picture that says everything at a glance, without geometry and without any
//! patient identity.

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};

use super::drawing::{Anchor, Picture, Svg, draw, fitted, wrapped};
use super::heatmap::{image_comments, put_texts_of_image_type, recognizable};
use super::modules::elements::{encode_file, put_text};
use super::modules::series_and_sop::{put_instance, put_rgb_secondary_capture, put_series};
use super::three_planes::{Plane, View, focus};
use super::{ObjectBytes, ReportError, Results};
use crate::config;
use crate::dicom::{Templates, Uid};
use crate::study::{
    Analysis, AssembledStudy, Hemisphere, ModelOutcome, ObjectKind, Prior, Region, Revision, Standing, Verdict,
};

/// Size of the card, pixels.
pub const WIDTH: u32 = 1024;
/// Size of the card, pixels.
pub const HEIGHT: u32 = 768;

const MARGIN: f64 = 28.0;
const TILE: u32 = 300;
const TILE_TOP: f64 = 408.0;

const BACKGROUND: &str = "#0f1419";
const BAR: &str = "#1a222c";
const BRIGHT: &str = "#f2f6fa";
const PLAIN: &str = "#c8d2dc";
const DIM: &str = "#8a97a5";
const AMBER: &str = "#ffd27a";
const ALARM: &str = "#a3221c";

/// The card as an object.
pub fn card_object(results: &Results<'_>) -> Result<ObjectBytes, ReportError> {
    let kind = ObjectKind::Card;
    let class = uids::SECONDARY_CAPTURE_IMAGE_STORAGE;
    let uid = results.uids.instance(kind, 0);
    let picture = card_picture(results.study, results.analysis, results.templates, results.report, results.revision)?;
    let mut dataset = results.common.clone();
    let series = results.uids.series(kind);
    put_series(&mut dataset, "OT", &series, &results.templates.card_series, &results.content, results.revision);
    put_instance(&mut dataset, class, &uid, 1, &results.content);
    put_texts_of_image_type(&mut dataset);
    put_rgb_secondary_capture(&mut dataset, HEIGHT as u16, WIDTH as u16);
    put_text(&mut dataset, tags::IMAGE_COMMENTS, VR::LT, &image_comments(results, None));
    put_text(&mut dataset, tags::BURNED_IN_ANNOTATION, VR::CS, "NO");
    put_text(&mut dataset, tags::RECOGNIZABLE_VISUAL_FEATURES, VR::CS, recognizable(&results.study.header));
    let bytes = encode_file(&dataset, class, &uid, Some(&picture.rgb))?;
    Ok((kind, Uid::parse(class)?, uid, bytes))
}

/// The card as a picture.
pub fn card_picture(
    study: &AssembledStudy,
    analysis: &Analysis,
    templates: &Templates,
    report: &config::Report,
    revision: &Revision,
) -> Result<Picture, ReportError> {
    draw(&card_svg(study, analysis, templates, report, revision)?, WIDTH, HEIGHT, "the card")
}

/// The card before it is drawn: its words can still be read.
pub fn card_svg(
    study: &AssembledStudy,
    analysis: &Analysis,
    templates: &Templates,
    report: &config::Report,
    revision: &Revision,
) -> Result<String, ReportError> {
    let words = &templates.card;
    let mut svg = Svg::new(WIDTH, HEIGHT, BACKGROUND);
    let right = f64::from(WIDTH) - MARGIN;

    svg.rectangle([0.0, 0.0, f64::from(WIDTH), 64.0], BAR, 0.0);
    // One text, so that a site's own title cannot run into the revision.
    let title = match revision.label() {
        Some(label) => format!("{} – {label}", words.title),
        None => words.title.clone(),
    };
    svg.text([MARGIN, 32.0], 23.0, "bold", BRIGHT, Anchor::Start, &title);
    svg.text([MARGIN, 52.0], 13.0, "normal", DIM, Anchor::Start, &words.subtitle);
    svg.text([right, 30.0], 15.0, "bold", AMBER, Anchor::End, &words.notice);
    svg.text([right, 52.0], 13.0, "bold", PLAIN, Anchor::End, &words.not_verified);

    let warning = match analysis.standing() {
        Standing::Untrained => Some((&words.untrained, &words.untrained_hint)),
        Standing::SyntheticOnly => Some((&words.synthetic, &words.synthetic_hint)),
        Standing::Trained => None,
    };
    let mut top = 64.0;
    if let Some((warning, hint)) = warning {
        let middle = f64::from(WIDTH) / 2.0;
        svg.rectangle([0.0, top, f64::from(WIDTH), 70.0], ALARM, 0.0);
        svg.text([middle, top + 40.0], 34.0, "bold", "#ffffff", Anchor::Middle, warning);
        svg.text([middle, top + 60.0], 13.0, "normal", "#ffe3df", Anchor::Middle, hint);
        top += 70.0;
    }
    put_verdict(&mut svg, analysis, templates, top);
    put_models(&mut svg, analysis, templates, top);
    put_pictures(&mut svg, study, analysis, templates, report)?;
    Ok(svg.finish())
}

/// Left column: the verdict, the fused probability with its threshold, or why there is none.
fn put_verdict(svg: &mut Svg, analysis: &Analysis, templates: &Templates, top: f64) {
    const WIDTH_OF_COLUMN: f64 = 452.0;
    let words = &templates.card;
    let (verdict, colour) = match analysis.verdict {
        Verdict::Suspected => (&words.suspected, "#ff8a3c"),
        Verdict::NotSuspected => (&words.not_suspected, "#9cc3e6"),
        Verdict::Unassessable { .. } => (&words.unassessable, "#d9c27a"),
    };
    svg.rectangle([MARGIN, top + 20.0, 6.0, 38.0], colour, 3.0);
    svg.text([MARGIN + 20.0, top + 50.0], 32.0, "bold", colour, Anchor::Start, verdict);
    let mut y = top + 86.0;
    if let Some(fused) = &analysis.fused {
        // A number without meaning is not shown in the colour of one with meaning.
        let colour = if matches!(analysis.verdict, Verdict::Unassessable { .. }) { DIM } else { BRIGHT };
        let sequences: Vec<&str> = fused.sequences.iter().map(|s| s.label()).collect();
        let label = format!("{} ({})", words.probability, sequences.join(" + "));
        svg.text([MARGIN, y], 15.0, "normal", PLAIN, Anchor::Start, &label);
        svg.text([MARGIN, y + 44.0], 42.0, "bold", colour, Anchor::Start, &percent(fused.probability));
        let threshold = format!("{} {}", words.threshold, percent(fused.threshold));
        let end = MARGIN + WIDTH_OF_COLUMN;
        svg.text([end, y + 22.0], 12.0, "normal", DIM, Anchor::End, &prior(fused.prior, templates));
        svg.text([end, y + 42.0], 14.0, "normal", PLAIN, Anchor::End, &threshold);
        put_gauge(svg, [MARGIN, y + 58.0, WIDTH_OF_COLUMN, 10.0], fused.probability, fused.threshold, colour);
        y += 98.0;
    }
    let reasons = analysis.verdict.reasons();
    if reasons.is_empty() {
        return;
    }
    svg.text([MARGIN, y], 14.0, "bold", PLAIN, Anchor::Start, &words.reasons);
    let lines = reasons.iter().flat_map(|reason| wrapped(&reason.text, 58)).map(|line| (line, PLAIN));
    let room = ((TILE_TOP - 14.0 - y) / 19.0).max(0.0) as usize;
    for (line, colour) in lines.take(room) {
        y += 19.0;
        svg.text([MARGIN, y], 14.0, "normal", colour, Anchor::Start, &line);
    }
}

fn put_gauge(svg: &mut Svg, [x, y, width, height]: [f64; 4], probability: f64, threshold: f64, colour: &str) {
    svg.rectangle([x, y, width, height], "#2a3541", height / 2.0);
    let filled = (probability.clamp(0.0, 1.0) * width).max(height);
    svg.rectangle([x, y, filled, height], colour, height / 2.0);
    let tick = x + threshold.clamp(0.0, 1.0) * width;
    svg.rectangle([tick - 3.0, y - 6.0, 6.0, height + 12.0], BACKGROUND, 0.0);
    svg.rectangle([tick - 1.5, y - 6.0, 3.0, height + 12.0], AMBER, 0.0);
}

/// Right column: every model with its own numbers, and the strongest region.
fn put_models(svg: &mut Svg, analysis: &Analysis, templates: &Templates, top: f64) {
    const LEFT: f64 = 530.0;
    let words = &templates.card;
    let right = f64::from(WIDTH) - MARGIN;
    let mut y = top + 20.0;
    for outcome in &analysis.outcomes {
        svg.rectangle([LEFT, y, right - LEFT, 74.0], BAR, 8.0);
        let model = format!("{} {}", outcome.model.name, outcome.model.version);
        svg.text([LEFT + 14.0, y + 25.0], 17.0, "bold", BRIGHT, Anchor::Start, outcome.sequence.label());
        svg.text([LEFT + 80.0, y + 25.0], 14.0, "normal", PLAIN, Anchor::Start, &fitted(&model, 34));
        let colour = if outcome.model.standing() == Standing::Trained { BRIGHT } else { DIM };
        svg.text([right - 14.0, y + 26.0], 19.0, "bold", colour, Anchor::End, &percent(outcome.probability));
        let first = format!("{} {}", words.threshold, percent(outcome.threshold));
        svg.text([LEFT + 14.0, y + 46.0], 13.0, "normal", DIM, Anchor::Start, &first);
        svg.text([right - 14.0, y + 46.0], 12.0, "normal", DIM, Anchor::End, &prevalence(outcome.prior, templates));
        svg.text([LEFT + 14.0, y + 64.0], 13.0, "normal", DIM, Anchor::Start, &folds(outcome, templates));
        y += 84.0;
    }
    if analysis.outcomes.is_empty() {
        return;
    }
    svg.text([LEFT, y + 16.0], 14.0, "bold", PLAIN, Anchor::Start, &words.strongest_region);
    match strongest(analysis) {
        Some(region) => {
            svg.text([LEFT, y + 40.0], 18.0, "bold", "#ffb070", Anchor::Start, side(region, templates));
            let [l, p, s] = region.peak_lps_mm;
            let place = format!(
                "{}: {}, {:.1} cm³",
                region.sequence.label(),
                [(l, "L", "R"), (p, "P", "A"), (s, "S", "I")]
                    .map(|(mm, positive, negative)| {
                        format!("{} {:.0}", if mm >= 0.0 { positive } else { negative }, mm.abs())
                    })
                    .join(", ")
                    + " mm",
                region.volume_mm3 / 1000.0
            );
            svg.text([LEFT, y + 61.0], 14.0, "normal", PLAIN, Anchor::Start, &place);
        }
        None => svg.text([LEFT, y + 38.0], 15.0, "normal", DIM, Anchor::Start, &words.no_region),
    }
}

/// The share of patients that a probability assumes.
pub(super) fn prevalence(prior: Prior, templates: &Templates) -> String {
    let words = &templates.card;
    match prior.prevalence() {
        // Rare is not never: one decimal would say 0.0 %.
        Some(share) if share < 0.01 => format!("{} {:.4} %", words.prior, share * 100.0),
        Some(share) => format!("{} {}", words.prior, percent(share)),
        None => format!("{} {}", words.prior, words.prior_unstated),
    }
}

/// The same with where it comes from.
fn prior(prior: Prior, templates: &Templates) -> String {
    let words = &templates.card;
    let share = prevalence(prior, templates);
    match prior {
        Prior::Training { .. } => format!("{share} ({})", words.prior_training),
        Prior::Site { .. } => format!("{share} ({})", words.prior_site),
        Prior::Unstated => share,
    }
}

/// The spread over the folds, called what it is.
fn folds(outcome: &ModelOutcome, templates: &Templates) -> String {
    let words = &templates.card;
    let Some([low, high]) = outcome.range_over_folds() else { return words.single_fold.clone() };
    format!("{} ({}): {} – {}", words.folds, outcome.fold_probabilities.len(), percent(low), percent(high))
}

fn strongest(analysis: &Analysis) -> Option<&Region> {
    analysis.outcomes.iter().flat_map(|o| &o.regions).max_by(|a, b| a.peak_logit.total_cmp(&b.peak_logit))
}

fn side<'a>(region: &Region, templates: &'a Templates) -> &'a str {
    match region.hemisphere {
        Hemisphere::Left => &templates.card.left,
        Hemisphere::Right => &templates.card.right,
        Hemisphere::Midline => &templates.card.midline,
    }
}

/// Lower half: three planes through the strongest point, or what each series was instead of a volume.
fn put_pictures(
    svg: &mut Svg,
    study: &AssembledStudy,
    analysis: &Analysis,
    templates: &Templates,
    report: &config::Report,
) -> Result<(), ReportError> {
    let words = &templates.card;
    let foot = f64::from(HEIGHT) - 16.0;
    let right = f64::from(WIDTH) - MARGIN;
    let version = format!("fcdd {}", env!("CARGO_PKG_VERSION"));
    svg.text([right, foot], 13.0, "normal", DIM, Anchor::End, &version);
    if analysis.outcomes.iter().any(|o| o.fold_probabilities.len() > 1) {
        svg.text([right, foot - 18.0], 12.0, "normal", DIM, Anchor::End, &words.folds_hint);
    }

    let view = focus(study, analysis).and_then(|(sequence, point)| {
        let volume = study.chosen(sequence)?.volume.as_deref()?;
        let outcome = analysis.outcome(sequence);
        Some((sequence, outcome, View::new(volume, outcome.map(|o| &o.heatmap), point, report)?))
    });
    let Some((sequence, outcome, view)) = view else {
        put_series_verdicts(svg, study, templates);
        return Ok(());
    };
    let gap = (right - MARGIN - 3.0 * f64::from(TILE)) / 2.0;
    for (i, plane) in Plane::ALL.into_iter().enumerate() {
        let x = (MARGIN + i as f64 * (f64::from(TILE) + gap)).round();
        view.put_tile(svg, plane, [x, TILE_TOP], TILE)?;
    }
    let Some(outcome) = outcome else {
        svg.text([MARGIN, foot], 13.0, "normal", PLAIN, Anchor::Start, sequence.label());
        return Ok(());
    };
    let caption = if outcome.heatmap.constant {
        format!("{}: {}", sequence.label(), words.constant_heatmap)
    } else {
        let [low, high] = outcome.heatmap.range_logit;
        svg.colour_bar([MARGIN, foot - 11.0, 120.0, 11.0]);
        format!("Grad-CAM, {}: {low:.2} – {high:.2}", sequence.label())
    };
    let x = if outcome.heatmap.constant { MARGIN } else { MARGIN + 132.0 };
    svg.text([x, foot], 13.0, "normal", PLAIN, Anchor::Start, &caption);
    Ok(())
}

/// Series numbers and verdicts only: a description may hold a name.
fn put_series_verdicts(svg: &mut Svg, study: &AssembledStudy, templates: &Templates) {
    svg.text([MARGIN, TILE_TOP + 10.0], 16.0, "bold", PLAIN, Anchor::Start, &templates.card.no_picture);
    let lines = study.stacks.iter().map(|stack| {
        let number = stack.series_number.map_or_else(|| "?".to_owned(), |n| n.to_string());
        format!("#{number}  {}  {} ({} images)", stack.sequence.label(), stack.verdict, stack.images)
    });
    for (i, line) in lines.take(12).enumerate() {
        let y = TILE_TOP + 40.0 + i as f64 * 22.0;
        svg.text([MARGIN, y], 14.0, "normal", DIM, Anchor::Start, &fitted(&line, 110));
    }
}

fn percent(probability: f64) -> String {
    format!("{:.1} %", probability * 100.0)
}
